package bench

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

const leastName = "the least that a guard can do"

// A leastGuard does only what no guard can do without: it hashes the cookie, finds the session by
// that, allocates the request's state, and reads the clock when the request comes and when it ends.
// If there is no session, it tells by a MAC whether there ever was one. It sends what sessionguard
// sends.
//
// It has no timeouts, no roles and no values, believes every header of the request and of the
// handler, and records nothing. A [checkingGuard] does some of that.
type leastGuard struct {
	mu       sync.Mutex
	sessions map[[sha256.Size]byte]*leastSession
	macs     sync.Pool // of hash.Hash

	page, forged, ended recordedResponse
}

type leastSession struct {
	user          string
	seen, expires int64         // nanoseconds
	details       store.Session // of a checkingGuard
}

// leastState is what leastGuard allocates for a request: as much as sessionguard does.
type leastState struct { // 512 bytes
	http.ResponseWriter
	key          [sha256.Size]byte
	began, ended time.Time
	cookie       [416]byte
}

// newLeastSubject returns a site behind a leastGuard that sends the responses of s.
func newLeastSubject(t testing.TB, s subject) subject {
	t.Helper()
	g := newLeastGuard(t, s)
	return subject{name: leastName, page: g, login: http.HandlerFunc(g.login), logout: http.HandlerFunc(g.logout)}
}

func newLeastGuard(t testing.TB, s subject) *leastGuard {
	t.Helper()
	live, ended := s.loggedIn(t, 1)[0], s.loggedIn(t, 1)
	s.logout.ServeHTTP(httptest.NewRecorder(), logoutRequests(ended)[0])
	return &leastGuard{
		sessions: map[[sha256.Size]byte]*leastSession{},
		macs:     sync.Pool{New: func() any { return hmac.New(sha256.New, keys[0]) }},
		page:     recordResponse(s.page, live),
		forged:   recordResponse(s.page, forgedRequest(live)),
		ended:    recordResponse(s.page, ended[0]),
	}
}

func (g *leastGuard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	own := &leastState{ResponseWriter: w, began: time.Now()}
	_, value, _ := strings.Cut(r.Header["Cookie"][0], "=")
	own.key = sha256.Sum256(own.cookie[:copy(own.cookie[:], value)])
	g.mu.Lock()
	session := g.sessions[own.key]
	g.mu.Unlock()
	switch {
	case session != nil:
		g.page.send(own)
	case g.made(value):
		g.ended.send(own)
	default:
		g.forged.send(own)
	}
	own.ended = time.Now()
}

// made reports whether login made the cookie.
func (g *leastGuard) made(value string) bool {
	var token [48]byte
	n, err := base64.RawURLEncoding.Decode(token[:], []byte(value))
	check(err == nil && n == len(token))
	var sum [sha256.Size]byte
	g.sign(sum[:0], token[:32])
	return hmac.Equal(sum[:16], token[32:])
}

// sign appends the MAC of random to b.
func (g *leastGuard) sign(b, random []byte) []byte {
	m := g.macs.Get().(hash.Hash)
	defer g.macs.Put(m)
	m.Reset()
	m.Write(random)
	return m.Sum(b)
}

// newToken returns a cookie's value and the key of its session.
func (g *leastGuard) newToken() (value string, key [sha256.Size]byte) {
	token := make([]byte, 32, 64)
	rand.Read(token)
	value = base64.RawURLEncoding.EncodeToString(g.sign(token, token)[:48])
	return value, sha256.Sum256([]byte(value))
}

func (g *leastGuard) login(w http.ResponseWriter, r *http.Request) {
	value, key := g.newToken()
	g.mu.Lock()
	now := time.Now()
	g.sessions[key] = &leastSession{user: userLoggingIn(r).id, seen: now.UnixNano(), expires: now.Add(absolute).UnixNano()}
	g.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: "session", Value: value})
	page(w, r)
}

func (g *leastGuard) logout(w http.ResponseWriter, r *http.Request) {
	_, value, _ := strings.Cut(r.Header["Cookie"][0], "=")
	g.mu.Lock()
	delete(g.sessions, sha256.Sum256([]byte(value)))
	g.mu.Unlock()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// A recordedResponse is sent again and again, without being made anew.
type recordedResponse struct {
	status int
	names  []string
	values [][]string
	body   []byte
}

func recordResponse(h http.Handler, r *http.Request) (recorded recordedResponse) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	recorded.status, recorded.body = w.Code, w.Body.Bytes()
	for name, values := range w.Header() {
		recorded.names, recorded.values = append(recorded.names, name), append(recorded.values, values)
	}
	return recorded
}

func (recorded *recordedResponse) send(w http.ResponseWriter) {
	h := w.Header()
	for i, name := range recorded.names {
		h[name] = recorded.values[i]
	}
	w.WriteHeader(recorded.status)
	_, _ = w.Write(recorded.body)
}
