package sessionguard

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// C1, RFC 9213
func TestGovernsCaching(t *testing.T) {
	for name, governs := range map[string]bool{
		"Cache-Control": true, "cache-control": true, "CACHE-CONTROL": true, "cAcHe-CoNtRoL": true,
		"Pragma": true, "pragma": true, "Expires": true, "EXPIRES": true,
		"CDN-Cache-Control": true, "cdn-cache-control": true, "Cloudflare-CDN-Cache-Control": true,
		"Vercel-CDN-Cache-Control": true, "Netlify-CDN-Cache-Control": true, "Akamai-Cache-Control": true,
		"Fastly-Cache-Control": true, "X-LiteSpeed-Cache-Control": true,
		"Surrogate-Control": true, "surrogate-control": true, "Edge-Control": true, "X-Accel-Expires": true, "x-accel-expires": true,

		"": false, "l": false, "-": false, "Cache": false, "Control": false, "X-Cache": false, "Cache-Control-Allow": false, "XCache-Control": false,
		"Access-Control-Allow-Origin": false, "Access-Control-Expose-Headers": false, "Set-Cookie": false, "Etag": false,
		"Last-Modified": false, "Vary": false, "Age": false, "Surrogate-Key": false, "Clear-Site-Data": false,
		"Content-Security-Policy": false, "X-Accel-Redirect": false, "X-Accel-Buffering": false, "Origin-Agent-Cluster": false,
		"Cache-Control ": false, // not a valid field name: net/http does not send it
	} {
		require.Equal(t, governs, governsCaching(name), "%q", name)
	}
}

// C1
func TestEnforceRemovesAllOtherCachingHeaders(t *testing.T) {
	h := http.Header{
		"cache-control": {"public"}, "Cache-Control": {"public", "immutable"}, "CACHE-control": {"max-age=9"}, "Expires": {"Thu, 01 Dec 2094 16:00:00 GMT"},
		"pragma": {"x"}, "CDN-Cache-Control": {"max-age=9"}, "surrogate-Control": {"max-age=9"}, "Etag": {`"1"`}, "Vary": {"Accept"},
	}
	var v noStoreValues
	v.enforce(h)
	require.Equal(t, http.Header{
		"Cache-Control": {"no-store, no-cache, must-revalidate, private"}, "Pragma": {"no-cache"}, "Expires": {"0"},
		"X-Accel-Expires": {"0"}, "Vary": {"Accept, Cookie"}, "Etag": {`"1"`},
	}, h)
}

// C1: "Cookie" is added to the handler's Vary, once, in one line.
func TestEnforceAddsCookieToVary(t *testing.T) {
	for _, c := range []struct {
		h    http.Header
		want string
	}{
		{http.Header{}, "Cookie"},
		{http.Header{"Vary": nil}, "Cookie"},
		{http.Header{"Vary": {""}}, "Cookie"},
		{http.Header{"Vary": {"Cookie"}}, "Cookie"},
		{http.Header{"Vary": {"cookie"}}, "cookie"},
		{http.Header{"Vary": {"Accept"}}, "Accept, Cookie"},
		{http.Header{"Vary": {"Accept,Origin"}}, "Accept,Origin, Cookie"},
		{http.Header{"Vary": {"Accept", "Origin"}}, "Accept, Origin, Cookie"},
		{http.Header{"Vary": {"Cookie", "Origin"}}, "Cookie, Origin"},
		{http.Header{"Vary": {"Accept,\tCOOKIE ,Origin"}}, "Accept,\tCOOKIE ,Origin"},
		{http.Header{"Vary": {"X-Cookie", "Cookies"}}, "X-Cookie, Cookies, Cookie"},
		{http.Header{"Vary": {"*"}}, "Cookie"},
		{http.Header{"Vary": {"Cookie, *"}}, "Cookie"},
		{http.Header{"Vary": {"Accept"}, "vary": {"*"}}, "Cookie"},
		{http.Header{"vary": {"Accept"}}, "Accept, Cookie"},
		{http.Header{"VARY": {"Cookie"}}, "Cookie"},
		{http.Header{"Vary": {"Cookie"}, "vary": {"Accept"}}, "Cookie, Accept"},
	} {
		var v noStoreValues
		for range 2 {
			v.enforce(c.h)
			c.h.Set("Etag", "1")
			require.Equal(t, http.Header{
				"Cache-Control": {"no-store, no-cache, must-revalidate, private"}, "Pragma": {"no-cache"}, "Expires": {"0"},
				"X-Accel-Expires": {"0"}, "Vary": {c.want}, "Etag": {"1"},
			}, c.h)
		}
		c.h.Set("Cache-Control", "public")
		v.enforce(c.h)
		require.Equal(t, []string{c.want}, c.h["Vary"], "the handler's part stays")
		c.h["vary"] = []string{"DNT"}
		v.enforce(c.h)
		require.Equal(t, []string{c.want + ", DNT"}, c.h["Vary"], "so does what it adds under another spelling")
	}
	shared := make([]string, 1, 2) // a handler may use one slice for all responses
	shared[0] = "Accept"
	h := http.Header{"Vary": shared, "vary": {"Origin"}}
	new(noStoreValues).enforce(h)
	require.Equal(t, []string{"Accept, Origin, Cookie"}, h["Vary"])
	require.Equal(t, []string{"Accept", ""}, shared[:2])
}

// C1: the values share one array.
func TestAppendingToOneCachingHeaderLeavesTheOthersUnchanged(t *testing.T) {
	h := http.Header{}
	var v noStoreValues
	v.enforce(h)
	h.Add("Cache-Control", "public")
	h.Add("Pragma", "public")
	h.Add("Expires", "public")
	h.Add("X-Accel-Expires", "public")
	h.Add("Vary", "public")
	require.Equal(t, []string{"no-cache", "public"}, h["Pragma"])
	require.Equal(t, []string{"0", "public"}, h["Expires"])
	require.Equal(t, []string{"0", "public"}, h["X-Accel-Expires"])
	require.Equal(t, []string{"Cookie", "public"}, h["Vary"])
	h["Cache-Control"][0], h["Pragma"][0] = "a", "b"
	v.enforce(h)
	require.Equal(t, []string{"no-store, no-cache, must-revalidate, private"}, h["Cache-Control"])
	require.Equal(t, []string{"no-cache"}, h["Pragma"])
	require.Equal(t, []string{"0"}, h["X-Accel-Expires"])
	require.Equal(t, []string{"Cookie, public"}, h["Vary"])
}
