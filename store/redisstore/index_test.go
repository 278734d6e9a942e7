package redisstore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
		live.ID = "z" // the last in the order of IDs
		createRecord(t, s, live)
		for range stale {
			sendCommand(t, s, "ZADD", s.indexKey(live.Owner), "0", indexEntry(newSession(live.Owner)))
		}
		require.EqualValues(t, 1+stale, indexSize(t, s, live.Owner))
		return live.Owner
	}
	t.Run("up to eight per login", func(t *testing.T) {
		owner := newStaleIndex()
		login := func(id string) {
			r := newSession(owner)
			r.ID = id + r.ID
			createRecord(t, s, r)
		}
		login("\x01") // the first in the order of IDs
		require.EqualValues(t, 2+stale-8, indexSize(t, s, owner))
		login("~")
		require.EqualValues(t, 3+stale-8, indexSize(t, s, owner))
		login("\x01")
		login("\x01")
		require.LessOrEqual(t, indexSize(t, s, owner), int64(8))
	})
	t.Run("in a steady stream of logins", func(t *testing.T) {
		const live = 64
		owner, created := newOwner(), []store.Record{}
		for i := range 10 * live {
			r := newSession(owner)
			createRecord(t, s, r)
			if created = append(created, r); i >= live { // expires in Redis
				sendCommand(t, s, "DEL", s.sessionKey(created[i-live].Key))
			}
		}
		require.Less(t, indexSize(t, s, owner), int64(2*live))
	})
	t.Run("all at a login with a limit", func(t *testing.T) {
		owner := newStaleIndex()
		_, err := s.Create(t.Context(), newSession(owner), store.Limit{Max: 9})
		require.NoError(t, err)
		require.EqualValues(t, 2, indexSize(t, s, owner))
	})
	t.Run("all in ByOwner", func(t *testing.T) {
		owner := newStaleIndex()
		records, err := s.ByOwner(t.Context(), owner, "", store.MaxPage)
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
	t.Run("but no stored session", func(t *testing.T) {
		r := createSession(t, s)
		r.ID = "\x01" + r.ID
		r.Key = newSession(r.Owner).Key
		createRecord(t, s, r)
		require.EqualValues(t, 2, indexSize(t, s, r.Owner))
	})
}

// An index may be missing because of an eviction policy, against all advice, or an operator.
func TestTouchRestoresTheIndex(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	r := createSession(t, s)
	sendCommand(t, s, "DEL", s.indexKey(r.Owner))
	require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen+1))
	records, err := s.ByOwner(t.Context(), r.Owner, "", store.MaxPage)
	require.NoError(t, err)
	require.Len(t, records, 1)
	requireTTL(t, s, s.indexKey(r.Owner), time.Hour+store.Grace)
}

// Pages are full even where sessions have expired in Redis, and values do not count.
func TestPagesAreFullWhereSessionsHaveExpired(t *testing.T) {
	s, owner := openStore(t, Config{}, sharedServer(t).Addr), newOwner()
	var live []string
	for i := range 60 {
		r := newSession(owner)
		r.Details = &store.Details{UserAgent: strings.Repeat("u", 100*i)} // some heads are long
		r.Values = make([]byte, 5000)
		createRecord(t, s, r)
		if i%3 == 0 {
			live = append(live, r.ID)
		} else {
			sendCommand(t, s, "DEL", s.sessionKey(r.Key))
		}
	}
	slices.Sort(live)
	for after := ""; len(live) > 0; {
		page, err := s.ByOwner(t.Context(), owner, after, 7)
		require.NoError(t, err)
		require.Len(t, page, min(7, len(live)))
		for i, r := range page {
			require.Equal(t, live[i], r.ID)
			require.Empty(t, r.Values)
			after = r.ID
		}
		live = live[len(page):]
	}
	require.EqualValues(t, 20, indexSize(t, s, owner))
}

// A cluster has several groups of owners, each on one node.
func TestDeleteByIDSpansGroups(t *testing.T) {
	s := openStore(t, Config{CacheFor: time.Minute}, sharedCluster(t).addresses()...)
	var ends []store.End
	for range store.MaxPage {
		r := createSession(t, s)
		require.NoError(t, load(t, s, r))
		ends = append(ends, store.End{Owner: r.Owner, ID: r.ID, Reason: store.ReasonEnded})
	}
	ended, err := s.DeleteByID(t.Context(), ends)
	require.NoError(t, err)
	for i, r := range ended {
		require.Equal(t, ends[i].ID, r.ID)
		require.ErrorIs(t, load(t, s, r), store.ErrNotFound)
	}
}
