package store

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemoryRemovesWatcherWhenItsContextIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		ctx, cancel := context.WithCancel(t.Context())
		stopped, others := 0, 0
		for range 100 {
			require.NoError(t, m.Watch(ctx, func(Ending) { stopped++ }))
		}
		require.NoError(t, m.Watch(t.Context(), func(Ending) { others++ }))
		end := func() {
			r := testRecord("alice", time.Hour)
			mustCreate(t, m, r)
			require.NoError(t, errOf(m.Delete(t.Context(), r.Key, ReasonLoggedOut)))
		}
		end()
		require.Equal(t, 100, stopped)

		cancel()
		end()
		require.Equal(t, 100, stopped, "called although the context was done")
		require.Equal(t, 2, others)
		synctest.Wait()
		require.Len(t, m.watchers.callbacks, 1)
	})
}

// Memory holds no lock while it calls a watcher.
func TestMemoryWatcherMayCallMemory(t *testing.T) {
	m := NewMemory()
	called := 0
	require.NoError(t, m.Watch(t.Context(), func(Ending) {
		called++
		owned, err := m.ByOwner(t.Context(), "alice", "", MaxPage)
		require.NoError(t, err)
		require.Len(t, owned, 2-called, "called before the session had ended")
		for i := range m.shards {
			m.Load(t.Context(), Key{byte(i)})
		}
		for range 1000 { // some of whose owners share alice's lock
			mustCreate(t, m, testRecord(rand.Text(), time.Hour))
		}
	}))
	r, last := testRecord("alice", time.Hour), testRecord("alice", time.Hour)
	mustCreate(t, m, r)
	require.NoError(t, errOf(m.Create(t.Context(), last, Limit{Max: 1})))
	require.NoError(t, errOf(m.Delete(t.Context(), last.Key, ReasonEnded)))
	require.Equal(t, 2, called)
}

func TestMemoryAddsAndRemovesWatchersUnderLoad(t *testing.T) {
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
