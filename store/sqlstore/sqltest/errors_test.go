package sqltest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// secret is in every connection string of a test that fails to connect.
const secret = "hunter2-secret"

// requireNoSecret checks that err and all errors that it wraps contain no part of a
// connection string.
func requireNoSecret(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, part := range []string{secret, "hunter2", "password=secret", "sslmode", "user=", "_pragma"} {
		require.NotContains(t, err.Error(), part)
		require.NotContains(t, fmt.Sprintf("%+v", err), part)
	}
	requireNoSecret(t, errors.Unwrap(err))
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			requireNoSecret(t, err)
		}
	}
}

// slack is the time that a busy machine may add to a bound. Without the bounds, these calls
// take ten seconds or for ever.
const slack = 5 * time.Second

// requireFails checks that every call, or every one of those named, fails within the
// timeout, and that no error says that a session is gone.
func requireFails(t *testing.T, s *sqlstore.Store, timeout time.Duration, calls ...string) {
	t.Helper()
	r, next := newRecord(), newRecord()
	for name, call := range map[string]func(ctx context.Context) error{
		"Create":   func(ctx context.Context) error { _, err := s.Create(ctx, r, store.Limit{}); return err },
		"Limit":    func(ctx context.Context) error { _, err := s.Create(ctx, r, store.Limit{Max: 1}); return err },
		"Load":     func(ctx context.Context) error { _, err := s.Load(ctx, r.Key); return err },
		"Touch":    func(ctx context.Context) error { return s.Touch(ctx, r.Key, r.LastSeen+1) },
		"Save":     func(ctx context.Context) error { return s.Save(ctx, atVersion(r, 2)) },
		"Replace":  func(ctx context.Context) error { return s.Replace(ctx, r.Key, 1, next) },
		"Delete":   func(ctx context.Context) error { _, err := s.Delete(ctx, r.Key, store.ReasonEnded); return err },
		"ByOwner":  func(ctx context.Context) error { _, err := s.ByOwner(ctx, r.Owner, "", store.MaxPage); return err },
		"LoadByID": func(ctx context.Context) error { _, err := s.LoadByID(ctx, r.Owner, r.ID); return err },
		"DeleteByID": func(ctx context.Context) error {
			_, err := s.DeleteByID(ctx, []store.End{{Owner: r.Owner, ID: r.ID, Reason: store.ReasonEnded}})
			return err
		},
		"Everyone": func(ctx context.Context) error { _, err := list(ctx, s, store.RealmOf(r.Owner)); return err },
		"Count":    func(ctx context.Context) error { _, err := s.Count(ctx, store.RealmOf(r.Owner)); return err },
		"Ping":     s.Ping,
		"Schema":   s.EnsureSchema,
	} {
		if len(calls) > 0 && !strings.Contains(strings.Join(calls, " "), name) {
			continue
		}
		start := time.Now()
		err := call(t.Context())
		require.Error(t, err, name)
		t.Logf("%s after %v: %v", name, time.Since(start).Round(time.Millisecond), err)
		require.NotErrorIs(t, err, store.ErrNotFound, name)
		require.NotErrorIs(t, err, store.ErrConflict, name)
		require.NotErrorIs(t, err, store.ErrLimit, name)
		require.Less(t, time.Since(start), timeout+slack, name)
		requireNoSecret(t, err)
	}
}

func TestUnreachableDatabaseFailsWithinTimeout(t *testing.T) {
	const timeout = 500 * time.Millisecond
	for name, d := range map[string]database{
		"PostgreSQL":              {sqlstore.PostgreSQL, "pgx", "postgres://ada:" + secret + "@127.0.0.1:1/db?sslmode=disable"},
		"PostgreSQL, invalid URL": {sqlstore.PostgreSQL, "pgx", "postgres://ada:" + secret + "@127.0.0.1:x/db"},
		"PostgreSQL, invalid DSN": {sqlstore.PostgreSQL, "pgx", "user=ada password=" + secret + " port=many"},
		"MySQL":                   {sqlstore.MySQL, "mysql", "ada:" + secret + "@tcp(127.0.0.1:1)/db"},
		"SQLite":                  {sqlstore.SQLite, "sqlite", "file:/nowhere/" + secret + "/sessions.db?_pragma=busy_timeout(100)"},
		"SQLite, invalid pragma":  {sqlstore.SQLite, "sqlite", "file:" + filepath.Join(t.TempDir(), "sessions.db") + "?_pragma=key+hunter2("},
		"SQLite, invalid DSN":     {sqlstore.SQLite, "sqlite", "file:" + filepath.Join(t.TempDir(), secret) + "?_pragma=nonsense(hunter2)(&_txlock=hunter2"},
	} {
		t.Run(name, func(t *testing.T) { requireFails(t, d.unprepared(t, timeout), timeout) })
	}
}

func TestWrongPasswordIsNotInTheError(t *testing.T) {
	const timeout = time.Second
	pg, my := databases["PostgreSQL"](t), databases["MariaDB"](t)
	pg.dsn = strings.Replace(pg.dsn, "postgres@", "stranger:"+secret+"@", 1)
	my.dsn = strings.Replace(my.dsn, "root@", "root:"+secret+"@", 1)
	for name, d := range map[string]database{"PostgreSQL": pg, "MariaDB": my} {
		t.Run(name, func(t *testing.T) { requireFails(t, d.unprepared(t, timeout), timeout) })
	}
}

func TestUnknownHostIsNamedInTheError(t *testing.T) {
	for _, d := range []database{
		{sqlstore.PostgreSQL, "pgx", "postgres://ada:" + secret + "@nowhere..invalid/db"},
		{sqlstore.MySQL, "mysql", "ada:" + secret + "@tcp(nowhere..invalid:3306)/db"},
	} {
		_, err := d.unprepared(t, 10*time.Second).Load(t.Context(), newRecord().Key)
		require.ErrorContains(t, err, "lookup nowhere..invalid")
		requireNoSecret(t, err)
	}
}

// With these connection strings, drivers take the password for a part of the address.
func TestMisreadPasswordIsNotInTheError(t *testing.T) {
	const timeout = 2 * time.Second
	for _, d := range []database{
		{sqlstore.PostgreSQL, "pgx", "host=ada:" + secret + "@127.0.0.1 sslmode=disable"},
		{sqlstore.MySQL, "mysql", "tcp(ada:" + secret + ":1)/db"},
		{sqlstore.MySQL, "mysql", secret + "(127.0.0.1:1)/db"},
	} {
		requireFails(t, d.unprepared(t, timeout), timeout)
	}
}

func TestMissingTablesAreAnErrorThatNamesEnsureSchema(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) { requireMissingTablesAreAnError(t, start(t)) })
	}
}

func requireMissingTablesAreAnError(t *testing.T, d database) {
	t.Helper()
	dropTables(t, d.open(t))
	s := d.unprepared(t, time.Second)
	requireFails(t, s, time.Second, "Create Limit Load Touch Save Replace Delete LoadByID ByOwner DeleteByID Everyone Count Ping")
	_, err := s.Load(t.Context(), newRecord().Key)
	require.ErrorContains(t, err, "(EnsureSchema creates it)")
	_, err = s.Create(t.Context(), newRecord(), store.Limit{Max: 1})
	require.ErrorContains(t, err, "(EnsureSchema creates it)")
}

func TestSQLiteErrorContainsItsCodeOnce(t *testing.T) {
	d := database{sqlstore.SQLite, "sqlite", filepath.Join(t.TempDir(), "nowhere", "sessions.db")}
	_, err := d.unprepared(t, time.Second).Load(t.Context(), newRecord().Key)
	require.ErrorContains(t, err, "(14)")
	require.Equal(t, 1, strings.Count(err.Error(), "14"), err)
}

func TestFileThatIsNotADatabaseIsAnError(t *testing.T) {
	d := database{sqlstore.SQLite, "sqlite", filepath.Join(t.TempDir(), "sessions.db")}
	require.NoError(t, os.WriteFile(d.dsn, []byte(strings.Repeat("not a database ", 1000)), 0o600))
	requireFails(t, d.unprepared(t, time.Second), time.Second)
}

func TestReadOnlyDatabaseLoadsSessionsAndRefusesChanges(t *testing.T) {
	pg, my, lite := databases["PostgreSQL"](t), databases["MariaDB"](t), databases["SQLite"](t)
	r := newRecord()
	for _, d := range []database{pg, my, lite} {
		create(t, d.node(t, sqlstore.Config{}), r)
	}
	pg.dsn += "&default_transaction_read_only=on"
	my.dsn += "?tx_read_only=1"
	lite.dsn = "file:" + lite.dsn + "?mode=ro"
	for name, d := range map[string]database{"PostgreSQL": pg, "MariaDB": my, "SQLite": lite} {
		t.Run(name, func(t *testing.T) {
			s := d.node(t, sqlstore.Config{Timeout: time.Second}) // EnsureSchema has nothing to create
			requireFails(t, s, time.Second, "Create Limit Ping")
			require.Error(t, s.Touch(t.Context(), r.Key, r.LastSeen+1))
			require.NotErrorIs(t, s.Touch(t.Context(), r.Key, r.LastSeen+1), store.ErrNotFound)
			_, err := s.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
			require.Error(t, err, "a logout would be confirmed")
			got, err := s.Load(t.Context(), r.Key)
			require.NoError(t, err)
			require.Equal(t, r.ID, got.ID)
		})
	}
}

// withValues returns a copy of r with other values, which Save can store.
func withValues(r store.Record, values []byte) store.Record {
	s := *r.Session
	s.Values = values
	s.Version++
	r.Session = &s
	return r
}

// atVersion returns a copy of r with another Version.
func atVersion(r store.Record, version uint64) store.Record {
	s := *r.Session
	s.Version = version
	r.Session = &s
	return r
}
