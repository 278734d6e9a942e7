package redisstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// requireTTL checks when Redis forgets a key.
func requireTTL(t testing.TB, s *Store, key string, want time.Duration) {
	t.Helper()
	ms, err := sendCommand(t, s, "PTTL", key).AsInt64()
	require.NoError(t, err)
	require.InDelta(t, want.Milliseconds(), ms, 5000)
}

func TestRedisExpiresSessionsAndIndexes(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	now := store.TimeOf(time.Now())
	for name, c := range map[string]struct {
		change func(*store.Record)
		left   time.Duration
	}{
		"at its idle end":             {func(*store.Record) {}, time.Hour},
		"at its absolute end":         {func(r *store.Record) { r.Expires = now.Add(10 * time.Minute) }, 10 * time.Minute},
		"when it is not remembered":   {func(r *store.Record) { r.Details = &store.Details{RememberUntil: now.Add(5 * time.Hour)} }, 5 * time.Hour},
		"though it was seen long ago": {func(r *store.Record) { r.LastSeen = now.Add(-30 * time.Minute) }, 30 * time.Minute},
		"though it has ended":         {func(r *store.Record) { r.Expires = now.Add(-10 * time.Second) }, -10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			r := newSession(newOwner())
			c.change(&r)
			createRecord(t, s, r)
			requireTTL(t, s, s.sessionKey(r.Key), c.left+store.Grace)
			requireTTL(t, s, s.indexKey(r.Owner), c.left+store.Grace)
		})
	}

	t.Run("later, if it was touched", func(t *testing.T) {
		r := newSession(newOwner())
		r.LastSeen = now.Add(-30 * time.Minute)
		createRecord(t, s, r)
		require.NoError(t, s.Touch(t.Context(), r.Key, now.Add(-10*time.Minute)))
		requireTTL(t, s, s.sessionKey(r.Key), 50*time.Minute+store.Grace)
		requireTTL(t, s, s.indexKey(r.Owner), 50*time.Minute+store.Grace)
		require.NoError(t, s.Save(t.Context(), r.Key, r.Version, []byte("new")))
		requireTTL(t, s, s.sessionKey(r.Key), 50*time.Minute+store.Grace)
	})
	t.Run("and what is left of it", func(t *testing.T) {
		moved, revived := newSession(newOwner()), newSession(newOwner())
		createRecord(t, s, moved)
		createRecord(t, s, revived)
		require.NoError(t, s.Replace(t.Context(), moved.Key, moved.Version, successor(moved)))
		next := successor(revived)
		next.Details = &store.Details{Rotated: next.Authenticated + 1}
		require.NoError(t, s.Replace(t.Context(), revived.Key, revived.Version, next))
		requireTTL(t, s, s.sessionKey(moved.Key), store.Grace)
		requireTTL(t, s, s.sessionKey(revived.Key), 12*time.Hour)
		for reason, left := range map[store.Reason]time.Duration{
			store.ReasonLoggedOut: store.Grace, store.ReasonEnded: store.TombstoneLifetime,
		} {
			r := createSession(t, s)
			_, err := s.Delete(t.Context(), r.Key, reason)
			require.NoError(t, err)
			requireTTL(t, s, s.sessionKey(r.Key), left)
		}
	})
	t.Run("and takes none that is long over", func(t *testing.T) {
		r := newSession(newOwner())
		r.Expires = now.Add(-time.Hour)
		createRecord(t, s, r)
		require.False(t, exists(t, s, s.sessionKey(r.Key)))
		require.False(t, exists(t, s, s.indexKey(r.Owner)))
	})
	t.Run("no index outlives its sessions, nor goes before", func(t *testing.T) {
		long := newSession(newOwner())
		createRecord(t, s, long)
		short := newSession(long.Owner)
		short.IdleTimeout = time.Minute
		createRecord(t, s, short)
		requireTTL(t, s, s.indexKey(long.Owner), time.Hour+store.Grace)
	})
}

func exists(t testing.TB, s *Store, key string) bool {
	t.Helper()
	n, err := sendCommand(t, s, "EXISTS", key).AsInt64()
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
	const dead = 20
	grow := func() (owner string) { // an index of sessions that Redis has forgotten
		live := newSession(newOwner())
		createRecord(t, s, live)
		for range dead {
			sendCommand(t, s, "ZADD", s.indexKey(live.Owner), "1", member(newSession(live.Owner).Key))
		}
		require.EqualValues(t, 1+dead, indexSize(t, s, live.Owner))
		return live.Owner
	}
	t.Run("by each login, a little", func(t *testing.T) {
		owner := grow()
		createRecord(t, s, newSession(owner))
		require.EqualValues(t, 2+dead-8, indexSize(t, s, owner))
		createRecord(t, s, newSession(owner))
		createRecord(t, s, newSession(owner))
		require.EqualValues(t, 4, indexSize(t, s, owner))
	})
	t.Run("by a login with a limit", func(t *testing.T) {
		owner := grow()
		_, err := s.Create(t.Context(), newSession(owner), store.Limit{Max: 9})
		require.NoError(t, err)
		require.EqualValues(t, 2, indexSize(t, s, owner))
	})
	t.Run("by ByOwner", func(t *testing.T) {
		owner := grow()
		records, err := s.ByOwner(t.Context(), owner)
		require.NoError(t, err)
		require.Len(t, records, 1)
		require.EqualValues(t, 1, indexSize(t, s, owner))
	})
	t.Run("by what ends or moves a session", func(t *testing.T) {
		r := createSession(t, s)
		next := successor(r)
		require.NoError(t, s.Replace(t.Context(), r.Key, r.Version, next))
		require.EqualValues(t, 1, indexSize(t, s, r.Owner))
		_, err := s.Delete(t.Context(), next.Key, store.ReasonEnded)
		require.NoError(t, err)
		require.False(t, exists(t, s, s.indexKey(r.Owner)))
	})
	t.Run("of nothing that is still there, whatever a clock says", func(t *testing.T) {
		r := createSession(t, s)
		sendCommand(t, s, "ZADD", s.indexKey(r.Owner), "1", member(r.Key))
		createRecord(t, s, newSession(r.Owner))
		require.EqualValues(t, 2, indexSize(t, s, r.Owner))
	})
}

func TestExpiredButStoredSessionDoesNotCountForTheLimit(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	over := newSession(newOwner())
	over.Expires = store.TimeOf(time.Now().Add(-store.Grace / 2))
	createRecord(t, s, over)
	require.NoError(t, load(t, s, over))
	for _, limit := range []store.Limit{{Max: 1, Refuse: true}, {Max: 2}} {
		ended, err := s.Create(t.Context(), newSession(over.Owner), limit)
		require.NoError(t, err)
		require.Empty(t, ended)
	}
}

// An eviction policy, against all advice, or an operator.
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

// calls are what can be asked of a store for a session.
func allCalls(ctx context.Context, s *Store, r store.Record) map[string]func() error {
	return map[string]func() error{
		"Load":    func() error { _, err := s.Load(ctx, r.Key); return err },
		"Touch":   func() error { return s.Touch(ctx, r.Key, r.LastSeen+1) },
		"Save":    func() error { return s.Save(ctx, r.Key, r.Version, []byte("new")) },
		"Replace": func() error { return s.Replace(ctx, r.Key, r.Version, successor(r)) },
		"Delete":  func() error { _, err := s.Delete(ctx, r.Key, store.ReasonEnded); return err },
		"ByOwner": func() error { _, err := s.ByOwner(ctx, r.Owner); return err },
		"Create": func() error {
			_, err := s.Create(ctx, newSession(r.Owner), store.Limit{Max: 1, Refuse: true})
			return err
		},
	}
}

// unknowing says whether an error is none of those that say something about a session.
func inconclusive(err error) bool {
	return err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrLimit)
}

func requireInconclusive(t testing.TB, err error, name string) {
	t.Helper()
	require.True(t, inconclusive(err), "%s: %v", name, err)
}

func TestCorruptOrForeignRecordIsAnErrorNamingItsKey(t *testing.T) {
	other := newSession(newOwner())
	for name, spoil := range map[string]func(s *Store, r store.Record, key string){
		"empty":    func(s *Store, _ store.Record, key string) { sendCommand(t, s, "SET", key, "") },
		"foreign":  func(s *Store, _ store.Record, key string) { sendCommand(t, s, "SET", key, "Some other string") },
		"a number": func(s *Store, _ store.Record, key string) { sendCommand(t, s, "SET", key, "1") },
		"only a head": func(s *Store, r store.Record, key string) {
			sendCommand(t, s, "SET", key, encodeSession(r)[:headerSize])
		},
		"half a record": func(s *Store, r store.Record, key string) {
			sendCommand(t, s, "SET", key, encodeSession(r)[:headerSize+50])
		},
		"a hash": func(s *Store, _ store.Record, key string) {
			sendCommand(t, s, "DEL", key)
			sendCommand(t, s, "HSET", key, "a", "b")
		},
		"a list": func(s *Store, _ store.Record, key string) {
			sendCommand(t, s, "DEL", key)
			sendCommand(t, s, "LPUSH", key, "a")
		},
		"another session": func(s *Store, _ store.Record, key string) { sendCommand(t, s, "SET", key, encodeSession(other)) },
		"half a move":     func(s *Store, r store.Record, key string) { sendCommand(t, s, "SET", key, encodeMove(r)[:50]) },
		"half of a reason": func(s *Store, _ store.Record, key string) {
			sendCommand(t, s, "SET", key, encodeTombstone(store.ReasonEnded)[:4])
		},
		"what begins as one": func(s *Store, _ store.Record, key string) { sendCommand(t, s, "SET", key, "Elephants") },
	} {
		for _, config := range []Config{{}, {CacheFor: time.Minute}} {
			s := openStore(t, config, sharedServer(t).Addr)
			for call := range allCalls(t.Context(), s, other) {
				r := newSession(newOwner())
				if call == "Load" {
					// Not created by s, which would not ask its cache.
					sendCommand(t, s, "SET", s.sessionKey(r.Key), encodeSession(r))
				} else {
					createRecord(t, s, r)
				}
				spoil(s, r, s.sessionKey(r.Key))
				err := allCalls(t.Context(), s, r)[call]()
				switch {
				case name == "another session" && (call == "Touch" || call == "Save"):
					// It is not where it can be loaded.
					continue
				case name == "another session" && call == "Replace":
					requireInconclusive(t, err, name+": "+call)
				case strings.Contains("half a move, half of a reason, what begins as one", name) && (call == "ByOwner" || call == "Create"):
					continue // it is no session
				case name == "a hash" || name == "a list":
					requireInconclusive(t, err, name+": "+call)
					require.ErrorContains(t, err, "WRONGTYPE", name+": "+call)
				default:
					requireInconclusive(t, err, name+": "+call)
					require.ErrorIs(t, err, record.ErrCorrupt, name+": "+call)
					require.ErrorContains(t, err, s.sessionKey(r.Key), name+": "+call)
				}
			}
		}
	}
}

func TestForeignIndexIsAnErrorAndChangesNothing(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	r := createSession(t, s)
	sendCommand(t, s, "SET", s.indexKey(r.Owner), "foreign")
	next, another := successor(r), newSession(r.Owner)
	requireInconclusive(t, s.Replace(t.Context(), r.Key, r.Version, next), "Replace")
	for _, limit := range []store.Limit{{}, {Max: 1}} {
		_, err := s.Create(t.Context(), another, limit)
		requireInconclusive(t, err, "Create")
	}
	for _, absent := range []store.Key{next.Key, another.Key} {
		_, err := s.Load(t.Context(), absent)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	_, err := s.Load(t.Context(), r.Key)
	require.NoError(t, err)
}

func TestInvalidKeysAndOwnersAreRefused(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	r := createSession(t, s)
	refused := func(err error, says string) {
		t.Helper()
		requireInconclusive(t, err, says)
		require.ErrorContains(t, err, says)
	}
	_, err := s.Create(t.Context(), r, store.Limit{})
	refused(err, "already")
	taken := successor(r)
	createRecord(t, s, taken)
	refused(s.Replace(t.Context(), r.Key, r.Version, taken), "already")

	nobody := newSession("")
	_, err = s.Create(t.Context(), nobody, store.Limit{})
	refused(err, "owner")

	stray := newSession(newOwner())
	stray.Key[31]++
	_, err = s.Create(t.Context(), stray, store.Limit{})
	refused(err, "group")
	refused(s.Replace(t.Context(), r.Key, r.Version, stray), "group")

	sameGroup := newSession(newOwner())
	for ; sameGroup.Key.Group() != r.Key.Group(); sameGroup = newSession(newOwner()) {
	}
	refused(s.Replace(t.Context(), r.Key, r.Version, sameGroup), "another owner")
	for ; sameGroup.Key.Group() == r.Key.Group(); sameGroup = newSession(newOwner()) {
	}
	refused(s.Replace(t.Context(), r.Key, r.Version, sameGroup), "group")

	got, err := s.Load(t.Context(), r.Key)
	require.NoError(t, err)
	require.Equal(t, r.ID, got.ID)
}

func TestServerOutOfMemoryAcceptsOnlyTouchAndDelete(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	touched, saved, moved, ended, limited := createSession(t, s), createSession(t, s), createSession(t, s), createSession(t, s), createSession(t, s)
	runCommand(t, s, "CONFIG", "SET", "maxmemory", "1")

	next, another := successor(moved), newSession(limited.Owner)
	for name, err := range map[string]error{
		"Save":    s.Save(t.Context(), saved.Key, saved.Version, []byte("new")),
		"Replace": s.Replace(t.Context(), moved.Key, moved.Version, next),
		"Create":  func() error { _, err := s.Create(t.Context(), another, store.Limit{Max: 1}); return err }(),
	} {
		requireInconclusive(t, err, name)
		require.ErrorContains(t, err, "OOM", name)
	}
	require.NoError(t, s.Touch(t.Context(), touched.Key, touched.LastSeen+1))
	was, err := s.Delete(t.Context(), ended.Key, store.ReasonEnded)
	require.NoError(t, err)
	require.Equal(t, ended.ID, was.ID)
	var why *store.EndedError
	_, err = s.Load(t.Context(), ended.Key)
	require.ErrorAs(t, err, &why)
	require.Equal(t, store.ReasonEnded, why.Reason)

	for _, r := range []store.Record{touched, saved, moved, limited} {
		got, err := s.Load(t.Context(), r.Key)
		require.NoError(t, err)
		require.Equal(t, r.Version, got.Version)
		records, err := s.ByOwner(t.Context(), r.Owner)
		require.NoError(t, err)
		require.Len(t, records, 1)
		require.Equal(t, r.Key, records[0].Key)
	}
	for _, absent := range []store.Key{next.Key, another.Key} {
		_, err := s.Load(t.Context(), absent)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
}

// A replica knows sessions that have ended, and does not know those of a moment ago.
func TestReplicaIsNeverTrusted(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	r := createSession(t, s)
	runCommand(t, s, "REPLICAOF", "127.0.0.1", "1") // of nobody: it answers reads

	for _, known := range []store.Record{r, newSession(newOwner())} {
		for name, f := range allCalls(t.Context(), s, known) {
			err := f()
			requireInconclusive(t, err, name)
			require.ErrorContains(t, err, "READONLY", name)
		}
	}
	late := allCalls(t.Context(), s, r)["Touch"]
	requireInconclusive(t, late(), "Touch")
	requireInconclusive(t, s.Touch(t.Context(), r.Key, r.Deadline()), "Touch too late")
	requireInconclusive(t, s.Touch(t.Context(), r.Key, r.LastSeen), "Touch to no avail")
	requireInconclusive(t, s.Save(t.Context(), r.Key, r.Version+1, nil), "Save at another version")
	dead := newSession(newOwner())
	dead.Expires = 0
	_, err := s.Create(t.Context(), dead, store.Limit{})
	requireInconclusive(t, err, "Create of what is over")

	_, err = New(rueidis.ClientOption{InitAddress: []string{server.Addr}}, Config{})
	require.ErrorContains(t, err, "READONLY")
}

// With caching too, nobody is logged out by a replica.
func TestReplicaEndsNoSessionWithCaching(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{CacheFor: time.Minute}, server.Addr)
	r := createSession(t, s)
	runCommand(t, s, "REPLICAOF", "127.0.0.1", "1")
	_, err := s.Load(t.Context(), newSession(newOwner()).Key)
	requireInconclusive(t, err, "Load of what is not there")
	_, err = s.Load(t.Context(), r.Key) // it was written within CacheFor
	requireInconclusive(t, err, "Load")
}

// Redis before 7 turns a large number of Lua's into one with an exponent.
func TestScriptsWriteLargeNumbersExactly(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	r := newSession(newOwner())
	r.Expires, r.Details = 1<<60, &store.Details{RememberUntil: 1 << 60}
	createRecord(t, s, r)
	require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen+1))
	got, err := s.Load(t.Context(), r.Key)
	require.NoError(t, err)
	require.Equal(t, r.Expires, got.Expires)
	require.Equal(t, r.Detail().RememberUntil, got.Detail().RememberUntil)
	score, err := sendCommand(t, s, "ZSCORE", s.indexKey(r.Owner), member(r.Key)).AsFloat64()
	require.NoError(t, err)
	require.InEpsilon(t, float64(r.Expires), score, 1e-9)
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
		all, err := s.ByOwner(t.Context(), owner)
		require.NoError(t, err)
		var got []store.Key
		for _, r := range all {
			got = append(got, r.Key)
		}
		require.ElementsMatch(t, want, got)
	}
	for i, key := range want { // what has gone leaves the index, and the rest is found
		if i%2 == 0 {
			_, err := s.Delete(t.Context(), key, store.ReasonEnded)
			require.NoError(t, err)
		}
	}
	all, err := s.ByOwner(t.Context(), owner)
	require.NoError(t, err)
	require.Len(t, all, len(want)/2)
}
