package acceptance

import (
	"strings"
	"sync"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// cachingBackend is a remote backend with a local cache, which fillCache fills.
type cachingBackend struct {
	*failingBackend
	mu        sync.Mutex
	cached    map[store.Key]store.Record
	requested []store.Key
}

func (k *cachingBackend) Cached(key store.Key) (store.Record, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.requested = append(k.requested, key)
	r, ok := k.cached[key]
	return r, ok
}

// fillCache caches the requested sessions that exist.
func (k *cachingBackend) fillCache(t *testing.T) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.requested {
		if r, err := k.Backend.Load(t.Context(), key); err == nil {
			k.cached[key] = r
		}
	}
	require.NotEmpty(t, k.cached)
}

// K2: a session in the cache causes no call. Otherwise the guard loads only sessions whose
// cookie it has signed. A cached session ends at its idle timeout.
func TestCachedSessionCausesNoBackendCall(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &cachingBackend{failingBackend: newFailingBackend(), cached: map[store.Key]store.Record{}}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		b := s.browse()
		b.login("ada")
		require.True(t, b.loggedIn())
		require.Equal(t, 1, backend.callCounts()["Load"], "the session was not cached yet")

		backend.fillCache(t)
		backend.failOn("Load")
		require.True(t, b.loggedIn(), "although Load fails")
		require.Equal(t, 1, backend.callCounts()["Load"])

		forger := s.browse()
		for _, value := range []string{"A", strings.Repeat("A", 64), b.Cookies()[sessionCookie][1:] + "A"} {
			forger.SetCookies(map[string]string{sessionCookie: value})
			require.False(t, forger.loggedIn())
		}
		require.Equal(t, 1, backend.callCounts()["Load"], "unsigned cookies cause no call")

		advance(idle)
		backend.failOn()
		require.False(t, b.loggedIn())
		require.Equal(t, 1, backend.callCounts()["Delete"])
	})
}
