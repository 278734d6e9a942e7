package redisstore

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// written is what this process has written within CacheFor: it must see that at once,
// while what it has cached, or is reading, may be older. A session shares its place with
// others, and is taken for written when one of those is.
type written struct {
	cacheFor time.Duration
	start    time.Time // for times that no clock sets back
	places   [1 << 16]atomic.Pointer[write]
}

type write struct {
	key     store.Key
	until   time.Duration // since start
	touched bool          // and no more than that
	seen    store.Time    // by the last touch
}

func newWritten(cacheFor time.Duration) *written {
	return &written{cacheFor: cacheFor, start: time.Now()}
}

// add makes since say no for key, as long as what was read until now may be cached.
func (w *written) add(key store.Key) { w.put(write{key: key}) }

// touch makes since tell of seen.
func (w *written) touch(key store.Key, seen store.Time) {
	w.put(write{key: key, touched: true, seen: seen})
}

func (w *written) put(next write) {
	place := w.place(next.key)
	for {
		next := next
		old := place.Load()
		next.until = time.Since(w.start) + w.cacheFor
		if w.counts(old) {
			next.touched = next.touched && old.touched && old.key == next.key
			next.seen = max(next.seen, old.seen)
		}
		if place.CompareAndSwap(old, &next) {
			return
		}
	}
}

// since says whether the cache may be asked for a session, and when this process has
// touched it last, if it has.
func (w *written) since(key store.Key) (seen store.Time, ok bool) {
	last := w.place(key).Load()
	if !w.counts(last) {
		return 0, true
	}
	return last.seen, last.touched && last.key == key
}

func (w *written) counts(last *write) bool {
	return last != nil && time.Since(w.start) < last.until
}

func (w *written) place(key store.Key) *atomic.Pointer[write] {
	return &w.places[binary.BigEndian.Uint16(key[:])]
}
