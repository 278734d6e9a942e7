package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// pendingClients returns a browser with each kind of pending login: one that was never whole,
// and one that was until its user needed another factor.
func pendingClients(s *site) map[string]*browser {
	began, demoted := s.browse(), s.browse()
	began.prove("ada", "pwd")
	s.users.change("grace", func(u *user) { u.Roles = []string{"Admin"} })
	demoted.prove("grace", "pwd")
	demoted.Post("/value?k=secret&v=of-grace").Expect(http.StatusOK, "")
	s.users.change("grace", func(u *user) { u.Roles = []string{"Admin", "otp"} })
	return map[string]*browser{"began": began, "demoted": demoted}
}

// F2: a pending login is a visitor's for everything but gates, Pending, Login and Logout.
func TestAPendingLoginIsAVisitors(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, nil)
		g := s.guard
		say := func(pattern string, text func(w http.ResponseWriter, r *http.Request) string) {
			s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text(w, r)) })
		}
		say("/user", func(_ http.ResponseWriter, r *http.Request) string { return fmt.Sprint(g.User(r)) })
		say("/reason", func(_ http.ResponseWriter, r *http.Request) string { return fmt.Sprint(g.EndReason(r)) })
		say("/active", func(_ http.ResponseWriter, r *http.Request) string { return fmt.Sprint(g.Active(r)) })
		say("/others", func(_ http.ResponseWriter, r *http.Request) string { return fmt.Sprint(g.EndOthers(r)) })
		say("/tag", func(_ http.ResponseWriter, r *http.Request) string { return string(g.ScriptTag(r)) })
		say("/sessions", func(_ http.ResponseWriter, r *http.Request) string {
			ada, err := g.Sessions(r.Context(), "ada")
			return fmt.Sprint(ada, err)
		})
		s.mux.Handle("/stream", g.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, ok := g.User(r)
			fmt.Fprint(w, ok, r.Context().Err())
		})))
		s.mux.Handle("/sessionguard/", g.Script())
		paths := []string{
			"GET /", "GET /user", "GET /reason", "GET /active", "POST /others", "GET /tag", "GET /sessions", "GET /stream",
			"GET /status", "GET /sessionguard/status", "POST /sessionguard/stay", "GET /value?k=secret", "GET /static",
		}
		for kind, b := range pendingClients(s) {
			visitor := s.browse()
			for _, path := range paths {
				var got, want response
				if path[:4] == "POST" {
					got, want = b.Post(path[5:]), visitor.Post(path[5:])
				} else {
					got, want = b.Get(path[4:]), visitor.Get(path[4:])
				}
				require.Equal(t, want.StatusCode, got.StatusCode, "%s %s", kind, path)
				require.Equal(t, want.Body, got.Body, "%s %s", kind, path)
				require.Equal(t, want.Header["Cache-Control"], got.Header["Cache-Control"], "%s %s", kind, path)
				require.Empty(t, got.Header["Set-Cookie"], "%s %s", kind, path)
			}
			require.Contains(t, b.Get("/factor").Body, " lacks otp", kind)
		}
		require.Empty(t, s.events.take(sessionguard.EventEnded, sessionguard.EventExpired), "and it is pending still")
	})
}

// factorGates are gates of every kind, and what stands around them.
func factorGates(g *sessionguard.Guard[*user], probe http.Handler) map[string]http.Handler {
	everyone := func(*user, *http.Request) bool { return true }
	return map[string]http.Handler{
		"/login-gate":    g.RequireLogin(probe),
		"/role":          g.RequireRole("Engineer", "Admin", "otp")(probe),
		"/func":          g.RequireFunc(everyone)(probe),
		"/fresh-gate":    g.RequireFresh(time.Hour)(probe),
		"/fresh-pwd":     g.RequireFresh(time.Hour, "pwd")(probe),
		"/factor-pwd":    g.RequireFactor("pwd")(probe),
		"/passive":       g.Passive(g.RequireLogin(probe)),
		"/stream":        g.Passive(g.RequireLogin(g.CancelOnEnd(probe))),
		"/around":        g.CancelOnEnd(g.RequireLogin(probe)),
		"/hidden":        g.RequireLogin(g.HideCookies(probe)),
		"/no-cache":      sessionguard.NoCache(g.RequireLogin(probe)),
		"/handler":       g.RequireLogin(g.Handler(probe)),
		"/factor/nested": g.RequireFactor("pwd")(g.RequireLogin(probe)),
	}
}

// F2: no gate lets a pending login in, and each refuses it for what it lacks.
func TestNoGateLetsAPendingLoginIn(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, nil)
		var probe gateProbe
		gates := factorGates(s.guard, &probe)
		for path, h := range gates {
			s.mux.Handle(path, h)
		}
		for kind, b := range pendingClients(s) {
			s.events.take()
			for path := range gates {
				for header, check := range map[string]func(response){
					"application/json": func(resp response) {
						resp.Expect(http.StatusUnauthorized, "")
						require.Equal(t, "factor_required", gateVerdict(resp))
						require.Equal(t, `Cookie form-action="/login", error="insufficient_user_authentication"`, resp.Header.Get("WWW-Authenticate"))
					},
					"text/html": func(resp response) {
						resp.Expect(http.StatusSeeOther, "/factor?next="+url.QueryEscape(path))
					},
				} {
					resp := b.Get(path, "Accept", header)
					check(resp)
					requireNoStore(t, resp.Header)
					require.Empty(t, resp.Header["Set-Cookie"])
				}
				htmx := b.Get(path, "HX-Request", "true", "HX-Current-URL", "https://app.example/page")
				require.Equal(t, "/factor?next=%2Fpage", htmx.Header.Get("HX-Redirect"), path)
			}
			require.Zero(t, probe.ran.Load(), kind)
			for _, e := range s.events.take(sessionguard.EventRefused) {
				require.Equal(t, "factor_required", e.Code)
				require.Contains(t, []string{"ada", "grace"}, e.UserID)
			}
		}
	})
}

// F2: a proxy lets none of the requests of a pending login pass.
func TestAuthRequestRefusesAPendingLogin(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := authSite(factorSite(t, nil))
		for _, b := range pendingClients(s) {
			for _, route := range []string{"/auth", "/auth/admin", "/auth/fresh", "/auth/passive", "/passive/auth", "/auth/readers"} {
				requireAnswer(t, b.ask(route, "GET", "/wiki/read?a=b", "Accept", "text/html"), http.StatusUnauthorized, "/factor?next=%2Fwiki%2Fread%3Fa%3Db")
				requireAnswer(t, b.ask(route, "GET", "/wiki/read?a=b", "Accept", "application/json"), http.StatusUnauthorized, "")
			}
		}
	})
}

// F2: where the script sends a browser whose page it has taken away.
func TestTheScriptLeadsAPendingLoginToItsFactor(t *testing.T) {
	s := factorSite(t, nil)
	s.mux.Handle("/sessionguard/", s.guard.Script())
	for _, b := range pendingClients(s) {
		for _, route := range []string{"resume", "continue"} {
			b.Get("/sessionguard/"+route+"?next=%2Fhome", "Accept", "text/html").Expect(http.StatusSeeOther, "/factor?next=%2Fhome")
			b.Get("/sessionguard/"+route+"?next=%2Ffactor%3Fa%3Db", "Accept", "text/html").Expect(http.StatusSeeOther, "/factor")
			b.Get("/sessionguard/"+route+"?next=https:%2F%2Fevil.example", "Accept", "text/html").Expect(http.StatusSeeOther, "/factor")
			require.Equal(t, "factor_required", gateVerdict(b.Get("/sessionguard/"+route, "Accept", "application/json")))
		}
	}
}

// F2: the page that asks for the factor is open to whoever lacks it. A gate around it by
// mistake sends nobody round in circles.
func TestAGateAroundTheFactorPageIsNoCircle(t *testing.T) {
	s := factorSite(t, func(c *sessionguard.Config[*user]) { c.FactorPath = "/closed" })
	s.mux.Handle("/closed", s.guard.RequireLogin(http.NotFoundHandler()))
	b := s.browse()
	b.prove("ada", "pwd")
	b.Get("/closed", "Accept", "text/html").Expect(http.StatusUnauthorized, "").Contains("another factor")
}

// F2: whatever ends a session ends a pending login, and every copy of its cookie.
func TestWhatEndsASessionEndsAPendingLogin(t *testing.T) {
	for name, end := range map[string]func(*site, *browser){
		"a logout": func(_ *site, b *browser) { b.Post("/logout") },
		"End": func(s *site, b *browser) {
			s.mux.HandleFunc("POST /end", func(w http.ResponseWriter, r *http.Request) { s.guard.End(w, r) })
			b.Post("/end").Expect(http.StatusOK, "")
		},
		"End of a request that knows it": func(s *site, b *browser) {
			s.mux.HandleFunc("POST /end-known", func(w http.ResponseWriter, r *http.Request) {
				_, _, before := s.guard.Pending(r)
				err := s.guard.End(w, r)
				_, _, after := s.guard.Pending(r)
				fmt.Fprint(w, before, err, after)
			})
			require.Equal(s, "true <nil> false", b.Post("/end-known").Body)
		},
		"EndUser":       func(s *site, _ *browser) { require.NoError(s, s.guard.EndUser(s.Context(), "ada")) },
		"a stamp":       func(s *site, _ *browser) { s.users.change("ada", func(u *user) { u.Stamp = "new" }) },
		"a deactivated": func(s *site, _ *browser) { s.users.change("ada", func(u *user) { u.Inactive = true }) },
		"a deleted user": func(s *site, _ *browser) {
			s.users.mu.Lock()
			defer s.users.mu.Unlock()
			delete(s.users.users, "ada")
		},
		"another's login":      func(_ *site, b *browser) { b.prove("grace", "pwd") },
		"the same user's":      func(_ *site, b *browser) { b.prove("ada", "pwd") },
		"a need that has gone": func(s *site, _ *browser) { s.users.change("ada", func(u *user) { u.Roles = nil }) },
		"time":                 func(*site, *browser) { advance(5 * time.Minute) },
	} {
		withFakeClock(t, func(t *testing.T) {
			s := factorSite(t, nil)
			b := s.browse()
			b.prove("ada", "pwd")
			thief := s.copyOf(b)
			require.Equal(t, "ada lacks otp", thief.Get("/factor").Body, name)
			end(s, b)
			require.Equal(t, "nobody", thief.Get("/factor").Body, name)
			require.Equal(t, "nobody", thief.Get("/factor").Body, name)
			s.users.change("ada", func(u *user) { *u = user{ID: "ada", Roles: []string{"Engineer", "otp"}} })
			thief.Post("/factor?user=ada&factors=otp")
			require.False(t, thief.loggedIn(), name)
		})
	}
}

// F2: a pending login lasts for FactorTimeout, however it is used, and to the millisecond.
func TestAPendingLoginEndsAfterFactorTimeout(t *testing.T) {
	for timeout, late := range map[time.Duration]time.Duration{0: 0, time.Minute: 0, time.Hour: 0, 2 * time.Minute: 30 * time.Second} {
		withFakeClock(t, func(t *testing.T) {
			s := factorSite(t, func(c *sessionguard.Config[*user]) { c.FactorTimeout = timeout })
			s.mux.HandleFunc("GET /reason", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, string(s.guard.EndReason(r))) })
			if timeout == 0 {
				timeout = 5 * time.Minute
			}
			b := s.browse()
			b.prove("ada", "pwd")
			for range 5 {
				advance(timeout / 6)
				b.Get("/")
				b.Get("/home")
				b.Post("/value?k=a&v=b")
			}
			advance(timeout - timeout/6*5 - time.Millisecond)
			copied := s.copyOf(b)
			require.Equal(t, "ada lacks otp", b.Get("/factor").Body)
			advance(time.Millisecond + late)
			require.Equal(t, "nobody", b.Get("/factor").Body)
			require.Equal(t, string(store.ReasonIdle), b.Get("/reason").Body)
			copied.Post("/factor?user=ada&factors=otp").Expect(http.StatusSeeOther, "/home")
			require.Equal(t, "ada lacks pwd", copied.Get("/factor").Body, "what had been proven is gone")
		})
	}
}
