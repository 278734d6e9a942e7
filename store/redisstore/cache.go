package redisstore

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// loadCached returns a session that this process has read within CacheFor, or reads it
// so that the server tells when it changes. It believes only in sessions that go on:
// whatever ends one, a touch or a login elsewhere may have undone it meanwhile.
func (s *Store) loadCached(ctx context.Context, key store.Key) (store.Record, bool) {
	if s.written == nil {
		return store.Record{}, false
	}
	seen, ok := s.written.since(key)
	if !ok {
		return store.Record{}, false
	}
	result := s.client.DoCache(ctx, s.client.B().Get().Key(s.keyOf(key)).Cache(), s.cacheFor)
	value, err := result.AsBytes()
	if err != nil {
		return store.Record{}, false
	}
	if result.IsCacheHit() {
		// rueidis goes by the wall clock, which may be set back. And whoever waits for
		// another's read gets it however late it comes.
		left := time.Duration(result.CachePXAT()-time.Now().UnixMilli()) * time.Millisecond
		if left <= 0 || left > s.cacheFor {
			return store.Record{}, false
		}
	}
	r, err := decode(key, value)
	if err != nil {
		return store.Record{}, false
	}
	r.LastSeen = max(r.LastSeen, seen)
	return r, r.End() > store.TimeOf(time.Now().Add(nearEnd))
}

// nearEnd is how long a session must have left, not to be read again.
const nearEnd = time.Second

func (s *Store) wrote(key store.Key) {
	if s.written != nil {
		s.written.add(key)
	}
}

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
