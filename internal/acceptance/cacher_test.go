package acceptance

import (
	"strings"
	"sync"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// knowing is a remote backend that remembers what it has been told to.
type knowing struct {
	*failingBackend
	mu    sync.Mutex
	known map[store.Key]store.Record
	asked []store.Key
}

func (k *knowing) Cached(key store.Key) (store.Record, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, key)
	r, ok := k.known[key]
	return r, ok
}

// remember takes whatever has been asked for and is there.
func (k *knowing) remember(t *testing.T) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.asked {
		if r, err := k.Backend.Load(t.Context(), key); err == nil {
			k.known[key] = r
		}
	}
	require.NotEmpty(t, k.known)
}

// K2: what a Cacher knows costs the backend nothing, what it does not know is asked for
// only if we have signed it, and what is over is over.
func TestCachedSessionCausesNoBackendCall(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &knowing{failingBackend: newFailingBackend(), known: map[store.Key]store.Record{}}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		b := s.browse()
		b.login("ada")
		require.True(t, b.loggedIn())
		require.Equal(t, 1, backend.callCounts()["Load"], "it was not known yet")

		backend.remember(t)
		backend.failOn("Load")
		require.True(t, b.loggedIn(), "though nobody can be asked")
		require.Equal(t, 1, backend.callCounts()["Load"])

		forger := s.browse()
		for _, value := range []string{"A", strings.Repeat("A", 144), b.Cookies()[sessionCookie][1:] + "A"} {
			forger.SetCookies(map[string]string{sessionCookie: value})
			require.False(t, forger.loggedIn())
		}
		require.Equal(t, 1, backend.callCounts()["Load"], "what nobody has signed is not asked for")

		advance(idle)
		backend.failOn()
		require.False(t, b.loggedIn())
		require.Equal(t, 1, backend.callCounts()["Delete"])
	})
}
