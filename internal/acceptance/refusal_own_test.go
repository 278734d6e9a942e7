package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// ownRefusal is an application's answer that does what it should not have to
// think of: it asks to be cached, uses the session and leaves a flash.
func ownRefusal(g **sessionguard.Guard[*user], name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("CDN-Cache-Control", "max-age=3600")
		w.Header().Set("X-Own", name)
		if session, err := (*g).Get(r, "flash"); err == nil {
			session.AddFlash("flash of " + name)
		}
		who, _ := (*g).User(r)
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "own %s for %t", name, who != nil)
	})
}

// R3: each refusal is replaceable alone, for browsers and others alike, is
// never cached whatever it says, and may leave a flash for the next page.
func TestOwnRefusalRunsIsNeverCachedAndMayFlash(t *testing.T) {
	for name, test := range map[string]struct {
		set     func(*sessionguard.Refusals, http.Handler)
		ask     func(*failingBackend, *browser) response
		who     string
		noFlash bool // nobody could tell whose it is
	}{
		"Login": {
			set: func(r *sessionguard.Refusals, h http.Handler) { r.Login = h },
			ask: func(_ *failingBackend, b *browser) response { return b.Get("/r/login") },
		},
		"Forbidden": {
			set: func(r *sessionguard.Refusals, h http.Handler) { r.Forbidden = h },
			ask: func(_ *failingBackend, b *browser) response { return b.Get("/r/role") }, who: "ada",
		},
		"Stale": {
			set: func(r *sessionguard.Refusals, h http.Handler) { r.Reauth = h },
			ask: func(_ *failingBackend, b *browser) response { return b.Get("/r/fresh") }, who: "ada",
		},
		"CrossOrigin": {
			set: func(r *sessionguard.Refusals, h http.Handler) { r.CrossOrigin = h },
			ask: func(_ *failingBackend, b *browser) response { return b.Post("/value", "Sec-Fetch-Site", "cross-site") }, who: "ada",
		},
		"Unavailable": {
			set: func(r *sessionguard.Refusals, h http.Handler) { r.Unavailable = h },
			ask: func(f *failingBackend, b *browser) response {
				f.failOn("Load")
				defer f.failOn()
				return b.Get("/r/login")
			}, who: "ada", noFlash: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var g *sessionguard.Guard[*user]
			s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) { test.set(&c.Refusals, ownRefusal(&g, name)) })
			g = s.guard
			for _, mode := range []string{"navigate", "cors"} {
				b := s.browse()
				b.Header.Set("Sec-Fetch-Mode", mode)
				if test.who != "" {
					b.login(test.who)
				}
				a := test.ask(backend, b)
				require.Equal(t, http.StatusTeapot, a.StatusCode)
				require.Equal(t, fmt.Sprintf("own %s for %t", name, test.who != "" && !test.noFlash), a.Body)
				require.Equal(t, test.noFlash, a.Header.Get("Retry-After") != "")
				require.Empty(t, a.Header.Get("CDN-Cache-Control"))
				requireNoStore(t, a.Header)
				flash := "[flash of " + name + "]"
				if test.noFlash {
					flash = "[]"
				}
				require.Contains(t, b.Get("/").Body, flash)
			}
		})
	}
}

// L3, L6: a page whose session ended, or whose backend failed, while it was
// being made is replaced by the application's own answer, and nothing of it
// goes out.
func TestOwnRefusalReplacesThePageAtCommit(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		var g *sessionguard.Guard[*user]
		s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) {
			c.Refusals.Login = ownRefusal(&g, "Login")
			c.Refusals.Unavailable = ownRefusal(&g, "Unavailable")
		})
		g = s.guard
		var meanwhile func()
		s.mux.Handle("/slow", g.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := g.Get(r, "app")
			session.Values["k"] = "v"
			meanwhile()
			w.Header().Set("Content-Disposition", "attachment")
			w.Header().Set("Etag", `"secret"`)
			w.Header().Set("Location", "/secret")
			w.Header().Set("X-Request-Id", "7")
			w.WriteHeader(http.StatusCreated)
			_, err := io.WriteString(w, "secret")
			if err == nil {
				t.Error("the handler was not told that its page was replaced")
			}
		})))
		b := s.browse()
		for own, cause := range map[string]func(){
			"Login":       func() { _ = g.EndUser(t.Context(), "ada") },
			"Unavailable": func() { backend.failOn("Touch", "Save") },
		} {
			b.login("ada")
			advance(2 * time.Minute)
			meanwhile = cause
			a := b.Get("/slow")
			backend.failOn()
			require.Equal(t, http.StatusTeapot, a.StatusCode, own)
			require.Contains(t, a.Body, "own "+own)
			require.NotContains(t, a.Body, "secret")
			for _, name := range []string{"Content-Disposition", "Etag", "Location"} {
				require.Empty(t, a.Header.Get(name), own)
			}
			require.Equal(t, "7", a.Header.Get("X-Request-Id"), "what middleware set stays")
			requireNoStore(t, a.Header)
			require.Equal(t, own == "Unavailable", b.loggedIn(), own)
			require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body)
		}
	})
}

// R3, L5, L6: an application's answer that writes nothing makes no success of a
// refusal, neither at a gate nor in place of a page that could not be saved: it
// gets the default.
func TestOwnRefusalThatWritesNothingIsStillARefusal(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) {
			c.Refusals.Login, c.Refusals.Unavailable = nothing, nothing
		})
		for mode, status := range map[string]int{"navigate": http.StatusSeeOther, "cors": http.StatusUnauthorized} {
			b := s.browse()
			b.Header.Set("Sec-Fetch-Mode", mode)
			a := b.Get("/home")
			require.Equal(t, status, a.StatusCode)
			requireNoStore(t, a.Header)
			b.login("ada")
			advance(2 * time.Minute)
			backend.failOn("Touch")
			a = b.Get("/home")
			backend.failOn()
			require.NotContains(t, a.Body, "secret")
			require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
			requireNoStore(t, a.Header)
		}
	})
}

// R3: an error page that stands behind the very gate that refuses must not
// take the server down with it.
func TestOwnRefusalBehindItsOwnGateEndsInTheDefault(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(*sessionguard.Refusals, http.Handler)
		gate func(*sessionguard.Guard[*user]) func(http.Handler) http.Handler
		who  string
		down bool
		want string
	}{
		"Login": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.Login = h },
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireLogin },
			want: "login_required",
		},
		"Forbidden": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.Forbidden = h },
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireRole("Admin") },
			who:  "ada", want: "forbidden",
		},
		"Unavailable": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.Unavailable = h },
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireLogin },
			who:  "ada", down: true, want: "unavailable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var errorPage http.Handler
			depth := 0
			s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) {
				test.set(&c.Refusals, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if depth++; depth > 10 { // a stack overflow cannot be recovered from
						http.Error(w, "endless", http.StatusLoopDetected)
						return
					}
					errorPage.ServeHTTP(w, r)
				}))
			})
			errorPage = test.gate(s.guard)(&gateProbe{})
			s.mux.Handle("/page", test.gate(s.guard)(&gateProbe{}))
			b := s.browse()
			if test.who != "" {
				b.login(test.who)
			}
			if test.down {
				backend.failOn("Load")
			}
			a := b.Get("/page", "Sec-Fetch-Mode", "cors")
			require.Equal(t, test.want, gateVerdict(a))
		})
	}
}
