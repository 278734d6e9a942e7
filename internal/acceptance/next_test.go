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

	"github.com/sessionguard-go/sessionguard/internal/localpath/localpathtest"
	"github.com/stretchr/testify/require"
)

func nextSite(t *testing.T) (*site, *http.Request) {
	return newSite(t, nil), httptest.NewRequest("GET", "https://app.example/login", nil)
}

// R2, OWASP ASVS 3.7.2: next is a path on this server or it is ignored.
func TestNextIgnoresURLsThatLeaveTheServer(t *testing.T) {
	s, _ := nextSite(t)
	require.GreaterOrEqual(t, len(localpathtest.Refused), 60)
	for _, next := range localpathtest.Refused {
		r := httptest.NewRequest("GET", "https://app.example/login?next="+url.QueryEscape(next), nil)
		require.Equal(t, "/fallback", s.guard.Next(r, "/fallback"), "%.80q", next)
	}
}

// R2: what is a path on this server is kept as it is, and a redirect to it, as
// net/http writes it, stays on the host for Go's parser and for a browser's.
func TestNextKeepsLocalPathsAndRedirectsStayOnTheServer(t *testing.T) {
	s, _ := nextSite(t)
	require.GreaterOrEqual(t, len(localpathtest.Local), 15)
	for _, next := range slices.Concat(localpathtest.Local, localpathtest.Refused) {
		r := httptest.NewRequest("GET", "https://app.example/deep/login?next="+url.QueryEscape(next), nil)
		got := s.guard.Next(r, "/fallback")
		if got != "/fallback" {
			require.Equal(t, next, got)
			require.Contains(t, localpathtest.Local, next)
		} else {
			require.NotContains(t, localpathtest.Local, next)
		}
		w := httptest.NewRecorder()
		http.Redirect(w, r, got, http.StatusSeeOther)
		location := w.Header().Get("Location")
		require.Empty(t, localpathtest.Leaves(got), "%q", got)
		require.Empty(t, localpathtest.Leaves(location), "%q", location)
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
func TestLoginReturnsToTheRefusedPage(t *testing.T) {
	s, _ := nextSite(t)
	b := s.browse()
	refused := b.Get("/home?tab=1").Header.Get("Location")
	require.Equal(t, "/login?next=%2Fhome%3Ftab%3D1", refused)
	require.Equal(t, "/home?tab=1", b.Post(refused+"&user=ada").Header.Get("Location"))
	for _, next := range localpathtest.Refused {
		if resp := b.Post("/login?user=ada&next=" + url.QueryEscape(next)); resp.Header.Get("Location") != "/home" {
			t.Fatalf("%.80q redirects to %q", next, resp.Header.Get("Location"))
		}
	}
}

// R2: deciding about a next that was encoded hundreds of times must not be
// worth an attacker's while: it is refused without peeling it to the end.
func TestNextEncodedHundredsOfTimesIsRefused(t *testing.T) {
	s, _ := nextSite(t)
	onion := func(layers int) *http.Request {
		return httptest.NewRequest("GET", "/login?next=/"+url.QueryEscape("%"+strings.Repeat("25", layers)+"20"), nil)
	}
	for _, layers := range []int{20, 100, 900} {
		require.Equal(t, "/fallback", s.guard.Next(onion(layers), "/fallback"), layers)
	}
	require.NotEqual(t, "/fallback", s.guard.Next(onion(2), "/fallback"))
}
