package acceptance

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// A proxy takes any 2xx for permission. Config.Refusals decides what a refusal says, and not
// whether it is one.
func TestNoRefusalOfTheApplicationsOwnLetsARequestPass(t *testing.T) {
	welcoming := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Remote-User", "root")
		io.WriteString(w, "Welcome to "+r.URL.Path)
	})
	for name, custom := range map[string]http.Handler{
		"200":     welcoming,
		"204":     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }),
		"303":     http.RedirectHandler("/sso", http.StatusSeeOther),
		"404":     http.NotFoundHandler(),
		"nothing": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		"a panic": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("refusal") }),
		"a 103":   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(103); w.WriteHeader(200) }),
		"a hijack": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				conn.Close()
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			backend := newFailingBackend()
			s := authSite(newSite(t, func(c *sessionguard.Config[*user]) {
				c.Backend = backend
				c.Refusals = sessionguard.Refusals{Login: custom, Forbidden: custom, Reauth: custom, CrossOrigin: custom, Unavailable: custom}
			}))
			s.mux.Handle("/auth/never", s.guard.AuthRequest(s.guard.RequireFresh(0)))
			s.mux.HandleFunc("/auth/logged", func(w http.ResponseWriter, r *http.Request) { // by a middleware
				_, _ = s.guard.User(r)
				s.guard.AuthRequest().ServeHTTP(w, r)
			})
			b := s.browse()
			status := func(resp response) int {
				t.Helper()
				location := ""
				if name == "303" && resp.StatusCode == http.StatusUnauthorized {
					location = "/sso"
				} else if resp.StatusCode == http.StatusUnauthorized {
					location = resp.Header.Get("Location") // of the default
				}
				requireAnswer(t, resp, resp.StatusCode, location)
				return resp.StatusCode
			}
			require.Equal(t, 401, status(b.ask("/auth", "GET", "/wiki")))
			b.login("ada")
			require.Equal(t, 403, status(b.ask("/auth/admin", "GET", "/wiki")))
			require.Equal(t, 401, status(b.ask("/auth/never", "GET", "/wiki")))
			require.Equal(t, 403, status(b.ask("/auth", "POST", "/wiki", "Sec-Fetch-Site", "cross-site")))
			require.Equal(t, 403, status(b.ask("/auth", "GET", "/wiki", "Origin", "https://evil.example", "Connection", "Upgrade", "Upgrade", "websocket")))
			require.Equal(t, 403, status(b.Post("/auth", "X-Forwarded-Method", "POST", "X-Forwarded-Uri", "/wiki", "Sec-Fetch-Site", "cross-site")))
			if name == "200" {
				require.Equal(t, "Welcome to /wiki", b.ask("/auth/admin", "GET", "/wiki").Body)
			}
			backend.failOn("*")
			require.Equal(t, 503, status(b.ask("/auth", "GET", "/wiki")))
			require.Equal(t, 503, status(b.ask("/auth/logged", "GET", "/wiki")))
			require.Equal(t, 503, status(b.Get("/auth/logged")))
		})
	}
}

// L3: a logout that overtakes the request is found when the answer is written.
func TestAuthRequestOvertakenByALogout(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		for _, custom := range []http.Handler{nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "Welcome") })} {
			s := authSite(newSite(t, func(c *sessionguard.Config[*user]) { c.Refusals.Login = custom }))
			b := s.browse()
			s.mux.Handle("/auth/slow", s.guard.AuthRequest(s.guard.RequireLogin, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
					next.ServeHTTP(w, r)
				})
			}))
			b.login("ada")
			advance(time.Minute)
			resp := b.ask("/auth/slow", "GET", "/wiki")
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			require.Empty(t, resp.Header["Remote-User"])
			require.NotEmpty(t, resp.Header.Get("WWW-Authenticate"))
		}
	})
}

// Gates may be any middleware. Only a request that gets through all of them may pass.
func TestOnlyAllGatesTogetherLetARequestPass(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) {})
	respond := func(h http.HandlerFunc) func(http.Handler) http.Handler {
		return func(http.Handler) http.Handler { return h }
	}
	either := func(gates ...func(http.Handler) http.Handler) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for _, gate := range gates {
					rec, passed := httptest.NewRecorder(), false
					gate(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true })).ServeHTTP(rec, r)
					if passed {
						next.ServeHTTP(w, r)
						return
					}
				}
				http.Error(w, "neither", http.StatusForbidden)
			})
		}
	}
	g := s.guard
	for name, test := range map[string]struct {
		gate   func(http.Handler) http.Handler
		status int
	}{
		"writes nothing": {respond(func(http.ResponseWriter, *http.Request) {}), 403},
		"200":            {respond(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "all is well") }), 403},
		"204":            {respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }), 403},
		"204 with a user": {respond(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Remote-User", "root")
			w.WriteHeader(204)
		}), 403},
		"a redirect":             {respond(http.RedirectHandler("/sso", http.StatusFound).ServeHTTP), 401},
		"too many requests":      {respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }), 403},
		"an error":               {respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }), 503},
		"switches protocols":     {respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(101) }), 503},
		"early hints":            {respond(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103) }), 403},
		"a panic":                {respond(func(http.ResponseWriter, *http.Request) { panic("gate") }), 503},
		"an inner gate":          {func(next http.Handler) http.Handler { return g.RequireRole("Admin")(next) }, 403},
		"either":                 {either(g.RequireRole("Admin"), g.RequireRole("Engineer")), 204},
		"neither":                {either(g.RequireFresh(0), g.RequireRole("Admin")), 403},
		"other cookies":          {func(next http.Handler) http.Handler { return withoutCookies(next) }, 401},
		"passes, and then fails": {func(next http.Handler) http.Handler { return thenPanic(next) }, 204},
		"sets a header": {func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Remote-User", "root")
				next.ServeHTTP(w, r)
			})
		}, 204},
	} {
		t.Run(name, func(t *testing.T) {
			recovering := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { _ = recover() }() // and what was not written becomes a 200
				g.AuthRequest(test.gate).ServeHTTP(w, r)
			})
			s.mux.Handle("/auth/"+strings.ReplaceAll(name, " ", "-"), recovering)
			b := s.browse()
			b.login("ada")
			resp := b.ask("/auth/"+strings.ReplaceAll(name, " ", "-"), "GET", "/wiki", "Accept", "*/*")
			requireAnswer(t, resp, test.status, resp.Header.Get("Location"))
			if test.status == http.StatusNoContent {
				require.Equal(t, []string{"ada"}, resp.Header["Remote-User"])
			}
		})
	}
}

func withoutCookies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.Header.Del("Cookie")
		next.ServeHTTP(w, r)
	})
}

func thenPanic(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		panic("too late")
	})
}

// A proxy drops the cookies of such a response, so a revival there would lose its token. The
// browser is sent to a page that revives, and comes back.
func TestAuthRequestLeadsToTheRevivalOfARememberedSession(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		authSite(s)
		b := s.browse()
		b.login("ada")
		token := b.Cookies()[sessionCookie]
		advance(idle)
		for range 3 {
			requireAnswer(s.T, b.ask("/auth", "GET", "/wiki?a=b"), 401, "/sessionguard/continue?next=%2Fwiki%3Fa%3Db")
			requireAnswer(s.T, b.ask("/auth", "POST", "/wiki"), 401, "/sessionguard/continue")
			requireAnswer(s.T, b.ask("/auth", "GET", "/wiki", "Accept", "*/*"), 401, "")
			require.Equal(s.T, token, b.Cookies()[sessionCookie])
		}
		require.Empty(s.T, s.events.take(sessionguard.EventRevived))
		require.Equal(s.T, "/login?next=%2Fwiki%3Fa%3Db&reason=remembered", b.Get("/sessionguard/resume?next=/wiki%3Fa%3Db").Header.Get("Location"), "a page that was left open")
		require.Equal(s.T, "/login?next=%2Fwiki&reason=remembered", b.Get("/sessionguard/continue?next=/wiki", "Sec-Purpose", "prefetch").Header.Get("Location"))

		before := s.copyOf(b)
		b.Get("/sessionguard/continue?next=%2Fwiki%3Fa%3Db").Expect(http.StatusSeeOther, "/wiki?a=b")
		require.NotEqual(s.T, token, b.Cookies()[sessionCookie])
		requireAnswer(s.T, before.ask("/auth", "GET", "/wiki"), 204, "") // sent at the same time
		requireAnswer(s.T, b.ask("/auth", "GET", "/wiki"), 204, "")
		advance(idle - time.Second)
		requireAnswer(s.T, b.ask("/auth", "GET", "/wiki"), 204, "")
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
		require.Equal(s.T, "/login?next=%2Fwiki", s.browse().Get("/sessionguard/continue?next=/wiki").Header.Get("Location"))
		require.Equal(s.T, "/login", s.browse().Get("/sessionguard/continue?next=//evil.example").Header.Get("Location"))
	})
}

// If the response with the new token was lost, the browser gets it again where it can.
func TestAuthRequestLeadsToATokenThatWasLost(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		authSite(s)
		b := s.browse()
		b.login("ada")
		advance(idle)
		s.copyOf(b).Get("/sessionguard/continue?next=/wiki").Expect(http.StatusSeeOther, "/wiki") // and b gets nothing of it
		requireAnswer(s.T, b.ask("/auth", "GET", "/wiki"), 204, "")
		advance(time.Minute)
		requireAnswer(s.T, b.ask("/auth", "GET", "/wiki"), 401, "/sessionguard/continue?next=%2Fwiki")
		b.Get("/sessionguard/continue?next=/wiki").Expect(http.StatusSeeOther, "/wiki")
		requireAnswer(s.T, b.ask("/auth", "GET", "/wiki"), 204, "")
		advance(idle - time.Minute)
		requireAnswer(s.T, b.ask("/auth", "GET", "/wiki"), 204, "")
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
	})
}

// A proxy that asks about every path asks about the login page and the script's routes too.
// That leads nowhere, but not in circles.
func TestAuthRequestForThePagesThatItLeadsTo(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := authSite(rememberingSite(t, nil))
		b := s.browse()
		b.login("ada")
		advance(idle)
		for n, at := 0, "/wiki"; at != ""; n++ {
			require.Less(t, n, 4)
			resp := b.ask("/auth", "GET", at)
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			at = resp.Header.Get("Location")
		}
	})
}

// The answer is given only when all is stored.
func TestAuthRequestSays503IfActivityCannotBeRecorded(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		if backend == nil {
			return
		}
		authSite(s)
		b := s.browse()
		b.login("ada")
		advance(idle / 2)
		backend.failOn("Touch")
		requireAnswer(s.T, b.ask("/auth", "GET", "/wiki"), http.StatusServiceUnavailable, "")
	})
}

// Without the script's routes there is the login page, which says why.
func TestAuthRequestOfARememberedSessionWithoutScript(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingSite(t, nil)
		s.mux.Handle("/auth", s.guard.AuthRequest())
		b := s.browse()
		b.login("ada")
		advance(idle)
		requireAnswer(t, b.ask("/auth", "GET", "/wiki"), 401, "/login?next=%2Fwiki&reason=remembered")
	})
}

// What a client can send directly, a proxy's headers included, changes nothing but its own
// idle deadline, as any request does.
func TestNobodyGainsAnythingByRequestingTheAuthRouteDirectly(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := authSite(rememberingSite(t, nil))
		ada := s.browse()
		ada.login("ada")
		stranger := s.browse()
		for _, header := range [][]string{
			{"Remote-User", "ada"},
			{"Remote-User", "ada", "Remote_User", "ada", "X-Forwarded-User", "ada"},
			{"X-Forwarded-For", "127.0.0.1", "X-Real-Ip", "127.0.0.1"},
			{"Authorization", "Basic YWRhOmFkYQ=="},
		} {
			requireAnswer(t, stranger.ask("/auth", "GET", "/wiki", header...), 401, "/login?next=%2Fwiki")
			resp := ada.ask("/auth", "GET", "/wiki", header...)
			requireAnswer(t, resp, 204, "")
			require.Equal(t, []string{"ada"}, resp.Header["Remote-User"])
		}
		advance(idle)
		for _, header := range [][]string{nil, {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/wiki"}} {
			resp := ada.Get("/auth", header...)
			require.Contains(t, []int{401, 403}, resp.StatusCode)
			require.Empty(t, resp.Header["Set-Cookie"])
		}
		require.Empty(t, s.events.take(sessionguard.EventRevived))
		require.Contains(t, ada.Get("/status").Body, store.ReasonRemembered)
	})
}
