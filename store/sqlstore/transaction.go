package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A querier runs a statement: a *sql.DB outside a transaction, a *sql.Conn in one.
type querier interface {
	ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// A hotStatement runs on behalf of ordinary requests. Where that saves time it is prepared,
// when it is first used.
type hotStatement struct {
	text     string
	prepare  bool
	prepared atomic.Pointer[sql.Stmt]
}

// querierOn returns a querier that runs the statement outside a transaction. If the
// statement is prepared, the querier ignores the text that it is given.
func (st *hotStatement) querierOn(ctx context.Context, db *sql.DB) (querier, error) {
	if !st.prepare {
		return db, nil
	}
	if p := st.prepared.Load(); p != nil {
		return preparedQuerier{p}, nil
	}
	p, err := db.PrepareContext(ctx, st.text)
	if err != nil {
		return nil, err
	}
	if !st.prepared.CompareAndSwap(nil, p) {
		_ = p.Close()
	}
	return preparedQuerier{st.prepared.Load()}, nil
}

type preparedQuerier struct{ *sql.Stmt }

func (p preparedQuerier) ExecContext(ctx context.Context, _ string, args ...any) (sql.Result, error) {
	return p.Stmt.ExecContext(ctx, args...)
}

func (p preparedQuerier) QueryContext(ctx context.Context, _ string, args ...any) (*sql.Rows, error) {
	return p.Stmt.QueryContext(ctx, args...)
}

// forEachRow runs a query and calls f for each row. It stops at the first error.
func forEachRow(ctx context.Context, q querier, text string, args []any, f func(scan func(...any) error) error) error {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			if ctx.Err() != nil { // the cancellation may have caused err: do not blame the row
				return ctx.Err()
			}
			return err
		}
	}
	return rows.Err()
}

// affectedRows reports whether a statement changed any row.
func affectedRows(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// retry runs f, which is one statement or one transaction, and runs it again if it failed
// and cannot have taken effect: after a deadlock, a serialization failure or a busy file,
// and if the connection broke too early. What may have taken effect is never run twice: a
// second attempt would turn a success into a conflict.
//
// The limit on lost connections is high enough to get through a pool whose connections
// have all died. A server that keeps hanging up, for example an unreachable one behind a
// proxy, is then given up.
func (s *Store) retry(ctx context.Context, f func() error) error {
	lost := 0
	for pause := time.Millisecond; ; pause = min(2*pause, 8*time.Millisecond) {
		err := f()
		if err == nil || !isTransient(err) && !isConnectionLost(err) {
			return err
		}
		if isConnectionLost(err) {
			if lost++; lost == maxLostConnections {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(pause)):
		}
	}
}

const maxLostConnections = 20

// write is retry for statements and transactions that write. SQLite allows one writer at a
// time, and a refused writer has to poll. So the writers of one Store queue, and only those
// of different processes poll. They poll often, to find the moment between two writers of
// another process's queue.
//
// What succeeded after ctx has ended is uncertain: a driver that cancels a COMMIT, as lib/pq does,
// keeps PostgreSQL from waiting for a synchronous standby, and gets a warning and no error.
func (s *Store) write(ctx context.Context, f func() error) error {
	if s.writeLock != nil {
		select {
		case s.writeLock <- struct{}{}:
			defer func() { <-s.writeLock }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.retry(ctx, f); err != nil {
		return err
	}
	return uncertain(ctx.Err())
}

// transact runs f in a transaction. Whatever the server's default isolation is, each
// statement sees what others have committed before it. In SQLite the transaction is
// serialized from its beginning.
//
// It does not use a *sql.Tx: with some drivers Commit ignores the context, and in SQLite a
// Commit that is refused leaves the transaction open.
func (s *Store) transact(ctx context.Context, f func(ctx context.Context, q querier) error) error {
	return s.write(ctx, func() error {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		err = s.transactOn(ctx, conn, f)
		if err == nil {
			return conn.Close()
		}
		if ctx.Err() == nil {
			if _, failed := conn.ExecContext(ctx, s.sql.rollback); failed == nil {
				_ = conn.Close()
				return err
			}
		}
		go discard(conn) // closing may block on a server that does not respond
		return err
	})
}

func (s *Store) transactOn(ctx context.Context, conn *sql.Conn, f func(ctx context.Context, q querier) error) error {
	for _, text := range s.sql.begin {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	if err := f(ctx, conn); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, s.sql.commit)
	return uncertain(err)
}

// discard closes a connection instead of returning it to the pool, since a transaction may
// still be open on it.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}
