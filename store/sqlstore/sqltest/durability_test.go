package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// requireDurability checks whether a Store of a new pool refuses the database, with an error
// that contains refusal, or works if that is "". With InsecureDurability it always works.
func requireDurability(t *testing.T, d database, refusal string) {
	t.Helper()
	for _, insecure := range []bool{false, true} {
		s, err := sqlstore.New(d.open(t), d.dialect, sqlstore.Config{Timeout: 10 * time.Second, InsecureDurability: insecure})
		require.NoError(t, err)
		for _, err := range []error{s.EnsureSchema(t.Context()), func() error {
			_, err := s.Create(t.Context(), newRecord(), store.Limit{})
			return err
		}()} {
			if refusal == "" || insecure {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, refusal)
			require.ErrorContains(t, err, "InsecureDurability")
		}
	}
}

func execute(t testing.TB, db *sql.DB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		_, err := db.Exec(text)
		require.NoError(t, err, text)
	}
}

// awaitSetting waits until new connections have a setting that was changed in the server.
func awaitSetting(t testing.TB, d database, name, value string) {
	t.Helper()
	require.Eventually(t, func() bool {
		db, err := sql.Open(d.driver, d.dsn)
		require.NoError(t, err)
		defer db.Close()
		var now string
		require.NoError(t, db.QueryRow("SHOW "+name).Scan(&now))
		return now == value
	}, 30*time.Second, 10*time.Millisecond)
}

func TestPostgreSQLThatConfirmsTooEarlyIsRefused(t *testing.T) {
	server := servers.PostgreSQL(t)
	d := database{sqlstore.PostgreSQL, "pgx", server.DSN(server.Addr)}
	db := d.open(t)
	requireDurability(t, d, "fsync is off")
	execute(t, db, `ALTER SYSTEM SET fsync = on`, `SELECT pg_reload_conf()`)
	awaitSetting(t, d, "fsync", "on")
	requireDurability(t, d, "")

	for option, refusal := range map[string]string{
		"on": "", "local": "", "remote_write": "", "remote_apply": "", "off": "synchronous_commit is off", "false": "synchronous_commit is off",
	} {
		session := d
		session.dsn += "&synchronous_commit=" + option
		requireDurability(t, session, refusal)
	}
	for _, where := range []string{"ROLE postgres", "DATABASE postgres", "ROLE postgres IN DATABASE postgres"} {
		execute(t, db, `ALTER `+where+` SET synchronous_commit = off`)
		requireDurability(t, d, "synchronous_commit is off")
		execute(t, db, `ALTER `+where+` RESET synchronous_commit`)
		requireDurability(t, d, "")
	}
	execute(t, db, `ALTER SYSTEM SET synchronous_commit = off`, `SELECT pg_reload_conf()`)
	awaitSetting(t, d, "synchronous_commit", "off")
	requireDurability(t, d, "synchronous_commit is off")
	session := d
	session.dsn += "&synchronous_commit=on"
	requireDurability(t, session, "")
}

// What was set to confirm too early since the Store has checked does not undo a logout.
func TestLogoutIsOnDiskWhateverHasChangedSince(t *testing.T) {
	server := servers.PostgreSQL(t)
	d := database{sqlstore.PostgreSQL, "pgx", server.DSN(server.Addr)}
	db := d.open(t)
	execute(t, db, `ALTER SYSTEM SET fsync = on`, `ALTER SYSTEM SET wal_writer_delay = '10s'`, `SELECT pg_reload_conf()`)
	awaitSetting(t, d, "wal_writer_delay", "10s")
	s, err := sqlstore.New(db, d.dialect, sqlstore.Config{Timeout: 10 * time.Second})
	require.NoError(t, err)
	require.NoError(t, s.EnsureSchema(t.Context()))
	one, other := newRecord(), newRecord()
	create(t, s, one)
	create(t, s, other)
	execute(t, db, `ALTER ROLE postgres SET synchronous_commit = off`, `CHECKPOINT`)
	db.SetMaxIdleConns(0) // so that each call opens a connection
	_, err = s.Delete(t.Context(), one.Key, store.ReasonLoggedOut)
	require.NoError(t, err)
	_, err = s.DeleteByID(t.Context(), []store.End{{Owner: other.Owner, ID: other.ID, Reason: store.ReasonEnded}})
	require.NoError(t, err)
	require.NoError(t, server.Kill())
	require.NoError(t, server.Start())
	for _, r := range []store.Record{one, other} {
		require.Eventually(t, func() bool {
			_, err = s.Load(t.Context(), r.Key)
			return err == nil || errors.Is(err, store.ErrNotFound)
		}, 30*time.Second, 10*time.Millisecond, "%v", err)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
}

func TestMariaDBThatConfirmsTooEarlyIsRefused(t *testing.T) {
	for name, start := range map[string]func(servers.T) *servers.Server{
		"without a binary log": servers.MariaDB, "with a binary log": servers.MariaDBWithBinaryLog,
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			d := database{sqlstore.MySQL, "mysql", server.DSN(server.Addr)}
			for flush, refusal := range map[string]string{"0": "commit is 0", "1": "", "2": "commit is 2", "3": ""} {
				for binlog, alsoRefused := range map[string]string{"0": "sync_binlog is 0", "1": "", "100": "sync_binlog is 100"} {
					execute(t, d.open(t), `SET GLOBAL innodb_flush_log_at_trx_commit = `+flush, `SET GLOBAL sync_binlog = `+binlog)
					want := refusal
					if flush == "1" && name == "with a binary log" {
						want = alsoRefused
					}
					requireDurability(t, d, want)
				}
			}
		})
	}
}

func TestSQLiteThatConfirmsTooEarlyIsRefused(t *testing.T) {
	const off, normal = "synchronous is OFF", "synchronous is NORMAL"
	for options, refusal := range map[string]string{
		"": "", "?_pragma=journal_mode(WAL)": "",
		"?_pragma=synchronous(OFF)":                               off,
		"?_pragma=synchronous(NORMAL)":                            "",
		"?_pragma=synchronous(EXTRA)":                             "",
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)":     off,
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(1)":       normal,
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)":    "",
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(EXTRA)":   "",
		"?_pragma=journal_mode(TRUNCATE)&_pragma=synchronous(0)":  off,
		"?_pragma=journal_mode(PERSIST)&_pragma=synchronous(1)":   "",
		"?_pragma=journal_mode(OFF)":                              "journal_mode is OFF",
		"?_pragma=journal_mode(MEMORY)&_pragma=synchronous(FULL)": "journal_mode is MEMORY",
	} {
		t.Run(options, func(t *testing.T) {
			d := databases["SQLite"](t)
			d.dsn += options
			requireDurability(t, d, refusal)
		})
	}
}

// What InsecureDurability costs.
func TestLogoutConfirmedTooEarlyIsUndoneByACrash(t *testing.T) {
	server := servers.PostgreSQL(t)
	d := database{sqlstore.PostgreSQL, "pgx", server.DSN(server.Addr) + "&synchronous_commit=off"}
	db := d.open(t)
	execute(t, db, `ALTER SYSTEM SET wal_writer_delay = '10s'`, `SELECT pg_reload_conf()`)
	awaitSetting(t, d, "wal_writer_delay", "10s")
	s, r := d.node(t, sqlstore.Config{}), newRecord()
	create(t, s, r)
	execute(t, db, `CHECKPOINT`) // so that the login survives
	_, err := s.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
	require.NoError(t, err)
	require.NoError(t, server.Kill())
	require.NoError(t, server.Start())
	require.Eventually(t, func() bool {
		_, err = s.Load(t.Context(), r.Key)
		return err == nil
	}, 30*time.Second, 10*time.Millisecond, "%v", err)
}

// Without its synchronous standby, a logout is not confirmed, and neither is its repetition, nor a
// login. A driver may cancel the COMMIT, which then succeeds with a warning.
func TestLogoutThatNoStandbyHasReceivedIsNotConfirmed(t *testing.T) {
	for _, driver := range []string{"pgx", "postgres"} {
		t.Run(driver, func(t *testing.T) {
			server := servers.PostgreSQL(t)
			d := database{sqlstore.PostgreSQL, driver, server.DSN(server.Addr)}
			s, r := d.node(t, sqlstore.Config{Timeout: time.Second}), newRecord()
			create(t, s, r)
			execute(t, d.open(t), `ALTER SYSTEM SET synchronous_standby_names = 'absent'`, `SELECT pg_reload_conf()`)
			awaitSetting(t, d, "synchronous_standby_names", "absent")
			for range 2 {
				_, err := s.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				ended, err := s.DeleteByID(t.Context(), []store.End{{Owner: r.Owner, ID: r.ID, Reason: store.ReasonLoggedOut}})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Nil(t, ended)
				_, err = s.Create(t.Context(), newRecord(), store.Limit{})
				require.ErrorIs(t, err, context.DeadlineExceeded)
			}
			execute(t, d.open(t), `ALTER SYSTEM RESET synchronous_standby_names`, `SELECT pg_reload_conf()`)
			require.Eventually(t, func() bool {
				ended, err := s.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
				return err == nil && ended.Session == nil
			}, 30*time.Second, 10*time.Millisecond)
		})
	}
}
