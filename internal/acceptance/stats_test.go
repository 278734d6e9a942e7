package acceptance

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// A panic of OnBackendCall is logged, and the call has its result all the same.
func TestBackendCallsAreReported(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		var mu sync.Mutex
		calls := map[string]int{}
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = backend
			c.OnBackendCall = func(method string, _ time.Duration, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					method += " failed"
				}
				calls[method]++
				panic("a panic of OnBackendCall")
			}
		})
		b := s.browse()
		b.login("ada")
		require.True(t, b.loggedIn())
		backend.failOn("Delete")
		requireUnavailable(t, b.Post("/logout"))
		require.Equal(t, 1, s.guard.Stats().UnfinishedEnds)
		backend.failOn()
		advance(time.Minute)
		require.Zero(t, s.guard.Stats().UnfinishedEnds)

		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 1, calls["Create"])
		require.Positive(t, calls["Load"])
		require.Positive(t, calls["Delete failed"])
		require.Equal(t, 1, calls["Delete"])
		require.Contains(t, s.log.String(), "OnBackendCall panicked")
	})
}

func TestStatsCountOpenStreams(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, b := streamingSite(t, store.NewMemory())
		require.Zero(t, s.guard.Stats().OpenStreams)
		first := b.openStream("/events")
		second := b.openStream("/events")
		synctest.Wait()
		require.Equal(t, 2, s.guard.Stats().OpenStreams)
		b.Post("/logout")
		require.False(t, first.stillOpen())
		require.False(t, second.stillOpen())
		advance(time.Minute)
		require.Zero(t, s.guard.Stats().OpenStreams)
	})
}
