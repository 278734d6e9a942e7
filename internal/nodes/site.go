package nodes

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// user is anybody: every ID is one's.
type user struct{ id string }

func (u *user) UserID() string    { return u.id }
func (*user) IsActive() bool      { return true }
func (*user) HasRole(string) bool { return true }

// newUser is one that no other test knows.
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

const sessionCookie = "__Host-session"

var keys = [][]byte{bytes.Repeat([]byte("a"), 64), bytes.Repeat([]byte("e"), 32)}

// newNode starts a server.
//
//	POST /login?user=    logs in, "&remember=1" for long
//	POST /logout
//	GET  /status
//	GET  /home           "secret of <user>"
//	GET  /value?k=       what has been stored under k
//	POST /value?k=&v=    stores it
//	POST /hold?k=&v=     the same, and waits for the test before it answers
//	GET  /events         says "hello", and at the end why
func newNode(t T, backend store.Backend, configure ...func(*config)) *node {
	t.Helper()
	n := &node{backend: backend, hold: hold{make(chan struct{}), make(chan struct{})}}
	c := config{
		FindUser:    func(_ context.Context, id string) (*user, error) { return &user{id}, nil },
		Keys:        keys,
		Backend:     backend,
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
		var options []sessionguard.LoginOption
		if r.FormValue("remember") != "" {
			options = append(options, sessionguard.Remember())
		}
		if err := g.Login(w, r, &user{r.FormValue("user")}, options...); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, "/home", http.StatusSeeOther)
	})
	mux.Handle("POST /logout", g.Logout("/"))
	mux.Handle("/status", g.Status())
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
	mux.Handle("GET /events", g.Passive(g.RequireLogin(g.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		var ended *sessionguard.EndedError
		if errors.As(context.Cause(r.Context()), &ended) {
			fmt.Fprintln(w, ended.Reason)
		}
	})))))
	return mux
}

// count is how often something has happened.
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

// hold is where a handler waits for a test, twice: when it is about to answer, and
// until it may.
type hold struct{ arrived, released chan struct{} }

func (h hold) wait(ctx context.Context) {
	for _, c := range []chan struct{}{h.arrived, h.released} {
		select {
		case c <- struct{}{}:
		case <-ctx.Done():
		}
	}
}

// begin sends a request to /hold, and returns when it is about to be answered.
func (b *browser) begin(t T, n *node, query string) (finish func() answer) {
	t.Helper()
	answered := make(chan answer, 1)
	go func() {
		a, _ := b.do(n, "POST", "/hold?"+query)
		answered <- a
	}()
	select {
	case <-n.hold.arrived:
	case a := <-answered:
		require.Fail(t, "answered without a wait", a.body+a.location)
	}
	return func() answer {
		select {
		case <-n.hold.released:
			return <-answered
		case a := <-answered: // nobody waited so long
			return a
		}
	}
}

// A browser keeps one jar of cookies for all nodes: a cookie's host has no port.
type browser struct {
	client http.Client
	ctx    context.Context
}

func browse(t T, n *node) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	// Every test server has the same certificate, so the client of one knows all.
	return &browser{ctx: t.Context(), client: http.Client{
		Jar: jar, Transport: n.server.Client().Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// copied is another browser that has got hold of the cookies.
func (b *browser) copied(from *node) *browser {
	jar, _ := cookiejar.New(nil)
	for _, c := range b.client.Jar.Cookies(from.url()) {
		c.Path, c.Secure = "/", true
		jar.SetCookies(from.url(), []*http.Cookie{c})
	}
	other := *b
	other.client.Jar = jar
	return &other
}

func (n *node) url() *url.URL {
	u, _ := url.Parse(n.server.URL)
	return u
}

// token is the session cookie of a browser, or "".
func (b *browser) token(n *node) string {
	for _, c := range b.client.Jar.Cookies(n.url()) {
		if c.Name == sessionCookie {
			return c.Value
		}
	}
	return ""
}

type answer struct {
	status   int
	body     string
	location string
	cookie   *http.Cookie // the session's, if it is set
}

// letIn says that the page of someone who is logged in was shown.
func (a answer) letIn() bool { return strings.Contains(a.body, "secret") }

func (b *browser) do(n *node, method, path string) (answer, error) {
	r, err := http.NewRequestWithContext(b.ctx, method, n.server.URL+path, nil)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Accept", "text/html")
	resp, err := b.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, body: string(body), location: resp.Header.Get("Location")}
	for _, c := range resp.Cookies() {
		if c.Name == sessionCookie {
			a.cookie = c
		}
	}
	return a, err
}

func (b *browser) get(t T, n *node, path string) answer {
	t.Helper()
	a, err := b.do(n, "GET", path)
	require.NoError(t, err)
	return a
}

func (b *browser) post(t T, n *node, path string) answer {
	t.Helper()
	a, err := b.do(n, "POST", path)
	require.NoError(t, err)
	return a
}

func (b *browser) login(t T, n *node, user string) {
	t.Helper()
	a := b.post(t, n, "/login?user="+user)
	require.Equal(t, http.StatusSeeOther, a.status, a.body)
}

// requireIn and requireOut ask all nodes.
func (b *browser) requireIn(t T, user string, all ...*node) {
	t.Helper()
	for _, n := range all {
		require.Equal(t, "secret of "+user, b.get(t, n, "/home").body)
	}
}

func (b *browser) requireOut(t T, all ...*node) {
	t.Helper()
	for _, n := range all {
		require.False(t, b.get(t, n, "/home").letIn(), "a session that has ended is let in")
		require.False(t, b.post(t, n, "/value?k=k&v=v").letIn(), "a session that has ended is let in")
	}
}

// requireEnded also checks what the login page is told.
func (b *browser) requireEnded(t T, reason store.Reason, all ...*node) {
	t.Helper()
	b.requireOut(t, all...)
	for _, n := range all {
		require.Equal(t, "/login?next=%2Fhome&reason="+string(reason), b.get(t, n, "/home").location)
	}
}
