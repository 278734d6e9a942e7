package acceptance

import (
	"bufio"
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/sessionguard-go/sessionguard/store"
)

// A client is a browser: it keeps the cookies of the responses that it gets.
type client struct {
	jar        map[string]string
	got        map[store.Key]bool // the session cookies that it ever had
	values     []string           // of these, in order
	active     int                // its requests that are under way
	overlapped bool               // several were: the response that came last has set its cookie
}

// had reports whether the browser ever had a cookie with such a key.
func (c *client) had(such func(store.Key) bool) bool {
	for key := range c.got {
		if such(key) {
			return true
		}
	}
	return false
}

// An exchange is one request under way, and what its handler has done.
type exchange struct {
	*lab
	v      *visit
	client *client
	inCall bool     // during a call of the backend or of FindUser
	sent   []string // the values of the session cookies in the request
	cancel context.CancelFunc
	wait   sync.WaitGroup // for handlers that http.TimeoutHandler has abandoned

	// What the guard has said of the client. known is noUser for nobody, unknown before
	// the first look.
	entered    bool // a wrapper of the guard
	known      int
	looked     store.Time // when the session was first looked at
	passive    bool       // the request is no activity
	session    *modelSession
	sessionMay bool          // be accepted, when the guard was last called or before
	userMay    bool          // likewise
	denial     string        // when the guard was last called
	login      *modelSession // of a Login of this request, unless ended since
	logins     []*modelSession
	changed    []*modelSession // that are new or have a new token
	asked      bool            // something was asked that forbids caching
	signedOut  bool            // the response has to delete the cookie
	failed     bool            // an End could not reach the backend, and nothing was sent before it
	userFailed bool            // FindUser failed, before anything was sent
	ending     bool            // EndUser asks FindUser for its own ends
	gated      bool            // a gate let the client in
	leaving    bool            // End or Logout was called
	wrote500   bool            // the handler has responded with 500 itself, or tried to
	split      bool            // a wrapper was entered after the response: the request may have two states
	served     bool            // the guard's part of the response is over
	done       bool
	askedAt    store.Time // when the backend was last asked whether the session lives

	calls       map[string]int
	undeletable map[store.Key]bool
	undone      map[string]bool // by SessionHash
	reported    bool            // a failure is in the log or the events

	// What the guard has sent.
	committed bool // perhaps: something was tried that commits
	began     bool // its response
	gone      bool // the request's context was done by then
	status    int
	header    http.Header
	panicked  bool // out of the guard

	// What the server has sent.
	wire      http.Header // nil before the first byte
	hijacked  bool
	copied    bool // the request: after a hijack, a copy is a request of its own
	hungUp    bool // the client
	delivered bool
	dropped   bool // outer middleware has dropped what the guard sent
}

const (
	unknown = -2
	noUser  = -1
)

type exchangeKey struct{}

// quietServer is the server of all requests, for the log of net/http.
var quietServer = &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}

// exchangeOf returns the exchange that ctx derives from, or nil.
func exchangeOf(ctx context.Context) *exchange {
	e, _ := ctx.Value(exchangeKey{}).(*exchange)
	return e
}

// serve does what a server does with the request of a visit, which may come during a call
// of the backend or of FindUser.
func (l *lab) serve(v *visit, inCall bool) {
	c := l.clients[v.client]
	e := &exchange{
		lab: l, v: v, client: c, known: unknown, inCall: inCall,
		calls: map[string]int{}, undeletable: map[store.Key]bool{}, undone: map[string]bool{},
	}
	l.mu.Lock()
	c.overlapped = c.overlapped || c.active > 0
	c.active++
	l.requests++
	l.running = append(l.running, e)
	l.mu.Unlock()
	r := e.request()
	w := &wire{e: e, h: http.Header{}}
	aborted := e.panics(func() { e.body(v.tree)(w, r) })
	e.turn()
	if !aborted && !e.hijacked {
		w.WriteHeader(http.StatusOK)
		e.deliver()
	}
	e.cancel()
	e.turn()
	e.wait.Wait()
	e.turn()
	l.mu.Lock()
	c.active--
	l.running = l.running[:len(l.running)-1]
	l.mu.Unlock()
	e.finish()
}

// panics reports whether do panics.
func (e *exchange) panics(do func()) (aborted bool) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler, errHandler, errFault:
			aborted = true
		default:
			aborted = true
			e.breaks("a panic: %v\n%s", p, debug.Stack())
		}
	}()
	do()
	return false
}

func (e *exchange) request() *http.Request {
	var cookies []string
	add := func(name string, jar map[string]string) {
		if value, ok := jar[name]; ok {
			cookies = append(cookies, name+"="+value)
			if name == sessionCookie {
				e.sent = append(e.sent, value)
			}
		}
	}
	other := e.clients[(e.v.client+1)%clients].jar
	switch values := e.client.values; {
	case e.v.planted == plantedFirst:
		add(sessionCookie, other)
	case e.v.planted == plantedOld && len(values) > 1:
		add(sessionCookie, map[string]string{sessionCookie: values[len(values)-2]})
	}
	add(sessionCookie, e.client.jar)
	add(visitorCookie, e.client.jar)
	if e.v.planted == plantedLast {
		add(sessionCookie, other)
	}
	h := http.Header{"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}}
	if len(cookies) > 0 {
		h["Cookie"] = []string{strings.Join(cookies, "; ")}
	}
	if e.v.page {
		h.Set("Sec-Fetch-Mode", "navigate")
	}
	if e.v.upgrade {
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", "websocket")
	}
	ctx := context.WithValue(context.Background(), exchangeKey{}, e)
	ctx = context.WithValue(ctx, http.ServerContextKey, quietServer)
	ctx, cancel := context.WithCancel(ctx)
	e.cancel = cancel
	r := &http.Request{
		Method: e.v.method, URL: &url.URL{Path: e.v.path}, RequestURI: e.v.path, Host: "app.example",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h, Body: http.NoBody, RemoteAddr: "192.0.2.1:1234",
	}
	if e.v.method == http.MethodPost {
		r.Body, r.ContentLength = endlessBody{}, -1
	}
	return r.WithContext(ctx)
}

// endlessBody is the body of a request whose client sends more whenever a handler reads it.
type endlessBody struct{}

func (endlessBody) Read(b []byte) (int, error) { return min(1, len(b)), nil }
func (endlessBody) Close() error               { return nil }

// wire is the server's ResponseWriter. As in net/http, a short response leaves the server
// when its handler returns, unless it is flushed, and not at all if the handler panics.
type wire struct {
	e *exchange
	h http.Header
}

func (w *wire) Header() http.Header { return w.h }

func (w *wire) WriteHeader(status int) {
	w.e.turn()
	if (status >= 200 || status == http.StatusSwitchingProtocols) && w.e.wire == nil {
		w.e.wire = w.h.Clone()
	}
}

func (w *wire) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return len(b), nil
}

func (w *wire) Flush() {
	w.WriteHeader(http.StatusOK)
	w.e.deliver()
}

func (w *wire) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.e.wire != nil {
		w.e.deliver()
	}
	w.e.hijacked = true
	server, browser := net.Pipe()
	browser.Close()
	return server, bufio.NewReadWriter(bufio.NewReader(server), bufio.NewWriter(server)), nil
}

// deliver gives the response's header to the browser, if that is still there.
func (e *exchange) deliver() {
	e.turn()
	defer e.turn()
	if e.hungUp || e.delivered {
		return
	}
	e.delivered = true
	for _, c := range e.cookies(e.wire) {
		if c.MaxAge < 0 {
			delete(e.client.jar, c.Name)
			continue
		}
		e.client.jar[c.Name] = c.Value
		if c.Name == sessionCookie {
			e.client.got[keyOf(c.Value)] = true
			e.client.values = append(e.client.values, c.Value)
		}
	}
}

// cookies returns the cookies that h sets. No two may have one name (K1).
func (e *exchange) cookies(h http.Header) (set []*http.Cookie) {
	names := map[string]bool{}
	for _, line := range h["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil || names[c.Name] {
			e.breaks("a response has two cookies of one name, or one that cannot be read: %q, %v", h["Set-Cookie"], err)
			return set
		}
		names[c.Name] = true
		set = append(set, c)
		if c.Name == sessionCookie && c.MaxAge >= 0 {
			e.tokens[c.Value] = true
		}
	}
	return set
}

func keyOf(value string) store.Key { return sha256.Sum256([]byte(sessionCookie + "\x00" + value)) }

// tap is between the guard and outer middleware. It sees what the guard sends, and when.
type tap struct {
	http.ResponseWriter
	e   *exchange
	ctx context.Context
}

func (t *tap) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tap) begin(status int) {
	t.e.turn()
	if t.e.began || t.e.hijacked || status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	t.e.began, t.e.status, t.e.header = true, status, t.Header().Clone()
	t.e.gone = t.ctx.Err() != nil
	t.e.checkResponse()
}

func (t *tap) WriteHeader(status int) {
	t.begin(status)
	t.ResponseWriter.WriteHeader(status)
}

func (t *tap) Write(b []byte) (int, error) {
	t.begin(http.StatusOK)
	return t.ResponseWriter.Write(b)
}

func (t *tap) FlushError() error {
	err := http.NewResponseController(t.ResponseWriter).Flush()
	if err == nil {
		t.begin(http.StatusOK)
	}
	return err
}

// attached serves h, which is the outermost wrapper of the guard.
func (e *exchange) attached(h http.Handler, w http.ResponseWriter, r *http.Request) {
	t := &tap{w, e, r.Context()}
	e.panicked = true
	defer func() {
		e.turn()
		defer e.turn()
		if e.panicked && e.asked && !e.began && !e.hijacked && w.Header().Get("Cache-Control") != noStore {
			e.breaks("after a panic, what outer middleware sends may be cached: %v", w.Header())
		}
	}()
	defer func() { e.served = true }()
	h.ServeHTTP(t, r)
	e.turn()
	e.panicked = false
	e.active(false) // the end of the request
	if !e.hijacked {
		t.begin(http.StatusOK)
	}
}
