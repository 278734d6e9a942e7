// Package sqlstore keeps sessions in PostgreSQL, MySQL, MariaDB or SQLite, through
// database/sql and the application's own driver. All nodes of an application share their
// sessions. With SQLite the nodes are the processes of one machine, and the sessions
// survive a restart.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	if err != nil { … }
//	db.SetMaxOpenConns(20) // all nodes together must stay below the server's limit
//	db.SetMaxIdleConns(20) // with fewer, most requests open a new connection
//	sessions, err := sqlstore.New(db, sqlstore.PostgreSQL, sqlstore.Config{})
//	if err != nil { … }
//	if err := sessions.EnsureSchema(ctx); err != nil { … }
//	go sessions.Sweep(ctx)
//
//	guard, err := sessionguard.New(sessionguard.Config[*User]{
//		Backend: sessions,
//		Keys:    keys, // the same on every node
//		…
//	})
//
// Without SetMaxOpenConns a burst of requests opens more connections than the server
// allows, and the requests that get none receive a 503 response. With [Listening], set
// Backend to the [Listener], not to the Store.
//
// # Guarantees
//
// A Store keeps every promise of [store.Backend] on every node, whatever the server's
// default transaction isolation is. Once a call has returned on one node, every other
// node sees its effect with its next statement.
//
// Failures never end a session. If the server is slow, unreachable or read-only, the call
// returns an error within [Config.Timeout], and the guard responds with 503. A corrupt or
// foreign row is an error too. The error names the row's key in hexadecimal; the remedy is
// to delete that row.
//
// Errors and log messages never contain the connection string. Of a driver's error they
// contain only the part that comes from the server, the network or the file.
//
// An operation that failed and cannot have taken effect is retried within the Timeout, or
// until it has lost its connection twenty times. If the connection breaks after the
// operation may have taken effect, the call returns an error, and the session is either
// unchanged or changed as requested: a logout is not confirmed, and a login is not
// completed. Such a login may still reach the server, even after the guard has undone it.
// It then creates a session whose cookie was never sent to anybody.
//
// # Cost
//
// A protected request runs one SELECT by primary key. At most once per 1/30 of the idle
// timeout it also runs an UPDATE by primary key; PostgreSQL mostly changes the row in
// place and updates no index. Each statement is one round trip with pgx and with
// go-sql-driver/mysql. If a connection was idle for a second, pgx adds a round trip to
// check that it is still open. A change of values is one more UPDATE. A login is one
// INSERT, or a short transaction if there is a session limit. A logout is a short
// transaction. So is the end of up to [store.MaxPage] of a user's sessions.
//
// # Everyone's sessions
//
// A Store is a [store.Lister]. [Store.All], and with it AllSessions and EndAll of a guard, reads
// pages of [store.MaxPage] sessions in the order of the index on owner_hash and session_id,
// and keeps no connection between two of them. [Store.Count] counts two thousand sessions at
// a time. So neither holds up logins for long, and [Config.Timeout] applies to each page or
// step. Both read each session once, whatever the database's statistics say; in PostgreSQL each
// page or step is a short transaction that turns other plans off. If a row is corrupt, All
// yields all other sessions before the error.
//
// A million sessions took the following time, relative to that of sixteen clients to create
// them, on two cores with much other load:
//
//	            Count    AllSessions   EndAll
//	PostgreSQL  0.15     0.24          2.7
//	MariaDB     0.31     0.29          2.0
//	SQLite      0.06     0.04          0.9
//
// MariaDB was measured once, with a buffer pool of 32 MB for 730 MB of data. With less other
// load, EndAll of 200,000 took 0.4 and 0.5 on PostgreSQL and SQLite, and its longest
// transaction 0.3 seconds. The longest page took 0.7 seconds with much load, and the longest
// transaction of EndAll, which ends up to [store.MaxPage] sessions, 2.1 seconds. To measure
// it, run this in store/sqlstore/sqltest:
//
//	go test -run '^$' -bench Everyone -benchtime 1x -timeout 3h -args -sessions 1000000
//
// Count reads every row of the realm: do not count for each request.
//
// # Readiness
//
// [Store.Ping] fails if nobody could log in now. Let a readiness probe call it.
//
// # PostgreSQL
//
// PostgreSQL must be 9.6 or later, judging by the features that the statements use.
//
// [Listening] cuts the streams of an ended session on every node at once. Without it, and
// on other databases, that takes up to 30 seconds. Anyone who may connect to the database
// may NOTIFY, and so cut streams without ending a session: use REVOKE CONNECT to keep
// strangers out.
//
// With bytea_output=escape, drivers that request text cannot read any row.
//
// A pooler in transaction mode, such as PgBouncer, may run each statement on another
// connection to the server. What a driver has prepared there is then missing, or belongs to
// another client. At worst another client's statement runs with the values of this one.
// So let the driver send a statement and its values together:
//
//   - pgx: default_query_exec_mode=exec or simple_protocol in the connection string. The
//     default works too with PgBouncer 1.21 or later and max_prepared_statements above 0.
//     Never describe_exec.
//   - lib/pq: binary_parameters=yes, with any PgBouncer.
//
// A Store refuses to work where its first calls show that statements can be mixed up.
//
// LISTEN does not work through such a pooler. A [Listener] that tries it notices that nothing
// arrives, within twelve seconds of each attempt. It logs that, and lets the guard check all
// its streams.
// Give the Listen of [Listening] a pool of its own that goes directly to the server, or
// do without a Listener.
//
// # MySQL and MariaDB
//
// MySQL and MariaDB need InnoDB and a binary log that is not statement-based
// (binlog_format; the default is ROW or MIXED). Values larger than max_allowed_packet cannot
// be saved.
//
// A Store refuses to work with autocommit=0, a completion_type other than NO_CHAIN,
// READ-UNCOMMITTED, any sql_select_limit, and the character sets big5, cp932, gb18030,
// gb2312, gbk and sjis.
//
// Read and write a Galera cluster through one node at a time: another node sees changes a
// moment later, and row locks do not hold across nodes.
//
// # SQLite
//
// SQLite must be 3.16 or later. Several processes on one machine may share a file, but not
// over a network. One process must not open a file through two drivers, which are two copies
// of SQLite: each undoes the other's locks, and sessions that have ended come back
// (https://sqlite.org/howtocorrupt.html). Any journal_mode but OFF and MEMORY works, with or
// without a busy_timeout. With the write-ahead log, readers and the one writer do not wait for
// each other:
//
//	file:/var/lib/app/sessions.db?_pragma=journal_mode(WAL)             // modernc.org/sqlite
//	file:/var/lib/app/sessions.db?_journal_mode=WAL&_synchronous=FULL   // github.com/mattn/go-sqlite3
//
// The driver creates a file that other users of the machine can read. Create it first with
// mode 0600, or keep its directory private.
//
// A Store refuses a database in memory, because each connection of the pool would have its
// own. It also refuses PRAGMA read_uncommitted.
//
// # Tried servers and drivers
//
// All tests run on the first three, and those of the backend's contract on all of these:
//
//   - PostgreSQL 15 with pgx 5.12
//   - MariaDB 10.11 with go-sql-driver/mysql 1.10
//   - SQLite with modernc.org/sqlite 1.62
//   - PostgreSQL 15 with lib/pq 1.12
//   - PostgreSQL 15 over TLS (sslmode=verify-full), with pgx and lib/pq
//   - PostgreSQL 15 behind PgBouncer 1.24 in transaction mode, with pgx and lib/pq
//   - MySQL 9.7 with go-sql-driver/mysql
//   - SQLite with mattn/go-sqlite3 1.14
//   - libSQL in a local file with tursodatabase/go-libsql (20251219)
//
// Not tried: other versions, MySQL over TLS, libSQL on a server, MySQL 8, TiDB, Vitess, Dolt,
// CockroachDB, YugabyteDB, Galera, and the services of cloud providers. If a server only speaks
// the protocol of one of the above, run store/storetest on it first. The Store relies on row
// locks. It also relies on this: an UPDATE that had to wait for a row lock sees the row as it is
// after the wait.
//
// # Connection settings
//
// A Store checks once, on one connection of the pool, whether it has to refuse the settings
// of autocommit, completion_type, transaction_isolation, character_set_client (charset),
// sql_select_limit and PRAGMA read_uncommitted, and those of the next section. If any of these
// is to differ from the server's default, set it in the connection string, so that every
// connection has it, and never with a statement or SET GLOBAL while the application runs.
//
// If a node loses its network during a transaction, the transaction keeps its locks, and
// logins on other nodes wait until the server notices. PostgreSQL notices after three times
// [Config.Timeout]: each transaction sets that limit itself. For MariaDB and MySQL, set a
// limit in the connection string. For MariaDB use idle_transaction_timeout=10. For MySQL
// use wait_timeout=60 with a shorter db.SetConnMaxIdleTime, because wait_timeout also
// closes idle connections:
//
//	app@tcp(db:3306)/app?charset=utf8mb4&idle_transaction_timeout=10
//
// # Durability
//
// A confirmed logout must survive a crash, so a Store refuses to work with a database that
// confirms changes before they have reached the disk:
//
//   - PostgreSQL with synchronous_commit=off, wherever it is set (the server, the database, the
//     role or the connection string), or with fsync=off. All other values of
//     synchronous_commit wait for the local disk. If it is turned off later, what ends or
//     replaces a session still waits for the disk.
//   - MySQL and MariaDB with innodb_flush_log_at_trx_commit 0 or 2, or
//     innodb_flush_method=nosync. With a binary log also with a sync_binlog other than 1,
//     which is MariaDB's default: after a crash the server rolls back the transactions that
//     this log lacks. In MariaDB, innodb_flush_log_at_trx_commit=3 does without it.
//   - SQLite with PRAGMA synchronous=OFF, which never waits for the disk, with
//     synchronous=NORMAL and a write-ahead log, which waits only at checkpoints, and with
//     journal_mode=OFF and MEMORY, with which even a killed process can leave a corrupt file.
//
// [Config.InsecureDurability] accepts all of these. With some of them, a confirmed change
// survives as long as only a process is killed and not the machine: fsync=off,
// innodb_flush_log_at_trx_commit=2, any sync_binlog, and PRAGMA synchronous.
//
// SQLite's default, journal_mode=DELETE with synchronous=FULL, is accepted, although a power
// failure may then undo the very last change. synchronous=EXTRA prevents that. With the
// write-ahead log, FULL is enough.
//
// The Store cannot know what lies below the database: a disk or a virtual machine that
// confirms writes early undoes logouts too, and so does anyone who restores a snapshot.
//
// # Several applications
//
// Two applications that share a database need different cookie names (CookieName in the
// guard's Config), or a database or schema each. With the same cookie name they share
// sessions of users with the same ID. If they have the same Keys too, a login at one is a
// login at both.
//
// # Replicas
//
// A Store reads from and writes to one server, the primary. Never read from a replica: one
// that lags behind still admits users who have logged out.
//
// If an asynchronous replica is promoted, the changes that it had not received are undone,
// recent logouts among them. Those sessions are live again until they time out. If that is
// not acceptable, let the primary wait for a replica before it confirms a change:
//
//   - PostgreSQL with a synchronous standby, such as synchronous_standby_names =
//     'ANY 1 (one, two)' and synchronous_commit=on, for every change of the Store: not local, and
//     not remote_write if a machine may lose power. Promote the standby that has received most.
//   - MySQL and MariaDB with semi-synchronous replication. Set
//     rpl_semi_sync_master_wait_point=AFTER_SYNC, so that nobody sees a change that a failover
//     may undo. Set a rpl_semi_sync_master_timeout far longer than [Config.Timeout]: after it
//     the primary goes on without its replicas, silently. MySQL 8.0.26 and later call these
//     rpl_semi_sync_source_…
//
// While no replica responds, changes then fail, and the guard responds with 503. They may have
// taken effect on the primary. With PostgreSQL, a repeated logout waits for the standby as the
// first did. An EndUser that finds no session any more waits for nothing. Semi-synchronous
// replication has not been tried.
//
// Or end all sessions after a failover, with DELETE FROM sessionguard_sessions. Each session
// then ends with its next request, and its streams end within five minutes.
//
// # Clocks
//
// Times come from the clocks of the application's nodes, in milliseconds. The database's
// clock does not matter. If the nodes' clocks differ, sessions end earlier or later by the
// difference. [Store.Sweep] allows for a difference of ten minutes: it deletes no session
// that is live on another node. A login with a session limit makes no such allowance: it
// may delete sessions of the same user that are live on another node.
//
// # Backups
//
// Keys are hashes of cookies, so a copy of the table cannot be used to log in. It does
// contain user IDs, addresses, user agents and values. Restoring a backup brings back the
// sessions of its time.
package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// Config configures a [Store]. The zero Config is the default.
type Config struct {
	// Timeout limits each call, including the time spent waiting for connections and
	// locks and on retries. Default: 2 seconds. An earlier deadline of the caller's
	// context takes precedence.
	Timeout time.Duration

	// InsecureDurability accepts a database that confirms changes before they have reached
	// the disk. After a crash, sessions may then be live again that were logged out. The
	// package's section on durability has the settings that are otherwise refused.
	// Default: false.
	InsecureDurability bool

	// Logger receives errors that no caller waits for: those of [Store.Sweep] and of a
	// [Listener]'s connection. Default: [slog.Default].
	Logger *slog.Logger
}

// A Store is a [store.Backend] on a database. Every node of an application has its own
// Store on the same database.
type Store struct {
	db      *sql.DB
	dialect Dialect
	sql     *statements
	timeout time.Duration
	logger  *slog.Logger

	insecureDurability bool // accepts what durabilityProblem finds

	load, touch, save hotStatement
	settingsOK        atomic.Bool   // see checkSettings
	checkingPooler    chan struct{} // serializes checkPooler
	writeLock         chan struct{} // SQLite only: serializes writes, see write
}

var _ store.Backend = (*Store)(nil)

// New returns a Store on db. It never closes db and does not access the database: the
// tables must exist by the first call, see [Store.EnsureSchema].
func New(db *sql.DB, dialect Dialect, config Config) (*Store, error) {
	texts, known := dialects[dialect]
	switch {
	case db == nil:
		return nil, errors.New("sqlstore: New needs a database")
	case !known:
		return nil, errors.New("sqlstore: New needs a Dialect: PostgreSQL, MySQL or SQLite")
	case config.Timeout < 0:
		return nil, fmt.Errorf("sqlstore: Config.Timeout is %v; set a positive duration, or 0 for the default", config.Timeout)
	}
	s := &Store{
		db:      db,
		dialect: dialect,
		timeout: cmp.Or(config.Timeout, 2*time.Second),
		logger:  config.Logger,

		insecureDurability: config.InsecureDurability,
		checkingPooler:     make(chan struct{}, 1),
	}
	s.sql = texts.withCallTimeout(s.timeout)
	if dialect == PostgreSQL && !s.insecureDurability {
		s.sql.begin[0] += awaitDisk
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	s.load = hotStatement{text: s.sql.load, prepare: s.sql.prepare}
	s.touch = hotStatement{text: s.sql.touch, prepare: s.sql.prepare}
	s.save = hotStatement{text: s.sql.save, prepare: s.sql.prepare}
	if dialect == SQLite {
		s.writeLock = make(chan struct{}, 1)
	}
	return s, nil
}

// call runs f within the Timeout. The error that it returns is safe to show: it cannot
// contain the connection string.
func (s *Store) call(ctx context.Context, operation string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.checkSettings(ctx)
	if err == nil {
		err = f(ctx)
	}
	if err == nil || isSafe(err) {
		return err
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if isMissingTable(err) {
		return fmt.Errorf("sqlstore: %s: %w (EnsureSchema creates it)", operation, sanitize(err))
	}
	if isForeignStatement(err) {
		return fmt.Errorf("sqlstore: %s: %w (behind a pooler in transaction mode the driver must not prepare statements; "+
			"see the package's section on PostgreSQL)", operation, sanitize(err))
	}
	return fmt.Errorf("sqlstore: %s: %w", operation, sanitize(err))
}
