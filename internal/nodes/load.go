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
)

// A load is many users who send requests to both nodes at once, and the problems found in
// the responses.
type load struct {
	t      T
	nodes  []*node
	within time.Duration
	caches bool
	people int

	epoch   atomic.Int64 // the server's state, modulo 4: present, going, away, coming
	forgets atomic.Int64 // sessions from epochs before this one are lost
	noticed atomic.Int64 // 503 responses while the server was away

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
	tried, saved int   // the last number sent to be stored, and the last confirmed
}

// person logs in, sends some requests and usually logs out, again and again.
func (l *load) person(ctx context.Context) {
	for ctx.Err() == nil {
		s := l.logIn(l.newSession())
		for range rand.IntN(7) {
			think(ctx)
			l.askEnded()
			l.askLive()
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

// reader only requests pages of live sessions.
func (l *load) reader(ctx context.Context) {
	for ctx.Err() == nil {
		think(ctx)
		l.askLive()
	}
}

// think limits the load, so that it does not saturate two cores.
func think(ctx context.Context) { pause(ctx, 20*time.Millisecond) }

func (l *load) newSession() *session {
	b := browse(l.t, l.nodes[0])
	b.Client.Timeout = l.within + 5*time.Second // only a failing test waits that long
	return &session{browser: b, user: newUser()}
}

// logIn returns nil if it was not confirmed.
func (l *load) logIn(s *session) *session {
	a, began := l.ask(s.browser, l.any(), "POST", "/login?user="+s.user)
	switch {
	case a.StatusCode == http.StatusSeeOther && a.Cookie(sessionCookie) != nil:
		if s.since < l.forgets.Load() {
			s.tried, s.saved = 0, 0 // with all that was stored before
		}
		s.since = began
		return s
	case a.StatusCode != http.StatusServiceUnavailable:
		l.problem("a login was answered with %d %s", a.StatusCode, a.Body)
	case a.Cookie(sessionCookie) != nil:
		l.problem("a login that failed set a cookie")
	}
	return nil
}

// use reports whether the session is as good as before.
func (l *load) use(s *session) bool {
	switch rand.IntN(8) {
	case 0: // logging in again replaces the token
		before := s.copied()
		if l.logIn(s) == nil {
			return false // nobody knows which of the two is good
		}
		l.end(before)
		return true
	case 1, 2, 3:
		s.tried++
		a, _ := l.ask(s.browser, l.any(), "POST", "/value?k=n&v="+strconv.Itoa(s.tried))
		if letIn(a) {
			s.saved = s.tried
		}
		return l.requireLive(s, a)
	}
	a, _ := l.ask(s.browser, l.any(), "GET", "/home")
	return l.requireLive(s, a)
}

// requireLive judges the answer to someone who is logged in.
func (l *load) requireLive(s *session, a response) bool {
	switch {
	case letIn(a) || a.StatusCode == http.StatusServiceUnavailable:
		return true
	case s.since >= l.forgets.Load():
		l.problem("someone who is logged in was answered with %d %s", a.StatusCode, a.Header.Get("Location"))
	}
	return false
}

// logOut reports whether it was confirmed.
func (l *load) logOut(s *session) bool {
	before := s.copied()
	a, _ := l.ask(s.browser, l.any(), "POST", "/logout")
	switch a.StatusCode {
	case http.StatusSeeOther:
		l.end(before)
		return true
	case http.StatusServiceUnavailable: // it may have happened or not
	default:
		l.problem("a logout was answered with %d", a.StatusCode)
	}
	return false
}

// end notes that the session of these cookies has ended.
func (l *load) end(b *browser) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = append(l.ended, b)
}

// keep takes every fourth session out of use, up to a hundred.
func (l *load) keep(s *session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.live) == 100 || rand.IntN(4) > 0 {
		return false
	}
	l.live = append(l.live, s)
	return true
}

func (l *load) askEnded() {
	if b, ok := pick(l, &l.ended); ok {
		l.requireOut(b, l.any())
	}
}

// requireOut reports whether somebody could tell.
func (l *load) requireOut(b *browser, n *node) bool {
	a, _ := l.ask(b, n, "GET", "/home")
	if letIn(a) {
		l.problem("someone who has logged out was let in")
	}
	return a.StatusCode != http.StatusServiceUnavailable
}

func (l *load) askLive() {
	if s, ok := pick(l, &l.live); ok {
		a, _ := l.ask(s.browser, l.any(), "GET", "/home")
		l.requireLive(s, a)
	}
}

// pick returns any of those that are guarded by l.mu, if there are some.
func pick[T any](l *load, from *[]T) (one T, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(*from) == 0 {
		return one, false
	}
	return (*from)[rand.IntN(len(*from))], true
}

// ask judges what holds for every answer, and tells when it was asked for.
func (l *load) ask(b *browser, n *node, method, path string) (response, int64) {
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
			l.problem("%s %s: no answer: %v", method, path, err)
		}
		a.StatusCode = http.StatusServiceUnavailable // nobody knows what has happened
	case took > l.within:
		l.problem("%s %s took %v", method, path, took)
	case cookie != nil && cookie.MaxAge < 0 && path != "/logout":
		l.problem("%s %s deleted the cookie", method, path)
	case isAway && !down && !(l.caches && method == "GET" && letIn(a)):
		l.problem("%s %s was answered with %d %s while the server was away", method, path, a.StatusCode, a.Header.Get("Location"))
	case isAway && down:
		l.noticed.Add(1)
	case same && began == 0 && down:
		l.problem("%s %s was answered with 503 while nothing was wrong", method, path)
	}
	return a, began
}

func (l *load) any() *node { return l.nodes[rand.IntN(len(l.nodes))] }

func (l *load) problem(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.problems) < 10 {
		l.problems = append(l.problems, fmt.Sprintf(format, args...))
	}
}
