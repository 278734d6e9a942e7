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
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// refusalSite returns a site with one page per kind of refusal, for every method.
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
	s.mux.Handle("/r/factor", s.guard.RequireFactor("hwk")(probe))
	t.Cleanup(func() { require.Zero(t, probe.ran.Load(), "no refused handler runs") })
	return s, backend
}

// graceNeedsAKey makes every login of grace's pending.
func graceNeedsAKey(c *sessionguard.Config[*user]) {
	c.FactorPath = "/factor"
	c.Factors = func(u *user) []string {
		if u.ID == "grace" {
			return []string{"hwk"}
		}
		return nil
	}
}

// A refusalKind is a way to be refused, with the expected response.
type refusalKind struct {
	name, path string
	browser    *browser
	down       bool // the backend
	crossSite  bool
	location   string // of a navigation
	next       bool   // with next for GET
	status     int    // without a location, or without a navigation
	code       string
}

// A refusalClient is a client that sends these Sec-Fetch-Mode and Accept headers, and
// omits an empty one.
type refusalClient struct {
	mode, accept string
	navigates    bool
}

var refusalClients = []refusalClient{
	{"navigate", "text/html,application/xhtml+xml,*/*;q=0.8", true},
	{"navigate", "application/json", true},
	{"navigate", "", true},
	{"cors", "text/html", true},
	{"cors", "*/*", false},
	{"no-cors", "text/html", false},
	{"same-origin", "*/*", false},
	{"websocket", "text/html", false},
	{"", "text/html,application/xhtml+xml,*/*;q=0.8", true},
	{"", "application/json", false},
	{"", "*/*", false},
	{"", "", false},
}

// request returns a request by this client that is refused for this kind.
func (kind refusalKind) request(client refusalClient, method string) *http.Request {
	kind.browser.Header = http.Header{}
	req := kind.browser.Request(method, kind.path)
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
	return req
}

// requireFits checks that resp is the response for this kind and client.
func (kind refusalKind) requireFits(t *testing.T, resp response, client refusalClient, method, label string) {
	t.Helper()
	requireNoStore(t, resp.Header)
	require.Equal(t, kind.status == 503, resp.Header.Get("Retry-After") != "", label)
	if client.navigates && kind.location != "" {
		want := kind.location
		if kind.next && method == "GET" {
			want += "?next=" + url.QueryEscape(kind.path)
		}
		require.Equal(t, http.StatusSeeOther, resp.StatusCode, label)
		require.Equal(t, want, resp.Header.Get("Location"), label)
		return
	}
	require.Equal(t, kind.status, resp.StatusCode, label)
	require.Empty(t, resp.Header.Get("Location"), label)
	if client.navigates {
		require.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"), label)
		require.Equal(t, method != "HEAD", strings.Contains(resp.Body, "<h1>"+http.StatusText(kind.status)+"</h1>"), label)
		return
	}
	require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"), label)
	if method == "HEAD" {
		require.Empty(t, resp.Body, label)
		return
	}
	var problem struct {
		Title, Detail, Error string
		Status               int
	}
	require.NoError(t, json.Unmarshal([]byte(resp.Body), &problem), label)
	require.Equal(t, kind.code, problem.Error, label)
	require.Equal(t, kind.status, problem.Status, label)
	require.Equal(t, http.StatusText(kind.status), problem.Title, label)
	require.NotEmpty(t, problem.Detail, label)
}

// R3, RFC 9457: a refusal has the form that its client needs.
func TestRefusalFitsItsClient(t *testing.T) {
	s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) {
		c.ReauthPath = "/reauth"
		graceNeedsAKey(c)
	})
	visitor, ada, grace := s.browse(), s.browse(), s.browse()
	ada.login("ada")
	grace.login("grace")
	for _, kind := range []refusalKind{
		{name: "login", path: "/r/login?a=b%20c&d=%2F", browser: visitor, location: "/login", next: true, status: 401, code: "login_required"},
		{name: "role", path: "/r/role", browser: ada, location: "/?reason=forbidden", status: 403, code: "forbidden"},
		{name: "fresh", path: "/r/fresh?x", browser: ada, location: "/reauth", next: true, status: 401, code: "reauthentication_required"},
		{name: "pending", path: "/r/role?x", browser: grace, location: "/factor", next: true, status: 401, code: "factor_required"},
		{name: "cross-origin", path: "/r/login", browser: ada, crossSite: true, status: 403, code: "cross_origin"},
		{name: "unavailable", path: "/r/login", browser: ada, down: true, status: 503, code: "unavailable"},
	} {
		for _, client := range refusalClients {
			for _, method := range []string{"GET", "POST", "HEAD"} {
				if kind.crossSite && method != "POST" {
					continue
				}
				if kind.down {
					backend.failOn("Load")
				}
				resp := kind.browser.Do(kind.request(client, method))
				backend.failOn()
				label := fmt.Sprintf("%s, %q, %q, %s", kind.name, client.mode, client.accept, method)
				kind.requireFits(t, resp, client, method, label)
			}
		}
	}
	require.True(t, ada.loggedIn(), "no refusal ended the session")
}

// followRedirects follows redirects as a browser does. It returns the last response, its
// path, and the number of redirects.
func followRedirects(b *browser, path string) (response, string, int) {
	b.t.Helper()
	for redirects := 0; ; redirects++ {
		resp := b.Get(path)
		if resp.StatusCode != http.StatusSeeOther || redirects == 10 {
			return resp, path, redirects
		}
		path = resp.Header.Get("Location")
	}
}

// R3: the page that a refusal redirects to may itself be behind a gate. The browser does
// not end up in a redirect loop.
func TestRefusalNeverRedirectsToItself(t *testing.T) {
	for name, test := range map[string]struct {
		configure func(*sessionguard.Config[*user])
		gate      func(*sessionguard.Guard[*user]) func(http.Handler) http.Handler
		user      string
		path      string
		finalPath string
		status    int
	}{
		"login page behind a login": {
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireLogin },
			path: "/gated/home", finalPath: "/gated/login?next=%2Fgated%2Fhome", status: 401,
		},
		"login page requested with an escaped path": {
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireLogin },
			path: "/gated/%6Cogin?x=/gated/login", finalPath: "/gated/%6Cogin?x=/gated/login", status: 401,
		},
		"login page with a query, behind a login": {
			configure: func(c *sessionguard.Config[*user]) { c.LoginPath = "/gated/login?lang=en" },
			gate:      func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireLogin },
			path:      "/gated/home?a=1&b=2", finalPath: "/gated/login?lang=en&next=%2Fgated%2Fhome%3Fa%3D1%26b%3D2", status: 401,
		},
		"welcome page behind a role": {
			gate: func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireRole("Admin") },
			user: "ada", path: "/gated/home", finalPath: "/gated/?reason=forbidden", status: 403,
		},
		"reauthentication page behind freshness": {
			configure: func(c *sessionguard.Config[*user]) { c.ReauthPath = "/gated/reauth" },
			gate:      func(g *sessionguard.Guard[*user]) func(http.Handler) http.Handler { return g.RequireFresh(0) },
			user:      "ada", path: "/gated/home", finalPath: "/gated/reauth?next=%2Fgated%2Fhome", status: 401,
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
			if test.user != "" {
				b.login(test.user)
			}
			resp, path, redirects := followRedirects(b, test.path)
			require.Equal(t, test.finalPath, path)
			require.Equal(t, test.status, resp.StatusCode)
			require.LessOrEqual(t, redirects, 1)
		})
	}
}

// R3: under http.StripPrefix, next is the path that the browser requested.
func TestRefusalUnderStripPrefixNamesWholePath(t *testing.T) {
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

// getRaw sends target unchanged in the request line. It returns the status and the
// Location header of the response.
func getRaw(t *testing.T, server *server, target string) (status int, location string) {
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

// R2, R3: whatever a request line contains, the redirect stays on this server, and next
// is missing unless Guard.Next would accept it.
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
		server := serve(t, s.guard.RequireLogin(&gateProbe{})) // without a router that cleans the path
		for target, next := range targets {
			status, location := getRaw(t, server, target)
			if status == http.StatusBadRequest { // net/http has refused the target
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

// I2, L1: a refused request does not extend the session.
func TestRefusedRequestIsNoActivity(t *testing.T) {
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

// RFC 9110, section 15.5.2: every 401 has a challenge, also one that is a page because there is
// nowhere to go, and no redirect has one.
func TestA401WithAPageHasAChallenge(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.ReauthPath = "" })
	s.mux.Handle("GET /login", s.guard.RequireLogin(s.mux))
	s.mux.Handle("GET /stale", s.guard.RequireFresh(0)(s.mux))
	ada := s.browse()
	ada.login("ada")
	for _, resp := range []testbrowser.Response{s.browse().Get("/login", "Accept", "text/html"), ada.Get("/stale", "Accept", "text/html"), s.browse().Get("/home", "Accept", "*/*")} {
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Contains(t, resp.Header.Get("WWW-Authenticate"), "Cookie")
	}
	resp := s.browse().Get("/home", "Accept", "text/html")
	require.Equal(t, http.StatusSeeOther, resp.StatusCode)
	require.Empty(t, resp.Header.Get("WWW-Authenticate"))
}
