package histories

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/rueidis"
	_ "modernc.org/sqlite"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/redisstore"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// nodeVariable is the environment variable that makes this test binary a node. It holds the
// nodeConfig.
const nodeVariable = "HISTORIES_NODE"

func TestMain(m *testing.M) {
	_ = mysql.SetLogger(&mysql.NopLogger{})
	if config := os.Getenv(nodeVariable); config != "" {
		if err := runNode(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	servers.Main(m)
}

// A nodeConfig tells a node which backend it uses, and how.
type nodeConfig struct {
	Redis    []string // the addresses of a server, a cluster or, with Sentinel, its Sentinels
	Sentinel string   // the Sentinels' name for the primary
	Dialect  sqlstore.Dialect
	DSN      string
	CacheFor time.Duration
	// WaitReplicas is of the store on Redis.
	WaitReplicas redisstore.WaitReplicas
	Ahead        time.Duration // by how much the node's clock is ahead of the true time
	// RememberGrace is the guard's; 0 is its default.
	RememberGrace time.Duration
	Mistake       mistake
}

const (
	backendTimeout = time.Second
	idleTimeout    = 3 * time.Minute
	rememberedIdle = time.Second // of remembered sessions: the shortest that a guard accepts
	cookieName     = "session"
)

// user is an active user. Every ID belongs to one.
type user struct{ id string }

func (u *user) UserID() string    { return u.id }
func (*user) IsActive() bool      { return true }
func (*user) HasRole(string) bool { return true }

// runNode serves until its standard input is closed, which happens at the latest when the
// test ends. It prints its address first.
func runNode(text string) error {
	var config nodeConfig
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	backend, err := openBackend(config)
	if err != nil {
		return err
	}
	guard, err := sessionguard.New(sessionguard.Config[*user]{
		FindUser:      func(_ context.Context, id string) (*user, error) { return &user{id}, nil },
		Keys:          [][]byte{bytes.Repeat([]byte("k"), 32)},
		Backend:       backend,
		CookieName:    cookieName,
		InsecureHTTP:  true,
		IdleTimeout:   idleTimeout,
		RememberGrace: config.RememberGrace,
		Logger:        slog.New(slog.DiscardHandler),
		OnEvent:       noteLogin,
		MaxSessions: func(u *user) store.Limit {
			max, refuse := limitOf(u.id)
			return store.Limit{Max: max, Refuse: refuse}
		},
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(listener, withLoginNote(guard.Handler(routes(guard))))
}

func openBackend(c nodeConfig) (store.Backend, error) {
	backend, err := connect(c)
	if err != nil {
		return nil, err
	}
	if c.Ahead != 0 {
		backend = ahead{backend, c.Ahead}
	}
	if c.Mistake != "" {
		return wrong(backend, c)
	}
	return backend, nil
}

func connect(c nodeConfig) (store.Backend, error) {
	if len(c.Redis) > 0 {
		return redisstore.New(rueidis.ClientOption{
			InitAddress: c.Redis, Sentinel: rueidis.SentinelOption{MasterSet: c.Sentinel},
		}, redisstore.Config{Timeout: backendTimeout, CacheFor: c.CacheFor, WaitReplicas: c.WaitReplicas})
	}
	drivers := map[sqlstore.Dialect]string{sqlstore.PostgreSQL: "pgx", sqlstore.MySQL: "mysql", sqlstore.SQLite: "sqlite"}
	db, err := sql.Open(drivers[c.Dialect], c.DSN)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	s, err := sqlstore.New(db, c.Dialect, sqlstore.Config{Timeout: backendTimeout, InsecureDurability: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	return s, s.EnsureSchema(context.Background())
}

type loginNoteKey struct{}

// A loginNote is the session that a request has logged in to, as the audit trail names it.
type loginNote struct{ session string }

func withLoginNote(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), loginNoteKey{}, new(loginNote))))
	})
}

func noteLogin(ctx context.Context, e sessionguard.Event) {
	if note, ok := ctx.Value(loginNoteKey{}).(*loginNote); ok && (e.Name == sessionguard.EventLogin || e.Name == sessionguard.EventReauthenticated) {
		note.session = e.SessionHash
	}
}

// retriedHeader is set in a 503 if the guard has said that it goes on trying.
const retriedHeader = "X-Retried"

// userHeader is the header in which a response says for whom it was made.
const userHeader = "X-User"

// routes returns the application. Every request is a POST, which a client never sends twice.
// With "hold", the handler waits between the use of the session and its response.
//
//	/login?user=[&remember=1]  the session's hash, or 409 at the limit
//	/logout
//	/page
//	/read?k=                   the value stored under k
//	/write?k=&v=
//	/end-session?session=      by its hash
//	/end-others
//	/end-user?user=            needs no login
func routes(g *sessionguard.Guard[*user]) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		var options []sessionguard.LoginOption
		if r.FormValue("remember") != "" {
			options = append(options, sessionguard.Remember(), sessionguard.IdleTimeout(rememberedIdle))
		}
		switch err := g.Login(w, r, &user{r.FormValue("user")}, options...); {
		case errors.Is(err, sessionguard.ErrTooManySessions):
			http.Error(w, err.Error(), http.StatusConflict)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			hold(r)
			fmt.Fprint(w, r.Context().Value(loginNoteKey{}).(*loginNote).session)
		}
	})
	mux.Handle("POST /logout", g.Logout("/"))
	mux.HandleFunc("POST /end-user", func(w http.ResponseWriter, r *http.Request) {
		respond(w, g.EndUser(r.Context(), r.FormValue("user")))
	})
	gated := func(path string, f func(w http.ResponseWriter, r *http.Request)) {
		mux.Handle("POST "+path, g.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u, _ := g.User(r)
			w.Header().Set(userHeader, u.id)
			f(w, r)
		})))
	}
	gated("/page", func(w http.ResponseWriter, r *http.Request) {
		hold(r)
		fmt.Fprint(w, "a page")
	})
	gated("/read", func(w http.ResponseWriter, r *http.Request) {
		session, _ := g.Get(r, "app")
		value, _ := session.Values[r.FormValue("k")].(string)
		fmt.Fprint(w, value)
	})
	gated("/write", func(w http.ResponseWriter, r *http.Request) {
		session, _ := g.Get(r, "app")
		session.Values[r.FormValue("k")] = r.FormValue("v")
		hold(r)
		fmt.Fprint(w, "written")
	})
	gated("/end-session", func(w http.ResponseWriter, r *http.Request) {
		u, _ := g.User(r)
		list, err := g.Sessions(r.Context(), u.id)
		if errors.Is(err, sessionguard.ErrUnavailable) { // there is nothing yet that the guard would try again
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		respond(w, errors.Join(err, endSession(r, g, u.id, list, r.FormValue("session"))))
	})
	gated("/end-others", func(w http.ResponseWriter, r *http.Request) { respond(w, g.EndOthers(r)) })
	return mux
}

// endSession ends the session of a user's that has a hash. It returns no error if there is none.
func endSession(r *http.Request, g *sessionguard.Guard[*user], user string, list []sessionguard.Session, hash string) error {
	for _, s := range list {
		if hashOf(s.ID) == hash {
			if err := g.EndSession(r.Context(), user, s.ID); !errors.Is(err, sessionguard.ErrNoSession) {
				return err
			}
		}
	}
	return nil
}

// hashOf returns an event's SessionHash of a session with this ID.
func hashOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

func respond(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, sessionguard.ErrUnavailable):
		w.Header().Set(retriedHeader, "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		fmt.Fprint(w, "done")
	}
}

// hold waits as a handler that works does.
func hold(r *http.Request) {
	if d, err := time.ParseDuration(r.FormValue("hold")); err == nil {
		time.Sleep(d)
	}
}
