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

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// secret is part of every connection string that fails.
const secret = "hunter2-secret"

// requireNoSecret looks at an error and all that it wraps.
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

// requireFails checks that nothing can be done, that it is said in time, and that no
// session seems to be gone.
func requireFails(t *testing.T, s *sqlstore.Store, timeout time.Duration, doing ...string) {
	t.Helper()
	r, next := newRecord(), newRecord()
	for name, do := range map[string]func(ctx context.Context) error{
		"Create":  func(ctx context.Context) error { _, err := s.Create(ctx, r, store.Limit{}); return err },
		"Limit":   func(ctx context.Context) error { _, err := s.Create(ctx, r, store.Limit{Max: 1}); return err },
		"Load":    func(ctx context.Context) error { _, err := s.Load(ctx, r.Key); return err },
		"Touch":   func(ctx context.Context) error { return s.Touch(ctx, r.Key, r.LastSeen+1) },
		"Save":    func(ctx context.Context) error { return s.Save(ctx, r.Key, 1, nil) },
		"Replace": func(ctx context.Context) error { return s.Replace(ctx, r.Key, 1, next) },
		"Delete":  func(ctx context.Context) error { _, err := s.Delete(ctx, r.Key, store.ReasonEnded); return err },
		"ByOwner": func(ctx context.Context) error { _, err := s.ByOwner(ctx, r.Owner); return err },
		"Schema":  s.EnsureSchema,
	} {
		if len(doing) > 0 && !strings.Contains(strings.Join(doing, " "), name) {
			continue
		}
		start := time.Now()
		err := do(t.Context())
		require.Error(t, err, name)
		t.Logf("%s after %v: %v", name, time.Since(start).Round(time.Millisecond), err)
		require.NotErrorIs(t, err, store.ErrNotFound, name)
		require.NotErrorIs(t, err, store.ErrConflict, name)
		require.NotErrorIs(t, err, store.ErrLimit, name)
		require.Less(t, time.Since(start), timeout+300*time.Millisecond, name)
		requireNoSecret(t, err)
	}
}

// bare opens a Store whose database may not be there.
func (d database) bare(t testing.TB, timeout time.Duration) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(d.open(t), d.dialect, sqlstore.Config{Timeout: timeout})
	require.NoError(t, err)
	return s
}

func TestAServerThatIsNotThereIsAnErrorInTime(t *testing.T) {
	const timeout = 500 * time.Millisecond
	for name, d := range map[string]database{
		"PostgreSQL":          {sqlstore.PostgreSQL, "pgx", "postgres://ada:" + secret + "@127.0.0.1:1/db?sslmode=disable"},
		"PostgreSQL, bad DSN": {sqlstore.PostgreSQL, "pgx", "postgres://ada:" + secret + "@127.0.0.1:x/db"},
		"PostgreSQL, no DSN":  {sqlstore.PostgreSQL, "pgx", "user=ada password=" + secret + " port=many"},
		"MySQL":               {sqlstore.MySQL, "mysql", "ada:" + secret + "@tcp(127.0.0.1:1)/db"},
		"SQLite":              {sqlstore.SQLite, "sqlite", "file:/nowhere/" + secret + "/sessions.db?_pragma=busy_timeout(100)"},
		"SQLite, bad pragma":  {sqlstore.SQLite, "sqlite", "file:" + filepath.Join(t.TempDir(), "sessions.db") + "?_pragma=key+hunter2("},
		"SQLite, bad DSN":     {sqlstore.SQLite, "sqlite", "file:" + filepath.Join(t.TempDir(), secret) + "?_pragma=nonsense(hunter2)(&_txlock=hunter2"},
	} {
		t.Run(name, func(t *testing.T) { requireFails(t, d.bare(t, timeout), timeout) })
	}
}

func TestAWrongPasswordIsAnErrorWithoutIt(t *testing.T) {
	const timeout = time.Second
	pg, my := databases["PostgreSQL"](t), databases["MariaDB"](t)
	pg.dsn = strings.Replace(pg.dsn, "postgres@", "stranger:"+secret+"@", 1)
	my.dsn = strings.Replace(my.dsn, "root@", "root:"+secret+"@", 1)
	for name, d := range map[string]database{"PostgreSQL": pg, "MariaDB": my} {
		t.Run(name, func(t *testing.T) { requireFails(t, d.bare(t, timeout), timeout) })
	}
}

func TestAHostThatIsNotThereIsNamed(t *testing.T) {
	for _, d := range []database{
		{sqlstore.PostgreSQL, "pgx", "postgres://ada:" + secret + "@nowhere..invalid/db"},
		{sqlstore.MySQL, "mysql", "ada:" + secret + "@tcp(nowhere..invalid:3306)/db"},
	} {
		_, err := d.bare(t, 10*time.Second).Load(t.Context(), newRecord().Key)
		require.ErrorContains(t, err, "lookup nowhere..invalid")
		requireNoSecret(t, err)
	}
}

// A password that a driver takes for a part of the host is still none of the error.
func TestAConnectionStringThatIsMisreadIsNotShown(t *testing.T) {
	const timeout = 2 * time.Second
	for _, d := range []database{
		{sqlstore.PostgreSQL, "pgx", "host=ada:" + secret + "@127.0.0.1 sslmode=disable"},
		{sqlstore.MySQL, "mysql", "tcp(ada:" + secret + ":1)/db"},
		{sqlstore.MySQL, "mysql", secret + "(127.0.0.1:1)/db"},
	} {
		requireFails(t, d.bare(t, timeout), timeout)
	}
}

func TestTablesThatAreNotThereAreAnError(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			for _, table := range []string{"sessionguard_sessions", "sessionguard_locks"} {
				_, err := d.open(t).Exec("DROP TABLE IF EXISTS " + table)
				require.NoError(t, err)
			}
			s := d.bare(t, time.Second)
			requireFails(t, s, time.Second, "Create Limit Load Touch Save Replace Delete ByOwner")
			_, err := s.Load(t.Context(), newRecord().Key)
			require.ErrorContains(t, err, "(EnsureSchema makes it)")
			_, err = s.Create(t.Context(), newRecord(), store.Limit{Max: 1})
			require.ErrorContains(t, err, "(EnsureSchema makes it)")
		})
	}
}

func TestSQLiteSaysItsCodeOnce(t *testing.T) {
	d := database{sqlstore.SQLite, "sqlite", filepath.Join(t.TempDir(), "nowhere", "sessions.db")}
	_, err := d.bare(t, time.Second).Load(t.Context(), newRecord().Key)
	require.ErrorContains(t, err, "(14)")
	require.Equal(t, 1, strings.Count(err.Error(), "14"), err)
}

func TestADatabaseThatCanOnlyBeRead(t *testing.T) {
	pg, my, lite := databases["PostgreSQL"](t), databases["MariaDB"](t), databases["SQLite"](t)
	r := newRecord()
	for _, d := range []database{pg, my, lite} {
		create(t, d.node(t, sqlstore.Config{}), r)
	}
	pg.dsn += "&default_transaction_read_only=on"
	my.dsn += "?tx_read_only=1"
	only := lite
	only.dsn = "file:" + lite.dsn + "?mode=ro"
	for name, d := range map[string]database{"PostgreSQL": pg, "MariaDB": my, "SQLite": only} {
		t.Run(name, func(t *testing.T) {
			s := d.node(t, sqlstore.Config{Timeout: time.Second}) // EnsureSchema has nothing to do
			requireFails(t, s, time.Second, "Create Limit")
			require.Error(t, s.Touch(t.Context(), r.Key, r.LastSeen+1))
			require.NotErrorIs(t, s.Touch(t.Context(), r.Key, r.LastSeen+1), store.ErrNotFound)
			_, err := s.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
			require.Error(t, err, "a logout would claim success")
			got, err := s.Load(t.Context(), r.Key)
			require.NoError(t, err)
			require.Equal(t, r.ID, got.ID)
		})
	}
}

// Nobody waits longer for a server that was stopped, or for a network that delivers
// nothing, at whatever point it happens.
func TestAServerThatDoesNotAnswerIsAnErrorInTime(t *testing.T) {
	const timeout = 400 * time.Millisecond
	for name, server := range map[string]*servers.Server{"PostgreSQL": postgreSQL(t), "MariaDB": mariaDB(t)} {
		t.Run(name, func(t *testing.T) {
			d := databases[name](t)
			s := d.node(t, sqlstore.Config{Timeout: timeout})
			r := newRecord()
			create(t, s, r)
			_, err := s.Load(t.Context(), r.Key)
			require.NoError(t, err)

			require.NoError(t, server.Pause())
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			swept := make(chan struct{})
			go func() { defer close(swept); s.Sweep(ctx) }()
			requireFails(t, s, timeout)
			cancel()
			<-swept
			t.Logf("%v for all", time.Since(start))
			require.NoError(t, server.Resume())

			require.Eventually(t, func() bool {
				got, err := s.Load(t.Context(), r.Key)
				return err == nil && got.ID == r.ID
			}, 10*time.Second, 50*time.Millisecond)
		})
		t.Run(name+", in the middle", func(t *testing.T) {
			d := databases[name](t)
			s := d.node(t, sqlstore.Config{Timeout: timeout})
			for delay := range 12 {
				r := newRecord()
				create(t, s, r)
				done := make(chan time.Duration, 1)
				go func() {
					start := time.Now()
					_, _ = s.Create(t.Context(), newRecordOf(r.Owner), store.Limit{Max: 1})
					done <- time.Since(start)
				}()
				time.Sleep(time.Duration(delay) * 200 * time.Microsecond)
				require.NoError(t, server.Pause())
				took := <-done
				require.NoError(t, server.Resume())
				require.Less(t, took, timeout+300*time.Millisecond)
			}
		})
	}
	t.Run("SQLite", func(t *testing.T) {
		for _, options := range []string{"", "?_pragma=busy_timeout(10000)"} {
			d := databases["SQLite"](t)
			d.dsn += options
			s := d.node(t, sqlstore.Config{Timeout: timeout})
			other, err := d.open(t).Conn(t.Context())
			require.NoError(t, err)
			_, err = other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
			require.NoError(t, err)
			requireFails(t, s, timeout, "Create Limit Replace Delete Touch Save")
			_, err = other.ExecContext(t.Context(), "ROLLBACK")
			require.NoError(t, err)
			require.NoError(t, other.Close())
			create(t, s, newRecord())
		}
	})
}

func TestACorruptOrForeignRowIsAnErrorThatNamesIt(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			s, db := d.node(t, sqlstore.Config{}), d.open(t)
			set := func(key store.Key, column string, value any) {
				t.Helper()
				text := "UPDATE sessionguard_sessions SET " + column + " = ? WHERE session_key = ?"
				if d.dialect == sqlstore.PostgreSQL {
					text = "UPDATE sessionguard_sessions SET " + column + " = $1 WHERE session_key = $2"
				}
				_, err := db.Exec(text, value, key[:])
				require.NoError(t, err)
			}
			get := func(key store.Key) (record []byte) {
				t.Helper()
				text := "SELECT record FROM sessionguard_sessions WHERE session_key = ?"
				if d.dialect == sqlstore.PostgreSQL {
					text = "SELECT record FROM sessionguard_sessions WHERE session_key = $1"
				}
				require.NoError(t, db.QueryRow(text, key[:]).Scan(&record))
				return record
			}
			moved := func(r store.Record) {
				next := newRecordOf(r.Owner)
				next.ID = r.ID
				require.NoError(t, s.Replace(t.Context(), r.Key, 1, next))
			}
			ended := func(r store.Record) {
				_, err := s.Delete(t.Context(), r.Key, store.ReasonTheftSuspected)
				require.NoError(t, err)
			}
			for name, spoil := range map[string]func(r store.Record){
				"a session that is empty":     func(r store.Record) { set(r.Key, "record", []byte{}) },
				"a session of noise":          func(r store.Record) { set(r.Key, "record", []byte("noise")) },
				"a session that goes on":      func(r store.Record) { set(r.Key, "record", append(get(r.Key), 0)) },
				"a session that is cut off":   func(r store.Record) { b := get(r.Key); set(r.Key, "record", b[:len(b)-1]) },
				"a session of another format": func(r store.Record) { set(r.Key, "record", append([]byte{9}, get(r.Key)[1:]...)) },
				"another's session": func(r store.Record) {
					other := newRecord()
					create(t, s, other)
					set(r.Key, "record", get(other.Key))
				},
				"an unknown kind":                           func(r store.Record) { set(r.Key, "kind", 7) },
				"a session that says it moved":              func(r store.Record) { set(r.Key, "kind", 1) },
				"a session that says it ended":              func(r store.Record) { set(r.Key, "kind", 2) },
				"a move of noise":                           func(r store.Record) { moved(r); set(r.Key, "record", append(r.Key[:], "noise"...)) },
				"a move that is cut off":                    func(r store.Record) { moved(r); b := get(r.Key); set(r.Key, "record", b[:len(b)-1]) },
				"a move that says it ended up as a session": func(r store.Record) { moved(r); set(r.Key, "kind", 0) },
				"another's move": func(r store.Record) {
					other := newRecord()
					create(t, s, other)
					moved(r)
					moved(other)
					set(r.Key, "record", get(other.Key))
				},
				"an end of noise":          func(r store.Record) { ended(r); set(r.Key, "record", []byte("noise")) },
				"an end that is a session": func(r store.Record) { ended(r); set(r.Key, "kind", 0) },
				"another's end": func(r store.Record) {
					other := newRecord()
					create(t, s, other)
					ended(r)
					ended(other)
					set(r.Key, "record", get(other.Key))
				},
			} {
				t.Run(name, func(t *testing.T) {
					r := newRecord()
					create(t, s, r)
					spoil(r)
					requireCorrupt := func(err error) {
						t.Helper()
						require.ErrorContains(t, err, fmt.Sprintf("%x", r.Key))
						require.NotErrorIs(t, err, store.ErrNotFound)
					}
					rec, err := s.Load(t.Context(), r.Key)
					requireCorrupt(err)
					require.Nil(t, rec.Session)
					rec, err = s.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
					requireCorrupt(err)
					require.Nil(t, rec.Session)
					requireCorrupt(s.Replace(t.Context(), r.Key, 1, newRecordOf(r.Owner)))
				})
			}
			t.Run("a session in another's list", func(t *testing.T) {
				r, other := newRecord(), newRecord()
				create(t, s, r, other)
				var hash []byte
				text := "SELECT owner_hash FROM sessionguard_sessions WHERE session_key = ?"
				if d.dialect == sqlstore.PostgreSQL {
					text = "SELECT owner_hash FROM sessionguard_sessions WHERE session_key = $1"
				}
				require.NoError(t, db.QueryRow(text, other.Key[:]).Scan(&hash))
				set(r.Key, "owner_hash", hash)
				records, err := s.ByOwner(t.Context(), other.Owner)
				require.ErrorContains(t, err, fmt.Sprintf("%x", r.Key))
				require.Empty(t, records)
				_, err = s.Create(t.Context(), newRecordOf(other.Owner), store.Limit{Max: 1})
				require.ErrorContains(t, err, fmt.Sprintf("%x", r.Key))
				_, err = s.Load(t.Context(), other.Key)
				require.NoError(t, err, "the limit ended a session although it failed")
			})
			t.Run("a corrupt session in a list", func(t *testing.T) {
				r := newRecord()
				create(t, s, r)
				set(r.Key, "record", []byte("noise"))
				_, err := s.ByOwner(t.Context(), r.Owner)
				require.ErrorContains(t, err, fmt.Sprintf("%x", r.Key))
				_, err = s.Create(t.Context(), newRecordOf(r.Owner), store.Limit{Max: 1})
				require.ErrorContains(t, err, fmt.Sprintf("%x", r.Key))
				set(r.Key, "owner_hash", nil)
				_, err = s.Create(t.Context(), newRecordOf(r.Owner), store.Limit{Max: 1})
				require.NoError(t, err, "the transaction that failed is still open")
			})
			t.Run("columns that differ from the record", func(t *testing.T) {
				r := newRecord()
				create(t, s, r)
				set(r.Key, "expires", int64(r.LastSeen)) // Touch finds it at its end, Load does not
				require.ErrorContains(t, s.Touch(t.Context(), r.Key, r.LastSeen+1), fmt.Sprintf("%x", r.Key))
			})
			if d.dialect == sqlstore.SQLite { // where any column holds anything
				r := newRecord()
				create(t, s, r)
				set(r.Key, "version", "noise")
				_, err := s.Load(t.Context(), r.Key)
				require.ErrorContains(t, err, fmt.Sprintf("%x", r.Key))
				_, err = s.ByOwner(t.Context(), r.Owner)
				require.ErrorContains(t, err, fmt.Sprintf("%x", r.Key))
			}
		})
	}
}

// A SQLite file that is no database.
func TestAFileThatIsNoDatabaseIsAnError(t *testing.T) {
	d := database{sqlstore.SQLite, "sqlite", filepath.Join(t.TempDir(), "sessions.db")}
	require.NoError(t, os.WriteFile(d.dsn, []byte(strings.Repeat("not a database ", 1000)), 0o600))
	requireFails(t, d.bare(t, time.Second), time.Second)
}
