package acceptance

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// ask sends the request by which a proxy asks about another one, with the client's cookies.
// header is name, value, name, value …
func (b *browser) ask(route, method, uri string, header ...string) response {
	b.t.Helper()
	return b.Get(route, append([]string{"X-Forwarded-Method", method, "X-Forwarded-Uri", uri}, header...)...)
}

// authSite is newSite with routes of AuthRequest.
func authSite(s *site) *site {
	g := s.guard
	s.mux.Handle("/sessionguard/", g.Script())
	s.mux.Handle("/auth", g.AuthRequest())
	s.mux.Handle("/auth/admin", g.AuthRequest(g.RequireRole("Admin")))
	s.mux.Handle("/auth/fresh", g.AuthRequest(g.RequireRole("Engineer"), g.RequireFresh(5*time.Minute)))
	s.mux.Handle("/auth/passive", g.AuthRequest(g.Passive))
	s.mux.Handle("/passive/auth", g.Passive(g.AuthRequest()))
	s.mux.Handle("/auth/readers", g.AuthRequest(g.RequireFunc(func(_ *user, r *http.Request) bool {
		return r.Method == "GET" && r.URL.Path == "/wiki/read" && r.RequestURI == "/wiki/read?a=b" && r.Host == "app.example"
	})))
	return s
}

// requireAnswer checks what every response of AuthRequest promises.
func requireAnswer(t *testing.T, resp response, status int, location string) {
	t.Helper()
	require.Equal(t, status, resp.StatusCode, "%s %s\n%s", resp.Request.URL, resp.Request.Header, resp.Body)
	requireNoStore(t, resp.Header)
	require.Empty(t, resp.Header["Set-Cookie"])
	require.Equal(t, status == http.StatusUnauthorized, resp.Header.Get("WWW-Authenticate") != "")
	require.Equal(t, status == http.StatusNoContent, resp.Header.Get("Remote-User") != "")
	require.Equal(t, location, resp.Header.Get("Location"))
	refresh := ""
	if location != "" {
		refresh = "0; url=" + location
	}
	require.Equal(t, refresh, resp.Header.Get("Refresh"))
}

// A proxy gets 204, 401 or 403 for what a gate would let pass, redirect or refuse.
func TestAuthRequestAnswersForTheOriginalRequest(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := authSite(newSite(t, nil))
		visitor, ada, grace, old := s.browse(), s.browse(), s.browse(), s.browse()
		old.login("ada")
		advance(6 * time.Minute)
		ada.login("ada")
		grace.login("grace")
		program := []string{"Accept", "application/json"}
		for _, test := range []struct {
			b                  *browser
			route, method, uri string
			header             []string
			status             int
			location           string
		}{
			{visitor, "/auth", "GET", "/wiki/a?b=c&d=%26", nil, 401, "/login?next=%2Fwiki%2Fa%3Fb%3Dc%26d%3D%2526"},
			{visitor, "/auth", "GET", "/wiki/a", program, 401, ""},
			{visitor, "/auth", "HEAD", "/wiki/a", nil, 401, "/login"},
			{visitor, "/auth", "POST", "/wiki/a", nil, 401, "/login"},
			{visitor, "/auth", "GET", "//evil.example", nil, 401, "/login"},
			{visitor, "/auth", "GET", "/%2f/evil.example", nil, 401, "/login"},
			{visitor, "/auth", "GET", "/login", nil, 401, ""},
			{visitor, "/auth", "OPTIONS", "/wiki/a", program, 401, ""},
			{ada, "/auth", "GET", "/wiki/a", nil, 204, ""},
			{ada, "/auth", "GET", "/wiki/a", program, 204, ""},
			{ada, "/auth", "HEAD", "/wiki/a", nil, 204, ""},
			{ada, "/auth", "POST", "/wiki/a", nil, 204, ""},
			{ada, "/auth", "PROPFIND", "/wiki/a", nil, 204, ""},
			{ada, "/auth", "VERSION-CONTROL", "/wiki/a", nil, 204, ""},
			{visitor, "/auth/admin", "GET", "/wiki/a", nil, 401, "/login?next=%2Fwiki%2Fa"},
			{ada, "/auth/admin", "GET", "/wiki/a", nil, 403, ""},
			{ada, "/auth/admin", "GET", "/wiki/a", program, 403, ""},
			{grace, "/auth/admin", "GET", "/wiki/a", nil, 204, ""},
			{ada, "/auth/fresh", "GET", "/wiki/a", nil, 204, ""},
			{old, "/auth/fresh", "GET", "/wiki/a", nil, 401, "/login?next=%2Fwiki%2Fa"},
			{old, "/auth/fresh", "GET", "/wiki/a", program, 401, ""},
			{grace, "/auth/fresh", "GET", "/wiki/a", nil, 403, ""},
			{ada, "/auth/readers", "GET", "/wiki/read?a=b", nil, 204, ""},
			{ada, "/auth/readers", "POST", "/wiki/read?a=b", nil, 403, ""},
			{ada, "/auth/readers", "GET", "/wiki/write", nil, 403, ""},
		} {
			requireAnswer(t, test.b.ask(test.route, test.method, test.uri, test.header...), test.status, test.location)
		}
		require.Equal(t, "welcome ada []", ada.Get("/").Body, "no flash of a page that was not redirected")
		require.Contains(t, old.ask("/auth/fresh", "GET", "/").Header.Get("WWW-Authenticate"), `max_age="300"`)
		require.Equal(t, "/login?next=%2Fwiki", visitor.ask("/auth", "GET", "/wiki/part", "HX-Request", "true", "HX-Current-URL", "https://app.example/wiki").Header.Get("HX-Redirect"))
	})
}

// R1: an auth request is a GET of the proxy, so the guard checks what it stands for.
func TestAuthRequestRefusesCrossOriginRequestsOfTheOriginalMethod(t *testing.T) {
	s := authSite(newSite(t, nil))
	b := s.browse()
	b.login("ada")
	for _, test := range []struct {
		method string
		header []string
		status int
	}{
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 204},
		{"HEAD", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 204},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 204},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "object"}, 403},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"HEAD", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors"}, 403},
		{"GET", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "no-cors"}, 204},
		{"GET", []string{"Sec-Fetch-Mode", "no-cors"}, 204},
		{"POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"POST", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"POST", []string{"Sec-Fetch-Site", "same-origin"}, 204},
		{"DELETE", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"PROPFIND", []string{"Origin", "https://evil.example"}, 403},
		{"POST", []string{"Origin", "https://evil.example"}, 403},
		{"POST", []string{"Origin", "null"}, 403},
		{"POST", []string{"Origin", "https://app.example"}, 204},
		{"POST", []string{"Origin", "https://wiki.example", "X-Forwarded-Host", "wiki.example"}, 204},
		{"POST", []string{"Origin", "https://app.example", "X-Forwarded-Host", "wiki.example"}, 403},
		{"CONNECT", []string{"Origin", "https://evil.example"}, 403},
		{"GET", []string{"Origin", "https://evil.example", "Sec-WebSocket-Key", "x"}, 403},
		{"GET", []string{"Origin", "https://evil.example", "Sec-WebSocket-Version", "13"}, 403},
		{"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "websocket"}, 403},
		{"GET", []string{"Origin", "https://evil.example", "Upgrade", "websocket", "Connection", "Upgrade"}, 403},
		{"GET", []string{"Origin", "https://app.example", "Sec-WebSocket-Key", "x"}, 204},
		{"GET", []string{"Origin", "https://wiki.example", "X-Forwarded-Host", "wiki.example", "Sec-WebSocket-Version", "13"}, 204},
	} {
		t.Run(fmt.Sprint(test.method, test.header), func(t *testing.T) {
			requireAnswer(t, b.ask("/auth", test.method, "/wiki/a", test.header...), test.status, "")
		})
	}
}

// Nobody learns which methods, addresses and hosts a proxy would have sent.
func TestAuthRequestRefusesWhatSaysNothingOrTooMuch(t *testing.T) {
	s := authSite(newSite(t, nil))
	b := s.browse()
	b.login("ada")
	for name, header := range map[string][]string{
		"nothing":           {},
		"no method":         {"X-Forwarded-Uri", "/a"},
		"no address":        {"X-Forwarded-Method", "GET"},
		"other names":       {"X-Original-Method", "GET", "X-Original-Uri", "/a"},
		"two methods":       {"X-Forwarded-Method", "GET", "X-Forwarded-Method", "POST", "X-Forwarded-Uri", "/a"},
		"the same twice":    {"X-Forwarded-Method", "GET", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a"},
		"a list of methods": {"X-Forwarded-Method", "GET, POST", "X-Forwarded-Uri", "/a"},
		"an empty method":   {"X-Forwarded-Method", "", "X-Forwarded-Uri", "/a"},
		"a lower method":    {"X-Forwarded-Method", "get", "X-Forwarded-Uri", "/a"},
		"two addresses":     {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a", "X-Forwarded-Uri", "/b"},
		"an empty address":  {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", ""},
		"a URL":             {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "https://evil.example/a"},
		"a relative path":   {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "a"},
		"an asterisk":       {"X-Forwarded-Method", "OPTIONS", "X-Forwarded-Uri", "*"},
		"a bad escape":      {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/%zz"},
		"two hosts":         {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a", "X-Forwarded-Host", "app.example", "X-Forwarded-Host", "evil.example"},
		"a list of hosts":   {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a", "X-Forwarded-Host", "app.example, evil.example"},
		"an empty host":     {"X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a", "X-Forwarded-Host", ""},
	} {
		t.Run(name, func(t *testing.T) { requireAnswer(t, b.Get("/auth", header...), http.StatusForbidden, "") })
	}
	require.Contains(t, s.log.String(), "AuthRequest refused the request of a proxy")
	requireAnswer(t, b.Post("/auth", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a"), http.StatusForbidden, "")
	requireAnswer(t, b.Post("/auth", "X-Forwarded-Method", "POST", "X-Forwarded-Uri", "/a"), http.StatusNoContent, "")
}

// The ID can be decoded, breaks no header, and is no list and no placeholder.
func TestAuthRequestEncodesTheUsersID(t *testing.T) {
	s := authSite(newSite(t, nil))
	for id, want := range map[string]string{
		"ada@example.org": "ada@example.org", "7f1c-42": "7f1c-42",
		"a,b": "a%2Cb", "a b": "a%20b", "a%20b": "a%2520b", "a\r\nRemote-User: b": "a%0D%0ARemote-User:%20b",
		"Zoë": "Zo%C3%AB", "\x00\xff": "%00%FF", "{env.HOME}": "%7Benv.HOME%7D", `"a"`: "%22a%22",
	} {
		s.users.change(id, func(u *user) { u.ID = id })
		b := s.browse()
		b.login(url.QueryEscape(id))
		got := b.ask("/auth", "GET", "/wiki").Header["Remote-User"]
		require.Equal(t, []string{want}, got)
		decoded, err := url.PathUnescape(got[0])
		require.NoError(t, err)
		require.Equal(t, id, decoded)
	}
}

func TestAuthRequestSays503IfTheUserCannotBeKnown(t *testing.T) {
	backend := newFailingBackend()
	s := authSite(newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend }))
	b := s.browse()
	b.login("ada")
	backend.failOn("*")
	resp := b.ask("/auth", "GET", "/wiki")
	requireAnswer(t, resp, http.StatusServiceUnavailable, "")
	require.Equal(t, "5", resp.Header.Get("Retry-After"))
	backend.failOn()
	s.users.err = errBackendDown
	requireAnswer(t, b.ask("/auth", "GET", "/wiki"), http.StatusServiceUnavailable, "")
	s.users.err = nil
	requireAnswer(t, b.ask("/auth", "GET", "/wiki"), http.StatusNoContent, "")
}

// The address that the proxy asks about is another application's, outside of the BasePath.
func TestAuthRequestTakesTheAddressAsItIs(t *testing.T) {
	s := authSite(newSite(t, func(c *sessionguard.Config[*user]) { c.BasePath = "/app" }))
	requireAnswer(t, s.browse().ask("/auth", "GET", "/wiki/a"), http.StatusUnauthorized, "/app/login?next=%2Fwiki%2Fa")
}

// Requests for the other application keep the session alive like those for this one.
func TestAuthRequestIsActivity(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		authSite(s)
		for _, test := range []struct {
			route, name, value string
			alive              bool
		}{
			{"/auth", "Accept", "text/html", true},
			{"/auth", "Sec-Fetch-Mode", "no-cors", true},
			{"/auth", "Sec-Purpose", "prefetch", false},
			{"/auth", "Purpose", "prefetch", false},
			{"/auth/passive", "Accept", "text/html", false},
			{"/passive/auth", "Accept", "text/html", false},
		} {
			b := s.browse()
			b.login("ada")
			advance(idle - time.Minute)
			require.Equal(s.T, http.StatusNoContent, b.ask(test.route, "GET", "/wiki", test.name, test.value).StatusCode)
			advance(2 * time.Minute)
			require.Equal(s.T, test.alive, b.loggedIn(), test)
		}
		b := s.browse()
		b.login("ada")
		advance(idle - time.Minute)
		require.Equal(s.T, http.StatusForbidden, b.ask("/auth/admin", "GET", "/wiki").StatusCode)
		require.Equal(s.T, http.StatusForbidden, b.Get("/auth").StatusCode)
		advance(2 * time.Minute)
		require.False(s.T, b.loggedIn(), "a refused request is no activity")
	})
}
