package store

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"
)

func TestMemoryForgetsWhyASessionEndedAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		deleted, limited := testRecord("alice", time.Minute), testRecord("bob", time.Minute)
		mustCreate(t, m, deleted, limited)
		require.NoError(t, errOf(m.Delete(t.Context(), deleted.Key, ReasonTheftSuspected)))
		last := testRecord("bob", 2*time.Hour)
		require.NoError(t, errOf(m.Create(t.Context(), last, Limit{Max: 1})))

		time.Sleep(TombstoneLifetime - time.Millisecond)
		m.sweepAll()
		require.Equal(t, ReasonTheftSuspected, reasonOf(m, deleted.Key))
		require.Equal(t, ReasonTooManySessions, reasonOf(m, limited.Key))
		time.Sleep(time.Millisecond)
		m.sweepAll()
		require.Empty(t, reasonOf(m, deleted.Key))
		require.Empty(t, reasonOf(m, limited.Key))
		require.Equal(t, 1, m.entryCount(), "only the session that is alive")
	})
}

// So that logging in and out takes no memory.
func TestMemoryKeepsNothingOfWhatNobodyWillAskFor(t *testing.T) {
	m := NewMemory()
	for _, reason := range []Reason{ReasonLoggedOut, ReasonReplaced, ReasonLoginIncomplete} {
		r := testRecord("alice", time.Hour)
		mustCreate(t, m, r)
		require.NoError(t, errOf(m.Delete(t.Context(), r.Key, reason)))
		require.Zero(t, m.entryCount(), reason)
	}
	require.NoError(t, errOf(m.Delete(t.Context(), newTestKey(), ReasonEnded)))
	require.Zero(t, m.entryCount(), "of what was never there")
}

func TestMemoryTellsOfAMoveForGraceOrOfARevivalToTheEnd(t *testing.T) {
	for _, c := range []struct {
		rotated       Time // after the login
		expires, told time.Duration
	}{
		{0, 30 * 24 * time.Hour, Grace},
		{1, Grace / 2, Grace},
		{1, 30 * 24 * time.Hour, 30 * 24 * time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			m, r := NewMemory(), testRecord("alice", time.Hour)
			next := rememberedFor(testRecord("alice", time.Hour), c.expires)
			next.Authenticated = TimeOf(time.Now())
			next.Details.Rotated = next.Authenticated + c.rotated
			next.Expires = next.Details.RememberUntil
			mustCreate(t, m, r)
			require.NoError(t, m.Replace(t.Context(), r.Key, r.Version, next))

			time.Sleep(c.told - time.Millisecond)
			m.sweepAll()
			require.Equal(t, next.Key, movedKey(m, r.Key))
			require.Equal(t, 2, m.entryCount())
			time.Sleep(time.Millisecond)
			m.sweepAll()
			require.Zero(t, movedKey(m, r.Key))
			require.Equal(t, 1, m.entryCount(), "only the session, which Grace keeps")
		})
	}
}

func TestMemoryKeepsARememberedSessionUntilThenAndGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := NewMemory(), rememberedFor(testRecord("alice", time.Minute), 30*24*time.Hour)
		mustCreate(t, m, r)
		time.Sleep(30*24*time.Hour + Grace - time.Millisecond)
		m.sweepAll()
		require.True(t, isLoadable(m, r.Key))
		time.Sleep(time.Millisecond)
		m.sweepAll()
		require.False(t, isLoadable(m, r.Key))
		require.Empty(t, reasonOf(m, r.Key), "nobody ended it")
		require.Zero(t, m.entryCount())
	})
}

func TestMemoryCountsARememberedSessionUntilThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, r := NewMemory(), rememberedFor(testRecord("alice", time.Minute), time.Hour)
		mustCreate(t, m, r)
		next := func() error {
			ended, err := m.Create(t.Context(), testRecord("alice", time.Minute), Limit{Max: 1, Refuse: true})
			require.Empty(t, ended)
			return err
		}
		time.Sleep(time.Hour - time.Millisecond)
		require.ErrorIs(t, next(), ErrLimit)
		require.ErrorIs(t, m.Touch(t.Context(), r.Key, TimeOf(time.Now())), ErrNotFound, "remembered is not alive")
		time.Sleep(time.Millisecond)
		require.NoError(t, next())
	})
}

// Sessions come and go in every way there is. A day later one is still remembered,
// and nothing else is held.
func TestMemoryHoldsNothingOfWhatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		const users = 200
		for i := range users {
			owner := strconv.Itoa(i)
			var keys []Record
			for range 8 {
				r := rememberedFor(testRecord(owner, time.Minute), time.Hour)
				mustCreate(t, m, r)
				keys = append(keys, r)
			}
			require.NoError(t, errOf(m.Delete(t.Context(), keys[0].Key, ReasonLoggedOut)))
			require.NoError(t, errOf(m.Delete(t.Context(), keys[1].Key, ReasonEnded)))
			moved := rememberedFor(testRecord(owner, time.Minute), 2*time.Hour)
			require.NoError(t, m.Replace(t.Context(), keys[2].Key, 0, moved))
			again := rememberedFor(testRecord(owner, time.Minute), time.Hour)
			require.NoError(t, m.Replace(t.Context(), moved.Key, 0, again))
			require.NoError(t, errOf(m.Delete(t.Context(), again.Key, ReasonCredentialsChanged)))
			require.NoError(t, errOf(m.Create(t.Context(), testRecord(owner, time.Minute), Limit{Max: 2})))
		}
		last := rememberedFor(testRecord("0", time.Minute), 48*time.Hour)
		mustCreate(t, m, last)
		require.Greater(t, m.entryCount(), 8*users, "for this test, much has to be held")

		time.Sleep(24 * time.Hour)
		m.sweepAll()
		require.Equal(t, 1, m.entryCount())
		require.Equal(t, 1, m.ownerCount())
		require.True(t, isLoadable(m, last.Key))
	})
}

// A move is told of for as long as a session is remembered: for weeks.
func TestMemoryHoldsNoValuesOfASessionThatMoved(t *testing.T) {
	m, r := NewMemory(), testRecord("alice", time.Hour)
	mustCreate(t, m, r)
	held := func() weak.Pointer[Session] {
		next := rememberedFor(testRecord("alice", time.Hour), 30*24*time.Hour)
		next.Values = make([]byte, 100<<10)
		require.NoError(t, m.Replace(t.Context(), r.Key, r.Version, next))
		require.NoError(t, errOf(m.Delete(t.Context(), next.Key, ReasonLoggedOut)))
		return weak.Make(next.Session)
	}()
	runtime.GC()
	require.True(t, held.Value() == nil, "the mark of the move holds the session it led to")
	require.NotZero(t, movedKey(m, r.Key))
}

// A Delete has to wait for its owner's lock, and the session may move meanwhile.
func TestMemoryDeletesNoSessionThatMovedWhileItWaited(t *testing.T) {
	m := NewMemory()
	for range 500 {
		r, next := testRecord("alice", time.Hour), testRecord("alice", time.Hour)
		mustCreate(t, m, r)
		list := m.owners.lock("alice")
		var wg sync.WaitGroup
		var replaced, err error
		var ended Record
		for _, f := range []func(){
			func() { replaced = m.Replace(t.Context(), r.Key, r.Version, next) },
			func() { ended, err = m.Delete(t.Context(), r.Key, ReasonLoggedOut) },
		} {
			wg.Go(f)
			for range 10 {
				runtime.Gosched() // until it waits, most likely
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

func TestMemoryForgetsAWatcherWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		ctx, cancel := context.WithCancel(t.Context())
		told, others := 0, 0
		for range 100 {
			require.NoError(t, m.Watch(ctx, func(Ending) { told++ }))
		}
		require.NoError(t, m.Watch(t.Context(), func(Ending) { others++ }))
		end := func() {
			r := testRecord("alice", time.Hour)
			mustCreate(t, m, r)
			require.NoError(t, errOf(m.Delete(t.Context(), r.Key, ReasonLoggedOut)))
		}
		end()
		require.Equal(t, 100, told)

		cancel()
		end()
		require.Equal(t, 100, told, "told although the context was done")
		require.Equal(t, 2, others)
		synctest.Wait()
		require.Len(t, m.watchers.callbacks, 1)
	})
}

// No lock is held while a watcher is told.
func TestMemoryMayBeAskedByWhoIsTold(t *testing.T) {
	m := NewMemory()
	told := 0
	require.NoError(t, m.Watch(t.Context(), func(Ending) {
		told++
		owned, err := m.ByOwner(t.Context(), "alice")
		require.NoError(t, err)
		require.Len(t, owned, 2-told, "told of what had not happened")
		for i := range m.shards {
			m.Load(t.Context(), Key{byte(i)})
		}
		for range 1000 { // some of which share their owner's lock with alice
			mustCreate(t, m, testRecord(rand.Text(), time.Hour))
		}
	}))
	r, last := testRecord("alice", time.Hour), testRecord("alice", time.Hour)
	mustCreate(t, m, r)
	require.NoError(t, errOf(m.Create(t.Context(), last, Limit{Max: 1})))
	require.NoError(t, errOf(m.Delete(t.Context(), last.Key, ReasonEnded)))
	require.Equal(t, 2, told)
}

func TestMemoryWatchersComeAndGoUnderLoad(t *testing.T) {
	m := NewMemory()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				ctx, cancel := context.WithCancel(t.Context())
				m.Watch(ctx, func(Ending) {})
				r := testRecord("alice", time.Hour)
				m.Create(ctx, r, Limit{Max: 2})
				m.Delete(ctx, r.Key, ReasonEnded)
				cancel()
			}
		})
	}
	wg.Wait()
}

// remembering is r, which Replace may revive for so long.
func rememberedFor(r Record, long time.Duration) Record {
	r.Details = &Details{RememberUntil: TimeOf(time.Now()).Add(long)}
	return r
}

// reasonOf is why what was at a key has ended, as far as Memory knows.
func reasonOf(m *Memory, key Key) Reason {
	_, err := m.Load(context.Background(), key)
	var ended *EndedError
	if errors.As(err, &ended) {
		return ended.Reason
	}
	return ""
}

// movedTo is where what was at a key has moved, as far as Memory knows.
func movedKey(m *Memory, key Key) Key {
	_, err := m.Load(context.Background(), key)
	var moved *MovedError
	if errors.As(err, &moved) {
		return moved.To
	}
	return Key{}
}
