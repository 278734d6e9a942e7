package redisstore

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

func TestEveryPromiseBehindSentinelAndAcrossAFailover(t *testing.T) {
	data := func() *process { return start(t, "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n") }
	primary, replica := data(), data()
	host, port, err := net.SplitHostPort(primary.addr)
	require.NoError(t, err)
	require.NoError(t, replica.do("REPLICAOF", host, port).Error())
	sentinel := start(t, fmt.Sprintf("sentinel monitor main %s %s 1\n"+
		"sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n", host, port), "--sentinel")
	require.Eventually(t, func() bool {
		replicas, err := sentinel.do("SENTINEL", "REPLICAS", "main").ToArray()
		info, _ := replica.do("ROLE").ToArray()
		state, _ := info[3].ToString()
		return err == nil && len(replicas) == 1 && state == "connected"
	}, 30*time.Second, 50*time.Millisecond)

	behind := func(config Config) *Store {
		s, err := New(rueidis.ClientOption{
			InitAddress: []string{sentinel.addr}, Sentinel: rueidis.SentinelOption{MasterSet: "main"},
		}, config)
		require.NoError(t, err)
		t.Cleanup(s.Close)
		return s
	}
	caching, s := behind(Config{CacheFor: time.Minute}), behind(Config{})
	storetest.Run(t, func(*testing.T) store.Backend { return caching })
	storetest.Run(t, func(*testing.T) store.Backend { return s })

	kept, ended := created(t, s), created(t, s)
	_, err = s.Delete(t.Context(), ended.Key, store.Ended)
	require.NoError(t, err)
	require.NoError(t, loads(t, caching, kept))
	told := watch(t, s)
	require.NoError(t, primary.do("WAIT", "1", "5000").Error())
	primary.kill()
	for _, s := range []*Store{s, caching} {
		require.Eventually(t, func() bool {
			err := loads(t, s, kept)
			require.NotErrorIs(t, err, store.ErrNotFound, "nobody is logged out meanwhile")
			require.Error(t, loads(t, s, ended))
			return err == nil
		}, 30*time.Second, 20*time.Millisecond)
	}
	require.Eventually(t, func() bool {
		err := loads(t, s, ended)
		return errors.Is(err, store.ErrNotFound)
	}, 10*time.Second, 20*time.Millisecond)
	requireTold(t, told, store.Ending{})
	require.Eventually(t, func() bool {
		_, err := s.Delete(t.Context(), kept.Key, store.Theft)
		return err == nil
	}, 10*time.Second, 20*time.Millisecond)
	requireTold(t, told, store.Ending{ID: kept.ID, Reason: store.Theft})
}
