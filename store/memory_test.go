package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemoryEndsASessionAtItsIdleEndAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := NewMemory(), testRecord("alice", time.Minute)
		mustCreate(t, m, r)

		time.Sleep(time.Minute - time.Millisecond)
		require.NoError(t, m.Touch(t.Context(), r.Key, TimeOf(time.Now())))
		time.Sleep(time.Minute - time.Millisecond)
		require.NoError(t, m.Touch(t.Context(), r.Key, TimeOf(time.Now())), "a touch gives another minute")
		time.Sleep(time.Minute)
		requireExpired(t, m, r)
	})
}

func TestMemoryEndsASessionAtItsAbsoluteEndHoweverActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := NewMemory(), testRecord("alice", time.Minute)
		r.Expires = r.LastSeen.Add(90 * time.Second)
		mustCreate(t, m, r)

		time.Sleep(50 * time.Second)
		require.NoError(t, m.Touch(t.Context(), r.Key, TimeOf(time.Now())))
		time.Sleep(40*time.Second - time.Millisecond)
		require.NoError(t, m.Touch(t.Context(), r.Key, TimeOf(time.Now())))
		time.Sleep(time.Millisecond)
		requireExpired(t, m, r)
	})
}

// Until Grace has passed, a request that was accepted in time can say so.
func TestMemoryForgetsASessionOnlyAfterGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := NewMemory(), testRecord("alice", time.Minute)
		mustCreate(t, m, r)
		time.Sleep(time.Minute + Grace - time.Millisecond)
		m.sweepAll()
		require.True(t, isLoadable(m, r.Key))
		time.Sleep(time.Millisecond)
		m.sweepAll()
		require.False(t, isLoadable(m, r.Key))
	})
}

// requireEnded checks that a session which is still held has ended for everyone.
func requireExpired(t *testing.T, m *Memory, r Record) {
	t.Helper()
	ctx := t.Context()
	require.Equal(t, 1, m.entryCount(), "for this test it must not have been swept")
	now := TimeOf(time.Now())

	require.ErrorIs(t, m.Touch(ctx, r.Key, now), ErrNotFound)
	ended, err := m.Create(ctx, testRecord(r.Owner, time.Hour), Limit{Max: 1, Refuse: true})
	require.NoError(t, err)
	require.Empty(t, ended)
	require.Equal(t, 1, m.entryCount(), "counting for a limit ends what has expired")
}

func TestMemoryHoldsLittleMoreThanWhatIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		const alive = 10_000 // sessions of 1000 s, 10 new ones a second
		most := 0
		for i := range 6 * alive {
			mustCreate(t, m, testRecord(strconv.Itoa(i), 1000*time.Second))
			time.Sleep(time.Second / 10)
			most = max(most, m.entryCount())
		}
		t.Logf("%d alive, at most %d held", alive, most)
		require.LessOrEqual(t, most, alive+alive/5)
	})
}

func TestMemoryGivesBackAPeakOfDeadSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		const peak = 50_000
		for range peak {
			mustCreate(t, m, testRecord(rand.Text(), time.Minute))
		}
		time.Sleep(time.Hour)
		for range peak / 4 {
			r := testRecord("alice", time.Minute)
			mustCreate(t, m, r)
			require.NoError(t, errOf(m.Delete(t.Context(), r.Key, ReasonLoggedOut)))
		}
		require.Less(t, m.entryCount(), peak/100)
		for i := range m.shards {
			require.LessOrEqual(t, cap(m.shards[i].chains), max(64, 4*len(m.shards[i].chains)))
		}
	})
}

func TestMemoryEndsOnlyAFewExpiredSessionsPerCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		for range 50_000 {
			mustCreate(t, m, testRecord(rand.Text(), time.Minute))
		}
		time.Sleep(time.Hour)
		most := 0
		for range 1000 {
			before := m.entryCount()
			mustCreate(t, m, testRecord(rand.Text(), time.Minute))
			most = max(most, before+1-m.entryCount())
		}
		t.Logf("at most %d in one call", most)
		require.Positive(t, most)
		require.LessOrEqual(t, most, 4*sweepPerLogin)
	})
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

func TestMemoryTellsOwnersWithTheSameHashApart(t *testing.T) {
	m := NewMemory()
	alice, bob := testRecord("alice", time.Hour), testRecord("bob", time.Hour)
	mustCreate(t, m, alice)
	// Nobody can find two such owners, so bob's session is moved into alice's list.
	mustCreate(t, m, bob)
	e := m.shard(bob.Key).find(bob.Key)
	own := m.owners.lock("bob")
	own.remove(e)
	own.Unlock()
	shared := m.owners.lock("alice")
	shared.add(e)
	shared.owner = "bob"
	require.Equal(t, []Record{bob}, m.records(shared))
	shared.Unlock()
	owned, err := m.ByOwner(t.Context(), "alice")
	require.NoError(t, err)
	require.Equal(t, []Record{alice}, owned)
	shared.Lock()
	shared.remove(e)
	shared.Unlock()
	require.Equal(t, 1, m.ownerCount())
}

func TestMemoryRefusesATakenKeyAndAnotherOwner(t *testing.T) {
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

func TestMemoryFindsEverySessionWhileItGrowsAndShrinks(t *testing.T) {
	m := NewMemory()
	requireAll := func(created []Record) {
		t.Helper()
		excess := len(m.shards[1].chains) - len(created)
		require.True(t, excess == 0 || excess == 1, "about as many chains as sessions")
		for _, r := range created {
			if !isLoadable(m, r.Key) {
				t.Fatalf("of %d sessions one was lost", len(created))
			}
		}
	}
	var created []Record
	for i := range 500 {
		r := testRecord(strconv.Itoa(i%7), time.Hour)
		r.Key[0] = 1 // all in one shard
		if i%2 == 1 {
			copy(r.Key[16:], created[i-1].Key[16:]) // which no two hashes have in common
		}
		mustCreate(t, m, r)
		created = append(created, r)
		requireAll(created)
	}
	for len(created) > 0 {
		require.NoError(t, errOf(m.Delete(t.Context(), created[0].Key, ReasonLoggedOut)))
		require.False(t, isLoadable(m, created[0].Key))
		created = created[1:]
		requireAll(created)
	}
	require.Zero(t, m.ownerCount())
}

// Everything at once over few owners and shards, for deadlocks, the race detector
// and an index that is exact when all is quiet.
func TestMemoryStaysConsistentUnderLoad(t *testing.T) {
	m := NewMemory()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			var mine []Record
			for i := range 3000 {
				r := testRecord(strconv.Itoa((g+i)%5), time.Duration(i%3)*time.Millisecond)
				r.Key[0] = byte(i % 3)
				m.Create(t.Context(), r, Limit{Max: i % 4, Refuse: i%8 == 0})
				mine = append(mine, r)
				old := mine[i/2]
				switch i % 5 {
				case 0:
					m.Delete(t.Context(), old.Key, ReasonLoggedOut)
				case 1:
					next := testRecord(old.Owner, time.Hour)
					next.Key[0] = byte(i % 3)
					m.Replace(t.Context(), old.Key, old.Version, next)
				case 2:
					m.ByOwner(t.Context(), old.Owner)
				}
				m.Touch(t.Context(), old.Key, TimeOf(time.Now()))
				m.Save(t.Context(), old.Key, 0, nil)
				m.Load(t.Context(), old.Key)
			}
		})
	}
	wg.Wait()
	indexed := 0
	for owner := range 5 {
		list := m.owners.lock(strconv.Itoa(owner))
		for e := range list.entries() {
			indexed++
			require.Same(t, e, m.shard(e.session.Load().Key).find(e.session.Load().Key))
		}
		list.Unlock()
	}
	left := 0
	for i := range m.shards {
		for _, e := range m.shards[i].chains {
			for ; e != nil; e = e.chained {
				if e.lookupErr() != nil {
					left++
				}
			}
		}
	}
	require.Equal(t, m.entryCount(), indexed+left)
}

func TestMemoryIsNeverSeenOverALimit(t *testing.T) {
	for _, limit := range []Limit{{Max: 3}, {Max: 3, Refuse: true}} {
		m := NewMemory()
		var wg sync.WaitGroup
		var over atomic.Bool
		for range 8 {
			wg.Go(func() {
				for range 2000 {
					r := testRecord("alice", time.Hour)
					m.Create(t.Context(), r, limit)
					owned, _ := m.ByOwner(t.Context(), "alice")
					if len(owned) > limit.Max {
						over.Store(true)
					}
					m.Delete(t.Context(), r.Key, ReasonLoggedOut)
				}
			})
		}
		wg.Wait()
		require.False(t, over.Load(), "%+v", limit)
	}
}

// A Touch goes after the same sessions as Create: the least recently seen. When
// it gets there first, they no longer are.
func TestMemoryNeverEndsASessionThatWasTouchedInTime(t *testing.T) {
	for range 50 {
		m := NewMemory()
		const sessions, logins = 200, 20
		var records []Record
		for i := range sessions {
			r := testRecord("alice", time.Hour)
			r.LastSeen += Time(i)
			records = append(records, r)
		}
		mustCreate(t, m, records...)

		var touched []Key
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, r := range records[:sessions/2] {
				if m.Touch(t.Context(), r.Key, r.LastSeen+1000) == nil {
					touched = append(touched, r.Key)
				}
			}
		})
		for range logins {
			r := testRecord("alice", time.Hour)
			r.LastSeen += 1000
			ended, err := m.Create(t.Context(), r, Limit{Max: sessions})
			require.NoError(t, err)
			require.Len(t, ended, 1)
		}
		wg.Wait()
		for _, key := range touched {
			require.True(t, isLoadable(m, key), "ended although others had been idle for longer")
		}
	}
}

// Requests that were accepted in time may say so while a login is sweeping.
func TestMemorySweepsNoSessionThatIsTouchedMeanwhile(t *testing.T) {
	m := NewMemory()
	long := TimeOf(time.Now()).Add(-time.Hour - Grace - time.Second)
	sessions := make([]Record, 40) // of one shard, more than a sweep looks at
	for i := range sessions {
		sessions[i] = testRecord("alice", time.Hour)
		sessions[i].Key[0] = 0
		mustCreate(t, m, sessions[i])
	}
	s := &m.shards[0]
	s.Lock()
	for _, r := range sessions {
		s.find(r.Key).lastSeen = long
	}
	before := s.sweepPos
	s.Unlock()
	swept := func() bool {
		s.Lock()
		defer s.Unlock()
		return s.sweepPos != before
	}

	list := m.owners.lock(sessions[0].Owner)
	var sweeping sync.WaitGroup
	sweeping.Go(func() { m.sweep(sessions[0].Key) })
	for !swept() {
		runtime.Gosched()
	}
	for _, r := range sessions { // it has looked, and waits for the list
		require.NoError(t, m.Touch(t.Context(), r.Key, long.Add(time.Hour)-1))
	}
	list.Unlock()
	sweeping.Wait()
	for _, r := range sessions {
		require.True(t, isLoadable(m, r.Key))
	}
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

func TestMemoryNeedsLittleHeapPerSession(t *testing.T) {
	const sessions = 64_000
	perSession := heapPerSession(sessions)
	t.Logf("%.0f B per session", perSession)
	require.Less(t, perSession, 250.0)
}

func BenchmarkMemoryHeapOfAMillion(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(heapPerSession(1_000_000), "B/session")
	}
}

// heapPerSession measures sessions with an owner each, without the owner's and
// any other string, and without values.
func heapPerSession(sessions int) float64 {
	owners := make([]string, sessions)
	for i := range owners {
		owners[i] = strconv.Itoa(i)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m := newFilledMemory(owners)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(m)
	runtime.KeepAlive(owners)
	return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(sessions)
}

func BenchmarkMemoryLoad(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, m *Memory, keys []Key) {
		for i := 0; b.Loop(); i++ {
			if _, err := m.Load(b.Context(), keys[i%len(keys)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMemoryTouch(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, m *Memory, keys []Key) {
		now := TimeOf(time.Now())
		for i := 0; b.Loop(); i++ {
			if err := m.Touch(b.Context(), keys[i%len(keys)], now); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMemoryLoadAndTouchInParallel(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, m *Memory, keys []Key) {
		now := TimeOf(time.Now())
		b.RunParallel(func(pb *testing.PB) {
			for i := int(newTestKey()[0]); pb.Next(); i++ {
				m.Load(b.Context(), keys[i%len(keys)])
				m.Touch(b.Context(), keys[i%len(keys)], now)
			}
		})
	})
}

func BenchmarkMemoryCreateAndDelete(b *testing.B) {
	benchmarkSizes(b, func(b *testing.B, m *Memory, _ []Key) {
		b.ReportAllocs()
		for b.Loop() {
			r := testRecord("alice", time.Hour)
			if _, err := m.Create(b.Context(), r, Limit{Max: 3}); err != nil {
				b.Fatal(err)
			}
			m.Delete(b.Context(), r.Key, ReasonLoggedOut)
		}
	})
}

// BenchmarkMemoryLoginsAfterAMillionExpired reports how long a login takes, at
// most and in all but one of ten thousand, while it clears away a million sessions
// that ended at once.
func BenchmarkMemoryLoginsAfterAMillionExpired(b *testing.B) {
	m := NewMemory()
	for i := range 1_000_000 {
		m.Create(b.Context(), testRecord(strconv.Itoa(i), time.Hour), Limit{})
	}
	for i := range m.shards {
		for _, e := range m.shards[i].chains {
			for ; e != nil; e = e.chained {
				e.lastSeen = 0
			}
		}
	}
	runtime.GC()
	var took []time.Duration
	for b.Loop() {
		r := testRecord("alice", time.Hour)
		start := time.Now()
		m.Create(b.Context(), r, Limit{Max: 3})
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*9999/10000].Microseconds()), "µs-p99.99")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "µs-max")
	b.ReportMetric(float64(m.entryCount()), "held")
}

func benchmarkSizes(b *testing.B, bench func(*testing.B, *Memory, []Key)) {
	for _, sessions := range []int{1000, 1_000_000} {
		b.Run(strconv.Itoa(sessions), func(b *testing.B) {
			owners := make([]string, sessions)
			for i := range owners {
				owners[i] = strconv.Itoa(i)
			}
			m := newFilledMemory(owners)
			var keys []Key
			for i := range m.shards {
				for _, e := range m.shards[i].chains {
					for ; e != nil; e = e.chained {
						keys = append(keys, e.session.Load().Key)
					}
				}
			}
			// Not in the order in which they lie in memory.
			for i := range keys {
				j := int(binary.LittleEndian.Uint64(keys[i][:]) % uint64(len(keys)))
				keys[i], keys[j] = keys[j], keys[i]
			}
			b.ResetTimer()
			bench(b, m, keys)
		})
	}
}

func newFilledMemory(owners []string) *Memory {
	m := NewMemory()
	for _, owner := range owners {
		m.Create(context.Background(), testRecord(owner, time.Hour), Limit{})
	}
	return m
}

// testRecord is a session of owner that ends after idle without activity.
func testRecord(owner string, idle time.Duration) Record {
	now := TimeOf(time.Now())
	return Record{
		Session: &Session{
			Key:         newTestKey(),
			Owner:       owner,
			Expires:     now.Add(12 * time.Hour),
			IdleTimeout: idle,
		},
		LastSeen: now,
	}
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

// sweepAll makes Memory look at everything it holds, as many logins would: several
// times, since a shard that shrinks starts again.
func (m *Memory) sweepAll() {
	for i := range m.shards {
		for range 4 * (1 + len(m.shards[i].chains)/sweepPerLogin) {
			m.sweep(Key{byte(i)})
		}
	}
}

// held counts what is in memory: sessions, dead or alive, and what is left of them.
func (m *Memory) entryCount() (n int) {
	for i := range m.shards {
		n += m.shards[i].count
	}
	return n
}

// listed counts the owners in the index.
func (m *Memory) ownerCount() (n int) {
	for i := range m.owners.shards {
		n += len(m.owners.shards[i].first)
	}
	return n
}
