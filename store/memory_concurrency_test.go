package store

import (
	"math"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// All methods run at once on few owners and shards, to provoke deadlocks and data races.
// Afterwards the owners' lists must match the shards.
func TestMemoryStaysConsistentUnderLoad(t *testing.T) {
	m := NewMemory()
	var wg sync.WaitGroup
	var replaced atomic.Int64
	for g := range 8 {
		wg.Go(func() {
			var mine []Record
			for i := range 3000 {
				owner, limit := strconv.Itoa((g+i)%5), Limit{}
				if owner == "0" {
					limit = Limit{Max: i % 4, Refuse: i%8 == 0}
				}
				r := testRecord(owner, time.Duration(i%3)*time.Millisecond)
				r.Key[0] = byte(i % 3)
				m.Create(t.Context(), r, limit)
				mine = append(mine, r)
				old := mine[i/2]
				switch i % 5 {
				case 0:
					m.Delete(t.Context(), old.Key, ReasonLoggedOut)
				case 1:
					current, _ := m.Load(t.Context(), old.Key)
					next := testRecord(old.Owner, time.Hour)
					next.Key[0], next.ID = byte(i%7%3), old.ID
					if current.Session != nil && m.Replace(t.Context(), old.Key, current.Version, next) == nil {
						replaced.Add(1)
					}
				case 2:
					m.ByOwner(t.Context(), old.Owner, "", MaxPage)
				}
				m.Touch(t.Context(), old.Key, TimeOf(time.Now()))
				m.Save(t.Context(), atVersion(old, 1))
				m.Load(t.Context(), old.Key)
			}
		})
	}
	wg.Wait()
	require.Positive(t, replaced.Load())
	listed := 0
	for owner := range 5 {
		list := m.lockOwner(strconv.Itoa(owner))
		for _, r := range list.from("", math.MaxInt) {
			listed++
			got, err := m.Load(t.Context(), r.Key)
			require.NoError(t, err)
			require.Same(t, r.Session, got.Session)
		}
		list.Unlock()
	}
	remains := 0 // tombstones and move markers
	m.forEach(func(shard *shard, s *slot) {
		if lookupErr(shard.session(s)) != nil {
			remains++
		}
	})
	require.Equal(t, m.entryCount(), listed+remains)
}

func TestMemoryByOwnerNeverExceedsLimit(t *testing.T) {
	for _, limit := range []Limit{{Max: 3}, {Max: 3, Refuse: true}} {
		m := NewMemory()
		var wg sync.WaitGroup
		var exceeded atomic.Bool
		for range 8 {
			wg.Go(func() {
				for range 2000 {
					r := testRecord("alice", time.Hour)
					m.Create(t.Context(), r, limit)
					owned, _ := m.ByOwner(t.Context(), "alice", "", MaxPage)
					if len(owned) > limit.Max {
						exceeded.Store(true)
					}
					m.Delete(t.Context(), r.Key, ReasonLoggedOut)
				}
			})
		}
		wg.Wait()
		require.False(t, exceeded.Load(), "%+v", limit)
	}
}

// A Touch and a Create with a limit meet at the least recently seen session. If the Touch
// comes first, another session is the least recently seen.
func TestMemoryLimitSparesSessionTouchedInTime(t *testing.T) {
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
			require.True(t, isLoadable(m, key), "ended although other sessions had been idle for longer")
		}
	}
}

// While Delete waits for the owner's lock, the session may move.
func TestMemoryDeleteDetectsMoveWhileItWaits(t *testing.T) {
	m := NewMemory()
	for range 500 {
		r, next := testRecord("alice", time.Hour), testRecord("alice", time.Hour)
		mustCreate(t, m, r)
		list := m.lockOwner("alice")
		var wg sync.WaitGroup
		var replaced, err error
		var ended Record
		for _, f := range []func(){
			func() { replaced = m.Replace(t.Context(), r.Key, r.Version, next) },
			func() { ended, err = m.Delete(t.Context(), r.Key, ReasonLoggedOut) },
		} {
			wg.Go(f)
			for range 10 {
				runtime.Gosched() // by then it most likely waits for the lock
			}
		}
		list.Unlock()
		wg.Wait()
		if replaced == nil {
			require.Nil(t, ended.Session)
			require.Equal(t, &MovedError{To: next.Key, Owner: next.Owner, ID: next.ID}, err)
			require.True(t, isLoadable(m, next.Key))
		} else {
			require.NoError(t, err)
			require.Equal(t, r.Session, ended.Session)
		}
	}
}

// A Touch that was accepted in time may arrive while a login looks through its owner's sessions.
func TestMemoryLimitCountsSessionTouchedMeanwhile(t *testing.T) {
	for range 100 {
		m := NewMemory()
		var sessions []Record
		for i := range 5 {
			r := testRecord("alice", time.Hour)
			r.ID, r.Key[0] = strconv.Itoa(i), byte(i%4/3)
			sessions = append(sessions, r)
		}
		gone := &sessions[0]
		gone.LastSeen = gone.LastSeen.Add(-time.Hour)
		mustCreate(t, m, sessions...)

		m.shards[1].Lock() // where the login looks at the fourth session, after it has read the first
		var wg sync.WaitGroup
		var err error
		wg.Go(func() {
			r := testRecord("alice", time.Hour)
			r.Key[0] = 2
			_, err = m.Create(t.Context(), r, Limit{Max: 5, Refuse: true})
		})
		for range 10 {
			runtime.Gosched()
		}
		require.NoError(t, m.Touch(t.Context(), gone.Key, gone.Deadline()-1))
		m.shards[1].Unlock()
		wg.Wait()
		require.ErrorIs(t, err, ErrLimit)
		require.True(t, isLoadable(m, gone.Key))
	}
}

// Two sessions may move between the same shards at once, in opposite directions.
func TestMemoryLocksShardsInOneOrder(t *testing.T) {
	m := NewMemory()
	for range 100 {
		m.shards[0].Lock()
		var wg sync.WaitGroup
		wg.Go(func() { m.lockBoth(Key{1}, Key{0})() })
		for range 10 {
			runtime.Gosched()
		}
		require.True(t, m.shards[1].TryLock(), "locked before the other")
		m.shards[1].Unlock()
		m.shards[0].Unlock()
		wg.Wait()
	}
}

// While Replace looks for the session in its owner's list, it may be saved. What was saved must
// not be lost.
func TestMemoryReplaceDetectsSaveMeanwhile(t *testing.T) {
	for range 100 {
		m := NewMemory()
		r, other, next := testRecord("alice", time.Hour), testRecord("alice", time.Hour), testRecord("alice", time.Hour)
		r.ID, other.ID, next.ID = "a", "b", "a"
		r.Key[0], other.Key[0], next.Key[0] = 0, 1, 2
		mustCreate(t, m, r, other)

		m.shards[1].Lock() // where Replace looks at the other session
		var wg sync.WaitGroup
		var err error
		wg.Go(func() { err = m.Replace(t.Context(), r.Key, r.Version, next) })
		for range 10 {
			runtime.Gosched()
		}
		require.NoError(t, m.Save(t.Context(), atVersion(r, r.Version+1)))
		m.shards[1].Unlock()
		wg.Wait()
		require.ErrorIs(t, err, ErrConflict)
		require.True(t, isLoadable(m, r.Key))
	}
}

// atVersion returns a copy of r with another Version.
func atVersion(r Record, version uint64) Record {
	s := *r.Session
	s.Version = version
	r.Session = &s
	return r
}
