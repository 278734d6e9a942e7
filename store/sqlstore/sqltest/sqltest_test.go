package sqltest

import (
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

func TestMain(m *testing.M) {
	_ = mysql.SetLogger(&mysql.NopLogger{})
	if path := os.Getenv("SQLTEST_FILE"); path != "" {
		runChildProcess(path)
		return
	}
	servers.Main(m)
}

var (
	postgreSQL = servers.Shared(servers.PostgreSQL)
	mariaDB    = servers.Shared(servers.MariaDB)
)

// A database says how to open pools of connections to one.
type database struct {
	dialect sqlstore.Dialect
	driver  string
	dsn     string
}

var databases = map[string]func(t testing.TB) database{
	"PostgreSQL": func(t testing.TB) database {
		s := postgreSQL(t)
		return database{sqlstore.PostgreSQL, "pgx", s.DSN(s.Addr)}
	},
	"MariaDB": func(t testing.TB) database {
		s := mariaDB(t)
		return database{sqlstore.MySQL, "mysql", s.DSN(s.Addr)}
	},
	"SQLite": func(t testing.TB) database {
		return database{sqlstore.SQLite, "sqlite", filepath.Join(t.TempDir(), "sessions.db")}
	},
}

// patient is for a busy machine, where several tests run at once that do not depend on the
// Timeout.
var patient = sqlstore.Config{Timeout: 20 * time.Second}

// open opens a pool that is closed when the test ends.
func (d database) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.driver, d.dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// node returns a Store with a pool of its own, and creates the tables.
func (d database) node(t testing.TB, config sqlstore.Config) *sqlstore.Store {
	t.Helper()
	config.InsecureDurability = true // the test servers do not sync
	s, err := sqlstore.New(d.open(t), d.dialect, config)
	require.NoError(t, err)
	require.NoError(t, s.EnsureSchema(t.Context()))
	return s
}

// unprepared returns a Store without accessing its database, which may not exist.
func (d database) unprepared(t testing.TB, timeout time.Duration) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(d.open(t), d.dialect, sqlstore.Config{Timeout: timeout, InsecureDurability: true})
	require.NoError(t, err)
	return s
}

// placeholders replaces each ? with what the dialect uses.
func (d database) placeholders(text string) string {
	if d.dialect != sqlstore.PostgreSQL {
		return text
	}
	for i := 1; strings.Contains(text, "?"); i++ {
		text = strings.Replace(text, "?", "$"+strconv.Itoa(i), 1)
	}
	return text
}

// readColumns reads columns of the row with a key.
func (d database) readColumns(t testing.TB, db *sql.DB, key store.Key, columns string, to ...any) {
	t.Helper()
	text := d.placeholders("SELECT " + columns + " FROM sessionguard_sessions WHERE session_key = ?")
	require.NoError(t, db.QueryRow(text, key[:]).Scan(to...))
}

// dropTables drops the tables of a Store, where they exist.
func dropTables(t testing.TB, db *sql.DB) {
	t.Helper()
	for _, table := range []string{"sessionguard_sessions", "sessionguard_locks"} {
		_, err := db.Exec("DROP TABLE IF EXISTS " + table)
		require.NoError(t, err)
	}
}

func TestStorePassesStoretest(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			node := d.node(t, patient)
			storetest.Run(t, func(*testing.T) store.Backend { return node })
		})
	}
}

func TestTwoNodesPassStoretest(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			a, b := d.node(t, patient), d.node(t, patient)
			storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
		})
	}
}
