package redisstore

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// recentWrites remembers which sessions this process has written within CacheFor. The
// process must see its own writes at once, but what it has cached or is reading may be
// older. Sessions share buckets, and a write counts for all sessions of its bucket.
type recentWrites struct {
	cacheFor time.Duration
	start    time.Time // the base of monotonic times
	buckets  [1 << 16]atomic.Pointer[recentWrite]
}

type recentWrite struct {
	key       store.Key
	until     time.Duration // relative to start
	touchOnly bool          // every write within cacheFor was a touch of key
	lastSeen  store.Time    // as of the last touch
}

func newRecentWrites(cacheFor time.Duration) *recentWrites {
	return &recentWrites{cacheFor: cacheFor, start: time.Now()}
}

// add records a write. The cache is not used for key while it may hold what was read
// before.
func (w *recentWrites) add(key store.Key) { w.put(recentWrite{key: key}) }

// addTouch records a touch. The cache may still be used for key, with seen applied.
func (w *recentWrites) addTouch(key store.Key, seen store.Time) {
	w.put(recentWrite{key: key, touchOnly: true, lastSeen: seen})
}

func (w *recentWrites) put(next recentWrite) {
	bucket := w.bucket(next.key)
	for {
		next := next
		old := bucket.Load()
		next.until = time.Since(w.start) + w.cacheFor
		if w.isRecent(old) {
			next.touchOnly = next.touchOnly && old.touchOnly && old.key == next.key
			next.lastSeen = max(next.lastSeen, old.lastSeen)
		}
		if bucket.CompareAndSwap(old, &next) {
			return
		}
	}
}

// mayUseCache reports whether the cache may be used for a session. lastSeen is the time of
// this process's last touch within cacheFor, or 0.
func (w *recentWrites) mayUseCache(key store.Key) (lastSeen store.Time, ok bool) {
	last := w.bucket(key).Load()
	if !w.isRecent(last) {
		return 0, true
	}
	return last.lastSeen, last.touchOnly && last.key == key
}

func (w *recentWrites) isRecent(last *recentWrite) bool {
	return last != nil && time.Since(w.start) < last.until
}

func (w *recentWrites) bucket(key store.Key) *atomic.Pointer[recentWrite] {
	return &w.buckets[binary.BigEndian.Uint16(key[:])]
}
