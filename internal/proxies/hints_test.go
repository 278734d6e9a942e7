package proxies

import (
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/stretchr/testify/require"
)

// hinted are proxies with an ordinary cache, and whether a page that 103 Early Hints precede
// arrives through them. docs/proxies.md repeats it.
var hinted = []struct {
	name    string
	start   func(t servers.T, upstream, config string) *servers.Server
	config  string
	arrives bool
}{
	{"nginx", servers.Nginx, `proxy_cache cache; proxy_cache_valid any 1h;`, true},                                       // by HTTP/1.0
	{"nginx with HTTP/1.1", servers.Nginx, `proxy_cache cache; proxy_cache_valid any 1h; proxy_http_version 1.1;`, true}, // not with keep-alive: see below
	{"HAProxy", servers.HAProxy, "http-request cache-use cache\n  http-response cache-store cache", true},
	{"Varnish", servers.Varnish, ``, false},
	{"Squid", servers.Squid, ``, true},
	{"Apache", servers.Apache, `CacheEnable disk /`, true},
}

// C1: nginx 1.22 takes a 103 for the final response, and all that follows on the connection
// for its body. The client can still make sense of the whole; but if the connection to the
// application is kept alive, nginx waits for its end.
func TestEarlyHintsOfOneUserAreNotCachedForAnother(t *testing.T) {
	for _, p := range hinted {
		t.Run(p.name, func(t *testing.T) {
			proxy := p.start(t, startApp(t), p.config)
			ada := login(t, proxy, "ada")
			require.Equal(t, p.arrives, get(ada, "/hints") == "secret of ada")
			require.NotContains(t, get(login(t, proxy, "grace"), "/hints"), "secret of ada")
			require.NotContains(t, get(browse(t, proxy), "/hints"), "secret of ada")
		})
	}
	t.Run("the control", func(t *testing.T) {
		app := startApp(t, "Cache-Control", "Pragma", "Expires", "X-Accel-Expires", "Vary")
		proxy := servers.Nginx(t, app, hinted[1].config)
		require.True(t, strings.HasSuffix(get(login(t, proxy, "ada"), "/hints"), "secret of ada"))
		require.Contains(t, get(browse(t, proxy), "/hints"), "secret of ada")
	})
}
