package store

import (
	"context"
	"crypto/rand"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemoryRejectsKeyInUseAndChangedOwner(t *testing.T) {
	m := NewMemory()
	r, other := testRecord("alice", time.Hour), testRecord("bob", time.Hour)
	mustCreate(t, m, r, other)

	again := testRecord("alice", time.Hour)
	again.Key = r.Key
	_, err := m.Create(t.Context(), again, Limit{Max: 1})
	require.ErrorIs(t, err, errKeyTaken)
	require.ErrorIs(t, m.Replace(t.Context(), r.Key, r.Version, again), errKeyTaken)
	require.ErrorIs(t, m.Replace(t.Context(), r.Key, r.Version, testRecord("bob", time.Hour)), errOwnerChanged)

	got, err := m.Load(t.Context(), r.Key)
	require.NoError(t, err)
	require.Equal(t, r, got)
	require.Equal(t, 2, m.entryCount())
}

func TestMemoryDistinguishesOwnersWithSameHash(t *testing.T) {
	m := NewMemory()
	alice, bob := testRecord("alice", time.Hour), testRecord("bob", time.Hour)
	mustCreate(t, m, alice)
	// Such owners cannot be found, so the test moves bob's session into alice's list.
	mustCreate(t, m, bob)
	own := m.lockOwner("bob")
	ref := own.single[own.hash]
	own.removeAt(position{})
	own.Unlock()
	shared := m.lockOwner("alice")
	shared.owner = "bob"
	shared.add(bob.Session, ref)
	require.Equal(t, []Record{bob}, shared.from("", MaxPage))
	shared.Unlock()
	owned, err := m.ByOwner(t.Context(), "alice", "", MaxPage)
	require.NoError(t, err)
	require.Equal(t, []Record{alice}, owned)
	for _, r := range []Record{alice, bob} {
		n := 0
		for listed, err := range m.All(t.Context(), r.Owner) {
			require.NoError(t, err)
			require.Equal(t, r, listed)
			n++
		}
		require.Equal(t, 1, n)
	}
	shared.Lock()
	_, removed := m.removeIf(shared, bob.Session, "", func(Record) bool { return true })
	shared.Unlock()
	require.True(t, removed)
	require.Equal(t, 1, m.ownerCount())
}

func TestMemoryFindsEverySessionWhileTableGrowsAndShrinks(t *testing.T) {
	m := NewMemory()
	requireLoadable := func(created []Record) {
		t.Helper()
		excess := len(m.shards[1].chains) - len(created)
		require.True(t, excess == 0 || excess == 1, "there must be about as many chains as sessions")
		for _, r := range created {
			if !isLoadable(m, r.Key) {
				t.Fatalf("one of %d sessions was lost", len(created))
			}
		}
	}
	var created []Record
	for i := range 500 {
		r := testRecord(strconv.Itoa(i%7), time.Hour)
		r.Key[0] = 1 // all in one shard
		if i%2 == 1 {
			copy(r.Key[16:], created[i-1].Key[16:]) // so that two sessions have the same hash
		}
		mustCreate(t, m, r)
		created = append(created, r)
		requireLoadable(created)
	}
	for len(created) > 0 {
		require.NoError(t, errOf(m.Delete(t.Context(), created[0].Key, ReasonLoggedOut)))
		require.False(t, isLoadable(m, created[0].Key))
		created = created[1:]
		requireLoadable(created)
	}
	require.Zero(t, m.ownerCount())
}

func TestMemoryForgetsOwnersWithoutSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		for i := range 1000 {
			owner := strconv.Itoa(i)
			deleted, replaced, expiring := testRecord(owner, time.Hour), testRecord(owner, time.Hour), testRecord(owner, time.Minute)
			mustCreate(t, m, deleted, replaced, expiring)
			next := testRecord(owner, time.Hour)
			require.NoError(t, m.Replace(t.Context(), replaced.Key, replaced.Version, next))
			last := testRecord(owner, time.Minute)
			_, err := m.Create(t.Context(), last, Limit{Max: 3})
			require.NoError(t, err)
			for _, r := range []Record{deleted, next} {
				require.NoError(t, errOf(m.Delete(t.Context(), r.Key, ReasonLoggedOut)))
			}
		}
		require.Equal(t, 1000, m.ownerCount())
		time.Sleep(TombstoneLifetime)
		m.sweepAll()
		require.Zero(t, m.entryCount())
		require.Zero(t, m.ownerCount())
	})
}

func TestMemoryLoadAndTouchDoNotAllocate(t *testing.T) {
	var b Backend = NewMemory()
	r := testRecord("alice", time.Hour)
	_, err := b.Create(t.Context(), r, Limit{})
	require.NoError(t, err)
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		got, _ := b.Load(ctx, r.Key)
		b.Touch(ctx, r.Key, got.LastSeen+1)
	}))
}

// testRecord returns a session of owner with an idle timeout.
func testRecord(owner string, idle time.Duration) Record {
	now := TimeOf(time.Now())
	return Record{
		Session: &Session{
			Key:         newTestKey(),
			ID:          rand.Text(),
			Owner:       owner,
			Expires:     now.Add(12 * time.Hour),
			IdleTimeout: idle,
		},
		LastSeen: now,
	}
}

// rememberedFor returns r with a RememberUntil that is d from now.
func rememberedFor(r Record, d time.Duration) Record {
	r.Details = &Details{RememberUntil: TimeOf(time.Now()).Add(d)}
	return r
}

func newTestKey() (key Key) {
	rand.Read(key[:])
	return key
}

func mustCreate(t *testing.T, m *Memory, records ...Record) {
	t.Helper()
	for _, r := range records {
		_, err := m.Create(t.Context(), r, Limit{})
		require.NoError(t, err)
	}
}

func errOf[A any](_ A, err error) error { return err }

func isLoadable(m *Memory, key Key) bool {
	_, err := m.Load(context.Background(), key)
	return err == nil
}

// sweepAll sweeps everything in memory, as many logins would. It goes through each shard
// several times, because a shard that shrinks starts again.
func (m *Memory) sweepAll() {
	for i := range m.shards {
		for range 4 * (1 + len(m.shards[i].chains)/sweepPerLogin) {
			m.sweep(Key{byte(i)})
		}
	}
}

// entryCount returns how much is in memory: sessions, whether expired or not,
// tombstones and move markers.
func (m *Memory) entryCount() (n int) {
	for i := range m.shards {
		n += m.shards[i].count
	}
	return n
}

// ownerCount returns the number of lists.
func (m *Memory) ownerCount() (n int) {
	for i := range m.owners.shards {
		n += len(m.owners.shards[i].single) + len(m.owners.shards[i].several)
	}
	return n
}

// forEach calls f for every slot in memory that is not free.
func (m *Memory) forEach(f func(*shard, *slot)) {
	for i := range m.shards {
		s := &m.shards[i]
		for _, at := range s.chains {
			for ; at != 0; at = s.slots[at].chained {
				f(s, &s.slots[at])
			}
		}
	}
}
