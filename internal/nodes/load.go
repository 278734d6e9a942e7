package nodes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

// A load is many users who send requests to both nodes at once, and the problems found in
// the responses.
type load struct {
	t      T
	nodes  []*node
	within time.Duration
	caches bool
	users  int

	epoch       atomic.Int64 // the server's state, modulo 4: present, going, away, coming
	lostBefore  atomic.Int64 // sessions from epochs before this one are lost
	unavailable atomic.Int64 // 503 responses while the server was away

	mu       sync.Mutex
	live     []*session // will not be ended any more
	ended    []*browser // each has a cookie whose end was confirmed
	problems []string
}

// away is the epoch, modulo 4, in which the server certainly does not respond.
const away = 2

// A session has a confirmed login.
type session struct {
	*browser
	user         string
	since        int64 // the epoch in which the login request was sent
	bound        bool  // it needs its device
	tried, saved int   // the last number sent to be stored, and the last confirmed
}

// runUser logs in, sends some requests and usually logs out, again and again.
func (l *load) runUser(ctx context.Context) {
	for ctx.Err() == nil {
		s := l.logIn(l.newSession())
		for range rand.IntN(7) {
			think(ctx)
			l.checkAnyEnded()
			l.checkAnyLive()
			if s != nil && !l.use(s) {
				s = nil
			}
		}
		think(ctx)
		if s != nil && !l.keep(s) {
			l.logOut(s)
		}
	}
}

// runReader only requests pages of live sessions.
func (l *load) runReader(ctx context.Context) {
	for ctx.Err() == nil {
		think(ctx)
		l.checkAnyLive()
	}
}

// think limits the load, so that it does not saturate two cores.
func think(ctx context.Context) { pause(ctx, 20*time.Millisecond) }

func (l *load) newSession() *session {
	b := browse(l.t, l.nodes[0])
	b.Client.Timeout = l.within + 5*time.Second // only a failing test waits that long
	if rand.IntN(2) == 0 {
		b.Device = testbrowser.NewDevice()
	}
	return &session{browser: b, user: newUser()}
}

// logIn logs in, also again, and returns nil if the login was not confirmed.
func (l *load) logIn(s *session) *session {
	a, began := l.send(s.browser, l.anyNode(), "POST", "/login?user="+s.user)
	switch {
	case a.StatusCode == http.StatusSeeOther && a.Cookie(sessionCookie) != nil:
		if s.since < l.lostBefore.Load() || s.bound && a.Header.Get("Secure-Session-Registration") != "" {
			s.tried, s.saved = 0, 0 // lost with the session before, or kept for its device
		}
		s.since = began
		s.noteDevice()
		return s
	case a.StatusCode != http.StatusServiceUnavailable:
		l.problem("a login got %d %s", a.StatusCode, a.Body)
	case a.Cookie(sessionCookie) != nil:
		l.problem("a login that failed set a cookie")
	}
	return nil
}

// use sends a request with the session. It returns false if the session cannot be used any
// more.
func (l *load) use(s *session) bool {
	switch rand.IntN(8) {
	case 0: // logging in again replaces the token
		before := s.copied()
		if l.logIn(s) == nil {
			return false // either token may be the current one
		}
		l.recordEnded(before)
		return true
	case 1, 2, 3:
		s.tried++
		a, _ := l.send(s.browser, l.anyNode(), "POST", "/value?k=n&v="+strconv.Itoa(s.tried))
		if letIn(a) {
			s.saved = s.tried
		}
		return l.checkLive(s, a)
	}
	s.expireProofs()
	a, _ := l.send(s.browser, l.anyNode(), "GET", "/home")
	s.noteDevice()
	return l.checkLive(s, a)
}

// checkLive checks a response to a session that should be live. It returns false if the
// session is not.
func (l *load) checkLive(s *session, a response) bool {
	switch {
	case letIn(a) || a.StatusCode == http.StatusServiceUnavailable:
		return true
	case s.since >= l.lostBefore.Load():
		l.problem("a live session got %d %s", a.StatusCode, a.Header.Get("Location"))
	}
	return false
}

// logOut reports whether the logout was confirmed.
func (l *load) logOut(s *session) bool {
	before := s.copied()
	a, _ := l.send(s.browser, l.anyNode(), "POST", "/logout")
	switch a.StatusCode {
	case http.StatusSeeOther:
		l.recordEnded(before)
		return true
	case http.StatusServiceUnavailable: // it may have happened or not
	default:
		l.problem("a logout got %d", a.StatusCode)
	}
	return false
}

// recordEnded records that the session of the browser's cookie has ended.
func (l *load) recordEnded(b *browser) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = append(l.ended, b)
}

// keep adds one in four sessions to live, up to a hundred. It reports whether it did.
func (l *load) keep(s *session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.live) == 100 || rand.IntN(4) > 0 {
		return false
	}
	l.live = append(l.live, s)
	return true
}

func (l *load) checkAnyEnded() {
	if b, ok := pick(l, &l.ended); ok {
		l.checkEnded(b, l.anyNode())
	}
}

// checkEnded checks that an ended session is not accepted. It returns false if the server
// was away.
func (l *load) checkEnded(b *browser, n *node) bool {
	a, _ := l.send(b, n, "GET", "/home")
	if letIn(a) {
		l.problem("an ended session was accepted")
	}
	return a.StatusCode != http.StatusServiceUnavailable
}

func (l *load) checkAnyLive() {
	if s, ok := pick(l, &l.live); ok {
		s.expireProofs()
		a, _ := l.send(s.browser, l.anyNode(), "GET", "/home")
		l.checkLive(s, a)
		l.checkUnproven(s)
	}
}

// pick returns a random element of a slice that l.mu guards, or false if it is empty.
func pick[T any](l *load, from *[]T) (one T, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(*from) == 0 {
		return one, false
	}
	return (*from)[rand.IntN(len(*from))], true
}

// send sends a request, checks what must hold for every response, and returns the response
// with the epoch in which the request was sent.
func (l *load) send(b *browser, n *node, method, path string) (response, int64) {
	began, start := l.epoch.Load(), time.Now()
	at := b.at(n)
	a, err := at.Send(at.Request(method, path))
	if a.Response == nil {
		a = noResponse()
	}
	cookie := a.Cookie(sessionCookie)
	took, same := time.Since(start), l.epoch.Load() == began
	isAway, down := same && began%4 == away, a.StatusCode == http.StatusServiceUnavailable
	switch {
	case err != nil:
		if b.T.Context().Err() == nil {
			l.problem("%s %s: no response: %v", method, path, err)
		}
		a.StatusCode = http.StatusServiceUnavailable // the server may or may not have handled it
	case took > l.within*b.requests():
		l.problem("%s %s took %v", method, path, took)
	case cookie != nil && cookie.MaxAge < 0 && path != "/logout":
		l.problem("%s %s deleted the cookie", method, path)
	case isAway && !down && !(l.caches && method == "GET" && (letIn(a) || unproven(a))):
		l.problem("%s %s got %d %s while the server was away", method, path, a.StatusCode, a.Header.Get("Location"))
	case isAway && down:
		l.unavailable.Add(1)
	case same && began == 0 && down:
		l.problem("%s %s got 503 while nothing was wrong", method, path)
	}
	return a, began
}

func (l *load) anyNode() *node { return l.nodes[rand.IntN(len(l.nodes))] }

func (l *load) problem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.problems) < 10 {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}
