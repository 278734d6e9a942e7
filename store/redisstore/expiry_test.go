package redisstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// requireTTL checks when Redis expires a key.
func requireTTL(t testing.TB, s *Store, redisKey string, want time.Duration) {
	t.Helper()
	ms, err := sendCommand(t, s, "PTTL", redisKey).AsInt64()
	require.NoError(t, err)
	require.InDelta(t, want.Milliseconds(), ms, 5000)
}

func TestRedisExpiresSessionsAndIndexes(t *testing.T) {
	now := store.TimeOf(time.Now())
	for name, c := range map[string]struct {
		change func(*store.Record)
		goneIn time.Duration
	}{
		"at the idle deadline":     {func(*store.Record) {}, time.Hour},
		"at the absolute deadline": {func(r *store.Record) { r.Expires = now.Add(10 * time.Minute) }, 10 * time.Minute},
		"when no longer remembered": {func(r *store.Record) {
			r.Details = &store.Details{RememberUntil: now.Add(5 * time.Hour)}
		}, 5 * time.Hour},
		"last seen a while ago": {func(r *store.Record) { r.LastSeen = now.Add(-30 * time.Minute) }, 30 * time.Minute},
		"just expired":          {func(r *store.Record) { r.Expires = now.Add(-10 * time.Second) }, -10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Config{Prefix: newOwner() + ":"}, sharedServer(t).Addr)
			r := newSession(newOwner())
			c.change(&r)
			createRecord(t, s, r)
			requireTTL(t, s, s.sessionKey(r.Key), c.goneIn+store.Grace)
			requireTTL(t, s, s.indexKey(r.Key.Group()), c.goneIn+store.Grace)
		})
	}
}

func TestTouchPostponesExpiryAndSaveKeepsIt(t *testing.T) {
	s := openStore(t, Config{Prefix: newOwner() + ":"}, sharedServer(t).Addr)
	now := store.TimeOf(time.Now())
	r := newSession(newOwner())
	r.LastSeen = now.Add(-30 * time.Minute)
	createRecord(t, s, r)
	require.NoError(t, s.Touch(t.Context(), r.Key, now.Add(-10*time.Minute)))
	requireTTL(t, s, s.sessionKey(r.Key), 65*time.Minute+store.Grace)
	requireTTL(t, s, s.indexKey(r.Key.Group()), 65*time.Minute+store.Grace)
	require.NoError(t, s.Save(t.Context(), withValues(r, []byte("new"))))
	requireTTL(t, s, s.sessionKey(r.Key), 65*time.Minute+store.Grace)
}

func TestRedisExpiresMoveMarkersAndTombstones(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	moved, revived := createSession(t, s), createSession(t, s)
	require.NoError(t, s.Replace(t.Context(), moved.Key, moved.Version, successor(moved)))
	next := successor(revived)
	next.Details = &store.Details{Rotated: next.Authenticated + 1}
	require.NoError(t, s.Replace(t.Context(), revived.Key, revived.Version, next))
	requireTTL(t, s, s.sessionKey(moved.Key), store.Grace)
	requireTTL(t, s, s.sessionKey(revived.Key), 12*time.Hour)
	for reason, ttl := range map[store.Reason]time.Duration{
		store.ReasonLoggedOut: store.Grace, store.ReasonEnded: store.TombstoneLifetime,
	} {
		r := createSession(t, s)
		_, err := s.Delete(t.Context(), r.Key, reason)
		require.NoError(t, err)
		requireTTL(t, s, s.sessionKey(r.Key), ttl)
	}
}

func TestLongExpiredSessionIsNotStored(t *testing.T) {
	s := openStore(t, Config{Prefix: newOwner() + ":"}, sharedServer(t).Addr)
	r := newSession(newOwner())
	r.Expires = store.TimeOf(time.Now().Add(-time.Hour))
	createRecord(t, s, r)
	require.False(t, exists(t, s, s.sessionKey(r.Key)))
	require.False(t, exists(t, s, s.indexKey(r.Key.Group())))
}

func TestIndexExpiresWithTheLastOfItsSessions(t *testing.T) {
	s := openStore(t, Config{Prefix: newOwner() + ":"}, sharedServer(t).Addr)
	long := createSession(t, s)
	short := newSession(ownerInGroup(long.Key.Group()))
	short.IdleTimeout = time.Minute
	createRecord(t, s, short)
	requireTTL(t, s, s.indexKey(long.Key.Group()), time.Hour+store.Grace)
}

func TestExpiredButStoredSessionDoesNotCountForTheLimit(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	expired := newSession(newOwner())
	expired.Expires = store.TimeOf(time.Now().Add(-store.Grace / 2))
	createRecord(t, s, expired)
	require.NoError(t, load(t, s, expired))
	for _, limit := range []store.Limit{{Max: 1, Refuse: true}, {Max: 2}} {
		ended, err := s.Create(t.Context(), newSession(expired.Owner), limit)
		require.NoError(t, err)
		require.Empty(t, ended)
	}
}

// Before version 7, Redis formats large numbers of Lua with an exponent.
func TestScriptsWriteLargeNumbersExactly(t *testing.T) {
	s := openStore(t, Config{Prefix: newOwner() + ":"}, sharedServer(t).Addr)
	r := newSession(newOwner())
	r.Expires, r.Details = 1<<60, &store.Details{RememberUntil: 1 << 60}
	createRecord(t, s, r)
	require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen+1))
	got, err := s.Load(t.Context(), r.Key)
	require.NoError(t, err)
	require.Equal(t, r.Expires, got.Expires)
	require.Equal(t, r.Detail().RememberUntil, got.Detail().RememberUntil)
	ttl, err := sendCommand(t, s, "PTTL", s.indexKey(r.Key.Group())).AsInt64()
	require.NoError(t, err)
	require.InEpsilon(t, maxLifetime, float64(ttl), 1e-9)
}
