package redisstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// The cache may still hold what this process has overwritten: the server notifies each
// connection in its own time.
func TestRecentWritesOverrideTheCache(t *testing.T) {
	w := newRecentWrites(50 * time.Millisecond)
	a, b := newSession(newOwner()), newSession(newOwner())
	copy(b.Key[:2], a.Key[:2]) // so that they share a bucket
	requireMayUseCache := func(key store.Key, lastSeen store.Time, ok bool) {
		t.Helper()
		gotLastSeen, gotOK := w.mayUseCache(key)
		require.Equal(t, ok, gotOK)
		if ok {
			require.Equal(t, lastSeen, gotLastSeen)
		}
	}
	requireMayUseCache(a.Key, 0, true)
	w.addTouch(a.Key, 7)
	requireMayUseCache(a.Key, 7, true)
	requireMayUseCache(b.Key, 0, false)
	w.addTouch(a.Key, 5)
	requireMayUseCache(a.Key, 7, true)
	w.add(a.Key)
	requireMayUseCache(a.Key, 0, false)
	w.addTouch(a.Key, 9)
	requireMayUseCache(a.Key, 0, false)

	time.Sleep(60 * time.Millisecond)
	requireMayUseCache(a.Key, 0, true)
	requireMayUseCache(b.Key, 0, true)

	w.add(a.Key)
	w.addTouch(b.Key, 3)
	w.addTouch(a.Key, 4) // must not hide a's write
	requireMayUseCache(a.Key, 0, false)
	requireMayUseCache(b.Key, 0, false)
}
