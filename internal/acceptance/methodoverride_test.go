package acceptance

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// methodOverrides take the method from the query or from a header, in the ways in which
// middleware does.
var methodOverrides = map[string]func(http.Handler) http.Handler{
	"in place": func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if method := overriding(r); method != "" {
				r.Method = method
			}
			next.ServeHTTP(w, r)
		})
	},
	"in a copy": func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if method := overriding(r); method != "" {
				r = r.Clone(r.Context())
				r.Method = method
			}
			next.ServeHTTP(w, r)
		})
	},
}

func overriding(r *http.Request) string {
	if method := r.URL.Query().Get("_method"); method != "" {
		return method
	}
	return r.Header.Get("X-HTTP-Method-Override")
}

// overrideSite is a site with a method override inside the guard. It also has, for every
// method,
//
//	/out    guard.Logout("/")
//	/end    guard.End
//	/act    a gated handler
//	/stay   the guard script's
func overrideSite(t *testing.T, override func(http.Handler) http.Handler) (*site, *gateProbe) {
	s := newSite(t, nil)
	var probe gateProbe
	s.mux.Handle("/out", s.guard.Logout("/"))
	s.mux.HandleFunc("/end", func(w http.ResponseWriter, r *http.Request) {
		if err := s.guard.End(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	s.mux.Handle("/act", s.guard.RequireLogin(&probe))
	s.mux.Handle("/sessionguard/", s.guard.Script())
	s.server = serve(t, s.guard.Handler(override(s.mux)))
	return s, &probe
}

// overridden are requests that arrive as method and become to.
func overridden(b *browser, method, path, to string, header ...string) []response {
	return []response{
		b.Do(b.Request(method, path+"?user=grace&_method="+to, header...)),
		b.Do(b.Request(method, path+"?user=grace", append(header, "X-HTTP-Method-Override", to)...)),
	}
}

// R1: a request that arrived as a safe one has no unsafe effect. A link in an e-mail has
// the Sec-Fetch-Site "none", over plain http browsers send none at all, and an image that
// somebody has written into a page of the site has "same-origin".
func TestMethodOverrideMakesNoLinkUnsafe(t *testing.T) {
	for name, override := range methodOverrides {
		s, probe := overrideSite(t, override)
		for _, source := range crossOriginSources {
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				for _, to := range []string{"POST", "PUT", "DELETE", "post"} {
					label := fmt.Sprintf("%s: %s becomes %s, %+v", name, method, to, source)
					ada, visitor := s.browse(), s.browse()
					ada.login("ada")
					for _, path := range []string{"/logout", "/out", "/end", "/act", "/login", "/sessionguard/logout", "/sessionguard/stay"} {
						for _, resp := range overridden(ada, method, path, to, source.headers()...) {
							require.GreaterOrEqual(t, resp.StatusCode, 400, "%s %s", path, label)
							require.Empty(t, resp.Cookies(), "%s %s", path, label)
						}
					}
					require.Equal(t, "secret of ada", ada.Get("/poll").Body, label)
					overridden(visitor, method, "/login", to, source.headers()...)
					require.Empty(t, visitor.Cookies(), "login CSRF, %s", label)
				}
			}
		}
		require.Zero(t, probe.ran.Load())
	}
}

// R1, R2: another site names the page after the login. The site's own redirect to it has the
// Sec-Fetch-Site "same-origin".
func TestMethodOverrideMakesNoPageAfterALoginUnsafe(t *testing.T) {
	for name, override := range methodOverrides {
		s, probe := overrideSite(t, override)
		ada := s.browse()
		next := ada.Post("/login?user=ada&next=%2Fact%3F_method%3DDELETE", "Sec-Fetch-Site", "same-origin").Header.Get("Location")
		require.Equal(t, "/act?_method=DELETE", next, name)
		resp := ada.Get(next, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate")
		require.Equal(t, http.StatusForbidden, resp.StatusCode, name)
		require.Zero(t, probe.ran.Load(), name)
	}
}

// R1: a POST of the site itself may become something else.
func TestMethodOverrideOfTheSiteItselfWorks(t *testing.T) {
	for name, override := range methodOverrides {
		s, probe := overrideSite(t, override)
		ada := s.browse()
		ada.login("ada")
		overridden(ada, "POST", "/act", "DELETE", "Sec-Fetch-Site", "same-origin")
		require.EqualValues(t, 2, probe.ran.Load(), name)
		for _, to := range []string{"DELETE", "GET"} {
			ada.login("ada")
			resp := ada.Post("/out?_method="+to, "Sec-Fetch-Site", "same-origin")
			require.Equal(t, http.StatusSeeOther, resp.StatusCode, name)
			require.False(t, ada.loggedIn(), name)
		}
	}
}

// R1: around the guard the guard sees only what the override has made of the request, and
// checks that.
func TestMethodOverrideOutsideTheGuardIsChecked(t *testing.T) {
	for name, override := range methodOverrides {
		for _, nested := range []bool{false, true} { // Logout and gates attach the guard themselves
			s := newSite(t, nil)
			var h http.Handler = s.mux
			if !nested {
				h = s.guard.Handler(s.mux)
			}
			s.server = serve(t, override(h))
			for _, source := range crossOriginSources {
				if source.trusted {
					continue
				}
				ada := s.browse()
				ada.SetCookies(loginCookies(t, s))
				for _, method := range []string{"GET", "OPTIONS", "POST"} { // net/http would answer a HEAD that became a POST with a body
					for _, resp := range overridden(ada, method, "/logout", "POST", source.headers()...) {
						require.Equal(t, http.StatusForbidden, resp.StatusCode, "%s, %s, %+v", name, method, source)
					}
				}
				require.Equal(t, "secret of ada", ada.Get("/poll").Body, "%s, %+v", name, source)
			}
		}
	}
}

// loginCookies returns the cookies of a new login, made through guard.Handler.
func loginCookies(t *testing.T, s *site) map[string]string {
	b := browse(t, serve(t, s.guard.Handler(s.mux)))
	b.login("ada")
	return b.Cookies()
}

// With a method that did not arrive, the guard's methods know nothing of the request.
func TestMethodsOfTheGuardRefuseAnOverriddenRequest(t *testing.T) {
	s, _ := overrideSite(t, methodOverrides["in place"])
	s.mux.HandleFunc("/all", func(w http.ResponseWriter, r *http.Request) {
		_, known := s.guard.User(r)
		_, err := s.guard.Get(r, "app")
		require.False(t, known)
		require.ErrorIs(t, err, sessionguard.ErrNotWrapped)
		require.ErrorIs(t, s.guard.End(w, r), sessionguard.ErrNotWrapped)
		require.ErrorIs(t, s.guard.EndOthers(r), sessionguard.ErrNotWrapped)
		require.ErrorIs(t, s.guard.Login(w, r, &user{ID: "grace"}), sessionguard.ErrNotWrapped)
	})
	ada := s.browse()
	ada.login("ada")
	require.Equal(t, http.StatusOK, ada.Get("/all?_method=POST", "Sec-Fetch-Site", "cross-site").StatusCode)
	require.Contains(t, s.log.String(), "a middleware has changed its cookies or its method")
	require.True(t, ada.loggedIn())
}
