package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

func TestNewRefusesInvalidArguments(t *testing.T) {
	db := sql.OpenDB(&fakeDriver{})
	defer db.Close()
	for _, newStore := range []func() (*Store, error){
		func() (*Store, error) { return New(nil, SQLite, Config{}) },
		func() (*Store, error) { return New(db, 0, Config{}) },
		func() (*Store, error) { return New(db, SQLite+1, Config{}) },
		func() (*Store, error) { return New(db, SQLite, Config{Timeout: -1}) },
	} {
		s, err := newStore()
		require.Error(t, err)
		require.Nil(t, s)
	}
}

func TestCreateRefusesSessionWithoutOwner(t *testing.T) {
	_, err := (&fakeDriver{}).newStore(t, Config{}).Create(t.Context(), store.Record{Session: &store.Session{}}, store.Limit{})
	require.Error(t, err)
}

// A driver may put the connection string anywhere into its errors.
func TestConnectionStringsReachNoErrorsOrLogs(t *testing.T) {
	const dsn = "postgres://ada:hunter2@db/sessions"
	for _, failure := range []error{
		errors.New("cannot connect to " + dsn),
		fmt.Errorf("open %s: %w", dsn, io.EOF),
		fmt.Errorf("open %s: %w", dsn, errors.New("no such host")),
		errors.Join(errors.New(dsn), errors.New("no")),
		fmt.Errorf("open %s: %w", dsn, &net.OpError{Op: "dial", Err: errors.New("refused")}),
		fmt.Errorf("open %s: %w", dsn, fakeSQLStateError("28P01")),
		fmt.Errorf("open %s: %w", dsn, fakeCodeError(dsn)),
		&errorWithDSN{dsn},
		errors.Join(&net.DNSError{Err: "no such host", Name: "ada:hunter2@db"}, &net.OpError{Op: "dial", Err: errors.New("refused")}),
		&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "ada:hunter2"}},
		&net.OpError{Op: "dial", Err: &net.AddrError{Err: "too many colons in address", Addr: "ada:hunter2@db:1"}},
		&net.OpError{Op: "dial", Net: "hunter2", Err: net.UnknownNetworkError("hunter2")},
	} {
		errs, log := failEverywhere(t, failure)
		for _, err := range errs {
			require.Error(t, err)
			t.Log(err)
			for ; err != nil; err = errors.Unwrap(err) {
				require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2")
			}
		}
		require.Contains(t, log, "deleting")
		require.NotContains(t, log, "hunter2")
	}
}

// errorWithDSN hides its field from Error, but not from %#v.
type errorWithDSN struct{ dsn string }

func (e *errorWithDSN) Error() string { return "failed" }

// failEverywhere returns the errors and the log of a Store that cannot connect.
func failEverywhere(t *testing.T, failure error) (errs []error, log string) {
	t.Helper()
	var b bytes.Buffer
	s := (&fakeDriver{connectErr: failure}).newStore(t, Config{
		Timeout: 50 * time.Millisecond,
		Logger:  slog.New(slog.NewTextHandler(&b, nil)),
	})
	r := newRecord()
	_, loadErr := s.Load(t.Context(), r.Key)
	_, createErr := s.Create(t.Context(), r, store.Limit{Max: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	s.Sweep(ctx)
	l, err := Listening(s, func(context.Context, string, func(), func(string)) error { return failure })
	require.NoError(t, err)
	watchErr := l.Watch(t.Context(), func(store.Ending) {})
	return []error{loadErr, createErr, watchErr, s.EnsureSchema(t.Context())}, b.String()
}

func TestErrorsContainSafePartOfDriverErrors(t *testing.T) {
	const hint = " (EnsureSchema creates it)"
	for _, c := range []struct {
		failure error
		want    string
	}{
		{fmt.Errorf("resolving: %w", errors.Join(&net.DNSError{Err: "no such host", Name: "db.example"}, errors.New("no"))),
			"lookup db.example: no such host"},
		{errors.Join(errors.New("server refused TLS connection"), errors.New("no")),
			"*errors.joinError from the driver; its text is withheld because it may contain the connection string, but db.PingContext returns it"},
		{fakeCodeError("noise"), "SQL logic error (1)"},
		{fmt.Errorf("x: %w", fakeSQLStateError("42P01")), "ERROR (SQLSTATE 42P01)" + hint},
		{errors.New("Error 1146 (42S02): Table 'db.sessionguard_sessions' doesn't exist"),
			"Error 1146 (42S02): Table 'db.sessionguard_sessions' doesn't exist" + hint},
		{errors.New("sqlite3: SQL logic error: no such table: sessionguard_sessions"), "no such table: sessionguard_sessions" + hint},
	} {
		_, err := (&fakeDriver{connectErr: c.failure}).newStore(t, Config{}).Load(t.Context(), store.Key{})
		require.EqualError(t, err, "sqlstore: loading a session: "+c.want)
	}
}

// The remedy for a corrupt row is to delete it, so no other row may be called corrupt.
func TestCancelledScanReportsNoCorruptRow(t *testing.T) {
	f := &fakeDriver{rowsClosed: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	err := forEachRow(ctx, f.newStore(t, Config{}).db, "SELECT", nil, func(scan func(...any) error) error {
		cancel()
		<-f.rowsClosed // by database/sql
		var to [6]any
		err := scanError([]byte("key"), scan(&to[0], &to[1], &to[2], &to[3], &to[4], &to[5]))
		require.Error(t, err)
		require.NotErrorIs(t, err, record.ErrCorrupt)
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
}
