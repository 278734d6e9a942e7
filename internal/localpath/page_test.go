package localpath

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/internal/localpath/localpathtest"
	"github.com/stretchr/testify/require"
)

func TestParseReturnsTargetAndDecodedPath(t *testing.T) {
	for target, want := range map[string]Page{
		"/":                     {"/", "/"},
		"/login":                {"/login", "/login"},
		"/login?lang=en":        {"/login?lang=en", "/login"},
		"/login?":               {"/login?", "/login"},
		"/log%20in":             {"/log%20in", "/log in"},
		"/caf%C3%A9/a+b?c=%2Fd": {"/caf%C3%A9/a+b?c=%2Fd", "/café/a+b"},
	} {
		got, ok := Parse(target)
		require.True(t, ok, target)
		require.Equal(t, want, got)
	}
}

func TestParseRefusesOtherServersAndFragments(t *testing.T) {
	for _, target := range append([]string{"/app#/login", "/login?a=b#c"}, localpathtest.Refused...) {
		got, ok := Parse(target)
		require.False(t, ok, "%.80q", target)
		require.Zero(t, got)
	}
}

func TestWithAddsToTheQuery(t *testing.T) {
	for _, c := range []struct {
		target string
		query  []string
		want   string
	}{
		{"/login", nil, "/login"},
		{"/login", []string{"next", "/home"}, "/login?next=%2Fhome"},
		{"/login", []string{"next", "/home", "reason", "idle"}, "/login?next=%2Fhome&reason=idle"},
		{"/login?lang=en", []string{"next", "/home", "reason", "idle"}, "/login?lang=en&next=%2Fhome&reason=idle"},
		{"/login?next=/old", []string{"next", "/home"}, "/login?next=/old&next=%2Fhome"},
		{"/login", []string{"next", "", "reason", "idle"}, "/login?reason=idle"},
		{"/login", []string{"next", "/home", "reason", ""}, "/login?next=%2Fhome"},
		{"/login?lang=en", []string{"next", "", "reason", ""}, "/login?lang=en"},
		{"/login", []string{"next", "/a?b=c&d=e#f g+h%20"}, "/login?next=%2Fa%3Fb%3Dc%26d%3De%23f+g%2Bh%2520"},
		{"/login", []string{"next", "/é\r\nSet-Cookie: a"}, "/login?next=%2F%C3%A9%0D%0ASet-Cookie%3A+a"},
	} {
		got := Page{Target: c.target}.With(c.query...)
		require.Equal(t, c.want, got)
		require.True(t, IsLocal(got))
		u, err := url.Parse(got)
		require.NoError(t, err)
		for i := 0; i < len(c.query); i += 2 {
			if value := c.query[i+1]; value != "" {
				require.Contains(t, u.Query()[c.query[i]], value, "it is read back as it was")
			} else {
				require.NotContains(t, u.Query(), c.query[i])
			}
		}
	}
}

// R3: next is only for GET, and comes first.
func TestFromRemembersOnlyPagesThatWereAskedForWithGET(t *testing.T) {
	login, asked := Page{Target: "/login"}, Page{Target: "/home?tab=1"}
	for method, want := range map[string]string{
		"GET":    "/login?next=%2Fhome%3Ftab%3D1&reason=idle",
		"HEAD":   "/login?reason=idle",
		"POST":   "/login?reason=idle",
		"PUT":    "/login?reason=idle",
		"DELETE": "/login?reason=idle",
		"get":    "/login?reason=idle",
		"":       "/login?reason=idle",
	} {
		require.Equal(t, want, login.From(method, asked, "reason", "idle"), method)
	}
	require.Equal(t, "/login?next=%2Fhome%3Ftab%3D1", login.From("GET", asked))
	require.Equal(t, "/login?next=%2Fhome%3Ftab%3D1", login.From("GET", asked, "reason", ""))
	require.Equal(t, "/login?reason=idle", login.From("GET", Page{Path: "/a//b"}, "reason", "idle"), "no local path")
	require.Equal(t, "/login?a=b&next=%2Fhome%3Ftab%3D1", Page{Target: "/login?a=b"}.From("GET", asked))
	query := []string{"a", "1", "reason", "idle"}
	login.From("GET", asked, query[:2]...)
	require.Equal(t, []string{"a", "1", "reason", "idle"}, query, "the caller's slice is its own")
}

// read parses a request as a server does.
func read(t *testing.T, line string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + " HTTP/1.1\r\nHost: app.example\r\n\r\n")))
	require.NoError(t, err, line)
	return r
}

// RFC 9112 section 3.2: the four forms of a request target.
func TestRequestedReadsEveryFormOfRequestTarget(t *testing.T) {
	for line, want := range map[string]Page{
		"GET /":                             {"/", "/"},
		"GET /home?tab=1":                   {"/home?tab=1", "/home"},
		"GET /home?":                        {"/home?", "/home"},
		"POST /a%20b":                       {"/a%20b", "/a b"},
		"GET /a%2fb":                        {"/a%2fb", "/a/b"},
		"GET http://app.example/home":       {"/home", "/home"},
		"GET http://evil.example/a?b=c":     {"/a?b=c", "/a"},
		"GET http://app.example":            {"/", ""},
		"GET http://app.example//evil":      {"", "//evil"},
		"GET http://a@app.example/home":     {"/home", "/home"},
		"GET //evil.example/home":           {"", "//evil.example/home"},
		"GET ///evil.example":               {"", "///evil.example"},
		`GET /\evil.example`:                {"", `/\evil.example`},
		"GET /%2fevil.example":              {"", "//evil.example"},
		"GET /../etc":                       {"", "/../etc"},
		"GET javascript:alert(1)":           {"", ""},
		"OPTIONS *":                         {"", "*"},
		"CONNECT app.example:443":           {"", ""},
		"CONNECT 192.0.2.7:443":             {"/", ""}, // net/http's URL for an authority that is none for net/url
		"GET /" + strings.Repeat("a", 2000): {"", "/" + strings.Repeat("a", 2000)},
	} {
		require.Equal(t, want, Requested(read(t, line), ""), "%.80s", line)
	}
}

func TestRequestedIgnoresWhatRoutersDoToTheURL(t *testing.T) {
	var got Page
	page := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = Requested(r, "") })
	http.StripPrefix("/app", page).ServeHTTP(httptest.NewRecorder(), read(t, "GET /app/home?tab=1"))
	require.Equal(t, Page{"/app/home?tab=1", "/app/home"}, got)
	mux := http.NewServeMux()
	mux.Handle("/app/", http.StripPrefix("/app/", page))
	mux.ServeHTTP(httptest.NewRecorder(), read(t, "GET /app/a%2fb"))
	require.Equal(t, Page{"/app/a%2fb", "/app/a/b"}, got)
}

// A request that no server has read, as tests build them, has no RequestURI.
func TestRequestedFallsBackToTheURL(t *testing.T) {
	for target, want := range map[string]Page{
		"https://app.example/home?tab=1": {"/home?tab=1", "/home"},
		"https://app.example":            {"/", ""},
		"/home":                          {"/home", "/home"},
		"https://app.example//evil":      {"", "//evil"},
	} {
		r, err := http.NewRequest("GET", target, nil)
		require.NoError(t, err)
		require.Empty(t, r.RequestURI)
		require.Equal(t, want, Requested(r, ""), target)
	}
}

func TestRequestedAddsThePrefixThatAProxyHasCutOff(t *testing.T) {
	for _, c := range []struct {
		sent, routed, base string
		want               Page
	}{
		{"/home?a=b", "/home", "", Page{"/home?a=b", "/home"}},
		{"/home?a=b", "/home", "/app", Page{"/app/home?a=b", "/app/home"}},
		{"/", "/", "/app", Page{"/app/", "/app/"}},
		{"/app/home", "/home", "", Page{"/app/home", "/app/home"}},
		{"/app/home", "/home", "/app", Page{"/app/home", "/app/home"}},            // a router has cut it off
		{"/app/home", "/app/home", "/app", Page{"/app/home", "/app/home"}},        // nobody has, or not yet
		{"/shop/home", "/home", "/app", Page{"/app/shop/home", "/app/shop/home"}}, // a router has cut off another prefix
		{"/application/home", "/home", "/app", Page{"/app/application/home", "/app/application/home"}},
		{"//evil.example/", "//evil.example/", "/app", Page{"", "/app//evil.example/"}},
		{"/caf%C3%A9", "/café", "/app", Page{"/app/caf%C3%A9", "/app/café"}},
	} {
		r := httptest.NewRequest("GET", c.sent, nil)
		r.URL.Path, r.RequestURI = c.routed, c.sent
		require.Equal(t, c.want, Requested(r, c.base), "%+v", c)
	}
}

func TestShownIsWhatHTMXSaysThatTheBrowserShows(t *testing.T) {
	for _, c := range []struct {
		current, boosted string
		want             Page
	}{
		{"https://app.example/board?tab=1#top", "", Page{"/board?tab=1", "/board"}},
		{"https://app.example/app/board", "", Page{"/app/board", "/app/board"}},
		{"https://app.example/board", "true", Page{"/app/part", "/app/part"}},
		{"https://app.example//evil.example", "", Page{"", "//evil.example"}},
		{"javascript:alert(1)", "", Page{"", ""}},
		{"/board", "", Page{"", "/board"}},
		{"", "", Page{"", ""}},
		{"%", "", Page{"/app/part", "/app/part"}},
	} {
		r := httptest.NewRequest("GET", "/part", nil)
		r.Header.Set("HX-Current-URL", c.current)
		r.Header.Set("HX-Boosted", c.boosted)
		require.Equal(t, c.want, Shown(r, "/app"), "%+v", c)
	}
}
