package redisstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/store"
)

// Cached implements [store.Cacher]. It returns only live sessions. Only the server knows
// that a session has ended, because a touch or a login on another node may have extended
// it.
func (s *Store) Cached(key store.Key) (store.Record, bool) {
	if s.cache == nil {
		return store.Record{}, false
	}
	lastSeen, ok := s.recent.mayUseCache(key)
	if !ok {
		return store.Record{}, false
	}
	r, ok := s.cache.get(key)
	if !ok {
		return store.Record{}, false
	}
	r.LastSeen = max(r.LastSeen, lastSeen)
	return r, r.Deadline() > store.TimeOf(time.Now().Add(cacheMargin))
}

// cacheMargin is how long before its deadline a session is no longer taken from the cache.
const cacheMargin = time.Second

// fillCache reads a session into the cache, and so asks the server to report changes of it.
// It ignores errors, because Load meets them too.
func (s *Store) fillCache(ctx context.Context, key store.Key) {
	if s.cache == nil {
		return
	}
	if _, ok := s.recent.mayUseCache(key); ok {
		// A redirection to the node that a slot is moving to runs the command outside of DoCache,
		// and rueidis 1.0.79 panics there on a connection without a pipeline.
		get := rueidis.Completed(s.client.B().Get().Key(s.sessionKey(key)).Cache()).ToPipe()
		s.client.DoCache(ctx, rueidis.Cacheable(get), s.cacheFor)
	}
}

// noteWrite records that this process may have written a session.
func (s *Store) noteWrite(key store.Key) {
	if s.cache != nil {
		s.recent.add(key)
	}
}

// A cache holds the sessions that were read on all connections. An entry is valid for
// cacheFor from when it was requested, and only while the connection lives on which the
// server would report a change.
type cache struct {
	cacheFor      time.Duration
	start         time.Time    // the base of monotonic times
	invalidatedAt atomic.Int64 // relative to start; entries requested until then are invalid
	shards        [64]shard
}

// A shard has two generations of entries. When the young one is full, or older than
// cacheFor, it replaces the old one.
type shard struct {
	sync.RWMutex
	young, old   map[store.Key]cachedRecord
	youngSince   time.Duration // relative to start
	youngSize    int           // in bytes
	maxYoungSize int
}

type cachedRecord struct {
	store.Record
	requestedAt time.Duration // relative to start
	conn        *connection
}

func newCache(cacheFor time.Duration, size int) *cache {
	c := &cache{cacheFor: cacheFor, start: time.Now()}
	for i := range c.shards {
		c.shards[i].maxYoungSize = size / 2 / len(c.shards)
	}
	c.clear()
	return c
}

func (c *cache) now() time.Duration { return time.Since(c.start) }

func (c *cache) shard(key store.Key) *shard { return &c.shards[int(key[0])%len(c.shards)] }

func (c *cache) get(key store.Key) (store.Record, bool) {
	s := c.shard(key)
	s.RLock()
	e, ok := s.young[key]
	if !ok {
		e, ok = s.old[key]
	}
	s.RUnlock()
	if !ok || e.conn.closed.Load() || c.now() >= e.requestedAt+c.cacheFor ||
		e.requestedAt <= time.Duration(c.invalidatedAt.Load()) {
		return store.Record{}, false
	}
	return e.Record, true
}

func (c *cache) put(key store.Key, e cachedRecord) {
	const overhead = 600 // a session without its strings and values, and its map entries
	d := e.Detail()
	size := overhead + len(e.ID) + len(e.Owner) + len(e.Stamp) + len(e.Values) +
		len(e.Client) + len(e.Address) + len(d.SuccessorToken) + len(d.Label)
	if d.Actor != nil {
		size += len(d.Actor.Owner) + len(d.Actor.ID) + len(d.Actor.Key)
	}
	if d.Device != nil {
		size += len(d.Device.PublicKey)
	}
	s := c.shard(key)
	if size > s.maxYoungSize {
		return
	}
	s.Lock()
	defer s.Unlock()
	if now := c.now(); s.youngSize+size > s.maxYoungSize || now-s.youngSince > c.cacheFor {
		s.old, s.young, s.youngSize, s.youngSince = s.young, map[store.Key]cachedRecord{}, 0, now
	}
	s.young[key] = e
	s.youngSize += size
}

func (c *cache) remove(key store.Key) {
	s := c.shard(key)
	s.Lock()
	defer s.Unlock()
	delete(s.young, key)
	delete(s.old, key)
}

// invalidateAll also invalidates the entries that reads in flight will add.
func (c *cache) invalidateAll() {
	c.invalidatedAt.Store(int64(c.now()))
	c.clear()
}

func (c *cache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		s.young, s.old, s.youngSize = map[store.Key]cachedRecord{}, map[store.Key]cachedRecord{}, 0
		s.Unlock()
	}
}
