package saver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

const (
	limit    = 64 << 10
	deadline = 5 * time.Second // of a request
)

// slow is a backend whose calls are counted and take a millisecond.
type slow struct {
	store.Backend
	loads, saves atomic.Int64
	onSave       func(ctx context.Context) error // nil, or what happens in place of a Save if it returns an error
}

func (s *slow) Load(ctx context.Context, key store.Key) (store.Record, error) {
	s.loads.Add(1)
	time.Sleep(time.Millisecond)
	if err := ctx.Err(); err != nil {
		return store.Record{}, err
	}
	return s.Backend.Load(ctx, key)
}

func (s *slow) Save(ctx context.Context, r store.Record) error {
	s.saves.Add(1)
	time.Sleep(time.Millisecond)
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.onSave != nil {
		if err := s.onSave(ctx); err != nil {
			return err
		}
	}
	return s.Backend.Save(ctx, r)
}

// newSession returns a backend with one session.
func newSession(t *testing.T) (*slow, *store.Session) {
	t.Helper()
	b := &slow{Backend: store.NewMemory()}
	return b, addSession(t, b, 1)
}

func addSession(t *testing.T, b *slow, key byte) *store.Session {
	t.Helper()
	now := store.TimeOf(time.Now())
	rec := store.Record{LastSeen: now, Session: &store.Session{
		Key: store.Key{key}, ID: "id", Owner: "ada", Authenticated: now, Expires: now.Add(time.Hour), IdleTimeout: time.Hour,
	}}
	_, err := b.Create(t.Context(), rec, store.Limit{})
	require.NoError(t, err)
	return rec.Session
}

// change returns the changes of a request that opened an empty session and set a value.
func change(t *testing.T, key string, value any) values.Changes {
	t.Helper()
	var open values.OpenSessions
	s := values.NewOpenSession(nil, "app")
	open.Add(s)
	s.Session.Values[key] = value
	changes, err := open.Changes(false)
	require.NoError(t, err)
	return changes
}

// stored returns the values in the backend.
func stored(t *testing.T, b *slow, session *store.Session) map[any]any {
	t.Helper()
	rec, err := b.Backend.Load(t.Context(), session.Key)
	require.NoError(t, err)
	bag, err := values.Unmarshal(rec.Values)
	require.NoError(t, err)
	m, err := bag["app"].Decode()
	require.NoError(t, err)
	return m
}

// saveAtOnce saves a value and a list element for each of n requests, in turns by the
// queues, and returns the errors.
func saveAtOnce(t *testing.T, session *store.Session, n int, queues ...*Queue) []error {
	t.Helper()
	var saving sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		changes := change(t, fmt.Sprintf("key%d", i), i)
		changes = append(changes, change(t, "list", []any{i})...)
		saving.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			_, errs[i] = queues[i%len(queues)].Save(ctx, session, changes)
		})
	}
	saving.Wait()
	return errs
}

// requireIdle checks that a queue holds nothing.
func requireIdle(t *testing.T, queues ...*Queue) {
	t.Helper()
	time.Sleep(10 * time.Millisecond) // the last backend call
	synctest.Wait()
	for _, q := range queues {
		require.Empty(t, q.lines)
	}
}

// L4
func TestParallelSavesAreStoredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, session := newSession(t)
		q := New(b, limit)
		errs := saveAtOnce(t, session, 1000, q)
		require.NoError(t, errors.Join(errs...))
		m := stored(t, b, session)
		require.Len(t, m, 1001)
		require.Len(t, m["list"], 1000)
		require.EqualValues(t, 2, b.saves.Load(), "the first, and all that waited for it")
		require.Zero(t, b.loads.Load())
		requireIdle(t, q)
	})
}

// L4: processes that save the same session do not keep each other from it.
func TestSeveralProcessesLoseNoSave(t *testing.T) {
	for _, processes := range []int{2, 20} {
		t.Run(fmt.Sprint(processes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const requests = 1000
				b, session := newSession(t)
				var queues []*Queue
				for range processes {
					queues = append(queues, New(b, limit))
				}
				begun := time.Now()
				errs := saveAtOnce(t, session, requests, queues...)
				require.NoError(t, errors.Join(errs...))
				m := stored(t, b, session)
				require.Len(t, m, requests+1)
				require.Len(t, m["list"], requests)
				t.Logf("%d saves and %d loads in %v", b.saves.Load(), b.loads.Load(), time.Since(begun))
				require.LessOrEqual(t, b.saves.Load()+b.loads.Load(), int64(requests))
				requireIdle(t, queues...)
			})
		})
	}
}

func TestSessionsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, session := newSession(t)
		q := New(b, limit)
		begun := time.Now()
		var saving sync.WaitGroup
		for i := range 100 {
			session := addSession(t, b, byte(i+2))
			changes := change(t, "k", i)
			saving.Go(func() {
				saved, err := q.Save(t.Context(), session, changes)
				require.NoError(t, err)
				require.EqualValues(t, 1, saved.Version)
			})
		}
		saving.Wait()
		require.Equal(t, time.Millisecond, time.Since(begun))
		require.Empty(t, stored(t, b, session))
		requireIdle(t, q)
	})
}

// A save that conflicts again and again must not spin.
func TestConflictsThatDoNotEndAreFewAndEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, session := newSession(t)
		b.onSave = func(context.Context) error { return store.ErrConflict }
		q := New(b, limit)
		begun := time.Now()
		errs := saveAtOnce(t, session, 10, q)
		for _, err := range errs {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		require.Less(t, time.Since(begun), deadline+10*time.Millisecond)
		require.Less(t, b.saves.Load(), int64(150), "saves in 5 seconds")
		requireIdle(t, q)
	})
}

// A request that gives up leaves nothing behind and holds nobody up.
func TestWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, session := newSession(t)
		hang := make(chan struct{})
		b.onSave = func(context.Context) error { <-hang; return nil } // it ignores its context
		q := New(b, limit)
		first := make(chan error, 1)
		changes := change(t, "first", 1)
		go func() { _, err := q.Save(t.Context(), session, changes); first <- err }()
		synctest.Wait()

		begun := time.Now()
		for _, err := range saveAtOnce(t, session, 100, q) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		require.Equal(t, deadline, time.Since(begun))
		synctest.Wait()
		require.Empty(t, q.lines[session.Key].waiting)

		close(hang)
		require.NoError(t, <-first)
		requireIdle(t, q)
		require.Equal(t, map[any]any{"first": 1}, stored(t, b, session), "who was told of an error has not saved")
	})
}

// Requests whose changes are stored together have deadlines of their own.
func TestOneOfSeveralGivesUpAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, session := newSession(t)
		begun := time.Now()
		b.onSave = func(context.Context) error {
			if b.saves.Load() > 1 && time.Since(begun) < 2*time.Second { // all but the first wait
				return store.ErrConflict
			}
			return nil
		}
		q := New(b, limit)
		var saving sync.WaitGroup
		for i, patience := range []time.Duration{deadline, time.Second, time.Second, deadline, deadline} {
			changes := change(t, fmt.Sprint(i), i)
			saving.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				_, err := q.Save(ctx, session, changes)
				if patience == deadline {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.Equal(t, patience, time.Since(begun))
				}
			})
			synctest.Wait() // in this order
		}
		saving.Wait()
		require.Equal(t, map[any]any{"0": 0, "3": 3, "4": 4}, stored(t, b, session))
		requireIdle(t, q)
	})
}

// What one request cannot save is no other's fault.
func TestChangesThatCannotBeStoredFailAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, session := newSession(t)
		q := New(b, 1000)
		large := change(t, "large", strings.Repeat("x", 2000))
		var saving sync.WaitGroup
		var refused atomic.Int64
		for i := range 30 {
			changes := change(t, fmt.Sprint(i), i)
			if i%3 == 1 {
				changes = large
			}
			saving.Go(func() {
				_, err := q.Save(t.Context(), session, changes)
				if errors.Is(err, values.ErrTooLarge) {
					refused.Add(1)
				} else {
					require.NoError(t, err)
				}
			})
		}
		saving.Wait()
		require.EqualValues(t, 10, refused.Load())
		require.Len(t, stored(t, b, session), 20)
		requireIdle(t, q)

		before := b.saves.Load()
		_, err := q.Save(t.Context(), session, large)
		require.ErrorIs(t, err, values.ErrTooLarge)
		require.LessOrEqual(t, b.saves.Load()-before, int64(0), "nothing to save")
	})
}

// L3: nobody saves a session that has ended.
func TestEveryoneLearnsThatTheSessionHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, session := newSession(t)
		q := New(b, limit)
		_, err := b.Delete(t.Context(), session.Key, store.ReasonLoggedOut)
		require.NoError(t, err)
		for _, err := range saveAtOnce(t, session, 20, q) {
			require.ErrorIs(t, err, store.ErrNotFound)
		}
		requireIdle(t, q)
	})
}

// A backend that panics ends neither the process nor the saving of the session.
func TestPanicOfTheBackendIsAnErrorForThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, session := newSession(t)
		b.onSave = func(context.Context) error { panic("broken") }
		q := New(b, limit)
		changes := change(t, "k", 1)
		var saving sync.WaitGroup
		var panicked, failed atomic.Int64
		for range 10 {
			saving.Go(func() {
				defer func() {
					if recover() != nil {
						panicked.Add(1)
					}
				}()
				if _, err := q.Save(t.Context(), session, changes); err != nil {
					require.ErrorContains(t, err, "broken")
					failed.Add(1)
				}
			})
		}
		saving.Wait()
		require.Equal(t, []int64{1, 9}, []int64{panicked.Load(), failed.Load()})
		requireIdle(t, q)

		b.onSave = nil
		require.NoError(t, errors.Join(saveAtOnce(t, session, 10, q)...))
	})
}
