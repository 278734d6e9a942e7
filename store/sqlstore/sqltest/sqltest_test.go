package sqltest

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

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
		beAnotherProcess(path)
		return
	}
	servers.Main(m)
}

var (
	postgreSQL = servers.Shared(servers.PostgreSQL)
	mariaDB    = servers.Shared(servers.MariaDB)
)

// A database is one that tests open pools to.
type database struct {
	dialect sqlstore.Dialect
	driver  string
	dsn     string
}

var databases = map[string]func(t *testing.T) database{
	"PostgreSQL": func(t *testing.T) database {
		s := postgreSQL(t)
		return database{sqlstore.PostgreSQL, "pgx", s.DSN(s.Addr)}
	},
	"MariaDB": func(t *testing.T) database {
		s := mariaDB(t)
		return database{sqlstore.MySQL, "mysql", s.DSN(s.Addr)}
	},
	"SQLite": func(t *testing.T) database {
		return database{sqlstore.SQLite, "sqlite", filepath.Join(t.TempDir(), "sessions.db")}
	},
}

// open opens a pool that is closed with the test.
func (d database) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open(d.driver, d.dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// node returns a Store with a pool of its own, on tables that are there.
func (d database) node(t testing.TB, config sqlstore.Config) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(d.open(t), d.dialect, config)
	require.NoError(t, err)
	require.NoError(t, s.EnsureSchema(t.Context()))
	return s
}

func TestStoresKeepEveryPromise(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			storetest.Run(t, func(t *testing.T) store.Backend { return d.node(t, sqlstore.Config{}) })
		})
	}
}

func TestTwoNodesKeepEveryPromise(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			storetest.RunNodes(t, func(t *testing.T) (a, b store.Backend) {
				return d.node(t, sqlstore.Config{}), d.node(t, sqlstore.Config{})
			})
		})
	}
}
