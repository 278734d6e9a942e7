package redisstore

import (
	"errors"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// settle refuses what breaks a promise, and fills in the rest.
func settle(o rueidis.ClientOption, c Config) (rueidis.ClientOption, Config, error) {
	refuse := func(text string) (rueidis.ClientOption, Config, error) {
		return o, c, errors.New("redisstore: " + text)
	}
	switch {
	case strings.ContainsAny(c.Prefix, "{}"):
		return refuse("Config.Prefix: no braces, they would become the hash tag")
	case c.Timeout < 0 || c.CacheFor < 0:
		return refuse("Config.Timeout and CacheFor must not be negative")
	case o.ReplicaOnly, o.SendToReplicas != nil, o.ReadNodeSelector != nil,
		len(o.Standalone.ReplicaAddress) > 0:
		return refuse("no reading from replicas: one may not know yet that a session has ended")
	case o.ConnLifetime != 0:
		return refuse("ClientOption.ConnLifetime: what has happened on a connection that expires would be done twice")
	case o.DialFn != nil:
		return refuse("ClientOption.DialFn: use DialCtxFn, which can be bounded")
	case c.CacheFor > 0 && o.DisableCache:
		return refuse("Config.CacheFor needs the cache that ClientOption.DisableCache disables")
	case c.CacheFor > 0 && o.AlwaysRESP2:
		return refuse("Config.CacheFor needs RESP3; unset ClientOption.AlwaysRESP2")
	case c.CacheFor > 0 && (o.ClientTrackingOptions != nil || o.NewCacheStoreFn != nil):
		return refuse("Config.CacheFor: unset ClientOption.ClientTrackingOptions and NewCacheStoreFn, invalidation depends on them")
	}

	if c.Prefix == "" {
		c.Prefix = "sessionguard:"
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	o.DisableCache = c.CacheFor == 0
	o.DisableAutoPipelining = true // see client
	if o.MaxFlushDelay == 0 {
		// Half of what many calls at a time cost is the writes of the pipeline. To wait
		// for so long for more of them serves a third more with 16 or 64 clients, and a
		// call by itself, which has no pipeline, does not wait.
		o.MaxFlushDelay = 50 * time.Microsecond
	}
	if o.CacheSizeEachConn <= 0 {
		o.CacheSizeEachConn = rueidis.DefaultCacheBytes
	}

	// A connection is made by dialing and a handshake, each within Dialer.Timeout. One
	// that is dead is found by a ping after one or two intervals of KeepAlive, and
	// ConnWriteTimeout. Some of what rueidis waits for heeds only these, not a context.
	atMost(&o.Dialer.Timeout, c.Timeout/2)
	atMost(&o.Dialer.KeepAlive, c.Timeout/4)
	atMost(&o.ConnWriteTimeout, c.Timeout/2)
	atMost(&o.Sentinel.Dialer.Timeout, c.Timeout/2)
	atMost(&o.Sentinel.Dialer.KeepAlive, c.Timeout/4)
	if o.Sentinel.TopologyRefreshInterval == 0 {
		o.Sentinel.TopologyRefreshInterval = 5 * time.Second // what rueidis recommends
	}
	if o.RetryDelay == nil {
		o.RetryDelay = retryDelay
	}
	return o, c, nil
}

func atMost(d *time.Duration, most time.Duration) {
	if *d <= 0 || *d > most {
		*d = most
	}
}

// retryDelay tries what only reads three times more, rather than until the timeout: a
// server that is down is a quick error.
func retryDelay(attempt int, _ rueidis.Completed, _ error) time.Duration {
	if attempt > 3 {
		return -1
	}
	return time.Duration(attempt*attempt) * 5 * time.Millisecond
}
