package redisstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/sessionguard-go/sessionguard/store"
)

// A connection adapts the cache to rueidis, for one connection to the server. Except for
// Flight and Cancel, rueidis calls its methods in the order in which the server's responses
// and notifications arrive.
type connection struct {
	cache  *cache
	closed atomic.Bool

	mu    sync.Mutex
	reads map[string]*pendingRead // by Redis key
}

// A pendingRead is a read to which the server has not responded yet.
type pendingRead struct {
	requestedAt time.Duration // relative to the cache's start
	done        chan struct{}
	cancelled   bool // by the caller; the response may still arrive
	response    rueidis.RedisMessage
	err         error
}

func (c *cache) newConnection(rueidis.CacheStoreOption) rueidis.CacheStore {
	return &connection{cache: c, reads: map[string]*pendingRead{}}
}

// Flight implements [rueidis.CacheStore]. It never returns a cached value, because Load
// has already searched the cache.
func (c *connection) Flight(redisKey, _ string, _ time.Duration, _ time.Time) (rueidis.RedisMessage, rueidis.CacheEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.reads[redisKey]
	if ok && !r.cancelled {
		return rueidis.RedisMessage{}, r
	}
	if !c.closed.Load() {
		next := &pendingRead{requestedAt: c.cache.now(), done: make(chan struct{})}
		if ok {
			next.requestedAt = r.requestedAt // the next response belongs to the cancelled read
		}
		c.reads[redisKey] = next
	}
	return rueidis.RedisMessage{}, nil
}

// Update implements [rueidis.CacheStore].
func (c *connection) Update(redisKey, _ string, response rueidis.RedisMessage) int64 {
	r := c.takeRead(redisKey)
	if r == nil {
		return 0
	}
	if key, ok := keyFromRedisKey(redisKey); ok {
		value, err := response.AsBytes()
		if err == nil {
			var record store.Record
			if record, err = decode(key, value); err == nil {
				c.cache.put(key, cachedRecord{record, r.requestedAt, c})
			}
		}
	}
	r.complete(response, nil)
	return 0
}

// Cancel implements [rueidis.CacheStore].
func (c *connection) Cancel(redisKey, _ string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.reads[redisKey]; ok && !r.cancelled {
		r.complete(rueidis.RedisMessage{}, err)
		r.cancelled = true
	}
}

// Delete implements [rueidis.CacheStore].
func (c *connection) Delete(redisKeys []rueidis.RedisMessage) {
	if redisKeys == nil {
		c.cache.clear()
		return
	}
	for _, m := range redisKeys {
		redisKey, _ := m.ToString()
		if key, ok := keyFromRedisKey(redisKey); ok {
			c.cache.remove(key)
		}
	}
}

// Close implements [rueidis.CacheStore].
func (c *connection) Close(err error) {
	c.closed.Store(true)
	c.mu.Lock()
	reads := c.reads
	c.reads = map[string]*pendingRead{}
	c.mu.Unlock()
	for _, r := range reads {
		r.complete(rueidis.RedisMessage{}, err)
	}
}

// takeRead removes and returns the pending read of a Redis key, or nil.
func (c *connection) takeRead(redisKey string) *pendingRead {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.reads[redisKey]
	delete(c.reads, redisKey)
	return r
}

func (r *pendingRead) complete(response rueidis.RedisMessage, err error) {
	if !r.cancelled {
		r.response, r.err = response, err
		close(r.done)
	}
}

// Wait implements [rueidis.CacheEntry].
func (r *pendingRead) Wait(ctx context.Context) (rueidis.RedisMessage, error) {
	select {
	case <-r.done:
		return r.response, r.err
	case <-ctx.Done():
		return rueidis.RedisMessage{}, ctx.Err()
	}
}
