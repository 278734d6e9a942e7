package acceptance

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// refusalSite has one page per kind of refusal, for every method.
func refusalSite(t *testing.T, configure func(*sessionguard.Config[*user])) (*site, *failingBackend) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.Backend = backend
		if configure != nil {
			configure(c)
		}
	})
	probe := &gateProbe{}
	s.mux.Handle("/r/login", s.guard.RequireLogin(probe))
	s.mux.Handle("/r/role", s.guard.RequireRole("Admin")(probe))
	s.mux.Handle("/r/fresh", s.guard.RequireFresh(0)(probe))
	t.Cleanup(func() { require.Zero(t, probe.ran.Load(), "what is refused never runs") })
	return s, backend
}

// R3, RFC 9457: a refusal fits its client.
func TestRefusalFitsItsClient(t *testing.T) {
	s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) { c.ReauthPath = "/reauth" })
	nobody, ada := s.browse(), s.browse()
	ada.login("ada")

	kinds := []struct {
		name, path string
		who        *browser
		down       bool
		crossSite  bool
		location   string // of a navigation
		next       bool   // with next for GET
		status     int    // where there is nowhere to go
		code       string
	}{
		{name: "login", path: "/r/login?a=b%20c&d=%2F", who: nobody, location: "/login", next: true, status: 401, code: "login_required"},
		{name: "role", path: "/r/role", who: ada, location: "/", status: 403, code: "forbidden"},
		{name: "fresh", path: "/r/fresh?x", who: ada, location: "/reauth", next: true, status: 401, code: "reauthentication_required"},
		{name: "cross-origin", path: "/r/login", who: ada, crossSite: true, status: 403, code: "cross_origin"},
		{name: "unavailable", path: "/r/login", who: ada, down: true, status: 503, code: "unavailable"},
	}
	clients := []struct {
		mode, accept string // "": the header is absent
		navigates    bool
	}{
		{"navigate", "text/html,application/xhtml+xml,*/*;q=0.8", true},
		{"navigate", "application/json", true},
		{"navigate", "", true},
		{"cors", "text/html", false},
		{"no-cors", "text/html", false},
		{"same-origin", "*/*", false},
		{"websocket", "text/html", false},
		{"", "text/html,application/xhtml+xml,*/*;q=0.8", true},
		{"", "application/json", false},
		{"", "*/*", false},
		{"", "", false},
	}
	for _, kind := range kinds {
		for _, client := range clients {
			for _, method := range []string{"GET", "POST", "HEAD"} {
				if kind.crossSite && method != "POST" {
					continue
				}
				label := fmt.Sprintf("%s, %q, %q, %s", kind.name, client.mode, client.accept, method)
				if kind.down {
					backend.failOn("Load")
				}
				kind.who.Header = http.Header{}
				req := kind.who.Request(method, kind.path)
				set := func(name, value string) {
					if value != "" {
						req.Header.Set(name, value)
					}
				}
				set("Sec-Fetch-Mode", client.mode)
				set("Accept", client.accept)
				if kind.crossSite {
					set("Sec-Fetch-Site", "cross-site")
				}
				a := kind.who.Do(req)
				backend.failOn()

				requireNoStore(t, a.Header)
				require.Equal(t, kind.status == 503, a.Header.Get("Retry-After") != "", label)
				if client.navigates && kind.location != "" {
					want := kind.location
					if kind.next && method == "GET" {
						want += "?next=" + url.QueryEscape(kind.path)
					}
					require.Equal(t, http.StatusSeeOther, a.StatusCode, label)
					require.Equal(t, want, a.Header.Get("Location"), label)
					continue
				}
				require.Equal(t, kind.status, a.StatusCode, label)
				require.Empty(t, a.Header.Get("Location"), label)
				if client.navigates {
					require.Equal(t, "text/html; charset=utf-8", a.Header.Get("Content-Type"), label)
					require.Equal(t, method != "HEAD", strings.Contains(a.Body, "<h1>"+http.StatusText(kind.status)+"</h1>"), label)
					continue
				}
				require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"), label)
				if method == "HEAD" {
					require.Empty(t, a.Body, label)
					continue
				}
				var problem struct {
					Title, Detail, Error string
					Status               int
				}
				require.NoError(t, json.Unmarshal([]byte(a.Body), &problem), label)
				require.Equal(t, kind.code, problem.Error, label)
				require.Equal(t, kind.status, problem.Status, label)
				require.Equal(t, http.StatusText(kind.status), problem.Title, label)
				require.NotEmpty(t, problem.Detail, label)
			}
		}
	}
	require.True(t, ada.loggedIn(), "no refusal ended the session")
}

// refusalFollow follows redirects as a browser does, and says where it ends.
func refusalFollow(b *browser, path string) (response, string, int) {
	b.t.Helper()
	for hops := 0; ; hops++ {
		a := b.Get(path)
		if a.StatusCode != http.StatusSeeOther || hops == 10 {
			return a, path, hops
		}
		path = a.Header.Get("Location")
	}
}

// R3: the page that people are sent to may itself be refused. Nobody is sent
// round in circles.
func TestRefusalNeverRedirectsToItself(t *testing.T) {
	for name, test := range map[string]struct {
		configure func(*sessionguard.Config[*user])
		gate      func(*sessionguard.Guard[*user]) func(http.Handler) http.Handler
		who, ask  string
		at        string
		status    int
	}{
		"login page behind a login": {
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireLogin },
			ask:  "/gated/home", at: "/gated/login?next=%2Fgated%2Fhome", status: 401,
		},
		"login page asked for in another spelling": {
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireLogin },
			ask:  "/gated/%6Cogin?x=/gated/login", at: "/gated/%6Cogin?x=/gated/login", status: 401,
		},
		"login page with a query, behind a login": {
			configure: func(c *sessionguard.Config[*user]) { c.LoginPath = "/gated/login?lang=en" },
			gate:      func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireLogin },
			ask:       "/gated/home?a=1&b=2", at: "/gated/login?lang=en&next=%2Fgated%2Fhome%3Fa%3D1%26b%3D2", status: 401,
		},
		"welcome page behind a role": {
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireRole("Admin") },
			who:  "ada", ask: "/gated/home", at: "/gated/", status: 403,
		},
		"reauthentication page behind freshness": {
			configure: func(c *sessionguard.Config[*user]) { c.ReauthPath = "/gated/reauth" },
			gate:      func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireFresh(0) },
			who:       "ada", ask: "/gated/home", at: "/gated/reauth?next=%2Fgated%2Fhome", status: 401,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(c *sessionguard.Config[*user]) {
				c.LoginPath, c.WelcomePath = "/gated/login", "/gated/"
				if test.configure != nil {
					test.configure(c)
				}
			})
			s.mux.Handle("/gated/", test.gate(s.guard)(&gateProbe{}))
			b := s.browse()
			if test.who != "" {
				b.login(test.who)
			}
			a, at, hops := refusalFollow(b, test.ask)
			require.Equal(t, test.at, at)
			require.Equal(t, test.status, a.StatusCode)
			require.LessOrEqual(t, hops, 1)
		})
	}
}

// R3: under http.StripPrefix, next is still the page as the browser knows it.
func TestRefusalUnderAPrefixNamesTheWholePath(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.LoginPath, c.WelcomePath = "/app/login", "/app/" })
	gates := http.NewServeMux()
	gates.Handle("/", s.guard.RequireLogin(&gateProbe{}))
	for _, h := range []http.Handler{
		http.StripPrefix("/app", s.guard.Handler(gates)),
		s.guard.Handler(http.StripPrefix("/app", gates)),
	} {
		b := browse(t, serve(t, h))
		require.Equal(t, "/app/login?next=%2Fapp%2Fhome%3Ftab%3D1", b.Get("/app/home?tab=1").Header.Get("Location"))
		require.Equal(t, http.StatusUnauthorized, b.Get("/app/login").StatusCode)
	}
}

// refusalRaw sends a request line as it is, and says what came back.
func refusalRaw(t *testing.T, server *server, target string) (status int, location string) {
	t.Helper()
	plain, err := server.network.DialContext(t.Context(), "", "")
	require.NoError(t, err)
	conn := tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
	defer conn.Close()
	go fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: app.example\r\nAccept: text/html\r\nConnection: close\r\n\r\n", target)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header.Get("Location")
}

// R2, R3: whatever a request line holds, the redirect stays here, and next is
// either what Next accepts or is not there.
func TestRefusalReflectsNoHostileTarget(t *testing.T) {
	targets := map[string]string{
		"/home?a=b":                              "/home?a=b",
		"https://app.example/home?a=b":           "/home?a=b",
		"http://evil.example/home":               "/home",
		"http://evil.example":                    "/",
		"http://evil.example//evil.example":      "",
		"http://u:p@evil.example/home":           "/home",
		"//evil.example/":                        "",
		"///evil.example/":                       "",
		`/\evil.example/`:                        "",
		"/%2Fevil.example":                       "",
		"/%5cevil.example":                       "",
		"/%255cevil.example":                     "",
		"/..//evil.example":                      "",
		"/%2e%2e/%2fevil.example":                "",
		"/a/../b":                                "",
		"/%0d%0aSet-Cookie:x=y":                  "",
		"/%00":                                   "",
		"/home?next=//evil.example":              "/home?next=//evil.example",
		"/home?a=%0d%0aSet-Cookie:x=y":           "/home?a=%0d%0aSet-Cookie:x=y",
		"/home&next=//evil.example":              "",
		"/home&next=evil.example":                "/home&next=evil.example",
		"/" + strings.Repeat("a", 2000):          "",
		"/home#//evil.example":                   "",
		"javascript:alert(1)":                    "",
		"/%E2%80%AE":                             "/%E2%80%AE",
		"/" + strings.Repeat("%25", 600) + "2f/": "",
	}
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		server := serve(t, s.guard.RequireLogin(&gateProbe{})) // no router to clean the path
		for target, next := range targets {
			status, location := refusalRaw(t, server, target)
			if status == http.StatusBadRequest { // net/http has refused the target itself
				require.Empty(t, location, target)
				continue
			}
			require.Equal(t, http.StatusSeeOther, status, target)
			want := "/login"
			if next != "" {
				want += "?next=" + url.QueryEscape(next)
			}
			require.Equal(t, want, location, target)
		}
	})
}

// I2 and L1: who is refused was not active.
func TestRefusalIsNoActivity(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, _ := refusalSite(t, nil)
		b := s.browse()
		b.login("ada")
		advance(idle - time.Second)
		require.Equal(t, http.StatusSeeOther, b.Get("/r/role").StatusCode)
		require.Equal(t, http.StatusSeeOther, b.Get("/r/fresh").StatusCode)
		advance(time.Second)
		require.False(t, b.loggedIn())
	})
}
