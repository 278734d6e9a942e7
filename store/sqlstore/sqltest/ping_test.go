package sqltest

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

func countRows(t testing.TB, db *sql.DB) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow("SELECT COUNT(*) FROM sessionguard_sessions").Scan(&n))
	return n
}

func TestPingSucceedsAndLeavesNoRow(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			d.node(t, sqlstore.Config{})
			db := d.open(t)
			before := countRows(t, db)
			db.SetMaxOpenConns(1)
			s, err := sqlstore.New(db, d.dialect, sqlstore.Config{InsecureDurability: true})
			require.NoError(t, err)
			for range 20 {
				require.NoError(t, s.Ping(t.Context()))
			}
			require.Equal(t, before, countRows(t, db))
		})
	}
}

// requireNotReady requires that neither a login nor Ping succeeds.
func requireNotReady(t *testing.T, s *sqlstore.Store) {
	t.Helper()
	requireFails(t, s, shortTimeout, "Create Ping")
}

// A node with such a database loads sessions, but nobody can log in or out.
func TestPingFailsWhereNobodyCanLogIn(t *testing.T) {
	exec := func(t *testing.T, d database, texts ...string) {
		t.Helper()
		for _, text := range texts {
			_, err := d.open(t).Exec(text)
			require.NoError(t, err)
		}
	}
	// asApplication returns the database for a user with fewer rights.
	asApplication := func(d database, user string) database {
		d.dsn = strings.NewReplacer("postgres@", user+"@", "root@", user+"@").Replace(d.dsn)
		return d
	}
	for name, prepare := range map[string]func(t *testing.T) database{
		"a standby of PostgreSQL": func(t *testing.T) database {
			primary := servers.PostgreSQL(t)
			d := database{sqlstore.PostgreSQL, "pgx", primary.DSN(primary.Addr)}
			d.node(t, sqlstore.Config{})
			exec(t, d, "CHECKPOINT")
			standby := servers.PostgreSQLStandby(t, primary)
			d.dsn = standby.DSN(standby.Addr)
			return d
		},
		"PostgreSQL without its synchronous standby": func(t *testing.T) database {
			server := servers.PostgreSQL(t)
			d := database{sqlstore.PostgreSQL, "pgx", server.DSN(server.Addr)}
			d.node(t, sqlstore.Config{})
			exec(t, d, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
			require.Eventually(t, func() bool {
				var names string
				return d.open(t).QueryRow("SHOW synchronous_standby_names").Scan(&names) == nil && names == "nobody"
			}, 10*time.Second, 10*time.Millisecond)
			return d
		},
		"a PostgreSQL user without rights": func(t *testing.T) database {
			d := databases["PostgreSQL"](t)
			d.node(t, sqlstore.Config{})
			exec(t, d, "DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN")
			t.Cleanup(func() { exec(t, d, "DROP OWNED BY reader", "DROP ROLE reader") })
			exec(t, d, "GRANT SELECT, DELETE ON sessionguard_sessions, sessionguard_locks TO reader")
			return asApplication(d, "reader")
		},
		"a read-only MariaDB": func(t *testing.T) database {
			server := servers.MariaDB(t)
			d := database{sqlstore.MySQL, "mysql", server.DSN(server.Addr)}
			d.node(t, sqlstore.Config{})
			exec(t, d, "CREATE USER application@127.0.0.1", "GRANT SELECT, INSERT, UPDATE, DELETE ON test.* TO application@127.0.0.1",
				"SET GLOBAL read_only = 1")
			return asApplication(d, "application")
		},
		"MariaDB without its semi-synchronous replica": func(t *testing.T) database {
			server := servers.MariaDBWithReplication(t, 1)
			d := database{sqlstore.MySQL, "mysql", server.DSN(server.Addr)}
			d.node(t, sqlstore.Config{})
			exec(t, d, "SET GLOBAL rpl_semi_sync_master_enabled = 1")
			return d
		},
		"SQLite with PRAGMA query_only": func(t *testing.T) database {
			d := databases["SQLite"](t)
			d.node(t, sqlstore.Config{})
			d.dsn += "?_pragma=query_only(1)"
			return d
		},
		"a stopped PostgreSQL": func(t *testing.T) database {
			server := servers.PostgreSQL(t)
			require.NoError(t, server.Kill())
			return database{sqlstore.PostgreSQL, "pgx", server.DSN(server.Addr)}
		},
		"a stopped MariaDB": func(t *testing.T) database {
			server := servers.MariaDB(t)
			require.NoError(t, server.Kill())
			return database{sqlstore.MySQL, "mysql", server.DSN(server.Addr)}
		},
	} {
		t.Run(name, func(t *testing.T) { requireNotReady(t, prepare(t).unprepared(t, shortTimeout)) })
	}
}

// A login with a session limit needs the table of locks.
func TestPingFailsWithoutACompleteSchema(t *testing.T) {
	for name, start := range databases {
		for _, change := range []string{
			"DROP TABLE sessionguard_sessions", "DROP TABLE sessionguard_locks",
			"DELETE FROM sessionguard_locks", "DELETE FROM sessionguard_locks WHERE id = 63",
		} {
			if name == "SQLite" && strings.Contains(change, "locks") {
				continue // it has no such table
			}
			t.Run(name+" "+change, func(t *testing.T) {
				d := start(t)
				s := d.node(t, sqlstore.Config{Timeout: 10 * time.Second})
				require.NoError(t, s.Ping(t.Context()))
				db := d.open(t)
				_, err := db.Exec(change)
				require.NoError(t, err)
				require.ErrorContains(t, s.Ping(t.Context()), "EnsureSchema creates")
				dropTables(t, db)
				require.NoError(t, s.EnsureSchema(t.Context()))
				require.NoError(t, s.Ping(t.Context()))
			})
		}
	}
}

// Requests wait for a connection too.
func TestPingFailsWithoutAFreeConnection(t *testing.T) {
	d := databases["PostgreSQL"](t)
	d.node(t, sqlstore.Config{})
	db := d.open(t)
	db.SetMaxOpenConns(1)
	s, err := sqlstore.New(db, d.dialect, sqlstore.Config{Timeout: shortTimeout, InsecureDurability: true})
	require.NoError(t, err)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	requireNotReady(t, s)
	require.NoError(t, conn.Close())
	require.NoError(t, s.Ping(t.Context()))
}

// A login that holds its locks for long, because its node has vanished, does not make a node
// that serves all others look dead.
func TestPingWaitsForNoLogin(t *testing.T) {
	for _, name := range []string{"PostgreSQL", "MariaDB"} {
		t.Run(name, func(t *testing.T) {
			d := databases[name](t)
			s, db := d.node(t, sqlstore.Config{Timeout: 5 * time.Second}), d.open(t)
			r := newRecord()
			create(t, s, r)
			tx, err := db.BeginTx(context.Background(), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
			require.NoError(t, err)
			defer tx.Rollback()
			for _, text := range []string{"SELECT id FROM sessionguard_locks FOR UPDATE", "SELECT version FROM sessionguard_sessions FOR UPDATE"} {
				rows, err := tx.Query(text)
				require.NoError(t, err)
				for rows.Next() {
				}
				require.NoError(t, rows.Close())
			}
			require.NoError(t, s.Ping(t.Context()))
			_, err = s.Create(t.Context(), newRecord(), store.Limit{})
			require.NoError(t, err)
		})
	}
}
