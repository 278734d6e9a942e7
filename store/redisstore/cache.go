package redisstore

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/store"
)

// Cached implements [store.Cacher]. It believes only in sessions that go on: whatever
// ends one, a touch or a login elsewhere may have undone it meanwhile.
func (s *Store) Cached(key store.Key) (store.Record, bool) {
	if s.cache == nil {
		return store.Record{}, false
	}
	seen, ok := s.written.since(key)
	if !ok {
		return store.Record{}, false
	}
	r, ok := s.cache.get(key)
	if !ok {
		return store.Record{}, false
	}
	r.LastSeen = max(r.LastSeen, seen)
	return r, r.Deadline() > store.TimeOf(time.Now().Add(nearEnd))
}

// nearEnd is how long a session must have left, not to be read again.
const nearEnd = time.Second

// fill reads a session so that it is cached, and so that the server tells when it
// changes. What goes wrong then goes wrong for Load as well.
func (s *Store) fill(ctx context.Context, key store.Key) {
	if s.cache == nil {
		return
	}
	if _, ok := s.written.since(key); ok {
		s.client.DoCache(ctx, s.client.B().Get().Key(s.keyOf(key)).Cache(), s.cacheFor)
	}
}

func (s *Store) wrote(key store.Key) {
	if s.cache != nil {
		s.written.add(key)
	}
}

// cache is what has been read on all connections, for no longer than cacheFor since it
// was asked for, and for no longer than the connection lives, on which the server would
// tell of a change.
type cache struct {
	cacheFor time.Duration
	start    time.Time    // for times that no clock sets back
	since    atomic.Int64 // what was asked for before is not believed
	shards   [64]shard
}

// A shard has two generations. When the younger one is full or old, the older one goes.
type shard struct {
	sync.RWMutex
	young, old map[store.Key]cached
	since      time.Duration
	size, most int // of young, in bytes
}

type cached struct {
	store.Record
	asked time.Duration // since start
	conn  *connection
}

func newCache(cacheFor time.Duration, size int) *cache {
	c := &cache{cacheFor: cacheFor, start: time.Now()}
	for i := range c.shards {
		c.shards[i].most = size / 2 / len(c.shards)
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
	if !ok || e.conn.closed.Load() || c.now() >= e.asked+c.cacheFor || e.asked <= time.Duration(c.since.Load()) {
		return store.Record{}, false
	}
	return e.Record, true
}

func (c *cache) put(key store.Key, e cached) {
	const overhead = 600 // a session's without its texts and values, and its places here
	size := overhead + len(e.ID) + len(e.Owner) + len(e.Stamp) + len(e.Values) + len(e.Detail().UserAgent) + len(e.Detail().SuccessorToken)
	s := c.shard(key)
	if size > s.most {
		return
	}
	s.Lock()
	defer s.Unlock()
	if now := c.now(); s.size+size > s.most || now-s.since > c.cacheFor {
		s.old, s.young, s.size, s.since = s.young, map[store.Key]cached{}, 0, now
	}
	s.young[key] = e
	s.size += size
}

func (c *cache) remove(key store.Key) {
	s := c.shard(key)
	s.Lock()
	defer s.Unlock()
	delete(s.young, key)
	delete(s.old, key)
}

// forget makes everything be asked for again, what is being read now as well.
func (c *cache) forget() {
	c.since.Store(int64(c.now()))
	c.clear()
}

func (c *cache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		s.young, s.old, s.size = map[store.Key]cached{}, map[store.Key]cached{}, 0
		s.Unlock()
	}
}

// A connection is rueidis's view of the cache. Its methods are called in the order in
// which the server answers and tells of changes, but for Flight and Cancel.
type connection struct {
	cache  *cache
	closed atomic.Bool

	mu    sync.Mutex
	reads map[string]*read // by the key's name
}

// A read is one that the server has not answered.
type read struct {
	began   time.Duration
	done    chan struct{}
	givenUp bool // by who asked; the answer may still come
	answer  rueidis.RedisMessage
	err     error
}

func (c *cache) connect(rueidis.CacheStoreOption) rueidis.CacheStore {
	return &connection{cache: c, reads: map[string]*read{}}
}

// Flight implements [rueidis.CacheStore]. Nobody asks who has looked here before.
func (c *connection) Flight(name, _ string, _ time.Duration, _ time.Time) (rueidis.RedisMessage, rueidis.CacheEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.reads[name]
	if ok && !r.givenUp {
		return rueidis.RedisMessage{}, r
	}
	if !c.closed.Load() {
		next := &read{began: c.cache.now(), done: make(chan struct{})}
		if ok {
			next.began = r.began // the answer that comes first is to the first of them
		}
		c.reads[name] = next
	}
	return rueidis.RedisMessage{}, nil
}

// Update implements [rueidis.CacheStore].
func (c *connection) Update(name, _ string, answer rueidis.RedisMessage) int64 {
	r := c.finish(name)
	if r == nil {
		return 0
	}
	if key, ok := keyIn(name); ok {
		value, err := answer.AsBytes()
		if err == nil {
			var record store.Record
			if record, err = decode(key, value); err == nil {
				c.cache.put(key, cached{record, r.began, c})
			}
		}
	}
	r.end(answer, nil)
	return 0
}

// Cancel implements [rueidis.CacheStore].
func (c *connection) Cancel(name, _ string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.reads[name]; ok && !r.givenUp {
		r.end(rueidis.RedisMessage{}, err)
		r.givenUp = true
	}
}

// Delete implements [rueidis.CacheStore].
func (c *connection) Delete(names []rueidis.RedisMessage) {
	if names == nil {
		c.cache.clear()
		return
	}
	for _, m := range names {
		name, _ := m.ToString()
		if key, ok := keyIn(name); ok {
			c.cache.remove(key)
		}
	}
}

// Close implements [rueidis.CacheStore].
func (c *connection) Close(err error) {
	c.closed.Store(true)
	c.mu.Lock()
	reads := c.reads
	c.reads = map[string]*read{}
	c.mu.Unlock()
	for _, r := range reads {
		r.end(rueidis.RedisMessage{}, err)
	}
}

func (c *connection) finish(name string) *read {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.reads[name]
	delete(c.reads, name)
	return r
}

func (r *read) end(answer rueidis.RedisMessage, err error) {
	if !r.givenUp {
		r.answer, r.err = answer, err
		close(r.done)
	}
}

// Wait implements [rueidis.CacheEntry].
func (r *read) Wait(ctx context.Context) (rueidis.RedisMessage, error) {
	select {
	case <-r.done:
		return r.answer, r.err
	case <-ctx.Done():
		return rueidis.RedisMessage{}, ctx.Err()
	}
}

func keyIn(name string) (store.Key, bool) {
	return parseMember(name[strings.LastIndexByte(name, ':')+1:])
}
