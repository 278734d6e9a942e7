package redisstore

import (
	"context"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// client has a few calls use connections of their own, and puts those beyond them into
// one pipeline. A call by itself has its answer a third sooner, since no other goroutine
// has to write and read for it, and many at a time get more done in a pipeline (go test
// -run TestRedis -v . in internal/bench, with and without DisableAutoPipelining).
//
// Nobody reads on a connection that waits for a call: whoever finds that it has been
// closed meanwhile must be able to try again, so what may not happen twice takes the
// pipeline.
type client struct {
	rueidis.Client
	calls atomic.Int64
}

const alone = 2 // calls at a time that have connections of their own

func (c *client) Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	if c.calls.Add(1) > alone || !cmd.IsRetryable() {
		cmd = cmd.ToPipe()
	}
	defer c.calls.Add(-1)
	return c.Client.Do(ctx, cmd)
}
