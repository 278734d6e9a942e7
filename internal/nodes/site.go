package nodes

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// user is an active user with every role. Every ID belongs to one.
type user struct{ id string }

func (u *user) UserID() string    { return u.id }
func (*user) IsActive() bool      { return true }
func (*user) HasRole(string) bool { return true }

// newUser returns the ID of a user that no other test has.
func newUser() string { return "user-" + rand.Text() }

// A node is one of several servers of an application.
type node struct {
	guard   *sessionguard.Guard[*user]
	backend store.Backend
	server  *httptest.Server
	hold    hold

	mu     sync.Mutex
	events []sessionguard.EventName
}

type config = sessionguard.Config[*user]

const sessionCookie = "__Host-Http-session"

var keys = [][]byte{bytes.Repeat([]byte("k"), 32)}

// newNode starts a server.
//
//	POST /login?user=    logs in; with "&remember=1", remembers the login; with "&label=", labels it
//	POST /prove?user=&factors=   logs in with factors
//	POST /act?user=      acts as a user
//	POST /stop           stops acting
//	POST /logout
//	GET  /status
//	/sessionguard/       guard.Script()
//	GET  /home           "secret of <user>"
//	GET  /value?k=       the value stored under k
//	POST /value?k=&v=    stores v
//	POST /hold?k=&v=     the same, but waits for the test before it responds
//	POST /flash          adds a flash
//	GET  /flashes        how many there are
//	/secret              see secretRoutes
//	GET  /events         a stream: "hello", then the reason why the session ended
func newNode(t T, backend store.Backend, configure ...func(*config)) *node {
	t.Helper()
	n := &node{backend: backend, hold: hold{make(chan struct{}), make(chan struct{})}}
	c := config{
		FindUser:    func(_ context.Context, id string) (*user, error) { return &user{id}, nil },
		Keys:        keys,
		Backend:     backend,
		MayActAs:    func(_, _ *user) bool { return true },
		RememberFor: 14 * 24 * time.Hour,
		Logger:      slog.New(slog.DiscardHandler),
		OnEvent: func(_ context.Context, e sessionguard.Event) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.events = append(n.events, e.Name)
		},
	}
	for _, f := range configure {
		f(&c)
	}
	var err error
	n.guard, err = sessionguard.New(c)
	require.NoError(t, err)
	n.server = httptest.NewUnstartedServer(n.guard.Handler(n.routes()))
	if in, ok := t.(network); ok {
		n.server.Listener.Close()
		n.server.Listener = in.listen()
	}
	n.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	n.server.StartTLS()
	transport := n.server.Client().Transport.(*http.Transport)
	transport.MaxIdleConnsPerHost = 50
	if in, ok := t.(network); ok {
		transport.DialContext = in.dial
	}
	t.Cleanup(n.server.Close)
	return n
}

func (n *node) routes() http.Handler {
	g, mux := n.guard, http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		options := []sessionguard.LoginOption{sessionguard.Label(r.FormValue("label"))}
		if r.FormValue("remember") != "" {
			options = append(options, sessionguard.Remember())
		}
		if err := g.Login(w, r, &user{r.FormValue("user")}, options...); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, "/home", http.StatusSeeOther)
	})
	mux.HandleFunc("POST /prove", n.prove)
	mux.HandleFunc("POST /act", n.act)
	mux.Handle("POST /stop", g.StopActing("/"))
	mux.Handle("POST /logout", g.Logout("/"))
	n.secretRoutes(mux)
	mux.Handle("/status", g.Status())
	mux.Handle("/sessionguard/", g.Script())
	mux.Handle("GET /home", g.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := g.User(r)
		fmt.Fprintf(w, "secret of %s", u.id)
	})))
	mux.Handle("GET /value", g.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := g.Get(r, "app")
		fmt.Fprint(w, session.Values[r.FormValue("k")])
	})))
	set := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := g.Get(r, "app")
		if k := r.FormValue("k"); k != "" {
			session.Values[k] = r.FormValue("v")
		}
		if r.URL.Path == "/hold" {
			n.hold.wait(r.Context())
		}
		fmt.Fprint(w, "secret, saved")
	})
	mux.Handle("POST /value", g.RequireLogin(set))
	mux.Handle("POST /hold", g.RequireLogin(set))
	mux.Handle("POST /flash", g.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := g.Get(r, "flash")
		session.AddFlash("saved")
		fmt.Fprint(w, "secret, saved")
	})))
	mux.Handle("GET /flashes", g.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := g.Get(r, "flash")
		fmt.Fprintf(w, "%d flashes", len(session.Flashes()))
	})))
	mux.Handle("GET /events", g.Passive(g.RequireLogin(g.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		var ended *sessionguard.SessionEndedError
		if errors.As(context.Cause(r.Context()), &ended) {
			fmt.Fprintln(w, ended.Reason)
		}
	})))))
	return mux
}

func (n *node) act(w http.ResponseWriter, r *http.Request) {
	if err := n.guard.ActAs(w, r, &user{r.FormValue("user")}); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
	}
}

// count returns how often the guard has emitted an event.
func (n *node) count(event sessionguard.EventName) (times int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.events {
		if e == event {
			times++
		}
	}
	return times
}

// hold makes a handler wait for a test: to notice that the handler is about to respond, and
// to let it respond.
type hold struct{ arrived, released chan struct{} }

func (h hold) wait(ctx context.Context) {
	for _, c := range []chan struct{}{h.arrived, h.released} {
		select {
		case c <- struct{}{}:
		case <-ctx.Done():
		}
	}
}
