// Package sqlstore keeps sessions in PostgreSQL, MySQL, MariaDB or SQLite, through
// database/sql and whichever driver the application has. All of its nodes then share
// their sessions, and with SQLite those of one machine outlive the process.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	if err != nil { … }
//	db.SetMaxOpenConns(20) // all nodes together less than the server allows
//	db.SetMaxIdleConns(20) // or the pool makes a connection for most requests
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
// allows, and the rest are answered with 503. With [Listening], give the Backend the
// [Listener], not the Store.
//
// # What it promises
//
// All of [store.Backend], on every node, whatever the server's default transaction
// isolation is: what one node has done the others know with their next statement. A
// server that is slow, away or can only be read is an error within [Config.Timeout],
// which a guard answers with 503, and never the end of a session. So is a row that is
// corrupt or foreign; its error names the key, in hexadecimal, and the remedy is to
// delete it. No error, and nothing that is logged, holds the connection string: of
// drivers' errors only the part that comes from the server, the network or the file.
//
// What has failed and can not have happened is tried again within the Timeout, where the
// connection was lost twenty times at most. If the connection breaks where it may have
// happened, that is an error and the session as it was or as it should be: a logout is
// then not confirmed, a login not let in. A login that failed like this may still reach
// the server, even after it was undone: then there is a session whose cookie nobody has
// been given.
//
// # What it costs
//
// A protected request is one SELECT by primary key, and at most once in 1/30 of the
// idle timeout an UPDATE by primary key, which in PostgreSQL mostly changes a row in
// place and no index. Each is one round trip with pgx and go-sql-driver/mysql; pgx adds
// one to see whether a connection that was idle for a second is still there. A change
// of values is one UPDATE more. A login is one INSERT, or with a limit of sessions a
// short transaction; a logout is a short transaction.
//
// # Databases
//
// PostgreSQL needs to be 9.6 or later by what is used of it, and is tested as 15.
// [Listening] cuts the streams of a session on every node at once; without it, and
// elsewhere, that takes up to 30 seconds. Who may connect to the database may NOTIFY, and
// so cut streams without ending a session: let no stranger do so (REVOKE CONNECT). With
// bytea_output=escape no row can be read by drivers that ask for text. A pooler in transaction mode will do for all
// but LISTEN, if the driver prepares no named statements: pgx does not with
// default_query_exec_mode=exec.
//
// MySQL and MariaDB need InnoDB and a binary log that is not of statements
// (binlog_format, ROW or MIXED by default), and are tested as MariaDB 10.11. Refused are
// autocommit=0, a completion_type other than NO_CHAIN, READ-UNCOMMITTED, a
// sql_select_limit, and the character sets big5, cp932, gb18030, gb2312, gbk and sjis.
// Values larger than max_allowed_packet can not be saved. A Galera cluster has to be
// written and read through one node at a time: on another what was done is seen a moment
// later, and row locks do not hold.
//
// A node that loses its network in a transaction keeps its locks, and logins of others
// wait, until the server notices. In PostgreSQL that takes three times the
// [Config.Timeout], which each transaction asks for itself. Elsewhere say it in the
// connection string: idle_transaction_timeout=10 for MariaDB, and for MySQL
// wait_timeout=60, with a shorter db.SetConnMaxIdleTime, for it closes idle connections
// too:
//
//	app@tcp(db:3306)/app?charset=utf8mb4&idle_transaction_timeout=10
//
// What is refused is looked at once, on one connection of the pool. Whatever of
// autocommit, completion_type, transaction_isolation, character_set_client (charset),
// sql_select_limit and PRAGMA read_uncommitted is not the server's default belongs in the
// connection string, so that every connection has it, and not in a statement or a SET
// GLOBAL while the application runs.
//
// SQLite needs to be 3.16 or later, and is tested as modernc.org/sqlite. Several
// processes on one machine may share a file, but not over a network. Any journal_mode
// will do, with a busy_timeout or without; the write-ahead log keeps readers and the one
// writer from waiting for each other:
//
//	file:/var/lib/app/sessions.db?_pragma=journal_mode(WAL)
//
// The driver makes a file that others on the machine can read: make it with mode 0600
// first, or keep its directory private. A database in memory is refused: each
// connection of the pool would have its own. So is PRAGMA read_uncommitted.
//
// What a server or a file forgets in a crash comes back with it, a session that was
// logged out included. Leave synchronous_commit, innodb_flush_log_at_trx_commit and
// PRAGMA synchronous at their defaults.
//
// # Several applications
//
// Two applications in one database need a CookieName each, in the guard's Config, or a
// database or schema each. With the same name they share users' sessions by ID, and
// with the same Keys too a login at one is a login at both.
//
// # Replicas
//
// A Store reads and writes one server, the primary. A replica that lags behind lets in
// who has logged out, so never read from one. If one that is asynchronous is promoted,
// what it had not received is undone: logouts of the last moments too, until those
// sessions end by their timeouts. Where that is too much, use synchronous replication,
// or end all sessions after a failover: DELETE FROM sessionguard_sessions ends each
// with its next request, and its streams within five minutes.
//
// # Clocks
//
// Times are those of the application's nodes, in milliseconds; the database's clock
// does not matter. Nodes whose clocks differ end sessions earlier or later by that
// much, and up to ten minutes no [Store.Sweep] deletes what lives on for another node. A
// login of the same user within a limit does.
//
// # Backups
//
// A key is a hash of the cookie, so nobody who reads a copy of the table can log in
// with it. It does hold user IDs, addresses, user agents and values. One that is
// restored brings back the sessions of its time.
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

// Config is how a [Store] behaves. The zero Config is the default.
type Config struct {
	// Timeout bounds each call, waiting for a connection, for locks and for another
	// attempt included. Default: 2 seconds. Of a caller's own deadline and this one,
	// the earlier holds.
	Timeout time.Duration

	// Logger gets what fails where nobody waits for it: in [Store.Sweep], and the
	// connection of a [Listener]. Default: [slog.Default].
	Logger *slog.Logger
}

// A Store is a [store.Backend] in a database. Every node of an application has one on
// the same database.
type Store struct {
	db      *sql.DB
	dialect Dialect
	*statements
	timeout time.Duration
	logger  *slog.Logger

	load, touch, save statement
	suits             atomic.Bool   // see suitable
	turn              chan struct{} // SQLite: who may write, see transaction.go
}

var _ store.Backend = (*Store)(nil)

// New returns a Store on db, which it does not close. It asks the database nothing:
// the table has to be there by the first call, see [Store.EnsureSchema].
func New(db *sql.DB, dialect Dialect, config Config) (*Store, error) {
	spoken, known := dialects[dialect]
	switch {
	case db == nil:
		return nil, errors.New("sqlstore: New needs a database")
	case !known:
		return nil, errors.New("sqlstore: New needs a Dialect: PostgreSQL, MySQL or SQLite")
	case config.Timeout < 0:
		return nil, fmt.Errorf("sqlstore: Config.Timeout is %v; 0 is the default", config.Timeout)
	}
	s := &Store{
		db:      db,
		dialect: dialect,
		timeout: cmp.Or(config.Timeout, 2*time.Second),
		logger:  config.Logger,
	}
	s.statements = spoken.within(s.timeout)
	if s.logger == nil {
		s.logger = slog.Default()
	}
	s.load = statement{text: s.loadText, prepare: s.prepares}
	s.touch = statement{text: s.touchText, prepare: s.prepares}
	s.save = statement{text: s.saveText, prepare: s.prepares}
	if dialect == SQLite {
		s.turn = make(chan struct{}, 1)
	}
	return s, nil
}

// call bounds what a method does and cleans its error.
func (s *Store) call(ctx context.Context, doing string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.suitable(ctx)
	if err == nil {
		err = f(ctx)
	}
	if err == nil || ours(err) {
		return err
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if noTable(err) {
		return fmt.Errorf("sqlstore: %s: %w (EnsureSchema makes it)", doing, clean(err))
	}
	return fmt.Errorf("sqlstore: %s: %w", doing, clean(err))
}
