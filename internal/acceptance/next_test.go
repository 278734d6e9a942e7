package acceptance

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// nextHostile are values that some parser takes off this server, or somewhere
// else on it than they say.
var nextHostile = []string{
	// schemes
	"http://evil.example", "https://evil.example/", "HTTPS://evil.example", "https:evil.example", "https:/evil.example",
	"https:///evil.example", `https:\\evil.example`, "ftp://evil.example/", "ws://evil.example",
	"javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "\x01javascript:alert(1)", "javascript://app.example/%0aalert(1)",
	"data:text/html,<script>alert(1)</script>", "vbscript:x", "mailto:x@evil.example", "file:///etc/passwd", "about:blank", "blob:https://app.example/1",
	// another authority
	"//evil.example", "///evil.example", "////evil.example", "//evil.example/home", "//app.example@evil.example", "//app.example:443@evil.example/", "//evil.example?/home",
	"//evil.example#/home", "//[::1]/", "//1.2.3.4", "//0x7f000001", "//evil.example:443/", "//", "///",
	// what browsers read as a slash
	`/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`, `//\evil.example`, `\evil.example`, `/home\..\..\evil`, `/home?x=\evil`,
	// what browsers leave out
	"/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "/\r\n/evil.example", "\t//evil.example", "\n/\n/evil.example", "/\t\\evil.example",
	" //evil.example", " /home", "\x00//evil.example", "\x1f//evil.example", "ht\ntps://evil.example",
	// control characters that end a header or a string
	"/home\r\nSet-Cookie: x=y", "/home\nLocation: //evil.example", "/home\x00", "/home\x7f", "/\x0b/evil.example", "/home?a=\r\nb", "/home#\n",
	"/%00", "/home%00.html", "/%0d%0aSet-Cookie:x=y", "/%0a/evil.example", "/%09/evil.example", "/%1f", "/%7f",
	// encoded once, twice, thrice, half
	"/%2f/evil.example", "/%2Fevil.example", "%2f%2fevil.example", "/%5cevil.example", "/%5Cevil.example", "/%5c%2fevil.example", "%5c%5cevil.example", "%68ttps://evil.example",
	"/%252fevil.example", "/%252Fevil.example", "/%255cevil.example", "/%25%32%66evil.example", "/%25252fevil.example", "/%25255cevil.example", "/%2525255cevil.example",
	"/%250d%250aSet-Cookie:x=y", "/%25250a", "/%2500", "/%252e%252e%252fevil", "/home%2f%2fevil.example", "/home/%2f/x",
	// dot segments
	"/..", "/.", "/../", "/./home", "/home/..", "/../../etc/passwd", "/..//evil.example", "/.//evil.example", "/home/..//evil.example", "/home/../../evil.example",
	"/%2e%2e/home", "/%2E./home", "/.%2e/home", "/home/%2e", "/%252e%252e/home", "/..%2f..%2f", "/.%09./x",
	// empty segments, which a router cleans up and a redirect may begin with
	"/home//evil.example", "/home//", "//home", "/home/%2F",
	// userinfo and other relatives
	"user@evil.example", "@evil.example", "evil.example", "home", "./home", "../home", "?next=/home", "#/home", ":80/home", ".evil.example", "", "*", "%", "-",
	// what cannot be parsed
	"/%", "/%zz", "/home%2", "/%25zz", "/%c0%ae%", "/home%",
	// look-alikes of a slash, a dot or a colon
	"／／evil.example", "⁄⁄evil.example", "∕evil.example", "https：//evil.example", "〳evil.example", "\u2028//evil.example", "\ufeff//evil.example", "\u00a0//evil.example", "\u202e//evil.example",
	// too long for a header
	"/" + strings.Repeat("a", 2000), "/home?" + strings.Repeat("a", 4000), "/" + strings.Repeat("../", 500), "/" + strings.Repeat("%25", 600) + "5cevil.example",
}

var nextGood = []string{
	"/", "/home", "/home/", "/home/account", "/a.b/c..d/...", "/reports/q3.csv", "/home?tab=1&sort=name", "/home?", "/home#top", "/?q=a%20b", "/a%20b",
	"/search?q=https://other.example/", "/search?q=//x", "/search?back=%2Fhome%3Fa%3Db", "/search?q=%5c%0a", "/caf%C3%A9", "/café", "/日本?q=語", "/a:b", "/a@b", "/user@host/x", "/~ada", "/a;b=c", "/a+b", "/a=b&c",
	"/!$'()*,", "/evil.example", "/https:/x", "/login?next=%2Fhome", "/home#/a//b", "/" + strings.Repeat("a", 1999),
}

func nextSite(t *testing.T) (*site, *http.Request) {
	return newSite(t, nil), httptest.NewRequest("GET", "https://app.example/login", nil)
}

// R2, OWASP ASVS 3.7.2: next is a path on this server or it is ignored.
func TestNextIgnoresWhateverLeadsAway(t *testing.T) {
	s, _ := nextSite(t)
	require.GreaterOrEqual(t, len(nextHostile), 60)
	for _, next := range nextHostile {
		r := httptest.NewRequest("GET", "https://app.example/login?next="+url.QueryEscape(next), nil)
		require.Equal(t, "/fallback", s.guard.Next(r, "/fallback"), "%.80q", next)
	}
}

// R2: what is a path on this server is kept as it is, and a redirect to it, as
// net/http writes it, stays on the host for Go's parser and for a browser's.
func TestNextKeepsLocalPathsAndRedirectsStayHere(t *testing.T) {
	s, _ := nextSite(t)
	require.GreaterOrEqual(t, len(nextGood), 15)
	for _, next := range slices.Concat(nextGood, nextHostile) {
		r := httptest.NewRequest("GET", "https://app.example/deep/login?next="+url.QueryEscape(next), nil)
		got := s.guard.Next(r, "/fallback")
		if got != "/fallback" {
			require.Equal(t, next, got)
			require.Contains(t, nextGood, next)
		} else {
			require.NotContains(t, nextGood, next)
		}
		w := httptest.NewRecorder()
		http.Redirect(w, r, got, http.StatusSeeOther)
		location := w.Header().Get("Location")
		require.Empty(t, nextLeaves(got), "%q", got)
		require.Empty(t, nextLeaves(location), "%q", location)
	}
}

// R2: next comes from the query or from the form, whose field wins: a page
// writes it there, and a link to that page may carry another.
func TestNextReadsTheFormBeforeTheQuery(t *testing.T) {
	s, _ := nextSite(t)
	form := func(query string, fields url.Values) *http.Request {
		r := httptest.NewRequest("POST", "https://app.example/login"+query, strings.NewReader(fields.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	parts := func(query, next string) *http.Request {
		var body bytes.Buffer
		m := multipart.NewWriter(&body)
		require.NoError(t, m.WriteField("next", next))
		require.NoError(t, m.Close())
		r := httptest.NewRequest("POST", "https://app.example/login"+query, &body)
		r.Header.Set("Content-Type", m.FormDataContentType())
		return r
	}
	for _, test := range []struct {
		r    *http.Request
		want string
	}{
		{httptest.NewRequest("GET", "/login", nil), "/fallback"},
		{httptest.NewRequest("GET", "/login?next=/query", nil), "/query"},
		{httptest.NewRequest("GET", "/login?next=/first&next=/second", nil), "/first"},
		{httptest.NewRequest("GET", "/login?next=//evil.example&next=/second", nil), "/fallback"},
		{httptest.NewRequest("GET", "/login?NEXT=/query", nil), "/fallback"},
		{httptest.NewRequest("GET", "/login?x=%zz&next=/query", nil), "/query"},
		{form("", url.Values{"next": {"/form"}}), "/form"},
		{form("?next=/query", nil), "/query"},
		{form("?next=/query", url.Values{"next": {"/form"}}), "/form"},
		{form("?next=//evil.example", url.Values{"next": {"/form"}}), "/form"},
		{form("?next=/query", url.Values{"next": {"//evil.example"}}), "/fallback"},
		{form("?next=/query", url.Values{"next": {""}}), "/fallback"},
		{parts("", "/form"), "/form"},
		{parts("", "//evil.example"), "/fallback"},
		{parts("?next=/query", "/form"), "/query"}, // as http.Request.FormValue has it
		{parts("?next=//evil.example", "/form"), "/fallback"},
	} {
		require.Equal(t, test.want, s.guard.Next(test.r, "/fallback"), test.r.URL)
	}
}

// R2 over a real server: after the login the browser is on the page that it
// was refused, and never anywhere else.
func TestLoginReturnsToThePageThatWasRefused(t *testing.T) {
	s, _ := nextSite(t)
	b := s.browse()
	refused := b.Get("/home?tab=1").Header.Get("Location")
	require.Equal(t, "/login?next=%2Fhome%3Ftab%3D1", refused)
	require.Equal(t, "/home?tab=1", b.Post(refused+"&user=ada").Header.Get("Location"))
	for _, next := range nextHostile {
		if a := b.Post("/login?user=ada&next=" + url.QueryEscape(next)); a.Header.Get("Location") != "/home" {
			t.Fatalf("%.80q redirects to %q", next, a.Header.Get("Location"))
		}
	}
}

// R2: deciding about a next that was encoded hundreds of times must not be
// worth an attacker's while: it is refused without peeling it to the end.
func TestNextEncodedHundredsOfTimesIsRefusedUnpeeled(t *testing.T) {
	s, _ := nextSite(t)
	onion := func(layers int) *http.Request {
		return httptest.NewRequest("GET", "/login?next=/"+url.QueryEscape("%"+strings.Repeat("25", layers)+"20"), nil)
	}
	for _, layers := range []int{20, 100, 900} {
		require.Equal(t, "/fallback", s.guard.Next(onion(layers), "/fallback"), layers)
	}
	require.NotEqual(t, "/fallback", s.guard.Next(onion(2), "/fallback"))
}
