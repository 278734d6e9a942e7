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

// What a Watcher is told. Others may be using the database, so that only what is
// told of a promise's own sessions is looked at.
var watching = []promise{
	{"a watcher is told of every Delete once, and why", func(t T, b store.Backend) {
		l := listen(t, t.Context(), b)
		want := map[string][]store.Reason{}
		var all []store.Record
		for range slices.Concat(kept, notKept) {
			all = append(all, newRecord())
		}
		all = append(all, pastTheirEnd()...)
		create(t, b, all...)
		reasons := append(slices.Concat(kept, notKept), store.ReasonIdle, store.ReasonAbsolute)
		for i, r := range all {
			reason := reasons[i%len(reasons)]
			end(t, b, r.Key, reason)
			want[r.ID] = []store.Reason{reason}
		}
		requireTold(t, b, l, want)
	}},
	{"a watcher is told of what a limit ends", func(t T, b store.Backend) {
		l := listen(t, t.Context(), b)
		first := newRecord()
		second, last := newRecordOf(first.Owner, 5), newRecordOf(first.Owner, 0)
		remembered := remembered(first.Owner)[0]
		create(t, b, first, second, remembered)
		_, err := b.Create(t.Context(), newRecordOf(first.Owner, 0), store.Limit{Max: 2, Refuse: true})
		require.ErrorIs(t, err, store.ErrLimit)
		_, err = b.Create(t.Context(), last, store.Limit{Max: 2})
		require.NoError(t, err)
		requireTold(t, b, l, map[string][]store.Reason{
			remembered.ID: {store.ReasonTooManySessions}, first.ID: {store.ReasonTooManySessions}, second.ID: nil, last.ID: nil,
		})
	}},
	{"a watcher is not told of what is no ending", func(t T, b store.Backend) {
		l := listen(t, t.Context(), b)
		r, absent := newRecord(), newRecord()
		next := successor(r)
		create(t, b, r)
		load(t, b, r.Key)
		require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen+1))
		require.NoError(t, b.Save(t.Context(), r.Key, r.Version, nil))
		require.ErrorIs(t, b.Save(t.Context(), r.Key, r.Version, nil), store.ErrConflict)
		require.ErrorIs(t, b.Replace(t.Context(), r.Key, r.Version, next), store.ErrConflict)
		requireOwned(t, b, r.Owner, r.Key)
		require.NoError(t, b.Replace(t.Context(), r.Key, r.Version+1, next))
		requireMoved(t, b, r, next)
		requireRefused(t, b, absent)
		requireNothingToEnd(t, b, absent.Key, store.ReasonEnded)
		requireTold(t, b, l, map[string][]store.Reason{r.ID: nil, absent.ID: nil})

		// Now it ends, and cannot end twice.
		end(t, b, next.Key, store.ReasonTheftSuspected)
		requireNothingToEnd(t, b, next.Key, store.ReasonEnded)
		requireMoved(t, b, r, next)
		requireTold(t, b, l, map[string][]store.Reason{r.ID: {store.ReasonTheftSuspected}})
	}},
	{"a watcher is not told of sessions that just expired", func(t T, b store.Backend) {
		l := listen(t, t.Context(), b)
		live := newRecord()
		expired := dead(live.Owner)
		create(t, b, expired...)
		for _, added := range []store.Record{live, newRecordOf(live.Owner, 0)} {
			_, err := b.Create(t.Context(), added, store.Limit{Max: 1})
			require.NoError(t, err)
		}
		requireTold(t, b, l, map[string][]store.Reason{
			expired[0].ID: nil, expired[1].ID: nil, live.ID: {store.ReasonTooManySessions},
		})
	}},
	{"every watcher is told", func(t T, b store.Backend) {
		listeners := []*listener{listen(t, t.Context(), b), listen(t, t.Context(), b), listen(t, t.Context(), b)}
		r, other := newRecord(), newRecord()
		create(t, b, r, other)
		end(t, b, r.Key, store.ReasonEnded)
		end(t, b, other.Key, store.ReasonLoggedOut)
		for _, l := range listeners {
			requireTold(t, b, l, map[string][]store.Reason{r.ID: {store.ReasonEnded}, other.ID: {store.ReasonLoggedOut}})
		}
	}},
	{"a watcher is told no more when its context is done", func(t T, b store.Backend) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done, other := listen(t, ctx, b), listen(t, t.Context(), b)
		r := newRecord()
		create(t, b, r)
		end(t, b, r.Key, store.ReasonEnded)
		require.NoError(t, done.await(t.Context(), r.ID))
		cancel()

		// What is under way may still come, so it need not be the first. Each is
		// given time: until the other has been told of it, and of a later one.
		for range rounds {
			r := newRecord()
			create(t, b, r)
			end(t, b, r.Key, store.ReasonEnded)
			requireTold(t, b, other, map[string][]store.Reason{r.ID: {store.ReasonEnded}})
			if len(done.of(r.ID)) == 0 {
				return
			}
		}
		require.Fail(t, "it is told for ever")
	}},

	{"what a watcher is told of has happened", func(t T, b store.Backend) {
		l := listen(t, t.Context(), b)
		for i := range rounds {
			r := newRecord()
			create(t, b, r)
			byDelete := func() (err error) {
				_, err = b.Delete(t.Context(), r.Key, store.ReasonEnded)
				return err
			}
			byLimit := func() (err error) {
				_, err = b.Create(t.Context(), newRecordOf(r.Owner, 0), store.Limit{Max: 1})
				return err
			}
			errs := together(
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
	{"of what ends a session at once a watcher is told of one", func(t T, b store.Backend) {
		l := listen(t, t.Context(), b)
		want := map[string][]store.Reason{}
		for range rounds {
			r, limited := newRecord(), newRecord()
			create(t, b, r, limited)
			_, reason := requireOneDeletes(t, b, r)
			want[r.ID] = []store.Reason{reason}
			want[limited.ID] = []store.Reason{requireDeleteOrLimit(t, b, limited)}
		}
		requireTold(t, b, l, want)
	}},
}

// A listener keeps what a watcher is told, by the session's ID.
type listener struct {
	mu   sync.Mutex
	told map[string][]store.Reason
	more chan struct{} // holds one if something has come since the last look
}

func listen(t T, ctx context.Context, b store.Backend) *listener {
	t.Helper()
	l := &listener{told: map[string][]store.Reason{}, more: make(chan struct{}, 1)}
	require.NoError(t, b.(store.Watcher).Watch(ctx, l.hear))
	return l
}

func (l *listener) hear(e store.Ending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told[e.ID] = append(l.told[e.ID], e.Reason)
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *listener) of(id string) []store.Reason {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.told[id])
}

// patience is how long a backend may take to tell of an ending. Only a failing
// test waits for so long.
const patience = 10 * time.Second

// await waits until it has been told of a session.
func (l *listener) await(ctx context.Context, id string) error {
	timeout := time.After(patience)
	for len(l.of(id)) == 0 {
		select {
		case <-l.more:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return fmt.Errorf("the watcher was not told of the session %s", id)
		}
	}
	return nil
}

// requireTold checks what a listener has been told of sessions: exactly these
// reasons, in the end. It gives what should not come as much time as others take
// that end later, one on either node.
func requireTold(t T, b store.Backend, l *listener, want map[string][]store.Reason) {
	t.Helper()
	later := []store.Record{newRecord(), newRecord()}
	create(t, b, later...)
	for _, r := range later {
		end(t, b, r.Key, store.ReasonLoggedOut)
		require.NoError(t, l.await(t.Context(), r.ID))
	}
	for id, reasons := range want {
		if len(reasons) > 0 {
			require.NoError(t, l.await(t.Context(), id))
		}
	}
	for id, reasons := range want {
		require.Equal(t, reasons, l.of(id), "what the watcher was told of the session %s", id)
	}
}
