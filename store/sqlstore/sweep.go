package sqlstore

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	sweepBatchSize = 1000
	sweepInterval  = time.Minute
	// sweepMargin is how much the clocks of nodes may differ: a node whose clock is ahead
	// must not delete sessions that are live on the others.
	sweepMargin = 10 * time.Minute
)

// Sweep deletes rows that are no longer needed, until ctx is done. It starts at once, runs
// again about once a minute, and deletes up to a thousand rows at a time. Without Sweep the
// table grows forever; nothing else depends on it. One node is enough to run it, and any
// number may:
//
//	go sessions.Sweep(ctx)
//
// Sweep logs errors and tries again with its next run. It keeps a row ten minutes longer
// than this node's clock requires, and in addition up to one idle timeout longer than the
// session needs. If the nodes' clocks differ by more than that, Sweep ends sessions.
func (s *Store) Sweep(ctx context.Context) {
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.logger.ErrorContext(ctx, "sqlstore: Sweep failed and will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepInterval/2 + rand.N(sweepInterval)): // so that not all nodes sweep at once
		}
	}
}

// sweep deletes batches until one is not full.
func (s *Store) sweep(ctx context.Context) error {
	for {
		var deleted int64
		err := s.call(ctx, "deleting rows that are no longer needed", func(ctx context.Context) error {
			return s.transact(ctx, func(ctx context.Context, q querier) error {
				result, err := q.ExecContext(ctx, s.sql.sweep, int64(now().Add(-sweepMargin)))
				if err == nil {
					deleted, err = result.RowsAffected()
				}
				return err
			})
		})
		if err != nil || deleted < sweepBatchSize {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond): // let waiting writers go first
		}
	}
}
