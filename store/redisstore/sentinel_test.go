package redisstore

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

func TestConformanceBehindSentinelAndFailover(t *testing.T) {
	t.Parallel()
	f := servers.RedisFailover(t, servers.RedisOptions{})
	openBehindSentinel := func(config Config) *Store {
		s, err := New(rueidis.ClientOption{
			InitAddress: []string{f.Sentinel.Addr}, Sentinel: rueidis.SentinelOption{MasterSet: f.Name},
		}, config)
		require.NoError(t, err)
		t.Cleanup(s.Close)
		return s
	}
	cached, s := openBehindSentinel(Config{CacheFor: time.Minute}), openBehindSentinel(Config{})
	storetest.Run(t, func(*testing.T) store.Backend { return cached })
	storetest.Run(t, func(*testing.T) store.Backend { return s })

	kept, ended := createSession(t, s), createSession(t, s)
	_, err := s.Delete(t.Context(), ended.Key, store.ReasonEnded)
	require.NoError(t, err)
	require.NoError(t, load(t, cached, kept))
	endings := startWatch(t, s)
	require.NoError(t, runOnServer(t, f.Primary, "SET", "last", "").Error())
	require.Eventually(t, func() bool {
		n, err := runOnServer(t, f.Replica, "EXISTS", "last").AsInt64()
		return err == nil && n == 1
	}, 10*time.Second, 10*time.Millisecond, "the replica lags, so it may lack earlier writes too")
	require.NoError(t, f.Primary.Kill())
	for _, s := range []*Store{s, cached} {
		require.Eventually(t, func() bool {
			err := load(t, s, kept)
			require.NotErrorIs(t, err, store.ErrNotFound, "a failover must not look like a logout")
			require.Error(t, load(t, s, ended))
			return err == nil
		}, 30*time.Second, 20*time.Millisecond)
	}
	require.Eventually(t, func() bool {
		err := load(t, s, ended)
		return errors.Is(err, store.ErrNotFound)
	}, 10*time.Second, 20*time.Millisecond)
	requireEnding(t, endings, store.Ending{})
	var listed []string
	require.Eventually(t, func() bool {
		records, err := listAll(t.Context(), s, kept.Owner)
		for _, r := range records {
			listed = append(listed, r.ID)
		}
		return err == nil
	}, 10*time.Second, 20*time.Millisecond)
	require.Contains(t, listed, kept.ID)
	require.NotContains(t, listed, ended.ID)
	require.Eventually(t, func() bool {
		_, err := s.Delete(t.Context(), kept.Key, store.ReasonTheftSuspected)
		return err == nil
	}, 10*time.Second, 20*time.Millisecond)
	requireEnding(t, endings, store.Ending{ID: kept.ID, Reason: store.ReasonTheftSuspected})
}
