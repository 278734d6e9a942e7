package redisstore

import (
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/nodes"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestTwoGuards(t *testing.T) {
	a, b := openStore(t, Config{}, sharedServer(t).Addr), openStore(t, Config{}, sharedServer(t).Addr)
	nodes.Run(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

func TestTwoGuardsOnACluster(t *testing.T) {
	c := sharedCluster(t)
	a, b := openStore(t, Config{}, c[0].Addr), openStore(t, Config{}, c[2].Addr)
	nodes.Run(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

func TestTwoGuardsThatWaitForReplicas(t *testing.T) {
	config := Config{Timeout: 20 * time.Second, WaitReplicas: WaitReplicas{Number: 1, EveryWrite: true}}
	addr := newReplication(t).primary.Addr
	a, b := openStore(t, config, addr), openStore(t, config, addr)
	nodes.Run(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

func TestTwoGuardsWhileTheServerFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cacheFor time.Duration
		keeps    bool
	}{
		"with persistence":    {keeps: true},
		"with caching":        {keeps: true, cacheFor: time.Second},
		"without persistence": {keeps: false},
	} {
		t.Run(name, func(t *testing.T) {
			server := servers.NewRemote(t, servers.Redis(t, servers.RedisOptions{Keeps: c.keeps}))
			nodes.Faults(t, server, func(t *testing.T) store.Backend {
				return openStore(t, Config{Timeout: time.Second, CacheFor: c.cacheFor}, server.Proxy.Addr)
			}, nodes.Expect{Keeps: c.keeps, Caches: c.cacheFor > 0})
		})
	}
}
