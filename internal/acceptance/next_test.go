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

// R2, OWASP ASVS 3.7.2
func TestNextIgnoresURLsThatLeaveTheServer(t *testing.T) {
	s := newSite(t, nil)
	require.GreaterOrEqual(t, len(localpathtest.Refused), 60)
	for _, next := range localpathtest.Refused {
		r := httptest.NewRequest("GET", "https://app.example/login?next="+url.QueryEscape(next), nil)
		require.Equal(t, "/fallback", s.guard.Next(r, "/fallback"), "%.80q", next)
	}
}

// R2: a path on this server is kept unchanged. A redirect to it, as net/http writes it,
// stays on the host for Go's parser and for a browser's.
func TestNextKeepsLocalPathsAndRedirectsStayOnTheServer(t *testing.T) {
	s := newSite(t, nil)
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

// R2: next is in the query or in the form. The form wins: the page wrote it, whereas anybody
// can put another one into a link to the page.
func TestNextReadsTheFormBeforeTheQuery(t *testing.T) {
	s := newSite(t, nil)
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
	parsed := func(r *http.Request) *http.Request { // by the handler, before it calls Next
		require.NoError(t, r.ParseMultipartForm(1<<20))
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
		{parsed(parts("", "/form")), "/form"},
		{parsed(parts("", "//evil.example")), "/fallback"},
		{parsed(parts("?next=/query", "/form")), "/query"}, // like http.Request.FormValue
		{parsed(parts("?next=//evil.example", "/form")), "/fallback"},
		{parts("", "/form"), "/fallback"}, // anyone could send any amount
		{parts("?next=/query", "/form"), "/query"},
	} {
		require.Equal(t, test.want, s.guard.Next(test.r, "/fallback"), test.r.URL)
	}
}

// R2, over a server: after the login the browser is redirected to the page that was
// refused, and never to another server.
func TestLoginReturnsToTheRefusedPage(t *testing.T) {
	s := newSite(t, nil)
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

// R2: a next that is encoded hundreds of times must not cost much time. It is refused
// without decoding it to the end.
func TestNextEncodedHundredsOfTimesIsRefused(t *testing.T) {
	s := newSite(t, nil)
	encoded := func(layers int) *http.Request {
		return httptest.NewRequest("GET", "/login?next=/"+url.QueryEscape("%"+strings.Repeat("25", layers)+"20"), nil)
	}
	for _, layers := range []int{20, 100, 900} {
		require.Equal(t, "/fallback", s.guard.Next(encoded(layers), "/fallback"), layers)
	}
	require.NotEqual(t, "/fallback", s.guard.Next(encoded(2), "/fallback"))
}
