package acceptance

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// A load is what the headers of a request say of who sent it and what for.
type load struct{ site, mode, dest string } // "": absent

func (l load) headers(more ...string) []string {
	for _, h := range [][2]string{{"Sec-Fetch-Site", l.site}, {"Sec-Fetch-Mode", l.mode}, {"Sec-Fetch-Dest", l.dest}} {
		if h[1] != "" {
			more = append(more, h[0], h[1])
		}
	}
	return more
}

// foreignLoads are those of a page of another origin, but for those by which a browser goes
// to a page. Browsers never send the last ones.
var foreignLoads = func() (all []load) {
	for _, site := range []string{"cross-site", "same-site", "SAME-ORIGIN", "same-origin, cross-site", "unheard-of"} {
		all = append(all,
			load{site, "no-cors", "image"}, load{site, "no-cors", "script"}, load{site, "no-cors", "empty"}, load{site, "no-cors", "iframe"},
			load{site, "cors", "empty"}, load{site, "same-origin", "worker"}, load{site, "websocket", "websocket"},
			load{site, "navigate", "object"}, load{site, "navigate", "embed"},
			load{site, "", ""}, load{site, "", "document"}, load{site, "NAVIGATE", "document"}, load{site, "navigate, no-cors", ""}, load{site, "unheard-of", ""})
	}
	return all
}()

// isolationSite is a site on which everything that tells users from visitors is a route, and
// the names of these routes.
func isolationSite(t *testing.T, configure ...func(*sessionguard.Config[*user])) (*site, []string) {
	s := rememberingSite(t, nil, append(configure, graceNeedsAKey)...)
	g := s.guard
	login, role := g.RequireLogin, g.RequireRole("Engineer")
	routes := []string{"/status", "/sessionguard/status", "/sessionguard/resume", "/sessionguard/resume?next=%2Fpixel", "/sessionguard/continue?next=%2Fpixel"}
	s.mux.Handle("/sessionguard/", g.Script())
	for name, gate := range map[string]func(http.Handler) http.Handler{
		"login": login, "role": role, "fresh": g.RequireFresh(time.Hour), "factor": g.RequireFactor("hwk"),
		"func":   g.RequireFunc(func(*user, *http.Request) bool { return true }),
		"nested": func(h http.Handler) http.Handler { return login(role(h)) },
		"poll":   func(h http.Handler) http.Handler { return g.Passive(login(h)) },
		"late":   func(h http.Handler) http.Handler { return login(g.Passive(h)) },
		"stream": func(h http.Handler) http.Handler { return login(g.CancelOnEnd(h)) },
		"outer":  func(h http.Handler) http.Handler { return g.CancelOnEnd(login(h)) },
	} {
		s.mux.Handle("/gate/"+name, gate(&gateProbe{}))
		routes = append(routes, "/gate/"+name)
	}
	return s, routes
}

// R1, OWASP ASVS 3.5.8: what a page of another origin loads is refused, before the session is
// known. It looks the same whoever the browser is, and asks neither the backend nor FindUser.
func TestWhatAnotherOriginLoadsTellsNothing(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s, routes := isolationSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		clients := map[string]*browser{}
		for _, name := range []string{"dormant", "ada", "ended", "grace", "visitor"} {
			clients[name] = s.browse()
			if name != "visitor" {
				s.users.change(name, func(u *user) { u.ID = name })
				clients[name].login(name)
			}
			if name == "dormant" {
				advance(idle)
			}
		}
		copied := s.copyOf(clients["ended"])
		clients["ended"].Post("/logout")
		clients["ended"] = copied

		for _, route := range routes {
			for _, l := range foreignLoads {
				for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
					var first *response
					for name, b := range clients {
						label := fmt.Sprintf("%s %s %+v, %s", method, route, l, name)
						calls, lookups := backend.callCounts(), s.users.lookups
						resp := b.Do(b.Request(method, route, l.headers()...))
						require.Equal(t, http.StatusForbidden, resp.StatusCode, label)
						require.Equal(t, calls, backend.callCounts(), label)
						require.Equal(t, lookups, s.users.lookups, label)
						require.Empty(t, resp.Cookies(), label)
						requireNoStore(t, resp.Header)
						if first == nil {
							first = &resp
						}
						require.Equal(t, first.Header, resp.Header, label)
						require.Equal(t, first.Body, resp.Body, label)
					}
				}
			}
		}
		require.True(t, clients["ada"].loggedIn())
	})
}

// R1: what a middleware inside the guard does to the headers changes nothing: the decision is
// about the request as it came.
func TestHeadersThatAreChangedInsideTheGuardDecideNothing(t *testing.T) {
	s := newSite(t, nil)
	gate := s.guard.RequireLogin(s.guard.RequireRole("Engineer")(&gateProbe{}))
	s.mux.HandleFunc("/changed", func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Site", "Mode", "Dest"} {
			r.Header.Set("Sec-Fetch-"+name, r.Header.Get("Then-"+name))
		}
		r.Header.Set("Origin", "https://app.example")
		gate.ServeHTTP(w, r)
	})
	ada := s.browse()
	ada.login("ada")
	own, page := load{"same-origin", "cors", "empty"}, load{"cross-site", "navigate", "document"}
	for _, before := range []load{own, page, {}, {"cross-site", "no-cors", "image"}} {
		for _, then := range []load{own, page, {}, {"cross-site", "no-cors", "image"}} {
			status := http.StatusOK
			if before.dest == "image" {
				status = http.StatusForbidden
			}
			resp := ada.Get("/changed", before.headers("Then-Site", then.site, "Then-Mode", then.mode, "Then-Dest", then.dest)...)
			require.Equal(t, status, resp.StatusCode, "%+v, then %+v", before, then)
		}
	}
}

// R1: Chromium sends no Sec-Fetch-Site with the handshake of a WebSocket, and nginx removes
// Upgrade by default. Gates refuse what is left, if a page of another origin sent it.
func TestAHandshakeThatHasLostUpgrade(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		own := http.NewCrossOriginProtection()
		require.NoError(t, own.AddTrustedOrigin("https://partner.example"))
		backend := newFailingBackend()
		s, routes := isolationSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.CrossOrigin = backend, own })
		handshake := []string{"Connection", "close", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "x3JJHMbDL1EzLkh9GBhXDw==", "Origin"}
		ada := s.browse()
		ada.login("ada")
		for _, origin := range []string{"https://evil.example", "https://sub.app.example", "https://app.example:8443", "null"} {
			for _, route := range routes {
				calls := backend.callCounts()
				require.Equal(t, http.StatusForbidden, ada.Get(route, append(handshake, origin)...).StatusCode, "%s from %s", route, origin)
				require.Equal(t, calls, backend.callCounts())
			}
		}
		for _, origin := range []string{"https://app.example", "https://partner.example"} {
			require.Equal(t, http.StatusOK, ada.Get("/gate/login", append(handshake, origin)...).StatusCode, origin)
		}
		require.Equal(t, http.StatusOK, ada.Get("/gate/login", handshake[:6]...).StatusCode, "a program")
	})
}

// R1: a link from anywhere leads to a page, frames are the application's to forbid, and what
// does not say where it comes from is served.
func TestNavigationsAndOwnPagesPassGates(t *testing.T) {
	s, _ := isolationSite(t)
	ada := s.browse()
	ada.login("ada")
	loads := []load{{}, {"", "no-cors", "image"}, {"", "navigate", "object"}}
	for _, site := range []string{"cross-site", "same-site", "same-origin", "none"} {
		for _, dest := range []string{"", "document", "iframe", "frame", "fencedframe"} {
			loads = append(loads, load{site, "navigate", dest})
		}
	}
	for _, site := range []string{"same-origin", "none"} {
		for _, mode := range []string{"", "no-cors", "cors", "same-origin", "navigate", "unheard-of"} {
			loads = append(loads, load{site, mode, "image"}, load{site, mode, "object"}, load{site, mode, ""})
		}
	}
	for _, l := range loads {
		for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
			require.Equal(t, http.StatusOK, ada.Do(ada.Request(method, "/gate/nested", l.headers("Origin", "https://evil.example")...)).StatusCode, "%s %+v", method, l)
		}
		require.Equal(t, "/gate/role", ada.Get("/sessionguard/resume?next=%2Fgate%2Frole", l.headers()...).Header.Get("Location"), "%+v", l)
		require.Contains(t, ada.Get("/status", l.headers()...).Body, `"authenticated":true`, "%+v", l)
	}
	// The script itself is the same for everybody.
	require.Equal(t, http.StatusOK, ada.Get("/sessionguard/guard.js", load{"cross-site", "no-cors", "script"}.headers()...).StatusCode)
}

// R1: whoever may send a POST may also load, and nobody else. The patterns are matched as those
// for a POST are: with its method, and with the path as it came.
func TestTrustedOriginsPassGates(t *testing.T) {
	own := http.NewCrossOriginProtection()
	require.NoError(t, own.AddTrustedOrigin("https://partner.example"))
	for _, pattern := range []string{"/public/", "POST /images/", "GET /get/", "PUT /callback", "/stripped/gate"} {
		own.AddInsecureBypassPattern(pattern)
	}
	s, _ := isolationSite(t, func(c *sessionguard.Config[*user]) { c.CrossOrigin = own })
	gated := s.guard.RequireLogin(s.guard.RequireRole("Engineer")(&gateProbe{}))
	for _, path := range []string{"/gate", "/public/", "/images/", "/get/", "/callback"} {
		s.mux.Handle(path, gated)
	}
	s.mux.Handle("/stripped/", http.StripPrefix("/stripped", gated))
	s.mux.Handle("/prefixed/", http.StripPrefix("/prefixed", gated))
	ada := s.browse()
	ada.login("ada")
	for _, test := range []struct {
		method, path, origin string
		allowed              bool
	}{
		{"GET", "/gate", "https://partner.example", true},
		{"HEAD", "/gate", "https://partner.example", true},
		{"OPTIONS", "/gate", "https://partner.example", true},
		{"POST", "/gate", "https://partner.example", true},
		{"GET", "/gate", "http://partner.example", false},
		{"GET", "/gate", "https://partner.example.evil.example", false},
		{"GET", "/gate", "https://evil.example", false},
		{"GET", "/gate", "null", false},
		{"GET", "/gate", "", false}, // an img without crossorigin
		{"GET", "/gate?x=/public/", "", false},
		{"GET", "/public/a", "", true},
		{"GET", "/public/a", "https://evil.example", true},
		{"GET", "/images/a.png", "", true},
		{"HEAD", "/images/a.png", "", true},
		{"GET", "/get/a", "", false},
		{"PUT", "/callback", "https://idp.example", true},
		{"GET", "/callback", "https://idp.example", false},
		{"GET", "/stripped/gate", "", true},
		{"GET", "/prefixed/public/", "", false},
	} {
		for _, site := range []string{"cross-site", "same-site"} {
			header := load{site, "cors", "empty"}.headers()
			if test.origin != "" {
				header = append(header, "Origin", test.origin)
			}
			resp := ada.Do(ada.Request(test.method, test.path, header...))
			require.Equal(t, test.allowed, resp.StatusCode == http.StatusOK, "%s %+v: %d", site, test, resp.StatusCode)
		}
	}
	// A preflight has no cookies, and is refused as ever.
	require.Equal(t, http.StatusUnauthorized, s.browse().Do(ada.Request("OPTIONS", "/gate",
		load{"cross-site", "cors", "empty"}.headers("Origin", "https://partner.example", "Access-Control-Request-Method", "PUT")...)).StatusCode)
}

// L1: no image in a page of another site keeps a session alive, or revives one.
func TestWhatAnotherOriginLoadsIsNoActivity(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, _ := isolationSite(t)
		s.loginOptions = nil
		ada := s.browse()
		ada.login("ada")
		advance(idle - time.Minute)
		ada.Get("/gate/login", load{"cross-site", "no-cors", "image"}.headers()...)
		advance(time.Minute)
		require.False(t, ada.loggedIn())
	})
}

// R1: the refusal is the application's own, and is reported as that of a POST is.
func TestTheRefusalOfWhatAnotherOriginLoadsIsReported(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, _ := isolationSite(t, func(c *sessionguard.Config[*user]) {
			c.Refusals.CrossOrigin = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) })
		})
		ada := s.browse()
		ada.login("ada")
		s.events.take()
		for range 10 {
			require.Equal(t, http.StatusTeapot, ada.Get("/gate/login", load{"same-site", "no-cors", "image"}.headers()...).StatusCode)
		}
		advance(2 * time.Second)
		ada.Get("/gate/login", load{"same-site", "no-cors", "image"}.headers()...)
		got := s.events.take()
		require.Len(t, got, 2)
		for i, count := range []int{1, 10} {
			require.Equal(t, []any{sessionguard.EventRefused, "cross_origin", count, "/gate/login", ""}, []any{got[i].Name, got[i].Code, got[i].Count, got[i].Path, got[i].UserID})
		}
	})
}

// R1: what a handler does by itself is not behind a gate, and the documentation says so.
func TestHandlersWithoutAGateDecideThemselves(t *testing.T) {
	s := newSite(t, nil)
	ada := s.browse()
	ada.login("ada")
	require.Contains(t, ada.Get("/", load{"cross-site", "no-cors", "image"}.headers()...).Body, "ada")
}
