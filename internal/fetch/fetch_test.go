package fetch

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func request(method string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "https://app.example/", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func TestKindOfAPage(t *testing.T) {
	for _, c := range []struct {
		header []string
		want   bool
	}{
		{nil, false},
		{[]string{"Sec-Fetch-Mode", "navigate"}, true},
		{[]string{"Sec-Fetch-Mode", "navigate", "Accept", "*/*"}, true},
		{[]string{"Sec-Fetch-Mode", "navigate", "X-Requested-With", "XMLHttpRequest"}, true},
		{[]string{"Sec-Fetch-Mode", "cors", "Accept", "text/vnd.turbo-stream.html, text/html, application/xhtml+xml"}, true},
		{[]string{"Sec-Fetch-Mode", "same-origin", "Accept", "text/html"}, true},
		{[]string{"Sec-Fetch-Mode", "no-cors", "Accept", "text/html"}, false},
		{[]string{"Sec-Fetch-Mode", "websocket", "Accept", "text/html"}, false},
		{[]string{"Sec-Fetch-Mode", "cors", "Accept", "*/*"}, false},
		{[]string{"Sec-Fetch-Mode", "cors", "Accept", "text/html", "Turbo-Frame", "a"}, false},
		{[]string{"Accept", "text/html, */*; q=0.01", "X-Requested-With", "XMLHttpRequest"}, false},
		{[]string{"Accept", "text/html", "HX-Request", "true"}, false},
		{[]string{"Accept", "*/*", "HX-Request", "true", "HX-History-Restore-Request", "true"}, true},
		{[]string{"Accept", "text/html"}, true},
		{[]string{"Accept", "application/json", "Accept", "application/xml, text/html;q=0.9"}, true},
		{[]string{"Accept", "*/*"}, false},
		{[]string{"Accept", "application/json"}, false},
	} {
		require.Equal(t, c.want, KindOf(request("GET", c.header...)) == Navigation, "%q", c.header)
	}
}

func TestKindOfAPart(t *testing.T) {
	require.Equal(t, HTMX, KindOf(request("GET", "HX-Request", "true", "Accept", "*/*")))
	require.Equal(t, HTMX, KindOf(request("GET", "HX-Request", "true", "Accept", "text/html", "Sec-Fetch-Mode", "cors")))
	require.Equal(t, Navigation, KindOf(request("GET", "HX-Request", "true", "HX-History-Restore-Request", "true")))
	require.Equal(t, Program, KindOf(request("GET", "HX-Request", "1", "Accept", "text/html")))
	require.Equal(t, Program, KindOf(request("GET", "Accept", "*/*")))
}

func TestCrossOriginSubresource(t *testing.T) {
	for _, c := range []struct {
		site, mode, dest string
		want             bool
	}{
		{"", "", "", false}, {"", "no-cors", "image", false}, {"", "navigate", "object", false},
		{"same-origin", "no-cors", "image", false}, {"same-origin", "", "", false}, {"same-origin", "navigate", "object", false},
		{"none", "no-cors", "image", false}, {"none", "navigate", "document", false},
		{"cross-site", "navigate", "document", false}, {"same-site", "navigate", "iframe", false}, {"cross-site", "navigate", "", false},
		{"cross-site", "navigate", "object", true}, {"same-site", "navigate", "embed", true},
		{"cross-site", "no-cors", "image", true}, {"same-site", "cors", "empty", true}, {"cross-site", "same-origin", "worker", true},
		{"cross-site", "websocket", "websocket", true}, {"cross-site", "", "", true}, {"cross-site", "Navigate", "document", true},
		{"Same-Origin", "no-cors", "image", true}, {"same-origin,cross-site", "cors", "", true}, {"unheard-of", "cors", "", true},
	} {
		r := request("GET")
		for name, value := range map[string]string{"Sec-Fetch-Site": c.site, "Sec-Fetch-Mode": c.mode, "Sec-Fetch-Dest": c.dest} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		require.Equal(t, c.want, CrossOriginSubresource(r), "%+v", c)
		require.Equal(t, c.site == "same-origin" || c.site == "none", SameOrigin(r))
		require.Zero(t, testing.AllocsPerRun(10, func() { CrossOriginSubresource(r) }))
	}
	// Origin decides: see TestAHandshakeThatHasLostUpgrade.
	require.True(t, CrossOriginSubresource(request("GET", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "x")))
	require.False(t, CrossOriginSubresource(request("GET", "Sec-WebSocket-Version", "13", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "websocket")))
	// Of several values the first counts, as for http.CrossOriginProtection. No browser sends them.
	require.False(t, CrossOriginSubresource(request("GET", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site")))
	require.True(t, CrossOriginSubresource(request("GET", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Site", "same-origin")))
}

// A client that is refused can ask for this as often as it likes.
func TestKindOfAllocatesNothing(t *testing.T) {
	r := request("GET", "Accept", "application/json", "HX-Request", "true")
	require.Zero(t, testing.AllocsPerRun(100, func() { KindOf(r) }))
}

func TestUpgrades(t *testing.T) {
	require.False(t, Upgrades(request("GET")))
	require.False(t, Upgrades(request("POST", "Connection", "Upgrade")))
	require.True(t, Upgrades(request("GET", "Upgrade", "websocket")))
	require.True(t, Upgrades(request("GET", "Upgrade", "")))
	require.True(t, Upgrades(request("CONNECT")))
}

func TestPrefetches(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"Sec-Purpose", "prefetch", true}, {"Sec-Purpose", "prefetch;prerender", true}, {"Purpose", "prefetch", true},
		{"X-Moz", "prefetch", true}, {"X-Purpose", "preview", true}, {"X-Sec-Purpose", "prefetch", true}, {"HX-Preloaded", "true", true}, {"HX-Preloaded", "false", false}, {"Purpose", "shipping", false}, {"X-Requested-With", "prefetch", false},
	} {
		require.Equal(t, c.want, Prefetches(request("GET", c.name, c.value)), "%s: %s", c.name, c.value)
	}
}

func TestIsSafe(t *testing.T) {
	for method, want := range map[string]bool{
		"GET": true, "HEAD": true, "OPTIONS": true, "POST": false, "PUT": false, "DELETE": false, "TRACE": false, "get": false, "": false,
	} {
		require.Equal(t, want, IsSafe(method), method)
	}
}

func TestSameHeader(t *testing.T) {
	h := http.Header{"A": {"b"}}
	require.True(t, SameHeader(h, h))
	require.False(t, SameHeader(h, h.Clone()))
	require.False(t, SameHeader(h, nil))
	require.True(t, SameHeader(nil, nil))
}
