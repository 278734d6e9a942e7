package proxies

import (
	"net/http"
	"slices"
	"testing"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/stretchr/testify/require"
)

// A leak is what a cache hands to somebody who may not see it.
type leak int

const (
	nothing leak = iota
	stale        // a user's own page, to whoever has the cookie of the session that has ended
	others       // another user's page
)

func (l leak) String() string { return []string{"nothing", "stale", "others"}[l] }

// caches are proxies with a cache that is told to ignore no-store, as tutorials have it, and
// what they leak with both headers, without X-Accel-Expires, without Vary, and without both.
// docs/proxies.md repeats the first column.
var caches = []struct {
	name   string
	start  func(t servers.T, upstream, config string) *servers.Server
	config string
	leaks  [4]leak
}{
	{"nginx", servers.Nginx, `proxy_cache cache; proxy_cache_valid any 1h;
		proxy_ignore_headers Cache-Control Expires Set-Cookie;`,
		[4]leak{nothing, stale, nothing, others}},
	{"nginx that ignores X-Accel-Expires", servers.Nginx, `proxy_cache cache; proxy_cache_valid any 1h;
		proxy_ignore_headers X-Accel-Expires Cache-Control Expires Set-Cookie;`,
		[4]leak{stale, stale, others, others}},
	{"nginx that ignores Vary", servers.Nginx, `proxy_cache cache; proxy_cache_valid any 1h;
		proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;`,
		[4]leak{nothing, others, nothing, others}},
	{"nginx that ignores both", servers.Nginx, `proxy_cache cache; proxy_cache_valid any 1h;
		proxy_ignore_headers X-Accel-Expires Cache-Control Expires Set-Cookie Vary;`,
		[4]leak{others, others, others, others}},
	{"HAProxy", servers.HAProxy, `http-request cache-use cache
  http-response set-header Cache-Control "public, max-age=3600"
  http-response del-header Pragma
  http-response del-header Expires
  http-response cache-store cache`,
		[4]leak{nothing, nothing, others, others}},
	{"Varnish", servers.Varnish, `sub vcl_recv { if (req.method == "GET") { return (hash); } }
		sub vcl_backend_response {
			if (!bereq.uncacheable) { set beresp.ttl = 1h; unset beresp.http.Set-Cookie; }
			return (deliver);
		}`,
		[4]leak{stale, stale, others, others}},
	{"Squid", servers.Squid, `refresh_pattern . 1440 100% 10080 override-expire override-lastmod ignore-no-store ignore-private`,
		[4]leak{nothing, nothing, others, others}},
	{"Apache", servers.Apache, `CacheEnable disk /
		CacheStoreNoStore On
		CacheStorePrivate On
		CacheStoreExpired On
		CacheIgnoreCacheControl On
		CacheIgnoreNoLastMod On
		CacheIgnoreHeaders Set-Cookie`,
		[4]leak{nothing, nothing, others, others}},
}

// C1: where no-store is ignored, X-Accel-Expires and Vary: Cookie hold. The last column is
// the control: if nothing leaked there, the configuration would prove nothing.
func TestCachesThatIgnoreNoStore(t *testing.T) {
	for _, c := range caches {
		for i, remove := range [][]string{nil, {"X-Accel-Expires"}, {"Vary"}, {"X-Accel-Expires", "Vary"}} {
			name := c.name
			for _, header := range remove {
				name += ", without " + header
			}
			t.Run(name, func(t *testing.T) {
				proxy := c.start(t, startApp(t, remove...), c.config)
				worst := nothing
				for path := range pages {
					leaked := leaks(t, proxy, path)
					if leaked > c.leaks[i] {
						t.Errorf("%s leaks %v", path, leaked)
					}
					worst = max(worst, leaked)
				}
				require.Equal(t, c.leaks[i], worst)
			})
		}
	}
}

// leaks finds out what a proxy leaks of a page.
func leaks(t *testing.T, proxy *servers.Server, path string) leak {
	t.Helper()
	ada, grace, stranger := login(t, proxy, "ada"), login(t, proxy, "grace"), browse(t, proxy)
	stolen := ada.Copy()
	require.Equal(t, "secret of ada", ada.Get(path).Body)
	seen := []string{grace.Get(path).Body, stranger.Get(path).Body}
	require.Equal(t, http.StatusSeeOther, ada.Post("/logout").StatusCode)
	seen = append(seen, ada.Get(path).Body)
	switch {
	case slices.Contains(seen, "secret of ada"):
		return others
	case stolen.Get(path).Body == "secret of ada":
		return stale
	}
	require.Equal(t, "secret of grace", seen[0])
	return nothing
}
