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

// customRefusal returns a handler for Config.Refusals that takes no precautions: it
// allows caching, uses the session and leaves a flash.
func customRefusal(g **sessionguard.Guard[*user], name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("CDN-Cache-Control", "max-age=3600")
		w.Header().Set("X-Custom", name)
		if session, err := (*g).Get(r, "flash"); err == nil {
			session.AddFlash("flash of " + name)
		}
		u, _ := (*g).User(r)
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "custom %s for %t", name, u != nil)
	})
}

// R3: each refusal can be replaced alone, for browsers and other clients. A custom
// refusal is never cached, whatever its headers say, and may leave a flash for the next
// page.
func TestCustomRefusalRunsIsNeverCachedAndMayFlash(t *testing.T) {
	for name, test := range map[string]struct {
		set     func(*sessionguard.Refusals, http.Handler)
		send    func(*failingBackend, *browser) response
		user    string
		noFlash bool // the session is unknown, so the flash belongs to nobody
		pending bool
	}{
		"Login": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.Login = h },
			send: func(_ *failingBackend, b *browser) response { return b.Get("/r/login") },
		},
		"Forbidden": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.Forbidden = h },
			send: func(_ *failingBackend, b *browser) response { return b.Get("/r/role") }, user: "ada",
		},
		"Reauth": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.Reauth = h },
			send: func(_ *failingBackend, b *browser) response { return b.Get("/r/fresh") }, user: "ada",
		},
		"Factor": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.Factor = h },
			send: func(_ *failingBackend, b *browser) response { return b.Get("/r/factor") }, user: "ada",
		},
		"Factor of a pending login": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.Factor = h },
			send: func(_ *failingBackend, b *browser) response { return b.Get("/r/login") }, user: "grace", pending: true,
		},
		"CrossOrigin": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.CrossOrigin = h },
			send: func(_ *failingBackend, b *browser) response { return b.Post("/value", "Sec-Fetch-Site", "cross-site") }, user: "ada",
		},
		"Unavailable": {
			set: func(r *sessionguard.Refusals, h http.Handler) { r.Unavailable = h },
			send: func(f *failingBackend, b *browser) response {
				f.failOn("Load")
				defer f.failOn()
				return b.Get("/r/login")
			}, user: "ada", noFlash: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var g *sessionguard.Guard[*user]
			s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) {
				test.set(&c.Refusals, customRefusal(&g, name))
				graceNeedsAKey(c)
			})
			g = s.guard
			for _, mode := range []string{"navigate", "cors"} {
				b := s.browse()
				b.Header.Set("Sec-Fetch-Mode", mode)
				if test.user != "" {
					b.login(test.user)
				}
				resp := test.send(backend, b)
				require.Equal(t, http.StatusTeapot, resp.StatusCode)
				require.Equal(t, fmt.Sprintf("custom %s for %t", name, test.user != "" && !test.noFlash && !test.pending), resp.Body)
				require.Equal(t, test.noFlash, resp.Header.Get("Retry-After") != "")
				require.Empty(t, resp.Header.Get("CDN-Cache-Control"))
				requireNoStore(t, resp.Header)
				flash := "[flash of " + name + "]"
				if test.noFlash {
					flash = "[]"
				}
				require.Contains(t, b.Get("/").Body, flash)
			}
		})
	}
}

// L3, L6: if the session ends or the backend fails while a page is being made, the custom
// refusal replaces the page, and nothing of the page is sent.
func TestCustomRefusalReplacesPageAtCommit(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		var g *sessionguard.Guard[*user]
		s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) {
			c.Refusals.Login = customRefusal(&g, "Login")
			c.Refusals.Unavailable = customRefusal(&g, "Unavailable")
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
				t.Error("Write returned no error after the page was replaced")
			}
		})))
		b := s.browse()
		for name, cause := range map[string]func(){
			"Login":       func() { _ = g.EndUser(t.Context(), "ada") },
			"Unavailable": func() { backend.failOn("Touch", "Save") },
		} {
			b.login("ada")
			advance(2 * time.Minute)
			meanwhile = cause
			resp := b.Get("/slow")
			backend.failOn()
			require.Equal(t, http.StatusTeapot, resp.StatusCode, name)
			require.Contains(t, resp.Body, "custom "+name)
			require.NotContains(t, resp.Body, "secret")
			for _, field := range []string{"Content-Disposition", "Etag", "Location"} {
				require.Empty(t, resp.Header.Get(field), name)
			}
			require.Equal(t, "7", resp.Header.Get("X-Request-Id"), "a header of middleware stays")
			requireNoStore(t, resp.Header)
			require.Equal(t, name == "Unavailable", b.loggedIn(), name)
			require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body)
		}
	})
}

// R3, L5, L6: if a custom refusal writes nothing, the default response is sent, at a gate
// as well as in place of a page that could not be saved.
func TestCustomRefusalThatWritesNothingGetsDefault(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) {
			c.Refusals.Login, c.Refusals.Unavailable = nothing, nothing
		})
		for mode, status := range map[string]int{"navigate": http.StatusSeeOther, "cors": http.StatusUnauthorized} {
			b := s.browse()
			b.Header.Set("Sec-Fetch-Mode", mode)
			if mode == "cors" {
				b.Header.Set("Accept", "*/*")
			}
			resp := b.Get("/home")
			require.Equal(t, status, resp.StatusCode)
			requireNoStore(t, resp.Header)
			b.login("ada")
			advance(2 * time.Minute)
			backend.failOn("Touch")
			resp = b.Get("/home")
			backend.failOn()
			require.NotContains(t, resp.Body, "secret")
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			requireNoStore(t, resp.Header)
		}
	})
}

// R3: a custom refusal behind the gate that refuses must not recurse until the server
// crashes.
func TestCustomRefusalBehindItsOwnGateGetsDefault(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(*sessionguard.Refusals, http.Handler)
		gate func(*sessionguard.Guard[*user]) func(http.Handler) http.Handler
		user string
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
			user: "ada", want: "forbidden",
		},
		"Factor": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.Factor = h },
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireFactor("hwk") },
			user: "ada", want: "factor_required",
		},
		"Unavailable": {
			set:  func(r *sessionguard.Refusals, h http.Handler) { r.Unavailable = h },
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireLogin },
			user: "ada", down: true, want: "unavailable",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var errorPage http.Handler
			depth := 0
			s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) {
				test.set(&c.Refusals, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if depth++; depth > 10 { // nothing recovers from a stack overflow
						http.Error(w, "endless", http.StatusLoopDetected)
						return
					}
					errorPage.ServeHTTP(w, r)
				}))
			})
			errorPage = test.gate(s.guard)(&gateProbe{})
			s.mux.Handle("/page", test.gate(s.guard)(&gateProbe{}))
			b := s.browse()
			if test.user != "" {
				b.login(test.user)
			}
			if test.down {
				backend.failOn("Load")
			}
			resp := b.Get("/page", "Sec-Fetch-Mode", "cors")
			require.Equal(t, test.want, gateVerdict(resp))
		})
	}
}
