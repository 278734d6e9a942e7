package sqltest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// User is the application's own type.
type User struct{ id string }

func (u *User) UserID() string    { return u.id }
func (*User) IsActive() bool      { return true }
func (*User) HasRole(string) bool { return false }

// Two processes of one machine share their sessions in a file.
func Example() {
	dir, err := os.MkdirTemp("", "sessions-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	dsn := "file:" + filepath.Join(dir, "sessions.db") + "?_pragma=journal_mode(WAL)"
	one, two := serve(ctx, dsn), serve(ctx, dsn)
	defer one.Close()
	defer two.Close()

	jar, _ := cookiejar.New(nil)
	browser := http.Client{Jar: jar, Transport: one.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	for _, request := range []struct{ method, url string }{
		{"POST", one.URL + "/login"},
		{"GET", two.URL + "/home"},
		{"POST", two.URL + "/logout"},
		{"GET", one.URL + "/home"},
	} {
		r, _ := http.NewRequest(request.method, request.url, nil)
		response, err := browser.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		response.Body.Close()
		fmt.Println(request.method, r.URL.Path, response.StatusCode)
	}
	// Output:
	// POST /login 200
	// GET /home 200
	// POST /logout 204
	// GET /home 401
}

// serve runs a process of the application.
func serve(ctx context.Context, dsn string) *httptest.Server {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := sqlstore.New(db, sqlstore.SQLite, sqlstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if err := sessions.EnsureSchema(ctx); err != nil {
		log.Fatal(err)
	}
	go sessions.Sweep(ctx)

	guard, err := sessionguard.New(sessionguard.Config[*User]{
		FindUser: func(_ context.Context, id string) (*User, error) { return &User{id}, nil },
		Keys:     [][]byte{bytes.Repeat([]byte("a"), 32)},
		Backend:  sessions,
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := guard.Login(w, r, &User{"ada"}); err != nil {
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		}
	})
	mux.Handle("POST /logout", guard.Logout("/"))
	mux.Handle("GET /home", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		fmt.Fprint(w, "Hello, ", user.id)
	})))
	return httptest.NewTLSServer(guard.Handler(mux))
}

// The database keeps a session until it ends, and after that the reason why it ended.
func Example_backend() {
	dir, err := os.MkdirTemp("", "sessions-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", filepath.Join(dir, "sessions.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	sessions, err := sqlstore.New(db, sqlstore.SQLite, sqlstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if err := sessions.EnsureSchema(ctx); err != nil {
		log.Fatal(err)
	}

	r := newRecordOf("session=ada")
	if _, err := sessions.Create(ctx, r, store.Limit{Max: 3}); err != nil {
		log.Fatal(err)
	}
	loaded, err := sessions.Load(ctx, r.Key)
	fmt.Println(loaded.Owner, err)

	if _, err := sessions.Delete(ctx, r.Key, store.ReasonLoggedOutElsewhere); err != nil {
		log.Fatal(err)
	}
	_, err = sessions.Load(ctx, r.Key)
	fmt.Println(errors.Is(err, store.ErrNotFound), err)
	// Output:
	// session=ada <nil>
	// true store: the session has ended: logged_out_elsewhere
}

// A guard's AllSessions, CountSessions and EndAll call All and Count.
func Example_everyone() {
	dir, err := os.MkdirTemp("", "sessions-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", filepath.Join(dir, "sessions.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	sessions, err := sqlstore.New(db, sqlstore.SQLite, sqlstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready without tables:", sessions.Ping(ctx) == nil)
	if err := sessions.EnsureSchema(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready:", sessions.Ping(ctx) == nil)

	for _, owner := range []string{"session=ada", "session=ada", "session=grace", "shop=ada"} {
		if _, err := sessions.Create(ctx, newRecordOf(owner), store.Limit{}); err != nil {
			log.Fatal(err)
		}
	}
	n, err := sessions.Count(ctx, "session=")
	if err != nil {
		log.Fatal(err)
	}
	users := map[string]int{}
	for rec, err := range sessions.All(ctx, "session=") {
		if err != nil {
			log.Fatal(err)
		}
		users[rec.Owner]++
	}
	fmt.Println(n, users)
	// Output:
	// ready without tables: false
	// ready: true
	// 3 map[session=ada:2 session=grace:1]
}
