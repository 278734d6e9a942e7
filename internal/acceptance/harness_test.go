package acceptance

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// user is what an application might have.
type user struct {
	ID, Stamp string
	Roles     []string
	Inactive  bool
	Broken    bool // IsActive panics
}

func (u *user) UserID() string { return u.ID }
func (u *user) IsActive() bool {
	if u.Broken {
		panic("IsActive")
	}
	return !u.Inactive
}
func (u *user) SessionStamp() string { return u.Stamp }
func (u *user) HasRole(role string) bool {
	for _, r := range u.Roles {
		if r == role {
			return true
		}
	}
	return false
}

// directory is a user database that tests can change and break.
type directory struct {
	mu    sync.Mutex
	users map[string]user
	err   error
	asked int
}

func (d *directory) Find(_ context.Context, id string) (*user, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.err != nil {
		return nil, d.err
	}
	u, ok := d.users[id]
	if !ok {
		return nil, fmt.Errorf("directory: %w", sessionguard.ErrNoUser)
	}
	return &u, nil
}

func (d *directory) change(id string, f func(*user)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u := d.users[id]
	f(&u)
	d.users[id] = u
}

// flaky is a backend that counts what it is asked and fails on demand, or lets
// a test in before a call. It counts as remote.
type flaky struct {
	store.Backend
	mu     sync.Mutex
	calls  map[string]int
	fail   map[string]error  // by method, "*" for all
	before map[string]func() // by method, outside the lock
}

func newFlaky() *flaky {
	return &flaky{Backend: store.NewMemory(), calls: map[string]int{}, fail: map[string]error{}, before: map[string]func(){}}
}

var errDown = errors.New("the backend is down")

func (f *flaky) failing(methods ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.fail)
	for _, m := range methods {
		f.fail[m] = errDown
	}
}

func (f *flaky) hook(method string, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before[method] = do
}

func (f *flaky) counted() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.calls)
}

func (f *flaky) enter(method string) error {
	f.mu.Lock()
	f.calls[method]++
	before := f.before[method]
	err := errors.Join(f.fail[method], f.fail["*"])
	f.mu.Unlock()
	if before != nil {
		before()
	}
	return err
}

func (f *flaky) Create(ctx context.Context, r store.Record, l store.Limit) ([]store.Record, error) {
	if err := errors.Join(f.enter("Create"), grouped(r)); err != nil {
		return nil, err
	}
	return f.Backend.Create(ctx, r, l)
}

func (f *flaky) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	if err := errors.Join(f.enter("Replace"), grouped(r)); err != nil {
		return err
	}
	return f.Backend.Replace(ctx, old, version, r)
}

// grouped is what a backend on several machines insists on.
func grouped(r store.Record) error {
	if r.Key.Group() != store.GroupOf(r.Owner) {
		return errors.New("the key is not of its owner's group")
	}
	return nil
}

func (f *flaky) Load(ctx context.Context, key store.Key) (store.Record, error) {
	if err := f.enter("Load"); err != nil {
		return store.Record{}, err
	}
	return f.Backend.Load(ctx, key)
}

func (f *flaky) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	if err := f.enter("Touch"); err != nil {
		return err
	}
	return f.Backend.Touch(ctx, key, seen)
}

func (f *flaky) Save(ctx context.Context, key store.Key, version uint64, values []byte) error {
	if err := f.enter("Save"); err != nil {
		return err
	}
	return f.Backend.Save(ctx, key, version, values)
}

func (f *flaky) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	if err := f.enter("Delete"); err != nil {
		return store.Record{}, err
	}
	return f.Backend.Delete(ctx, key, reason)
}

func (f *flaky) ByOwner(ctx context.Context, owner string) ([]store.Record, error) {
	if err := f.enter("ByOwner"); err != nil {
		return nil, err
	}
	return f.Backend.ByOwner(ctx, owner)
}

// site is an application behind a guard, on a real TLS server. Tests add routes
// to its mux before or after it starts.
type site struct {
	*testing.T
	guard   *sessionguard.Guard[*user]
	config  sessionguard.Config[*user]
	users   *directory
	mux     *http.ServeMux
	server  *httptest.Server
	log     *logBuffer // what goes wrong; the other events are in events
	events  *eventList
	loginOf func(name string) []sessionguard.LoginOption
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// eventList is an audit trail.
type eventList struct {
	mu  sync.Mutex
	all []sessionguard.Event
}

func (l *eventList) add(e sessionguard.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

// take returns the events of these names since it was last called, or all.
func (l *eventList) take(names ...sessionguard.EventName) (taken []sessionguard.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if len(names) == 0 || slices.Contains(names, e.Name) {
			taken = append(taken, e)
		}
	}
	l.all = nil
	return taken
}

var (
	testKeys = [][]byte{bytes.Repeat([]byte("a"), 64), bytes.Repeat([]byte("e"), 32)}
	allUsers = map[string]user{
		"ada":   {ID: "ada", Roles: []string{"Engineer"}},
		"grace": {ID: "grace", Roles: []string{"Admin"}},
		"eve":   {ID: "eve", Roles: []string{"Engineer"}, Inactive: true},
	}
)

const (
	idle     = 30 * time.Minute
	absolute = 12 * time.Hour
)

// newSite starts a site with the routes that most tests use. Call it inside
// synctest.Test for time to move: its network is in memory then and now.
//
//	POST /login?user=…   logs in, 303 to Next or /home; 403 if refused
//	POST /logout         guard.Logout("/")
//	GET  /               welcome: says who is logged in, shows flashes
//	GET  /home           Engineer or Admin: "secret of <id>"
//	GET  /admin          Admin
//	GET  /fresh          logged in less than 5 minutes ago
//	GET  /poll           passive, logged in
//	GET  /status         guard.Status()
//	GET  /value?k=       reads session "app"; POST /value?k=&v= writes it
//	GET  /static         never looks, Cache-Control: public
func newSite(t *testing.T, configure func(*sessionguard.Config[*user])) *site {
	t.Helper()
	s := &site{T: t, users: &directory{users: maps.Clone(allUsers)}, mux: http.NewServeMux(), log: &logBuffer{}, events: &eventList{}}
	s.config = sessionguard.Config[*user]{
		FindUser: s.users.Find,
		Keys:     testKeys,
		Logger:   slog.New(slog.NewTextHandler(s.log, nil)),
	}
	s.config.OnEvent = func(ctx context.Context, e sessionguard.Event) {
		s.events.add(e)
		if e.Name == sessionguard.EventUnavailable {
			e.Log(ctx, s.config.Logger)
		}
	}
	if configure != nil {
		configure(&s.config)
	}
	var err error
	s.guard, err = sessionguard.New(s.config)
	require.NoError(t, err)
	s.routes()
	s.server = serve(t, s.guard.Handler(s.mux))
	return s
}

func (s *site) routes() {
	g := s.guard
	s.mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		u, err := s.users.Find(r.Context(), r.FormValue("user"))
		if err == nil {
			var options []sessionguard.LoginOption
			if s.loginOf != nil {
				options = s.loginOf(u.ID)
			}
			err = g.Login(w, r, u, options...)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, g.Next(r, "/home"), http.StatusSeeOther)
	})
	s.mux.Handle("POST /logout", g.Logout("/"))
	s.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if u, ok := g.User(r); ok {
			name = u.ID
		}
		session, _ := g.Get(r, "flash")
		fmt.Fprintf(w, "welcome %s %v", name, session.Flashes())
	})
	secret := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := g.User(r)
		fmt.Fprintf(w, "secret of %s", u.ID)
	})
	s.mux.Handle("GET /home", g.RequireRole("Engineer", "Admin")(secret))
	s.mux.Handle("GET /admin", g.RequireRole("Admin")(secret))
	s.mux.Handle("GET /fresh", g.RequireFresh(5*time.Minute)(secret))
	s.mux.Handle("GET /poll", g.Passive(g.RequireLogin(secret)))
	s.mux.Handle("/status", g.Status())
	s.mux.HandleFunc("GET /value", func(w http.ResponseWriter, r *http.Request) {
		session, err := g.Get(r, "app")
		fmt.Fprintf(w, "%v %v", session.Values[r.FormValue("k")], err)
	})
	s.mux.HandleFunc("POST /value", func(w http.ResponseWriter, r *http.Request) {
		session, _ := g.Get(r, "app")
		session.Values[r.FormValue("k")] = r.FormValue("v")
	})
	s.mux.HandleFunc("GET /static", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		io.WriteString(w, "body {}")
	})
}

// serve starts a TLS server on an in-memory network.
func serve(t *testing.T, h http.Handler, configure ...func(*httptest.Server)) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Listener.Close()
	pipe := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	server.Listener = pipe
	pipes.Store(server, pipe)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	for _, c := range configure {
		c(server)
	}
	server.StartTLS()
	t.Cleanup(func() { server.Close(); pipes.Delete(server) })
	return server
}

// pipeListener is a network of net.Pipe, which testing/synctest can wait for.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "app.example:443" }

// browser is a client with a cookie jar that follows no redirects and keeps
// every Set-Cookie it ever saw.
type browser struct {
	t      *testing.T
	client *http.Client
	base   string
	seen   []*http.Cookie
	header http.Header // sent with every request
}

// tab is another tab of the browser, for what goes on at the same time.
func (b *browser) tab() *browser {
	other := *b
	other.seen = nil
	return &other
}

// browse opens a new browser on a server of serve.
func browse(t *testing.T, server *httptest.Server) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	pipe, _ := pipes.Load(server)
	transport := &http.Transport{
		DialContext:     pipe.(*pipeListener).dial,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{
		t:    t,
		base: "https://app.example",
		client: &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
		header: http.Header{"Accept": {"text/html"}},
	}
}

func (s *site) browse() *browser { s.Helper(); return browse(s.T, s.server) }

// copyOf is another browser that has got hold of b's cookies.
func (s *site) copyOf(b *browser) *browser {
	s.Helper()
	other := s.browse()
	other.sends(b.cookies())
	return other
}

// pipes are the servers' networks: httptest hides them behind TLS.
var pipes sync.Map

type answer struct {
	*http.Response
	body string
}

func (b *browser) do(req *http.Request) answer {
	b.t.Helper()
	for name, v := range b.header {
		if _, set := req.Header[name]; !set {
			req.Header[name] = v
		}
	}
	resp, err := b.client.Do(req)
	require.NoError(b.t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	resp.Body.Close()
	b.seen = append(b.seen, resp.Cookies()...)
	return answer{resp, string(body)}
}

func (b *browser) request(method, path string, header ...string) *http.Request {
	b.t.Helper()
	req, err := http.NewRequest(method, b.base+path, nil)
	require.NoError(b.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return req
}

// get and post send a request; header is name, value, name, value…
func (b *browser) get(path string, header ...string) answer {
	b.t.Helper()
	return b.do(b.request("GET", path, header...))
}

func (b *browser) post(path string, header ...string) answer {
	b.t.Helper()
	return b.do(b.request("POST", path, header...))
}

// login logs in and expects it to work.
func (b *browser) login(name string) answer {
	b.t.Helper()
	a := b.post("/login?user=" + name)
	require.Equal(b.t, http.StatusSeeOther, a.StatusCode, a.body)
	return a
}

// cookies are what the jar would send.
func (b *browser) cookies() map[string]string {
	u, _ := url.Parse(b.base)
	all := map[string]string{}
	for _, c := range b.client.Jar.Cookies(u) {
		all[c.Name] = c.Value
	}
	return all
}

// sends gives the browser exactly these cookies.
func (b *browser) sends(cookies map[string]string) {
	jar, err := cookiejar.New(nil)
	require.NoError(b.t, err)
	u, _ := url.Parse(b.base)
	for name, value := range cookies {
		jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Secure: true, Path: "/"}})
	}
	b.client.Jar = jar
}

// loggedIn asks a protected page.
func (b *browser) loggedIn() bool {
	b.t.Helper()
	return strings.HasPrefix(b.get("/poll").body, "secret of ")
}

const (
	sessionCookie   = "__Host-session"
	anonymousCookie = "__Host-session-anonymous"
	noStore         = "no-store, no-cache, must-revalidate, private"
)

func requireNoStore(t *testing.T, h http.Header) {
	t.Helper()
	require.Equal(t, []string{noStore}, h["Cache-Control"])
	require.Equal(t, []string{"no-cache"}, h["Pragma"])
	require.Equal(t, []string{"0"}, h["Expires"])
}

// inBubble runs a test on a clock that pass moves.
func inBubble(t *testing.T, test func(t *testing.T)) { t.Helper(); synctest.Test(t, test) }

// pass lets time go by, inside a bubble only.
func pass(d time.Duration) { time.Sleep(d) }
