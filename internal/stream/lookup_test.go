package stream

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// requireLookups checks that the backend was asked at these times after begun.
func (f *fixture) requireLookups(begun time.Time, at ...time.Duration) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var got []time.Duration
	for _, when := range f.lookups {
		got = append(got, when.Sub(begun))
	}
	require.Equal(f, at, got)
}

func TestSessionIsPolledEveryHalfMinuteWithoutAWatcher(t *testing.T) {
	unwatched(t, func(f *fixture) {
		begun := time.Now()
		f.open("a")
		time.Sleep(2*time.Minute + time.Second)
		f.requireLookups(begun, 0, 30*time.Second, time.Minute, 90*time.Second, 2*time.Minute)
	})
}

func TestSessionIsPolledEveryFiveMinutesWithAWatcher(t *testing.T) {
	watched(t, func(f *fixture) {
		begun := time.Now()
		f.open("a")
		time.Sleep(16 * time.Minute)
		f.requireLookups(begun, 0, 5*time.Minute, 10*time.Minute, 15*time.Minute)
	})
}

// L1, L2: to the millisecond, also between two polls.
func TestStreamIsCutAtTheDeadline(t *testing.T) {
	for name, end := range map[string]struct{ err, cause error }{
		"an ended session":   {&store.EndedError{Reason: store.ReasonIdle}, endedError{store.ReasonIdle}},
		"an unknown session": {store.ErrNotFound, endedError{store.ReasonExpired}},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(f *fixture) {
				deadline := time.Now().Add(12345 * time.Millisecond)
				f.live(1, deadline)
				f.open("a").Close() // so that the others are checked from the start
				s := f.open("a")
				f.fail(end.err)
				s.requireCut(end.cause, 12345*time.Millisecond)
			})
		})
	}
}

func TestEndIsFoundByTheNextPoll(t *testing.T) {
	unwatched(t, func(f *fixture) {
		s := f.open("a")
		time.Sleep(time.Second)
		f.fail(&store.EndedError{Reason: store.ReasonEnded})
		s.requireCut(endedError{store.ReasonEnded}, 29*time.Second)
	})
	watched(t, func(f *fixture) { // TRUNCATE reports nothing
		s := f.open("a")
		time.Sleep(time.Second)
		f.fail(store.ErrNotFound)
		s.requireCut(endedError{store.ReasonExpired}, 5*time.Minute-time.Second)
	})
}

// Activity elsewhere moves the deadline, which the lookup at the old one finds.
func TestDeadlineThatMovesKeepsTheStream(t *testing.T) {
	both(t, func(f *fixture) {
		s := f.open("a")
		for range 5 {
			time.Sleep(lifetime - time.Minute)
			f.live(1, time.Now().Add(lifetime))
			s.requireOpen()
		}
		s.requireCut(endedError{store.ReasonIdle}, lifetime)
	})
}

// L5: a backend that is down cuts nothing before the deadline, and then does.
func TestFailedLookupCutsOnlyAtTheDeadline(t *testing.T) {
	both(t, func(f *fixture) {
		s := f.open("a")
		f.fail(errDown)
		s.requireCut(errUnavailable, lifetime)
		require.ErrorIs(f, context.Cause(s.ctx), errDown, "and it says why")
	})
	both(t, func(f *fixture) { // also in Open
		f.fail(errDown)
		s := f.open("a")
		time.Sleep(10 * time.Minute)
		s.requireOpen()
		f.live(1, time.Now().Add(lifetime))
		time.Sleep(lifetime - time.Second)
		s.requireOpen()
	})
}

func TestLookupIsBoundedByTheTimeout(t *testing.T) {
	both(t, func(f *fixture) {
		f.lookUp(func(ctx context.Context, _ store.Key, _ string) (store.Record, error) {
			<-ctx.Done()
			return store.Record{}, ctx.Err()
		})
		begun := time.Now()
		s := f.open("a")
		require.Equal(f, timeout, time.Since(begun))
		s.requireOpen()
		s.requireCut(errUnavailable, lifetime) // when the last lookup gives up
	})
}

// L1: nor does the end wait for a backend that ignores its context.
func TestBackendThatHangsCutsShortlyAfterTheDeadline(t *testing.T) {
	both(t, func(f *fixture) {
		s := f.open("a")
		hang := make(chan struct{})
		f.lookUp(func(_ context.Context, key store.Key, id string) (store.Record, error) {
			<-hang
			return record(id, key, time.Now().Add(lifetime)), nil
		})
		s.requireCut(errUnavailable, lifetime+timeout)
		close(hang) // what it returns now revives nothing
		f.looked()
		time.Sleep(time.Hour)
		require.Zero(f, f.looked())
		require.Equal(f, errUnavailable, context.Cause(s.ctx))
	})
}

// Open waits for a backend like that, and its request with it, but not past the end.
func TestBackendThatHangsInOpenIsBoundedToo(t *testing.T) {
	unwatched(t, func(f *fixture) {
		hang := make(chan struct{})
		f.lookUp(func(context.Context, store.Key, string) (store.Record, error) { <-hang; return store.Record{}, errDown })
		opened := make(chan *testResponse)
		go func() { opened <- f.open("a") }()
		time.Sleep(lifetime + timeout - time.Millisecond)
		synctest.Wait()
		s := f.allStreams()[0]
		require.Equal(f, open, s.current())
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Equal(f, cut, s.current())
		close(hang)
		require.ErrorIs(f, context.Cause((<-opened).ctx), errUnavailable)
	})
}

func (s *Stream) current() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func TestLookupThatPanicsCountsAsFailed(t *testing.T) {
	both(t, func(f *fixture) {
		s := f.open("a")
		f.lookUp(func(context.Context, store.Key, string) (store.Record, error) { panic("a nil client") })
		time.Sleep(lifetime - time.Millisecond)
		s.requireOpen()
		s.requireCut(errUnavailable, time.Millisecond)
		require.Contains(f, f.log.String(), "a nil client")
	})
}

// Whatever the backend does on a lookup must not find a lock held.
func TestLookupMayUseTheRegistry(t *testing.T) {
	both(t, func(f *fixture) {
		s := f.open("a")
		f.lookUp(func(_ context.Context, key store.Key, id string) (store.Record, error) {
			f.Moved(record(id, key, time.Now().Add(lifetime)))
			f.EndKeys(map[store.Key]bool{{9}: true}, store.ReasonEnded)
			f.End(id, store.ReasonEnded)
			return record(id, key, time.Now().Add(lifetime)), nil
		})
		time.Sleep(watchedPollInterval)
		synctest.Wait()
		require.Equal(f, endedError{store.ReasonEnded}, context.Cause(s.ctx))
	})
}

// L1, L2, L5: a lookup that takes long, or activity that is recorded at the same time, takes
// nothing back of a login that has moved the session meanwhile.
func TestALoginDuringALookupCounts(t *testing.T) {
	for _, late := range []string{"lookup", "activity"} {
		both(t, func(f *fixture) {
			s := f.open("a")
			before, after := record("a", store.Key{1}, time.Now().Add(lifetime)), record("a", store.Key{2}, time.Now().Add(7*time.Minute))
			after.Authenticated = store.TimeOf(time.Now())
			f.lookUp(func(context.Context, store.Key, string) (store.Record, error) {
				if store.TimeOf(time.Now()) >= after.Deadline() {
					return store.Record{}, &store.EndedError{Reason: store.ReasonAbsolute}
				}
				f.Moved(after)
				return before, nil
			})
			time.Sleep(watchedPollInterval)
			synctest.Wait()
			if late == "activity" {
				f.Moved(before)
			}
			f.EndKeys(map[store.Key]bool{{1}: true}, store.ReasonLoggedOut)
			s.requireOpen()
			s.requireCut(endedError{store.ReasonAbsolute}, 2*time.Minute)
		})
	}
}
