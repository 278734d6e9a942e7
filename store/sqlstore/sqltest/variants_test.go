package sqltest

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/lib/pq"
	_ "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

var (
	postgreSQLWithTLS = servers.Shared(servers.PostgreSQLWithTLS)
	mySQL             = servers.Shared(servers.MySQL)
	pgBouncer         = servers.Shared(func(t servers.T) *servers.Server {
		return servers.PgBouncer(t, postgreSQL(t), "max_prepared_statements = 200")
	})
	// A PgBouncer before 1.21 knows no prepared statements.
	oldPgBouncer = servers.Shared(func(t servers.T) *servers.Server {
		return servers.PgBouncer(t, postgreSQL(t), "max_prepared_statements = 0")
	})
)

// through returns how to open a PostgreSQL database with a driver and options.
func through(server func(servers.T) *servers.Server, driver, options string) func(t testing.TB) database {
	return func(t testing.TB) database {
		s := server(t)
		return database{sqlstore.PostgreSQL, driver, s.DSN(s.Addr) + options}
	}
}

// Other drivers of the databases, and other servers that speak their protocols.
var variants = map[string]func(t testing.TB) database{
	"PostgreSQL, lib/pq":                            through(postgreSQL, "postgres", ""),
	"PostgreSQL over TLS, pgx":                      through(postgreSQLWithTLS, "pgx", ""),
	"PgBouncer, pgx":                                through(pgBouncer, "pgx", ""),
	"PgBouncer without prepared statements, pgx":    through(oldPgBouncer, "pgx", "&default_query_exec_mode=exec"),
	"PgBouncer without prepared statements, lib/pq": through(oldPgBouncer, "postgres", "&binary_parameters=yes"),
	"SQLite, mattn": func(t testing.TB) database {
		return database{sqlstore.SQLite, "sqlite3", "file:" + filepath.Join(t.TempDir(), "sessions.db") + "?_journal_mode=WAL&_synchronous=FULL"}
	},
	"MySQL": func(t testing.TB) database {
		s := mySQL(t)
		return database{sqlstore.MySQL, "mysql", s.DSN(s.Addr)}
	},
}

func TestVariantsPassStoretest(t *testing.T) {
	for name, start := range variants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			node := d.node(t, patient)
			storetest.Run(t, func(*testing.T) store.Backend { return node })
		})
	}
}

// The nodes of an application may use different drivers and ways to one server.
func TestTwoVariantsPassStoretest(t *testing.T) {
	for name, other := range map[string]func(t testing.TB) database{
		"PostgreSQL over TLS, pgx": through(postgreSQLWithTLS, "postgres", ""),
		"PgBouncer, pgx":           variants["PostgreSQL, lib/pq"],
		"SQLite, mattn":            nil,
		"MySQL":                    nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := variants[name](t)
			two := one
			if other != nil {
				two = other(t)
			}
			a, b := one.node(t, patient), two.node(t, patient)
			storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
		})
	}
}

func TestVariantsCauseNoErrorsInContention(t *testing.T) {
	for name, start := range variants {
		t.Run(name, func(t *testing.T) { requireNoErrorsInContention(t, start(t)) })
	}
}

func TestMissingTablesOfVariantsAreAnError(t *testing.T) {
	for name, start := range variants {
		t.Run(name, func(t *testing.T) { requireMissingTablesAreAnError(t, start(t)) })
	}
}

// The driver verifies the server's certificate, and no error contains the password.
func TestServerThatCannotBeVerifiedIsRefused(t *testing.T) {
	const timeout = time.Second
	server, other := postgreSQLWithTLS(t), servers.PostgreSQLWithTLS(t)
	for _, driver := range []string{"pgx", "postgres"} {
		for name, d := range map[string]database{
			"another authority": {sqlstore.PostgreSQL, driver, other.DSN(server.Addr)},
			"without TLS":       {sqlstore.PostgreSQL, driver, postgreSQL(t).DSN(server.Addr)},
		} {
			t.Run(driver+" "+name, func(t *testing.T) {
				d.dsn = strings.Replace(d.dsn, "postgres@", "postgres:"+secret+"@", 1)
				s := d.unprepared(t, timeout)
				requireFails(t, s, timeout, "Load Delete")
				if name == "another authority" {
					_, err := s.Load(t.Context(), newRecord().Key)
					require.ErrorContains(t, err, "certificate")
				}
			})
		}
	}
}

func TestUnsafeSettingsOfVariantsAreRefused(t *testing.T) {
	t.Run("MySQL", func(t *testing.T) {
		d := variants["MySQL"](t)
		d.node(t, sqlstore.Config{})
		requireDurability(t, d, "innodb_flush_log_at_trx_commit is 2")
		for option, refusal := range map[string]string{
			"?autocommit=0":                             "autocommit",
			"?completion_type=1":                        "completion_type",
			"?transaction_isolation='READ-UNCOMMITTED'": "READ-UNCOMMITTED",
			"?sql_select_limit=1":                       "sql_select_limit",
			"?charset=gb18030":                          "GB18030",
			"?charset=sjis":                             "SJIS",
		} {
			other := d
			other.dsn += option
			_, err := other.unprepared(t, 20*time.Second).Load(t.Context(), newRecord().Key)
			require.ErrorContains(t, err, refusal)
		}
	})
}

// This driver's default with a write-ahead log is synchronous=NORMAL.
func TestDurabilityOfTheOtherSQLiteDriver(t *testing.T) {
	d := variants["SQLite, mattn"](t)
	requireDurability(t, d, "")
	d.dsn = strings.Replace(d.dsn, "&_synchronous=FULL", "", 1)
	requireDurability(t, d, "synchronous is NORMAL")
}

// Through a pool in transaction mode nothing can be listened to. A Listener notices that within
// twelve seconds, and then again and again: each time the guard checks all its streams.
func TestListeningThroughATransactionPoolIsPolling(t *testing.T) {
	t.Parallel()
	d := variants["PgBouncer, pgx"](t)
	endings := watch(t, d.listener(t, sqlstore.Config{}))
	plain, r := d.node(t, sqlstore.Config{}), newRecord()
	create(t, plain, r)
	_, err := plain.Delete(t.Context(), r.Key, store.ReasonEnded)
	require.NoError(t, err)
	require.Equal(t, store.Ending{}, receiveOther(t, endings, r.ID))
}

// With a connection of its own to the server, a Listener works beside the pool.
func TestListenerBesideATransactionPool(t *testing.T) {
	d, direct := variants["PgBouncer, pgx"](t), databases["PostgreSQL"](t)
	listener, err := listening(d.node(t, sqlstore.Config{}), direct.open(t))
	require.NoError(t, err)
	endings := watch(t, listener)
	r := newRecord()
	create(t, listener, r)
	_, err = d.node(t, sqlstore.Config{}).Delete(t.Context(), r.Key, store.ReasonEnded)
	require.NoError(t, err)
	require.Equal(t, store.Ending{ID: r.ID, Reason: store.ReasonEnded}, receive(t, endings))
}

// A pool mixes statements that are prepared without a name: those of other clients would run
// with the values of this one.
func TestDriverThatPreparesUnnamedStatementsInATransactionPoolIsRefused(t *testing.T) {
	for name, start := range map[string]func(t testing.TB) database{
		"lib/pq":                  through(pgBouncer, "postgres", ""),
		"lib/pq, older PgBouncer": through(oldPgBouncer, "postgres", ""),
		"pgx":                     through(pgBouncer, "pgx", "&default_query_exec_mode=describe_exec"),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t).unprepared(t, patient.Timeout)
			for range 2 {
				_, err := s.Load(t.Context(), newRecord().Key)
				require.ErrorContains(t, err, "pooler")
				require.NotErrorIs(t, err, store.ErrNotFound)
			}
		})
	}
}

// The first calls of a node do not wait for each other's connections.
func TestFirstCallsOfABusyNode(t *testing.T) {
	d := variants["PostgreSQL, lib/pq"](t)
	d.node(t, sqlstore.Config{})
	db := d.open(t)
	db.SetMaxOpenConns(2)
	s, err := sqlstore.New(db, d.dialect, sqlstore.Config{Timeout: patient.Timeout, InsecureDurability: true})
	require.NoError(t, err)
	var calls sync.WaitGroup
	errs := make(chan error, 50)
	for range cap(errs) {
		calls.Go(func() {
			_, err := s.Load(t.Context(), newRecord().Key)
			errs <- ignoreGone(err)
		})
	}
	calls.Wait()
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
}

// What a driver has prepared with a name is missing on another connection to the server, or is
// there already.
func TestDriverThatPreparesStatementsInATransactionPoolIsAnError(t *testing.T) {
	s := through(oldPgBouncer, "pgx", "")(t).unprepared(t, 5*time.Second)
	var err error
	for range 100 { // the first connections each prepare the same statement
		var calls sync.WaitGroup
		errs := make(chan error, 20)
		for range cap(errs) {
			calls.Go(func() {
				_, err := s.Load(t.Context(), newRecord().Key)
				errs <- ignoreGone(err)
			})
		}
		calls.Wait()
		for range cap(errs) {
			if e := <-errs; e != nil {
				err = e
			}
		}
		if err != nil {
			break
		}
	}
	require.ErrorContains(t, err, "transaction mode")
}
