package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// watcherChecks test Watcher. Others may be using the database, so each check considers only
// the endings of its own sessions.
var watcherChecks = []check{
	{"a watcher receives every Delete once, with its reason", func(t T, b store.Backend) {
		l := watch(t, t.Context(), b)
		want := map[string][]store.Reason{}
		var records []store.Record
		for range slices.Concat(retainedReasons, unretainedReasons) {
			records = append(records, newRecord())
		}
		records = append(records, pastDeadline()...)
		mustCreate(t, b, records...)
		reasons := append(slices.Concat(retainedReasons, unretainedReasons), store.ReasonIdle, store.ReasonAbsolute)
		for i, r := range records {
			reason := reasons[i%len(reasons)]
			mustDelete(t, b, r.Key, reason)
			want[r.ID] = []store.Reason{reason}
		}
		requireEndings(t, b, l, want)
	}},
	{"a watcher receives the sessions that a limit ends", func(t T, b store.Backend) {
		l := watch(t, t.Context(), b)
		first := newRecord()
		second, last := newRecordFor(first.Owner, 5), newRecordFor(first.Owner, 0)
		remembered := remembered(first.Owner)[0]
		mustCreate(t, b, first, second, remembered)
		_, err := b.Create(t.Context(), newRecordFor(first.Owner, 0), store.Limit{Max: 2, Refuse: true})
		require.ErrorIs(t, err, store.ErrLimit)
		_, err = b.Create(t.Context(), last, store.Limit{Max: 2})
		require.NoError(t, err)
		requireEndings(t, b, l, map[string][]store.Reason{
			remembered.ID: {store.ReasonTooManySessions}, first.ID: {store.ReasonTooManySessions}, second.ID: nil, last.ID: nil,
		})
	}},
	{"a watcher receives nothing from other calls", func(t T, b store.Backend) {
		l := watch(t, t.Context(), b)
		r, absent := newRecord(), newRecord()
		next := successor(r)
		mustCreate(t, b, r)
		mustLoad(t, b, r.Key)
		require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen+1))
		mustSave(t, b, withValues(r, nil))
		require.ErrorIs(t, b.Save(t.Context(), withValues(r, nil)), store.ErrConflict)
		require.ErrorIs(t, b.Replace(t.Context(), r.Key, r.Version, next), store.ErrConflict)
		requireOwned(t, b, r.Owner, r.Key)
		require.NoError(t, b.Replace(t.Context(), r.Key, r.Version+1, next))
		requireMoved(t, b, r, next)
		requireStaysGone(t, b, absent)
		requireDeletesNothing(t, b, absent.Key, store.ReasonEnded)
		requireEndings(t, b, l, map[string][]store.Reason{r.ID: nil, absent.ID: nil})

		// A session ends only once.
		mustDelete(t, b, next.Key, store.ReasonTheftSuspected)
		requireDeletesNothing(t, b, next.Key, store.ReasonEnded)
		requireMoved(t, b, r, next)
		requireEndings(t, b, l, map[string][]store.Reason{r.ID: {store.ReasonTheftSuspected}})
	}},
	{"a watcher receives no expired sessions", func(t T, b store.Backend) {
		l := watch(t, t.Context(), b)
		live := newRecord()
		expired := longGone(live.Owner)
		mustCreate(t, b, expired...)
		for _, added := range []store.Record{live, newRecordFor(live.Owner, 0)} {
			_, err := b.Create(t.Context(), added, store.Limit{Max: 1})
			require.NoError(t, err)
		}
		requireEndings(t, b, l, map[string][]store.Reason{
			expired[0].ID: nil, expired[1].ID: nil, live.ID: {store.ReasonTooManySessions},
		})
	}},
	{"every watcher receives every ending", func(t T, b store.Backend) {
		listeners := []*listener{watch(t, t.Context(), b), watch(t, t.Context(), b), watch(t, t.Context(), b)}
		r, other := newRecord(), newRecord()
		mustCreate(t, b, r, other)
		mustDelete(t, b, r.Key, store.ReasonEnded)
		mustDelete(t, b, other.Key, store.ReasonLoggedOut)
		for _, l := range listeners {
			requireEndings(t, b, l, map[string][]store.Reason{r.ID: {store.ReasonEnded}, other.ID: {store.ReasonLoggedOut}})
		}
	}},
	{"a watcher receives nothing once its context is done", func(t T, b store.Backend) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done, other := watch(t, ctx, b), watch(t, t.Context(), b)
		r := newRecord()
		mustCreate(t, b, r)
		mustDelete(t, b, r.Key, store.ReasonEnded)
		require.NoError(t, done.await(t.Context(), r.ID))
		cancel()

		// Endings that are on their way may still arrive, so it is enough if one of the
		// next is not received. It has time until the other watcher has received it and
		// a later one.
		for range rounds {
			r := newRecord()
			mustCreate(t, b, r)
			mustDelete(t, b, r.Key, store.ReasonEnded)
			requireEndings(t, b, other, map[string][]store.Reason{r.ID: {store.ReasonEnded}})
			if len(done.reasonsFor(r.ID)) == 0 {
				return
			}
		}
		require.Fail(t, "the watcher still receives endings")
	}},

	{"a watcher receives an ending only after it has happened", func(t T, b store.Backend) {
		l := watch(t, t.Context(), b)
		for i := range rounds {
			r := newRecord()
			mustCreate(t, b, r)
			byDelete := func() (err error) {
				_, err = b.Delete(t.Context(), r.Key, store.ReasonEnded)
				return err
			}
			byLimit := func() (err error) {
				_, err = b.Create(t.Context(), newRecordFor(r.Owner, 0), store.Limit{Max: 1})
				return err
			}
			errs := concurrently(
				[]func() error{byDelete, byLimit}[i%2],
				func() error {
					if err := l.await(t.Context(), r.ID); err != nil {
						return err
					}
					_, err := b.Load(t.Context(), r.Key)
					return err
				},
			)
			require.NoError(t, errs[0])
			require.ErrorIs(t, errs[1], store.ErrNotFound)
		}
	}},
	{"a watcher receives one ending of a session that is ended concurrently", func(t T, b store.Backend) {
		l := watch(t, t.Context(), b)
		want := map[string][]store.Reason{}
		for range rounds {
			r, limited := newRecord(), newRecord()
			mustCreate(t, b, r, limited)
			_, reason := requireOneDeleteWins(t, b, r)
			want[r.ID] = []store.Reason{reason}
			want[limited.ID] = []store.Reason{requireDeleteOrLimitWins(t, b, limited)}
		}
		requireEndings(t, b, l, want)
	}},
}

// A listener collects the endings that a watcher receives, by session ID.
type listener struct {
	mu      sync.Mutex
	reasons map[string][]store.Reason
	arrived chan struct{} // holds one element if an ending has arrived since it was last read
}

// watch returns a listener that watches b until ctx is done.
func watch(t T, ctx context.Context, b store.Backend) *listener {
	t.Helper()
	l := &listener{reasons: map[string][]store.Reason{}, arrived: make(chan struct{}, 1)}
	require.NoError(t, b.(store.Watcher).Watch(ctx, l.receive))
	return l
}

func (l *listener) receive(e store.Ending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reasons[e.ID] = append(l.reasons[e.ID], e.Reason)
	select {
	case l.arrived <- struct{}{}:
	default:
	}
}

func (l *listener) reasonsFor(id string) []store.Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.reasons[id])
}

// endingTimeout is how long a backend may take to report an ending. Only a failing test
// waits that long.
const endingTimeout = 10 * time.Second

// await waits until the listener has received the ending of a session.
func (l *listener) await(ctx context.Context, id string) error {
	timeout := time.After(endingTimeout)
	for len(l.reasonsFor(id)) == 0 {
		select {
		case <-l.arrived:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return fmt.Errorf("the watcher did not receive the ending of session %s", id)
		}
	}
	return nil
}

// requireEndings checks that a listener receives exactly the endings in want, which are
// reasons by session ID. Endings that should not arrive have time to do so until those of two
// later sessions, one ended on each node, have arrived.
func requireEndings(t T, b store.Backend, l *listener, want map[string][]store.Reason) {
	t.Helper()
	later := []store.Record{newRecord(), newRecord()}
	mustCreate(t, b, later...)
	for _, r := range later {
		mustDelete(t, b, r.Key, store.ReasonLoggedOut)
		require.NoError(t, l.await(t.Context(), r.ID))
	}
	for id, reasons := range want {
		if len(reasons) > 0 {
			require.NoError(t, l.await(t.Context(), id))
		}
	}
	for id, reasons := range want {
		require.Equal(t, reasons, l.reasonsFor(id), "the endings of session %s", id)
	}
}
