package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A querier runs a statement: a *sql.DB by itself, a *sql.Conn in a transaction.
type querier interface {
	ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// A statement is one of those that requests wait for, prepared when it is first used.
type statement struct {
	text     string
	prepare  bool
	prepared atomic.Pointer[sql.Stmt]
}

// on returns what runs the statement by itself, whatever text it is given.
func (st *statement) on(ctx context.Context, db *sql.DB) (querier, error) {
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

// each runs a query and calls f for each of its rows.
func each(ctx context.Context, q querier, text string, args []any, f func(scan func(...any) error) error) error {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			if ctx.Err() != nil { // nothing is said of a row that nobody waits for any more
				return ctx.Err()
			}
			return err
		}
	}
	return rows.Err()
}

func changed(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// retry runs f, one statement or one transaction, again as long as nothing of it has
// happened: after a deadlock, a serialization failure or a busy file, and where the
// connection broke before it could. What is not known to have failed is not done
// twice: what was a success the first time would be a conflict the second.
//
// A pool of connections that died together is got past, but what goes on hanging up is
// a server that can not be reached, behind a proxy: that is not asked for ever.
func (s *Store) retry(ctx context.Context, f func() error) error {
	losses := 0
	for pause := time.Millisecond; ; pause = min(2*pause, 8*time.Millisecond) {
		err := f()
		if err == nil || !transient(err) && !lost(err) {
			return err
		}
		if lost(err) {
			if losses++; losses == maxLosses {
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

const maxLosses = 20

// write is retry for what writes. In SQLite there is one writer at a time, and those
// who are refused poll: so those of this Store queue, and only processes have to. They
// poll often, to find the moment between two of a queue elsewhere.
func (s *Store) write(ctx context.Context, f func() error) error {
	if s.turn != nil {
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.retry(ctx, f)
}

// transact runs f in a transaction in which each statement sees what others have
// committed before it, whatever the server's default is. SQLite's is serialized from
// its beginning.
//
// It does not use a *sql.Tx: with some drivers its Commit heeds no context, and in
// SQLite a Commit that is refused leaves the transaction open.
func (s *Store) transact(ctx context.Context, f func(ctx context.Context, q querier) error) error {
	return s.write(ctx, func() error {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		err = s.attempt(ctx, conn, f)
		if err == nil {
			return conn.Close()
		}
		if ctx.Err() == nil {
			if _, failed := conn.ExecContext(ctx, s.rollback); failed == nil {
				_ = conn.Close()
				return err
			}
		}
		go discard(conn) // it may wait for a server that does not answer
		return err
	})
}

func (s *Store) attempt(ctx context.Context, conn *sql.Conn, f func(ctx context.Context, q querier) error) error {
	for _, text := range s.begin {
		if _, err := conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	if err := f(ctx, conn); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, s.commit)
	return uncertain(err)
}

// discard closes a connection with all that may be open on it.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}
