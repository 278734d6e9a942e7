package redisstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

func exists(t testing.TB, s *Store, redisKey string) bool {
	t.Helper()
	n, err := sendCommand(t, s, "EXISTS", redisKey).AsInt64()
	require.NoError(t, err)
	return n == 1
}

func indexSize(t testing.TB, s *Store, owner string) int64 {
	t.Helper()
	n, err := sendCommand(t, s, "ZCARD", s.indexKey(owner)).AsInt64()
	require.NoError(t, err)
	return n
}

func TestIndexDropsSessionsThatAreGone(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	const stale = 20
	newStaleIndex := func() (owner string) { // one live session, the others expired in Redis
		live := newSession(newOwner())
		createRecord(t, s, live)
		for range stale {
			sendCommand(t, s, "ZADD", s.indexKey(live.Owner), "1", member(newSession(live.Owner).Key))
		}
		require.EqualValues(t, 1+stale, indexSize(t, s, live.Owner))
		return live.Owner
	}
	t.Run("eight per login", func(t *testing.T) {
		owner := newStaleIndex()
		createRecord(t, s, newSession(owner))
		require.EqualValues(t, 2+stale-8, indexSize(t, s, owner))
		createRecord(t, s, newSession(owner))
		createRecord(t, s, newSession(owner))
		require.EqualValues(t, 4, indexSize(t, s, owner))
	})
	t.Run("all at a login with a limit", func(t *testing.T) {
		owner := newStaleIndex()
		_, err := s.Create(t.Context(), newSession(owner), store.Limit{Max: 9})
		require.NoError(t, err)
		require.EqualValues(t, 2, indexSize(t, s, owner))
	})
	t.Run("all in ByOwner", func(t *testing.T) {
		owner := newStaleIndex()
		records, err := s.ByOwner(t.Context(), owner)
		require.NoError(t, err)
		require.Len(t, records, 1)
		require.EqualValues(t, 1, indexSize(t, s, owner))
	})
	t.Run("the session that ends or moves", func(t *testing.T) {
		r := createSession(t, s)
		next := successor(r)
		require.NoError(t, s.Replace(t.Context(), r.Key, r.Version, next))
		require.EqualValues(t, 1, indexSize(t, s, r.Owner))
		_, err := s.Delete(t.Context(), next.Key, store.ReasonEnded)
		require.NoError(t, err)
		require.False(t, exists(t, s, s.indexKey(r.Owner)))
	})
	t.Run("but no stored session, whatever the clocks say", func(t *testing.T) {
		r := createSession(t, s)
		sendCommand(t, s, "ZADD", s.indexKey(r.Owner), "1", member(r.Key))
		createRecord(t, s, newSession(r.Owner))
		require.EqualValues(t, 2, indexSize(t, s, r.Owner))
	})
}

// An index may be missing because of an eviction policy, against all advice, or an operator.
func TestTouchRestoresTheIndex(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	r := createSession(t, s)
	sendCommand(t, s, "DEL", s.indexKey(r.Owner))
	require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen+1))
	records, err := s.ByOwner(t.Context(), r.Owner)
	require.NoError(t, err)
	require.Len(t, records, 1)
	requireTTL(t, s, s.indexKey(r.Owner), time.Hour+store.Grace)
}

func TestByOwnerReadsManySessionsInPages(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	owner := newOwner()
	var want []store.Key
	for _, n := range []int{pageSize, 1, pageSize} {
		for range n {
			r := newSession(owner)
			createRecord(t, s, r)
			want = append(want, r.Key)
		}
		records, err := s.ByOwner(t.Context(), owner)
		require.NoError(t, err)
		var got []store.Key
		for _, r := range records {
			got = append(got, r.Key)
		}
		require.ElementsMatch(t, want, got)
	}
	for i, key := range want { // half of them leave the index, and ByOwner still finds the others
		if i%2 == 0 {
			_, err := s.Delete(t.Context(), key, store.ReasonEnded)
			require.NoError(t, err)
		}
	}
	records, err := s.ByOwner(t.Context(), owner)
	require.NoError(t, err)
	require.Len(t, records, len(want)/2)
}
