// Package deadline makes contexts that end at a deadline, and that have no timer unless somebody
// waits for their end. To start and stop one takes a good part of a short call, and whoever reads
// from a connection only sets its deadline.
package deadline

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// After is [context.WithTimeout].
func After(parent context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	at := time.Now().Add(timeout)
	if earlier, ok := parent.Deadline(); ok && earlier.Before(at) {
		at = earlier
	}
	c := &ctx{Context: parent, at: at}
	return c, c.end
}

type ctx struct {
	context.Context // the parent
	at              time.Time

	mu     sync.Mutex
	timed  context.Context // nil until somebody needs a channel
	cancel context.CancelFunc
	ended  error // what Err returns from now on
}

// end is the [context.CancelFunc].
func (c *ctx) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed != nil {
		c.cancel()
	}
	c.ended = cmp.Or(c.err(), context.Canceled)
}

// Deadline implements [context.Context].
func (c *ctx) Deadline() (time.Time, bool) { return c.at, true }

// Done implements [context.Context].
func (c *ctx) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.at)
		if c.ended != nil {
			c.cancel()
		}
	}
	return c.timed.Done()
}

// Err implements [context.Context].
func (c *ctx) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err()
}

func (c *ctx) err() error {
	switch {
	case c.ended != nil: // whatever has happened since
	case c.timed != nil:
		c.ended = c.timed.Err()
	case c.Context.Err() != nil:
		c.ended = c.Context.Err()
	case !time.Now().Before(c.at):
		c.ended = context.DeadlineExceeded
	}
	return c.ended
}

// Value implements [context.Context]. A context that is derived from this one, which asks for Done
// first, thus finds the context that ends it, and needs no goroutine to wait for that.
func (c *ctx) Value(key any) any {
	c.mu.Lock()
	from := c.timed
	c.mu.Unlock()
	if from == nil {
		from = c.Context
	}
	return from.Value(key)
}
