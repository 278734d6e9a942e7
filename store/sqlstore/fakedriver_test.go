package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// A fakeDriver accepts every statement, unless a field makes it fail or hang.
type fakeDriver struct {
	connectErr error
	failure    func(text string) error
	hangAt     string        // hang at statements that begin with this
	rowAt      string        // if not "", queries that begin with this return one row
	rowsClosed chan struct{} // if not nil, queries return one row, and closing the rows closes this
}

func (f *fakeDriver) Connect(context.Context) (driver.Conn, error) { return fakeConn{f}, f.connectErr }
func (f *fakeDriver) Driver() driver.Driver                        { return nil }

type fakeConn struct{ *fakeDriver }

func (c fakeConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (c fakeConn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }
func (c fakeConn) Close() error                        { return nil }

func (c fakeConn) ExecContext(ctx context.Context, text string, _ []driver.NamedValue) (driver.Result, error) {
	if c.hangAt != "" && strings.HasPrefix(text, c.hangAt) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
	if c.failure != nil {
		if err := c.failure(text); err != nil {
			return nil, err
		}
	}
	return driver.RowsAffected(1), nil
}

func (c fakeConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	_, err := c.ExecContext(ctx, text, args)
	more := c.rowsClosed != nil || c.rowAt != "" && strings.HasPrefix(text, c.rowAt)
	return &fakeRows{c.rowsClosed, more}, err
}

type fakeRows struct {
	closed chan struct{}
	more   bool
}

func (*fakeRows) Columns() []string { return make([]string, 6) }

func (r *fakeRows) Close() error {
	if r.closed != nil {
		close(r.closed)
	}
	return nil
}

func (r *fakeRows) Next([]driver.Value) error {
	if !r.more {
		return io.EOF
	}
	r.more = false
	return nil
}

func (f *fakeDriver) newStore(t *testing.T, config Config) *Store {
	t.Helper()
	db := sql.OpenDB(f)
	t.Cleanup(func() { db.Close() })
	s, err := New(db, PostgreSQL, config)
	require.NoError(t, err)
	return s
}

func newRecord() store.Record {
	at := now()
	r := store.Record{LastSeen: at, Session: &store.Session{
		ID: rand.Text(), Owner: "session=ada", Expires: at.Add(time.Hour), IdleTimeout: time.Hour,
	}}
	rand.Read(r.Key[:])
	return r
}

// A fakeSQLStateError is an error as PostgreSQL's drivers return it.
type fakeSQLStateError string

func (e fakeSQLStateError) Error() string    { return "ERROR (SQLSTATE " + string(e) + ")" }
func (e fakeSQLStateError) SQLState() string { return string(e) }

// A fakeCodeError is an error as SQLite's drivers return it.
type fakeCodeError string

func (e fakeCodeError) Error() string {
	return "SQL logic error: near " + string(e) + ": syntax error (1)"
}
func (e fakeCodeError) Code() int { return 1 }
