package migrate_test

import (
	"bytes"
	"context"
	"database/sql"
	"net/http"
	"sync"
	"testing"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/postgresstore"
	scsredis "github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/antonlindstrom/pgstore"
	"github.com/boj/redistore"
	"github.com/gomodule/redigo/redis"
	"github.com/gorilla/sessions"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/lib/pq"
	rbcervilla "github.com/rbcervilla/redisstore/v9"
	goredis "github.com/redis/go-redis/v9"
	"github.com/sessionguard-go/sessionguard/examples/migrate"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/stretchr/testify/require"
)

// An oldApp is the application as it was, and where its sessions are read from.
type oldApp struct {
	handler http.Handler
	from    migrate.Source
	cookie  string
	inStore bool // the session is on the server, and not in its cookie
	scs     bool
}

var (
	sharedRedis = servers.Shared(func(t servers.T) *servers.Server { return servers.Redis(t, servers.RedisOptions{}) })
	sharedPG    = servers.Shared(servers.PostgreSQL)
	keys        = [][]byte{bytes.Repeat([]byte("a"), 32), bytes.Repeat([]byte("e"), 32)}
)

// olds are the libraries' stores.
var olds = map[string]func(*testing.T) oldApp{
	"gorilla: cookie": func(*testing.T) oldApp { return ofCookies() },
	"gorilla: filesystem": func(t *testing.T) oldApp {
		return ofGorilla(sessions.NewFilesystemStore(t.TempDir(), keys...))
	},
	"gorilla: Redis, boj/redistore": func(t *testing.T) oldApp {
		s, err := redistore.NewRediStore(2, "tcp", sharedRedis(t).Addr, "", "", keys...)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		return ofGorilla(s)
	},
	"gorilla: Redis, rbcervilla/redisstore": func(t *testing.T) oldApp {
		client := goredis.NewClient(&goredis.Options{Addr: sharedRedis(t).Addr})
		t.Cleanup(func() { client.Close() })
		s, err := rbcervilla.NewRedisStore(t.Context(), client)
		require.NoError(t, err)
		return ofGorilla(s)
	},
	"gorilla: PostgreSQL, antonlindstrom/pgstore": func(t *testing.T) oldApp {
		s, err := pgstore.NewPGStoreFromPool(openPG(t), keys...)
		require.NoError(t, err)
		return ofGorilla(&oneAtATime{Store: s})
	},
	"scs: memstore": func(*testing.T) oldApp { return ofSCS(scs.New()) },
	"scs: Redis, redisstore": func(t *testing.T) oldApp {
		addr := sharedRedis(t).Addr
		pool := &redis.Pool{Dial: func() (redis.Conn, error) { return redis.Dial("tcp", addr) }}
		t.Cleanup(func() { pool.Close() })
		manager := scs.New()
		manager.Store = scsredis.New(pool)
		return ofSCS(manager)
	},
	"scs: Redis, goredisstore": func(t *testing.T) oldApp {
		client := goredis.NewClient(&goredis.Options{Addr: sharedRedis(t).Addr})
		t.Cleanup(func() { client.Close() })
		manager := scs.New()
		manager.Store = goredisstore.New(client)
		manager.HashTokenInStore = true
		return ofSCS(manager)
	},
	"scs: PostgreSQL, postgresstore": func(t *testing.T) oldApp {
		db := openPG(t)
		makeTable(t, db)
		manager := scs.New()
		manager.Store = postgresstore.NewWithCleanupInterval(db, 0)
		return ofSCS(manager)
	},
	"scs: PostgreSQL, pgxstore": func(t *testing.T) oldApp {
		makeTable(t, openPG(t))
		pool, err := pgxpool.New(context.Background(), pgDSN(t))
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		manager := scs.New()
		manager.Store = pgxstore.NewWithCleanupInterval(pool, 0)
		return ofSCS(manager)
	},
}

func ofCookies() oldApp {
	old := ofGorilla(sessions.NewCookieStore(keys...))
	old.inStore = false
	return old
}

func ofGorilla(s sessions.Store) oldApp {
	return oldApp{
		handler: gorillaApp(s), cookie: "session", inStore: true,
		from: migrate.Gorilla{Store: s, Name: "session", Others: []string{"cart"}},
	}
}

func ofSCS(manager *scs.SessionManager) oldApp {
	manager.Cookie.Secure = true
	return oldApp{
		handler: scsApp(manager), cookie: "session", inStore: true, scs: true,
		from: migrate.SCS{Manager: manager, Name: "session"},
	}
}

// oneAtATime is a store whose New runs once at a time: pgstore's writes to the store's options.
type oneAtATime struct {
	sessions.Store
	mu sync.Mutex
}

func (s *oneAtATime) New(r *http.Request, name string) (*sessions.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Store.New(r, name)
}

func (s *oneAtATime) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

func pgDSN(t *testing.T) string {
	t.Helper()
	server := sharedPG(t)
	return server.DSN(server.Addr)
}

func openPG(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", pgDSN(t))
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

func makeTable(t *testing.T, db *sql.DB) {
	t.Helper()
	_, err := db.Exec("CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, data BYTEA NOT NULL, expiry TIMESTAMPTZ NOT NULL)")
	require.NoError(t, err)
}
