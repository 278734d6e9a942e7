package redisstore

import (
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestServerOutOfMemoryAcceptsOnlyTouchAndDelete(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	inPlace := createLongLived(t, s, func(*store.Record) {})
	touched, saved, moved := createSession(t, s), createSession(t, s), createSession(t, s)
	ended, limited := createSession(t, s), createSession(t, s)
	runCommand(t, s, "CONFIG", "SET", "maxmemory", "1")

	next, another := successor(moved), newSession(limited.Owner)
	for name, err := range map[string]error{
		"Save":    s.Save(t.Context(), withValues(saved, []byte("new"))),
		"Replace": s.Replace(t.Context(), moved.Key, moved.Version, next),
		"Create":  func() error { _, err := s.Create(t.Context(), another, store.Limit{Max: 1}); return err }(),
	} {
		requireInconclusive(t, err, name)
		require.ErrorContains(t, err, "OOM", name)
	}
	for _, r := range []store.Record{touched, inPlace} {
		require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen.Add(time.Minute)))
		got, err := s.Load(t.Context(), r.Key)
		require.NoError(t, err)
		require.Equal(t, r.LastSeen.Add(time.Minute), got.LastSeen)
	}
	deleted, err := s.Delete(t.Context(), ended.Key, store.ReasonEnded)
	require.NoError(t, err)
	require.Equal(t, ended.ID, deleted.ID)
	var tombstone *store.EndedError
	_, err = s.Load(t.Context(), ended.Key)
	require.ErrorAs(t, err, &tombstone)
	require.Equal(t, store.ReasonEnded, tombstone.Reason)

	for _, r := range []store.Record{touched, saved, moved, limited} {
		got, err := s.Load(t.Context(), r.Key)
		require.NoError(t, err)
		require.Equal(t, r.Version, got.Version)
		records, err := s.ByOwner(t.Context(), r.Owner, "", store.MaxPage)
		require.NoError(t, err)
		require.Len(t, records, 1)
		require.Equal(t, r.Key, records[0].Key)
	}
	for _, absent := range []store.Key{next.Key, another.Key} {
		_, err := s.Load(t.Context(), absent)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
}

// A replica may still have sessions that have ended, and may not have sessions created a
// moment ago.
func TestReplicaIsNeverTrusted(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	r := createLongLived(t, s, func(*store.Record) {})
	runCommand(t, s, "REPLICAOF", "127.0.0.1", "1") // no such primary, but the replica serves reads

	for _, r := range []store.Record{r, newSession(newOwner())} {
		for name, call := range allCalls(t.Context(), s, r) {
			err := call()
			requireInconclusive(t, err, name)
			require.ErrorContains(t, err, "READONLY", name)
		}
	}
	touch := allCalls(t.Context(), s, r)["Touch"]
	requireInconclusive(t, touch(), "Touch")
	requireInconclusive(t, s.Touch(t.Context(), r.Key, r.Deadline()), "Touch after the deadline")
	requireInconclusive(t, s.Touch(t.Context(), r.Key, r.LastSeen), "Touch without a change")
	requireInconclusive(t, s.Save(t.Context(), atVersion(r, r.Version+2)), "Save at another version")
	expired := newSession(newOwner())
	expired.Expires = 0
	_, err := s.Create(t.Context(), expired, store.Limit{})
	requireInconclusive(t, err, "Create of an expired session")

	_, err = New(rueidis.ClientOption{InitAddress: []string{server.Addr}}, Config{})
	require.ErrorContains(t, err, "READONLY")
}

// A replica that does not have a session must not make it look ended, with caching either.
func TestReplicaEndsNoSessionWithCaching(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{CacheFor: time.Minute}, server.Addr)
	r := createSession(t, s)
	runCommand(t, s, "REPLICAOF", "127.0.0.1", "1")
	_, err := s.Load(t.Context(), newSession(newOwner()).Key)
	requireInconclusive(t, err, "Load of an absent session")
	_, err = s.Load(t.Context(), r.Key) // created within CacheFor, so not taken from the cache
	requireInconclusive(t, err, "Load")
}
