// Package sqlstore keeps sessions in PostgreSQL, MySQL, MariaDB or SQLite, through
// database/sql and whichever driver the application has.
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
		db:         db,
		dialect:    dialect,
		statements: spoken,
		timeout:    cmp.Or(config.Timeout, 2*time.Second),
		logger:     config.Logger,
	}
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
	return fmt.Errorf("sqlstore: %s: %w", doing, clean(err))
}
