package sqlstore_test

import (
	"context"
	"database/sql"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// The driver is the application's: it imports github.com/jackc/pgx/v5/stdlib here.
func ExampleNew() {
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(20) // all nodes together less than the server allows
	db.SetMaxIdleConns(20)
	sessions, err := sqlstore.New(db, sqlstore.PostgreSQL, sqlstore.Config{Timeout: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	if err := sessions.EnsureSchema(context.Background()); err != nil {
		log.Fatal(err)
	}
	// It is a Backend for sessionguard.Config.
}

// A file that several processes of one machine share, with modernc.org/sqlite.
func ExampleNew_sqlite() {
	db, err := sql.Open("sqlite", "file:/var/lib/app/sessions.db?_pragma=journal_mode(WAL)")
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := sqlstore.New(db, sqlstore.SQLite, sqlstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if err := sessions.EnsureSchema(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// Each of several nodes may do this.
func ExampleStore_Sweep() {
	var sessions *sqlstore.Store // from New

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go sessions.Sweep(ctx)
}

// The schema can be made by whoever makes the application's other tables.
func ExampleStore_EnsureSchema() {
	var db *sql.DB

	for _, migration := range []string{
		"CREATE TABLE users (id BIGINT PRIMARY KEY)",
		sqlstore.PostgreSQLSchema,
	} {
		if _, err := db.Exec(migration); err != nil {
			log.Fatal(err)
		}
	}
}

// The connection that listens is made by the application's driver, as the
// documentation of Listening has it for pgx.
func ExampleListening() {
	var sessions *sqlstore.Store // from New
	var listen sqlstore.Listen

	listener, err := sqlstore.Listening(sessions, listen)
	if err != nil {
		log.Fatal(err)
	}
	_ = listener // is the Backend for sessionguard.Config: the Store tells no guard of endings
}
