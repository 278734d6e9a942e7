package redisstore

import (
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

func TestMain(m *testing.M) { servers.Main(m) }

var shared = servers.Shared(func(t servers.T) *servers.Server {
	return servers.Redis(t, servers.RedisOptions{})
})

var (
	_ store.Backend = (*Store)(nil)
	_ store.Watcher = (*Store)(nil)
)

func open(t testing.TB, config Config, addresses ...string) *Store {
	t.Helper()
	s, err := New(rueidis.ClientOption{InitAddress: addresses}, config)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func TestEveryPromise(t *testing.T) {
	s := open(t, Config{}, shared(t).Addr)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}

func TestEveryPromiseOfTwoNodes(t *testing.T) {
	a, b := open(t, Config{}, shared(t).Addr), open(t, Config{}, shared(t).Addr)
	storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
}

// One process sees what it has written at once, whatever it has cached.
func TestEveryPromiseWithCaching(t *testing.T) {
	s := open(t, Config{CacheFor: time.Minute}, shared(t).Addr)
	storetest.Run(t, func(*testing.T) store.Backend { return s })
}
