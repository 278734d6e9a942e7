package redisstore

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// prepareConfig fills in defaults, and refuses what does not work.
func prepareConfig(c Config) (Config, error) {
	if c.Prefix == "" {
		c.Prefix = "sessionguard:"
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.WaitReplicas.Number > 0 && c.WaitReplicas.Timeout == 0 {
		c.WaitReplicas.Timeout = c.Timeout / 2
	}
	return c, checkConfig(c)
}

// prepareOptions refuses options that would break a guarantee, fills in defaults and caps
// the timeouts.
func prepareOptions(o rueidis.ClientOption, c Config) (rueidis.ClientOption, Config, error) {
	c, err := prepareConfig(c)
	if err == nil {
		err = checkOptions(o, c)
	}
	if err != nil {
		return o, c, err
	}
	o.DisableCache = c.CacheFor == 0
	o.DisableAutoPipelining = true // client decides about pipelining
	if o.PipelineMultiplex == 0 {
		// All calls share one pipeline: the fuller it is, the less each call costs, here and on
		// the server. With rueidis's choice, two or four, 64 clients get a fifth less done.
		o.PipelineMultiplex = -1
	}
	if o.MaxFlushDelay == 0 {
		// With many concurrent calls, half of the cost is the pipeline's writes. Waiting
		// this long for more calls to share a write serves a third more with 64 clients. The
		// first maxDirectCalls bypass the pipeline and do not wait.
		o.MaxFlushDelay = 50 * time.Microsecond
	}
	if o.ReadBufferEachConn == 0 {
		o.ReadBufferEachConn = bufferSize
	}
	if o.WriteBufferEachConn == 0 {
		o.WriteBufferEachConn = bufferSize
	}
	if o.CacheSizeEachConn <= 0 {
		o.CacheSizeEachConn = rueidis.DefaultCacheBytes
	}

	// Connecting is dialing and a handshake, each within Dialer.Timeout. A ping detects a
	// dead connection after one or two intervals of KeepAlive, plus ConnWriteTimeout. Some
	// waits in rueidis are bounded only by these, not by a context.
	capDuration(&o.Dialer.Timeout, c.Timeout/2)
	capDuration(&o.Dialer.KeepAlive, c.Timeout/4)
	capDuration(&o.ConnWriteTimeout, c.Timeout/2)
	capDuration(&o.Sentinel.Dialer.Timeout, c.Timeout/2)
	capDuration(&o.Sentinel.Dialer.KeepAlive, c.Timeout/4)
	if o.Sentinel.TopologyRefreshInterval == 0 {
		o.Sentinel.TopologyRefreshInterval = 5 * time.Second // what rueidis recommends
	}
	if o.RetryDelay == nil {
		o.RetryDelay = retryDelay
	}
	return o, c, nil
}

// bufferSize is the size of each connection's two buffers: a longer value takes more reads, and
// rueidis's half of a megabyte would be kept for each of maxDirectCalls connections.
const bufferSize = 64 << 10

// checkConfig returns an error for a Config that does not work.
func checkConfig(c Config) error {
	switch {
	case strings.ContainsAny(c.Prefix, "{}"):
		return errors.New("redisstore: Config.Prefix must not contain braces: they would become the hash tag")
	case c.Timeout < 0 || c.CacheFor < 0:
		return errors.New("redisstore: Config.Timeout and CacheFor must not be negative")
	case c.WaitReplicas.Number < 0 || c.WaitReplicas.Timeout < 0:
		return errors.New("redisstore: Config.WaitReplicas.Number and Timeout must not be negative")
	case c.WaitReplicas.Timeout >= c.Timeout:
		return errors.New("redisstore: Config.WaitReplicas.Timeout must be shorter than Config.Timeout, which bounds the whole call")
	case c.WaitReplicas.Number == 0 && c.WaitReplicas != (WaitReplicas{}):
		return errors.New("redisstore: Config.WaitReplicas needs a Number: with none, no call waits")
	}
	return nil
}

// checkOptions returns an error for options that would break a guarantee.
func checkOptions(o rueidis.ClientOption, c Config) error {
	switch {
	case c.WaitReplicas.Number > 0 && o.BlockingPoolSize > 0 && o.BlockingPoolSize < 2*maxWaiting:
		return fmt.Errorf("redisstore: Config.WaitReplicas needs a ClientOption.BlockingPoolSize of at least %d, or every Watch and every call that waits would take a connection from the others, for any time", 2*maxWaiting)
	case o.ReplicaOnly, o.SendToReplicas != nil, o.ReadNodeSelector != nil,
		len(o.Standalone.ReplicaAddress) > 0:
		return errors.New("redisstore: ClientOption must not read from replicas: a replica may not know yet that a session has ended")
	case o.ConnLifetime != 0:
		return errors.New("redisstore: unset ClientOption.ConnLifetime: a command in flight when its connection expires would be executed twice")
	case o.DialFn != nil:
		return errors.New("redisstore: unset ClientOption.DialFn and use DialCtxFn, which can be bounded")
	case c.CacheFor > 0 && o.DisableCache:
		return errors.New("redisstore: Config.CacheFor needs the cache that ClientOption.DisableCache disables")
	case c.CacheFor > 0 && o.AlwaysRESP2:
		return errors.New("redisstore: Config.CacheFor needs RESP3; unset ClientOption.AlwaysRESP2")
	case c.CacheFor > 0 && (o.ClientTrackingOptions != nil || o.NewCacheStoreFn != nil):
		return errors.New("redisstore: Config.CacheFor needs its own invalidation; unset ClientOption.ClientTrackingOptions and NewCacheStoreFn")
	}
	return nil
}

// capDuration sets *d to limit if it is unset or longer.
func capDuration(d *time.Duration, limit time.Duration) {
	if *d <= 0 || *d > limit {
		*d = limit
	}
}

// retryDelay allows three retries of a command that may be repeated. Retrying until the
// timeout would delay the error when a server is down. A command that bypasses the pipeline
// is repeated only if the server has answered, since client sends it again.
func retryDelay(attempt int, cmd rueidis.Completed, err error) time.Duration {
	_, answered := rueidis.IsRedisErr(err)
	if attempt > 3 || !answered && !cmd.IsPipe() {
		return -1
	}
	return time.Duration(attempt*attempt) * 5 * time.Millisecond
}
