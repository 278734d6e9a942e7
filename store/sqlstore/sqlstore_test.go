package sqlstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// A fake is a driver that does nothing, or fails.
type fake struct {
	open  error
	fails func(text string) error
	hangs string        // at what begins with this
	rows  chan struct{} // nil: queries have none; else one, and it is closed with the rows
}

func (f *fake) Connect(context.Context) (driver.Conn, error) { return fakeConn{f}, f.open }
func (f *fake) Driver() driver.Driver                        { return nil }

type fakeConn struct{ *fake }

func (c fakeConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (c fakeConn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }
func (c fakeConn) Close() error                        { return nil }

func (c fakeConn) ExecContext(ctx context.Context, text string, _ []driver.NamedValue) (driver.Result, error) {
	if c.hangs != "" && strings.HasPrefix(text, c.hangs) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
	if c.fails != nil {
		if err := c.fails(text); err != nil {
			return nil, err
		}
	}
	return driver.RowsAffected(1), nil
}

func (c fakeConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	_, err := c.ExecContext(ctx, text, args)
	return &fakeRows{c.rows, c.rows != nil}, err
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

func (f *fake) store(t *testing.T, config Config) *Store {
	t.Helper()
	db := sql.OpenDB(f)
	t.Cleanup(func() { db.Close() })
	s, err := New(db, PostgreSQL, config)
	require.NoError(t, err)
	return s
}

func aRecord() store.Record {
	at := now()
	r := store.Record{LastSeen: at, Session: &store.Session{
		ID: rand.Text(), Owner: "session=ada", Expires: at.Add(time.Hour), IdleTimeout: time.Hour,
	}}
	rand.Read(r.Key[:])
	return r
}

func TestNewRefusesWhatItCanNotUse(t *testing.T) {
	db := sql.OpenDB(&fake{})
	defer db.Close()
	for _, try := range []func() (*Store, error){
		func() (*Store, error) { return New(nil, SQLite, Config{}) },
		func() (*Store, error) { return New(db, 0, Config{}) },
		func() (*Store, error) { return New(db, SQLite+1, Config{}) },
		func() (*Store, error) { return New(db, SQLite, Config{Timeout: -1}) },
	} {
		s, err := try()
		require.Error(t, err)
		require.Nil(t, s)
	}
	_, err := (&fake{}).store(t, Config{}).Create(t.Context(), store.Record{Session: &store.Session{}}, store.Limit{})
	require.Error(t, err, "a session without an owner")
}

// Whatever a driver puts into its errors, they hold no connection string when they get
// to a caller or to the log.
func TestConnectionStringsReachNoErrorAndNoLog(t *testing.T) {
	const dsn = "postgres://ada:hunter2@db/sessions"
	for _, failure := range []error{
		errors.New("cannot connect to " + dsn),
		fmt.Errorf("open %s: %w", dsn, io.EOF),
		fmt.Errorf("open %s: %w", dsn, errors.New("no such host")),
		errors.Join(errors.New(dsn), errors.New("no")),
		fmt.Errorf("open %s: %w", dsn, &net.OpError{Op: "dial", Err: errors.New("refused")}),
		fmt.Errorf("open %s: %w", dsn, sqlError("28P01")),
		fmt.Errorf("open %s: %w", dsn, codeError(dsn)),
		&secretive{dsn},
		errors.Join(&net.DNSError{Err: "no such host", Name: "ada:hunter2@db"}, &net.OpError{Op: "dial", Err: errors.New("refused")}),
		&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "ada:hunter2"}},
		&net.OpError{Op: "dial", Err: &net.AddrError{Err: "too many colons in address", Addr: "ada:hunter2@db:1"}},
		&net.OpError{Op: "dial", Net: "hunter2", Err: net.UnknownNetworkError("hunter2")},
	} {
		var log bytes.Buffer
		s := (&fake{open: failure}).store(t, Config{Timeout: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		r := aRecord()
		_, loaded := s.Load(t.Context(), r.Key)
		_, created := s.Create(t.Context(), r, store.Limit{Max: 1})
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		s.Sweep(ctx)
		cancel()
		l, err := Listening(s, func(context.Context, string, func(), func(string)) error { return failure })
		require.NoError(t, err)
		for _, err := range []error{loaded, created, l.Watch(t.Context(), func(store.Ending) {}), s.EnsureSchema(t.Context())} {
			require.Error(t, err)
			t.Log(err)
			for ; err != nil; err = errors.Unwrap(err) {
				require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2")
			}
		}
		require.Contains(t, log.String(), "deleting")
		require.NotContains(t, log.String(), "hunter2")
	}
}

func TestErrorsSayWhatCanBeSaid(t *testing.T) {
	const hint = " (EnsureSchema makes it)"
	for _, c := range []struct {
		failure error
		want    string
	}{
		{fmt.Errorf("resolving: %w", errors.Join(&net.DNSError{Err: "no such host", Name: "db.example"}, errors.New("no"))),
			"lookup db.example: no such host"},
		{errors.Join(errors.New("server refused TLS connection"), errors.New("no")),
			"*errors.joinError from the driver, whose text is left out since it may hold the connection string; db.PingContext returns it"},
		{codeError("noise"), "SQL logic error (1)"},
		{fmt.Errorf("x: %w", sqlError("42P01")), "ERROR (SQLSTATE 42P01)" + hint},
		{errors.New("Error 1146 (42S02): Table 'db.sessionguard_sessions' doesn't exist"),
			"Error 1146 (42S02): Table 'db.sessionguard_sessions' doesn't exist" + hint},
		{errors.New("sqlite3: SQL logic error: no such table: sessionguard_sessions"), "no such table: sessionguard_sessions" + hint},
	} {
		_, err := (&fake{open: c.failure}).store(t, Config{}).Load(t.Context(), store.Key{})
		require.EqualError(t, err, "sqlstore: loading a session: "+c.want)
	}
}

type sqlError string

func (e sqlError) Error() string    { return "ERROR (SQLSTATE " + string(e) + ")" }
func (e sqlError) SQLState() string { return string(e) }

type codeError string

func (e codeError) Error() string { return "SQL logic error: near " + string(e) + ": syntax error (1)" }
func (e codeError) Code() int     { return 1 }

type secretive struct{ dsn string }

func (e *secretive) Error() string { return "failed" }

// Wherever a server stops to answer, nobody waits longer.
func TestTheTimeoutHoldsAtEveryStatement(t *testing.T) {
	for _, at := range []string{"BEGIN", "SELECT kind", "SELECT id", "SELECT session_key", "INSERT", "UPDATE", "DELETE", "COMMIT", "ROLLBACK"} {
		t.Run(at, func(t *testing.T) {
			const timeout = 50 * time.Millisecond
			s, r := (&fake{hangs: at, fails: func(text string) error {
				if strings.HasPrefix(text, "INSERT") && at == "ROLLBACK" {
					return sqlError("23505")
				}
				return nil
			}}).store(t, Config{Timeout: timeout}), aRecord()
			for _, do := range []func() error{
				func() error { _, err := s.Create(t.Context(), r, store.Limit{}); return err },
				func() error { _, err := s.Create(t.Context(), r, store.Limit{Max: 1}); return err },
				func() error { _, err := s.Load(t.Context(), r.Key); return err },
				func() error { return s.Touch(t.Context(), r.Key, r.LastSeen) },
				func() error { return s.Save(t.Context(), r.Key, 0, nil) },
				func() error { return s.Replace(t.Context(), r.Key, 0, r) },
				func() error { _, err := s.Delete(t.Context(), r.Key, store.ReasonEnded); return err },
				func() error { _, err := s.ByOwner(t.Context(), r.Owner); return err },
				func() error { return s.sweep(t.Context()) },
			} {
				start := time.Now()
				_ = do()
				require.Less(t, time.Since(start), time.Second)
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			start := time.Now()
			_ = s.transact(ctx, func(context.Context, querier) error { return nil })
			require.Less(t, time.Since(start), time.Second)
		})
	}
}

// The remedy for a corrupt row is to delete it, so no other must be called that.
func TestACancelledCallCallsNoRowCorrupt(t *testing.T) {
	f := &fake{rows: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	err := each(ctx, f.store(t, Config{}).db, "SELECT", nil, func(scan func(...any) error) error {
		cancel()
		<-f.rows // database/sql has closed them
		var to [6]any
		err := unread([]byte("key"), scan(&to[0], &to[1], &to[2], &to[3], &to[4], &to[5]))
		require.Error(t, err)
		require.NotErrorIs(t, err, record.ErrCorrupt)
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
}

// What is known not to have happened is done again, and nothing else.
func TestASecondAttemptOnlyWhereNothingHappened(t *testing.T) {
	dropped := &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for _, c := range []struct {
		at      string
		fails   error
		attempt int
	}{
		{"INSERT", sqlError("40001"), 2}, {"INSERT", sqlError("40P01"), 2}, {"INSERT", sqlError("23505"), 1},
		{"INSERT", errors.New("Error 1213 (40001): Deadlock found"), 2}, {"INSERT", errors.New("Error 1205: Lock wait"), 2},
		{"INSERT", errors.New("Error 1062 (23000): Duplicate entry 'database is locked'"), 1},
		{"INSERT", errors.New("database is locked (5) (SQLITE_BUSY)"), 2}, {"INSERT", errors.New("disk full"), 1},
		{"INSERT", dropped, 1}, {"INSERT", io.ErrUnexpectedEOF, 1}, {"INSERT", sqlError("57P01"), 1},
		{"UPDATE sessionguard_sessions SET version", dropped, 1}, {"UPDATE sessionguard_sessions SET version", sqlError("40001"), 2},
		{"UPDATE sessionguard_sessions SET\n\t\tlast_seen", dropped, 2}, {"UPDATE sessionguard_sessions SET\n\t\tlast_seen", refused, 1},
		{"SELECT kind", dropped, 2}, {"SELECT kind", refused, 1}, {"SELECT kind", errors.New("invalid connection"), 2},
		{"BEGIN", dropped, 2}, {"BEGIN", sqlError("57P01"), 2}, {"BEGIN", refused, 1}, {"BEGIN", sqlError("25006"), 1},
		{"COMMIT", dropped, 1}, {"COMMIT", io.EOF, 1}, {"COMMIT", sqlError("57P01"), 1}, {"COMMIT", sqlError("40001"), 2},
	} {
		t.Run(fmt.Sprintf("%.40s %v", c.at, c.fails), func(t *testing.T) {
			failed := 0
			f := &fake{fails: func(text string) error {
				if strings.HasPrefix(text, c.at) {
					if failed++; failed == 1 {
						return c.fails
					}
				}
				return nil
			}}
			s, r := f.store(t, Config{}), aRecord()
			switch {
			case c.at == "INSERT":
				_, _ = s.Create(t.Context(), r, store.Limit{})
			case c.at == "SELECT kind":
				_, _ = s.Load(t.Context(), r.Key)
			case strings.Contains(c.at, "version"):
				_ = s.Save(t.Context(), r.Key, 1, nil)
			case strings.Contains(c.at, "last_seen"):
				_ = s.Touch(t.Context(), r.Key, r.LastSeen)
			default:
				_ = s.transact(t.Context(), func(context.Context, querier) error { return nil })
			}
			require.Equal(t, c.attempt, failed)
		})
	}
}

// Something that accepts connections and hangs up does not get hundreds from each
// request. What is only in the way of others is tried again for as long as there is time.
func TestWhatGoesOnHangingUpIsGivenUp(t *testing.T) {
	for _, c := range []struct {
		failure  error
		min, max int
	}{{io.EOF, maxLosses, maxLosses}, {sqlError("57P01"), maxLosses, maxLosses}, {sqlError("40001"), 200, 10000}} {
		synctest.Test(t, func(t *testing.T) {
			attempts := 0
			s := (&fake{fails: func(string) error { attempts++; return c.failure }}).store(t, Config{Timeout: 2 * time.Second})
			_, err := s.Load(t.Context(), store.Key{})
			require.Error(t, err)
			require.NotErrorIs(t, err, store.ErrNotFound)
			require.GreaterOrEqual(t, attempts, c.min)
			require.LessOrEqual(t, attempts, c.max)
		})
	}
}

func TestPayloadsSayWhatHasEndedAndFit(t *testing.T) {
	for _, e := range []store.Ending{
		{}, {ID: "id", Reason: store.ReasonEnded}, {ID: "a b", Reason: "c d"}, {ID: "\x00\xff", Reason: "\n'"},
		{ID: rand.Text(), Reason: store.Reason(strings.Repeat("x", 5000))},
	} {
		payload := payloadOf(e)
		require.LessOrEqual(t, len(payload), 7999)
		require.NotContains(t, payload, "'")
		got, ok := endingOf(payload)
		require.True(t, ok)
		require.Equal(t, e, got)
	}
	for _, e := range []store.Ending{
		{ID: "id", Reason: store.Reason(strings.Repeat("x", 8000))},
		{ID: strings.Repeat("x", 100000)},
	} {
		got, ok := endingOf(payloadOf(e))
		require.True(t, ok)
		require.Equal(t, store.Ending{}, got)
	}
	for _, foreign := range []string{"", "1", "1 ", "2 YQ Yg", "1 YQ", "1 ? Yg", "1 YQ ?", "hello", "{}"} {
		_, ok := endingOf(foreign)
		require.False(t, ok, foreign)
	}
}

// A connection that never comes about is given up for another.
func TestAWatchIsMadeAgainHoweverItWasLost(t *testing.T) {
	s := (&fake{}).store(t, Config{Timeout: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	attempts := 0
	l, err := Listening(s, func(ctx context.Context, _ string, ready func(), notify func(string)) error {
		attempts++
		switch attempts {
		case 1:
			ready()
			return io.EOF
		case 2:
			<-ctx.Done()
			return ctx.Err()
		case 3:
			return nil
		case 4:
			ready()
			panic("lost")
		}
		ready()
		notify("1 YQ Yg")
		<-ctx.Done()
		return ctx.Err()
	})
	require.NoError(t, err)
	told := make(chan store.Ending, 10)
	require.NoError(t, l.Watch(t.Context(), func(e store.Ending) { told <- e }))
	for _, want := range []store.Ending{{}, {}, {ID: "a", Reason: "b"}} {
		select {
		case got := <-told:
			require.Equal(t, want, got)
		case <-time.After(10 * time.Second):
			t.Fatal("told nothing")
		}
	}
}
