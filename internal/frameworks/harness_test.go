// Package frameworks tests applications that are built with the web frameworks, routers and
// middleware of others. The code that docs/routers.md shows is in its tests.
package frameworks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

func init() {
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultWriter, gin.DefaultErrorWriter = io.Discard, io.Discard
}

// User is the user type of the quick start.
type User struct {
	Name, Password string
	Roles          []string
	Deactivated    bool
}

func (u *User) UserID() string           { return u.Name }
func (u *User) IsActive() bool           { return !u.Deactivated }
func (u *User) HasRole(role string) bool { return slices.Contains(u.Roles, role) }

var people = map[string]*User{"ada": {Name: "ada", Password: "pw"}, "root": {Name: "root", Password: "pw", Roles: []string{"Admin"}}}

func find(_ context.Context, id string) (*User, error) {
	user, ok := people[id]
	if !ok {
		return nil, sessionguard.ErrNoUser
	}
	return user, nil
}

func verify(name, password string) (*User, bool) {
	user, ok := people[name]
	return user, ok && user.Password == password
}

// A site is a guard whose log is kept.
type site struct {
	testing.TB
	guard *sessionguard.Guard[*User]
	log   *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newSite(t testing.TB) *site {
	t.Helper()
	log := new(logBuffer)
	guard, err := sessionguard.New(sessionguard.Config[*User]{
		FindUser: find,
		Logger:   slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	require.NoError(t, err)
	return &site{t, guard, log}
}

// serve starts a TLS server, with HTTP/1.1 or HTTP/2, and returns a browser.
func serve(t testing.TB, proto int, handler http.Handler) *testbrowser.Browser {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = proto == 2
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	transport := server.Client().Transport
	t.Cleanup(transport.(*http.Transport).CloseIdleConnections)
	return testbrowser.New(t, server.URL, transport)
}

func login(b *testbrowser.Browser, name string) testbrowser.Response {
	return b.PostForm("/login", "name", name, "password", "pw")
}

// pages are handlers of net/http that each framework serves.
type pages struct{ guard *sessionguard.Guard[*User] }

// public does not use the session.
func (p pages) public(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, strings.Repeat("for everybody ", 1000))
}

// cart adds to a visitor's or a user's values.
func (p pages) cart(w http.ResponseWriter, r *http.Request) {
	cart, _ := p.guard.Get(r, "cart")
	n, _ := cart.Values["items"].(int)
	cart.Values["items"] = n + 1
	fmt.Fprintf(w, "%d in the cart", n+1)
}

// events is a stream that tells why it ends.
func (p pages) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "data: hello\n\n")
	if err := http.NewResponseController(w).Flush(); err != nil {
		fmt.Fprint(w, err)
		return
	}
	<-r.Context().Done()
	fmt.Fprintf(w, "event: ended\ndata: %s\n\n", reason(r.Context()))
}

func reason(ctx context.Context) store.Reason {
	ended, _ := errors.AsType[*sessionguard.SessionEndedError](context.Cause(ctx))
	if ended == nil {
		return "gone"
	}
	return ended.Reason
}

// subscribe returns a channel with one message.
func subscribe(context.Context) <-chan string {
	messages := make(chan string, 1)
	messages <- "hello"
	return messages
}

// socket sends back what it receives, and says why it ends.
func (p pages) socket(w http.ResponseWriter, r *http.Request) {
	guard := p.guard
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	stop := context.AfterFunc(r.Context(), func() {
		conn.Close(websocket.StatusPolicyViolation, string(reason(r.Context()))) // there is a second for this
	})
	defer stop()
	ctx := context.WithoutCancel(r.Context()) // Read closes the connection without a word when its context ends
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil || errors.Is(guard.Active(r), sessionguard.ErrNoSession) {
			return
		}
		if err := conn.Write(ctx, kind, message); err != nil {
			return
		}
	}
}

func (p pages) panics(http.ResponseWriter, *http.Request) { panic("bug") }

func (p pages) loginThenPanic(w http.ResponseWriter, r *http.Request) {
	if err := p.guard.Login(w, r, people["ada"]); err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	panic("bug")
}

// wirings are applications of the same routes, by how the guard is wired.
var wirings = map[string]func(*sessionguard.Guard[*User]) http.Handler{}

func onEach(t *testing.T, test func(t *testing.T, s *site, b *testbrowser.Browser, proto int)) {
	for name, build := range wirings {
		for _, proto := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, HTTP/%d", name, proto), func(t *testing.T) {
				s := newSite(t)
				test(t, s, serve(t, proto, build(s.guard)), proto)
			})
		}
	}
}
