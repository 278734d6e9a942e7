package sqlstore_test

import (
	"context"
	"database/sql"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// The application chooses the driver: here it would import github.com/jackc/pgx/v5/stdlib.
func ExampleNew() {
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(20) // all nodes together must stay below the server's limit
	db.SetMaxIdleConns(20)
	sessions, err := sqlstore.New(db, sqlstore.PostgreSQL, sqlstore.Config{Timeout: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	if err := sessions.EnsureSchema(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Set Backend in sessionguard.Config to sessions.
}

// Several processes of one machine share a file. The driver is modernc.org/sqlite.
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

// Any number of nodes may sweep.
func ExampleStore_Sweep() {
	var sessions *sqlstore.Store // from New

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go sessions.Sweep(ctx)
}

// A load balancer asks each node whether it is ready, and sends no requests to one that is not.
func ExampleStore_Ping() {
	var sessions *sqlstore.Store // from New

	http.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Ping(r.Context()); err != nil {
			log.Print(err)
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})
	log.Fatal(http.ListenAndServe("localhost:8081", nil)) // not the address that the Internet sees
}

// An application that has migrations can run the schema among them.
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

// The application's driver provides the listening connection. The documentation of Listening
// has the code for pgx.
func ExampleListening() {
	var sessions *sqlstore.Store // from New
	var listen sqlstore.Listen

	listener, err := sqlstore.Listening(sessions, listen)
	if err != nil {
		log.Fatal(err)
	}
	_ = listener // set Backend in sessionguard.Config to this; with the Store, streams are not cut at once
}
