package redisstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/nodes"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestTwoGuards(t *testing.T) {
	a, b := open(t, Config{}, shared(t).Addr), open(t, Config{}, shared(t).Addr)
	nodes.Run(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

func TestTwoGuardsOnACluster(t *testing.T) {
	c := sharedCluster(t)
	a, b := open(t, Config{}, c[0].Addr), open(t, Config{}, c[2].Addr)
	nodes.Run(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

func TestTwoGuardsWhileTheServerFails(t *testing.T) {
	for name, cacheFor := range map[string]time.Duration{"": 0, "with caching": time.Second} {
		t.Run(name, func(t *testing.T) {
			server := servers.NewRemote(t, servers.Redis(t, servers.RedisOptions{Keeps: true}))
			require.NotEmpty(t, server.Proxy.Addr)
			nodes.Faults(t, server, func(t *testing.T) store.Backend {
				return open(t, Config{Timeout: time.Second, CacheFor: cacheFor}, server.Proxy.Addr)
			}, nodes.Expect{Keeps: true, Caches: cacheFor > 0})
		})
	}
}
