package redisstore

import (
	"context"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// A client gives the first maxDirectCalls concurrent calls connections of their own, and
// sends the others through one pipeline. A call gets its response sooner that way, because
// no other goroutine has to write and read for it. Four clients get twice as much done, and
// 16 a quarter more if each writes. More than 16 get more done in a pipeline
// (go test -run TestRedis -v . in internal/bench, with other values of maxDirectCalls).
//
// Nobody reads from a connection of its own while it is idle, so a call may find that the
// server has closed it, and must then be retried. Calls that must not be executed twice
// therefore use the pipeline. So does a call that has failed, and at once (see retryDelay):
// the other connections were probably closed too.
type client struct {
	rueidis.Client
	direct   int64 // how many calls at a time bypass the pipeline; 0 for a client of the application's
	inFlight atomic.Int64
}

// maxDirectCalls is the number of concurrent calls that bypass the pipeline, if the pool has as
// many connections.
const maxDirectCalls = 16

func directCalls(o rueidis.ClientOption) int {
	if o.BlockingPoolSize > 0 {
		return min(maxDirectCalls, o.BlockingPoolSize)
	}
	return maxDirectCalls // rueidis's default has room for them
}

func (c *client) Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	defer c.inFlight.Add(-1)
	if c.inFlight.Add(1) <= c.direct && cmd.IsRetryable() {
		result := c.Client.Do(ctx, cmd)
		if result.NonRedisError() == nil || ctx.Err() != nil {
			return result
		}
	}
	return c.Client.Do(ctx, cmd.ToPipe())
}
