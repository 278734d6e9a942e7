package acceptance

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// An op is something that a handler does.
type op struct {
	name   string
	weight int  // how often it comes
	args   int  // its argument is below this
	wraps  bool // it has kids
	slow   bool // it takes time, which no call of a backend does
	visits bool // other browsers visit meanwhile
	do     func(e *exchange, w http.ResponseWriter, r *http.Request, n *node)
}

var errHandler = errors.New("a handler's panic")

var ops = []op{
	{name: "Login", weight: 22, args: 4, do: (*exchange).stepLogin},
	{name: "End", weight: 8, do: (*exchange).stepEnd},
	{name: "Logout", weight: 4, do: (*exchange).stepLogout},
	{name: "EndUser", weight: 3, args: 2, do: (*exchange).stepEndUser},
	{name: "EndOthers", weight: 4, do: (*exchange).stepEndOthers},
	{name: "EndSession", weight: 2, args: 2, do: (*exchange).stepEndSession},
	{name: "User", weight: 8, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, _ *node) { e.look(r) }},
	{name: "EndReason", weight: 2, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, _ *node) {
		e.before()
		e.guard.EndReason(r)
	}},
	{name: "Sessions", weight: 2, args: 2, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, n *node) {
		e.before()
		_, _ = e.guard.Sessions(r.Context(), e.userNow(n.n).ID)
	}},
	{name: "Status", weight: 1, do: func(e *exchange, w http.ResponseWriter, r *http.Request, _ *node) {
		e.before()
		e.guard.Status().ServeHTTP(w, r)
	}},
	{name: "set a value", weight: 9, args: 3, do: (*exchange).stepSet},
	{name: "set an unsaveable value", weight: 2, args: 3, do: (*exchange).stepSetUnsaveable},
	{name: "write", weight: 6, do: func(_ *exchange, w http.ResponseWriter, _ *http.Request, _ *node) { io.WriteString(w, "page") }},
	{name: "WriteHeader", weight: 4, args: len(statuses), do: func(_ *exchange, w http.ResponseWriter, _ *http.Request, n *node) {
		w.WriteHeader(statuses[n.n])
	}},
	{name: "Flush", weight: 3, do: func(e *exchange, w http.ResponseWriter, _ *http.Request, _ *node) {
		e.committed = true
		_ = http.NewResponseController(w).Flush()
	}},
	{name: "Hijack", weight: 2, do: func(e *exchange, w http.ResponseWriter, _ *http.Request, _ *node) {
		e.committed = true
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
	}},
	{name: "panic", weight: 4, do: func(*exchange, http.ResponseWriter, *http.Request, *node) { panic(errHandler) }},
	{name: "abort", weight: 1, do: func(*exchange, http.ResponseWriter, *http.Request, *node) { panic(http.ErrAbortHandler) }},
	{name: "the client hangs up", weight: 1, do: func(e *exchange, _ http.ResponseWriter, _ *http.Request, _ *node) {
		e.hungUp = true
		e.cancel()
	}},
	{name: "the password changes", weight: 2, args: 2, do: func(e *exchange, _ http.ResponseWriter, _ *http.Request, n *node) {
		e.change(n.n, func(u *user) { v, _ := strconv.Atoi(u.Stamp); u.Stamp = strconv.Itoa(v + 1) })
	}},
	{name: "the account is switched off or on", weight: 2, args: 2, do: func(e *exchange, _ http.ResponseWriter, _ *http.Request, n *node) {
		e.change(n.n, func(u *user) { u.Inactive = !u.Inactive })
	}},
	{name: "time passes", weight: 3, args: len(pauses), slow: true, do: func(e *exchange, _ http.ResponseWriter, _ *http.Request, n *node) {
		e.nap(pauses[n.n])
	}},
	{name: "wait for the request's end", weight: 3, slow: true, do: func(e *exchange, _ http.ResponseWriter, r *http.Request, _ *node) {
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		e.nap(time.Millisecond) // whoever has given up goes first
	}},
	{name: "meanwhile", weight: 3, slow: true, visits: true, do: func(e *exchange, _ http.ResponseWriter, _ *http.Request, n *node) {
		for _, v := range n.visits {
			e.nap(v.after)
			e.serve(v)
		}
	}},

	{name: "Handler", weight: 2, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.enter(e.guard.Handler(e.body(n.kids)), w, r)
	}},
	{name: "RequireLogin", weight: 6, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.gate(e.guard.RequireLogin, w, r, n)
	}},
	{name: "RequireRole", weight: 3, args: 2, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.gate(e.guard.RequireRole([]string{"Engineer", "Admin"}[n.n%2]), w, r, n)
	}},
	{name: "RequireFresh", weight: 3, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.gate(e.guard.RequireFresh(freshFor), w, r, n)
	}},
	{name: "Passive", weight: 2, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.enter(e.guard.Passive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			e.passive = true
			e.body(n.kids)(w, r)
		})), w, r)
	}},
	{name: "CancelOnEnd", weight: 3, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.before()
		e.enter(e.guard.CancelOnEnd(e.body(n.kids)), w, r)
	}},
	{name: "recoverer", weight: 6, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		if panics(func() { e.body(n.kids)(w, r) }) {
			http.Error(w, "recovered", http.StatusInternalServerError)
		}
	}},
	{name: "TimeoutHandler", weight: 6, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.limited(e.body(n.kids), w, r)
	}},
	{name: "buffer", weight: 3, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		b := &bufferWriter{h: w.Header().Clone(), status: http.StatusOK}
		e.body(n.kids)(b, r)
		maps.Copy(w.Header(), b.h)
		w.WriteHeader(b.status)
		w.Write(b.body)
	}},
	{name: "copy of the request", weight: 1, wraps: true, do: func(e *exchange, w http.ResponseWriter, r *http.Request, n *node) {
		e.body(n.kids)(w, r.Clone(r.Context()))
	}},
}

var statuses = []int{200, 204, 303, 404, 408, 500, 503}

// bufferWriter is a middleware's that sends a response when its handler has returned.
type bufferWriter struct {
	h      http.Header
	status int
	began  bool
	body   []byte
}

func (b *bufferWriter) Header() http.Header { return b.h }

func (b *bufferWriter) WriteHeader(status int) {
	if !b.began && status >= 200 {
		b.began, b.status = true, status
	}
}

func (b *bufferWriter) Write(p []byte) (int, error) {
	b.began = true
	b.body = append(b.body, p...)
	return len(p), nil
}

// body returns the handler of these nodes. The table of ops cannot refer to itself.
func (e *exchange) body(nodes []*node) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, n := range nodes {
			n.op.do(e, w, r, n)
		}
	}
}

// enter serves a wrapper of the guard.
func (e *exchange) enter(h http.Handler, w http.ResponseWriter, r *http.Request) {
	if e.entered {
		h.ServeHTTP(w, r)
		return
	}
	e.entered = true
	e.attached(h, w, r)
}

// gate serves kids behind a gate, which lets in nobody who must not be accepted.
func (e *exchange) gate(gate func(http.Handler) http.Handler, w http.ResponseWriter, r *http.Request, n *node) {
	e.before()
	e.enter(gate(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := e.look(r)
		switch {
		case i == noUser:
			e.breaks("%s let nobody in", n.op.name)
		case n.op.name == "RequireRole" && n.n%2 == 1 && i == 0:
			e.breaks("RequireRole let in a user without the role")
		case n.op.name == "RequireFresh":
			if s := e.current(); s != nil && e.looked.Sub(s.login) >= freshFor {
				e.breaks("RequireFresh let in a user whose login was %v ago", e.looked.Sub(s.login))
			}
		}
		e.body(n.kids)(w, r)
	})), w, r)
}

// look calls User and returns who it is.
func (e *exchange) look(r *http.Request) int {
	e.before()
	u, ok := e.guard.User(r)
	e.sync()
	if !ok {
		return noUser
	}
	return e.saw(u.ID)
}

func (e *exchange) userNow(i int) user {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.users[i]
}

func (e *exchange) change(i int, do func(*user)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	do(&e.users[i])
}

func (e *exchange) stepLogin(w http.ResponseWriter, r *http.Request, n *node) {
	u := e.userNow(n.n % 2)
	var options []sessionguard.LoginOption
	if n.n >= 2 {
		options = append(options, sessionguard.Remember())
	}
	if !u.Inactive {
		e.before()
	}
	others := e.notPresented()
	e.changed = nil
	err := e.guard.Login(w, r, &u, options...)
	e.sync()
	if err != nil {
		if errors.Is(err, sessionguard.ErrTooManySessions) && len(e.v.faults) == 0 {
			for _, s := range others {
				if s.gone && s.stamp == u.Stamp {
					e.breaks("a login that was refused has ended a session")
				}
			}
		}
		return
	}
	if u.Inactive || e.began || len(e.changed) != 1 || e.changed[0].user != n.n%2 || e.changed[0].gone {
		e.breaks("Login returned nil and stored %d sessions (inactive: %v, the response has begun: %v)", len(e.changed), u.Inactive, e.began)
		return
	}
	e.loggedIn(e.changed[0], u.Stamp, n.n >= 2)
}

func (e *exchange) stepEnd(w http.ResponseWriter, r *http.Request, _ *node) {
	e.before()
	presented := e.presented()
	err := e.guard.End(w, r)
	e.sync()
	switch {
	case errors.Is(err, sessionguard.ErrUnavailable):
		e.failed = e.failed || !errors.Is(err, sessionguard.ErrHeadersSent)
	case err == nil || errors.Is(err, sessionguard.ErrHeadersSent):
		e.mustBeGone(presented, "End")
		e.failed = false // a second attempt
	}
	e.loggedOut(!errors.Is(err, sessionguard.ErrHeadersSent))
}

func (e *exchange) stepLogout(w http.ResponseWriter, r *http.Request, _ *node) {
	e.before()
	presented, began := e.presented(), e.began
	e.guard.Logout("/").ServeHTTP(w, r)
	e.sync()
	if r.Method != http.MethodPost {
		return
	}
	if !began && e.began && (e.status == http.StatusSeeOther || e.status == http.StatusNoContent) {
		e.mustBeGone(presented, "Logout")
	}
	e.loggedOut(false)
}

func (e *exchange) stepEndUser(_ http.ResponseWriter, r *http.Request, n *node) {
	sessions := e.live(n.n)
	if err := e.guard.EndUser(r.Context(), e.userNow(n.n).ID); err == nil {
		e.sync()
		e.mustBeGone(sessions, "EndUser")
	}
}

func (e *exchange) stepEndSession(_ http.ResponseWriter, r *http.Request, n *node) {
	for _, s := range e.live(n.n) {
		if err := e.guard.EndSession(r.Context(), e.userNow(1-n.n).ID, s.ID); err == nil {
			e.breaks("EndSession ended another user's session")
		}
		if err := e.guard.EndSession(r.Context(), e.userNow(n.n).ID, s.ID); err == nil {
			e.sync()
			e.mustBeGone([]*modelSession{s}, "EndSession")
		}
		return
	}
}

func (e *exchange) stepEndOthers(_ http.ResponseWriter, r *http.Request, _ *node) {
	i := e.look(r)
	if i == noUser {
		return
	}
	sessions := e.live(i)
	err := e.guard.EndOthers(r)
	e.sync()
	if err != nil {
		return
	}
	current := e.current()
	for _, s := range sessions {
		if s != current {
			e.mustBeGone([]*modelSession{s}, "EndOthers")
		} else if s.gone && len(e.v.faults) == 0 {
			e.breaks("EndOthers ended the current session")
		}
	}
}

// stepSet checks whose values the handler finds, and leaves its own.
func (e *exchange) stepSet(w http.ResponseWriter, r *http.Request, n *node) {
	owner := "visitor"
	if i := e.look(r); i != noUser {
		owner = e.userNow(i).ID
	}
	session, err := e.guard.Get(r, "app")
	if err != nil {
		return
	}
	e.mu.Lock()
	if e.known >= 0 { // after a failure too, although User does not tell it any more
		owner = e.users[e.known].ID
	}
	for _, value := range session.Values {
		if value, ok := value.(string); ok && value != "visitor" && value != owner {
			e.mu.Unlock()
			e.breaks("%s reads a value of %s", owner, value)
			return
		}
	}
	session.Values[n.n] = owner
	e.mu.Unlock()
	if n.n == 0 {
		_ = session.Save(r, w)
	}
}

func (e *exchange) stepSetUnsaveable(w http.ResponseWriter, r *http.Request, n *node) {
	e.before()
	session, err := e.guard.Get(r, "app")
	if err != nil {
		return
	}
	e.mu.Lock()
	switch n.n {
	case 0:
		session.Values["unsaveable"] = make(chan int)
	case 1:
		session.Values["large"] = make([]byte, 5000) // too much for a visitor
	default:
		delete(session.Values, "unsaveable")
		delete(session.Values, "large")
	}
	e.mu.Unlock()
}

// limited serves h behind an http.TimeoutHandler.
func (e *exchange) limited(h http.Handler, w http.ResponseWriter, r *http.Request) {
	outside := !e.entered
	var ctx context.Context
	e.wait.Add(1)
	http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer e.wait.Done()
		e.mu.Lock()
		ctx = r.Context()
		e.mu.Unlock()
		h.ServeHTTP(w, r)
	}), e.deadline(), "too slow").ServeHTTP(w, r)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dropped = e.dropped || outside && errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// deadline returns how long an http.TimeoutHandler waits: never as long as another one.
func (e *exchange) deadline() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.naps++
	return 10*time.Second + time.Duration(e.naps%1e6)
}

// loggedIn notes a Login of this request.
func (e *exchange) loggedIn(s *modelSession, stamp string, remember bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := store.TimeOf(time.Now())
	s.by, s.stamp, s.login, s.seen = e, stamp, now, now
	if remember {
		s.remembered = now.Add(rememberFor)
	}
	s.ends = max(now.Add(absolute), s.remembered)
	e.known, e.login, e.signedOut = s.user, s, false
	e.looked = now
	e.logins = append(e.logins, s)
}

// loggedOut notes an End of this request.
func (e *exchange) loggedOut(deletes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known, e.login = noUser, nil
	e.signedOut = e.signedOut || deletes
}
