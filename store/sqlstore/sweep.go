package sqlstore

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	batch      = 1000
	sweepEvery = time.Minute
	// sweepMargin is how far the clocks of nodes may be apart: one that is ahead
	// must not delete what lives on for the others.
	sweepMargin = 10 * time.Minute
)

// Sweep deletes what may be forgotten, until ctx is done: at once, and then about
// once a minute, a thousand rows at a time. Without it the table grows for ever;
// nothing else depends on it. Any number of nodes may run it, and it is enough if one
// does:
//
//	go sessions.Sweep(ctx)
//
// What it can not delete it logs, and tries again the next time. A row stays for ten
// minutes longer than it has to by this node's clock, and one idle timeout longer than
// the session, at the most: clocks that are further apart than that end sessions.
func (s *Store) Sweep(ctx context.Context) {
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.logger.ErrorContext(ctx, "sqlstore: deleting what may be forgotten", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepEvery/2 + rand.N(sweepEvery)): // not all nodes at once
		}
	}
}

// sweep deletes until there is less than a batch.
func (s *Store) sweep(ctx context.Context) error {
	for {
		var deleted int64
		err := s.call(ctx, "deleting", func(ctx context.Context) error {
			return s.transact(ctx, func(ctx context.Context, q querier) error {
				result, err := q.ExecContext(ctx, s.forget, int64(now().Add(-sweepMargin)))
				if err == nil {
					deleted, err = result.RowsAffected()
				}
				return err
			})
		})
		if err != nil || deleted < batch {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond): // for who waits to write
		}
	}
}
