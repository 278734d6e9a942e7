package store

import (
	"crypto/rand"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemoryHoldsFewExpiredSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		const alive = 10_000 // sessions of 1000 s, 10 new ones a second
		maxHeld := 0
		for i := range 6 * alive {
			mustCreate(t, m, testRecord(strconv.Itoa(i), 1000*time.Second))
			time.Sleep(time.Second / 10)
			maxHeld = max(maxHeld, m.entryCount())
		}
		t.Logf("%d alive, at most %d held", alive, maxHeld)
		require.LessOrEqual(t, maxHeld, alive+alive/5)
	})
}

func TestMemoryFreesPeakOfExpiredSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		const peak = 50_000
		for range peak {
			mustCreate(t, m, testRecord(rand.Text(), time.Minute))
		}
		for i := range m.shards { // without these, a table would be made anew
			r := testRecord("bob", 2*time.Hour)
			r.Key[0] = byte(i)
			mustCreate(t, m, r)
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

func TestMemoryFreesOnlyFewExpiredSessionsPerCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		for range 50_000 {
			mustCreate(t, m, testRecord(rand.Text(), time.Minute))
		}
		time.Sleep(time.Hour)
		maxFreed := 0
		for range 1000 {
			before := m.entryCount()
			mustCreate(t, m, testRecord(rand.Text(), time.Minute))
			maxFreed = max(maxFreed, before+1-m.entryCount())
		}
		t.Logf("at most %d in one call", maxFreed)
		require.Positive(t, maxFreed)
		require.LessOrEqual(t, maxFreed, 4*sweepPerLogin)
	})
}

// Sessions end in every way there is. A day later one session is still remembered, and
// memory holds nothing else.
func TestMemoryFreesEverythingThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		const users = 200
		for i := range users {
			owner := strconv.Itoa(i)
			var created []Record
			for range 8 {
				r := rememberedFor(testRecord(owner, time.Minute), time.Hour)
				mustCreate(t, m, r)
				created = append(created, r)
			}
			require.NoError(t, errOf(m.Delete(t.Context(), created[0].Key, ReasonLoggedOut)))
			require.NoError(t, errOf(m.Delete(t.Context(), created[1].Key, ReasonEnded)))
			moved := rememberedFor(testRecord(owner, time.Minute), 2*time.Hour)
			require.NoError(t, m.Replace(t.Context(), created[2].Key, 0, moved))
			again := rememberedFor(testRecord(owner, time.Minute), time.Hour)
			require.NoError(t, m.Replace(t.Context(), moved.Key, 0, again))
			require.NoError(t, errOf(m.Delete(t.Context(), again.Key, ReasonCredentialsChanged)))
			require.NoError(t, errOf(m.Create(t.Context(), testRecord(owner, time.Minute), Limit{Max: 2})))
		}
		last := rememberedFor(testRecord("0", time.Minute), 48*time.Hour)
		mustCreate(t, m, last)
		require.Greater(t, m.entryCount(), 8*users, "this test needs much to free")

		time.Sleep(24 * time.Hour)
		m.sweepAll()
		require.Equal(t, 1, m.entryCount())
		require.Equal(t, 1, m.ownerCount())
		require.True(t, isLoadable(m, last.Key))
	})
}

// The Touch of a request that was accepted in time may arrive while a login is sweeping.
func TestMemorySweepSparesSessionTouchedMeanwhile(t *testing.T) {
	m := NewMemory()
	longAgo := TimeOf(time.Now()).Add(-time.Hour - Grace - time.Second)
	sessions := make([]Record, 40) // in one shard, more than one sweep covers
	for i := range sessions {
		sessions[i] = testRecord("alice", time.Hour)
		sessions[i].Key[0] = 0
		mustCreate(t, m, sessions[i])
	}
	s := &m.shards[0]
	s.Lock()
	for _, r := range sessions {
		slot := s.find(r.Key)
		slot.lastSeen, slot.sweepAt = longAgo, 0
	}
	before := s.sweepPos
	s.Unlock()
	swept := func() bool {
		s.Lock()
		defer s.Unlock()
		return s.sweepPos != before
	}

	list := m.lockOwner(sessions[0].Owner)
	var sweeping sync.WaitGroup
	sweeping.Go(func() { m.sweep(sessions[0].Key) })
	for !swept() {
		runtime.Gosched()
	}
	for _, r := range sessions { // the sweep has read the shard, and waits for the list
		require.NoError(t, m.Touch(t.Context(), r.Key, longAgo.Add(time.Hour)-1))
	}
	list.Unlock()
	sweeping.Wait()
	for _, r := range sessions {
		require.True(t, isLoadable(m, r.Key))
	}
}
