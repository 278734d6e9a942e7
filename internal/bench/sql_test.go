package bench

import (
	"database/sql"
	"testing"

	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/postgresstore"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

var postgres = servers.Shared(servers.PostgreSQL)

// sqlConnections is the number of connections that each subject may open.
const sqlConnections = 16

func TestPostgreSQL(t *testing.T) {
	server := postgres(t)
	open := func(driver string) *sql.DB {
		db, err := sql.Open(driver, server.DSN(server.Addr))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		db.SetMaxOpenConns(sqlConnections)
		db.SetMaxIdleConns(sqlConnections)
		return db
	}
	newStore := func(driver string) *sqlstore.Store {
		s, err := sqlstore.New(open(driver), sqlstore.PostgreSQL, sqlstore.Config{InsecureDurability: true}) // as for the peers
		if err == nil {
			err = s.EnsureSchema(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	scsStore := func(driver string) *postgresstore.PostgresStore {
		db := open(driver)
		for _, statement := range []string{
			"CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL)",
			"CREATE INDEX IF NOT EXISTS sessions_expiry_idx ON sessions (expiry)",
		} {
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		return postgresstore.NewWithCleanupInterval(db, 0)
	}
	config, err := pgxpool.ParseConfig(server.DSN(server.Addr))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = sqlConnections
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	pgx := newStore("pgx")
	plain := newGuardSubject(t, "sessionguard, pgx", pgx)
	touching := newGuardSubject(t, "sessionguard, pgx, when every request touches", newAlwaysTouched(pgx))
	subjects := []subject{
		plain, touching,
		newGuardSubject(t, "sessionguard, lib/pq", newStore("postgres")),
		newSCSSubject("scs, pgxstore", pgxstore.NewWithCleanupInterval(pool, 0)),
		newSCSSubject("scs, postgresstore, pgx", scsStore("pgx")),
		newSCSSubject("scs, postgresstore, lib/pq", scsStore("postgres")),
		newSCSSubjectWithJSON("scs, pgxstore", pgxstore.NewWithCleanupInterval(pool, 0)),
		newPgxFloor(t.Context(), pool), newSQLFloor(open("pgx")),
	}
	c := compare(t, subjects)
	publish(t, "postgresql", describeTurns(*rounds, *turnLength), c.table("PostgreSQL"))
	headlines["postgresql"] = headline{"on PostgreSQL, 16 clients", "the fastest of scs's PostgreSQL stores", usualAndWorst(c, 16, plain.name, touching.name)}
}
