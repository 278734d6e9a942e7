package acceptance

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// enter serves a wrapper of the guard.
func (e *exchange) enter(h http.Handler, w http.ResponseWriter, r *http.Request) {
	if e.entered {
		// A wrapper may take what comes after the response for another request.
		e.split = e.split || e.began || e.hijacked
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
			if s := e.current(); s != nil && (e.looked.Sub(s.login) >= freshFor || s.Revived() && !e.client.overlapped) {
				e.breaks("RequireFresh let in a user whose login was %v ago", e.looked.Sub(s.login))
			}
		}
		e.gated = true
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
	limit := absolute
	switch n.n / 2 {
	case 1:
		options = append(options, sessionguard.Remember())
	case 2:
		limit = idle
		options = append(options, sessionguard.AbsoluteTimeout(limit))
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
				if s.gone && s.stamp == u.Stamp && s.GoneAt() > store.TimeOf(time.Now()) {
					e.breaks("a login that was refused has ended a session")
				}
			}
		}
		return
	}
	if u.Inactive || e.began && !e.hijacked && r.Context().Err() == nil || len(e.changed) != 1 || e.changed[0].user != n.n%2 || e.changed[0].gone && len(e.v.faults) == 0 {
		e.breaks("Login returned nil and stored %d sessions (inactive: %v, the response has begun: %v)", len(e.changed), u.Inactive, e.began)
		return
	}
	e.loggedIn(e.changed[0], u.Stamp, limit, n.n/2 == 1)
	count := 0
	for _, s := range e.live(n.n % 2) {
		if s.GoneAt() > store.TimeOf(time.Now()) {
			count++
		}
	}
	if limit := e.p.limit.Max; limit > 0 && count > limit {
		e.breaks("a user has %d sessions, more than %d", count, limit)
	}
}

func (e *exchange) stepEnd(w http.ResponseWriter, r *http.Request, _ *node) {
	e.before()
	presented := e.presented()
	e.leaving = true
	err := e.guard.End(w, r)
	e.sync()
	switch {
	case errors.Is(err, sessionguard.ErrNotWrapped):
		return // a clone of a request that has taken the connection; nothing was done
	case errors.Is(err, sessionguard.ErrUnavailable):
		e.failed = e.failed || !errors.Is(err, sessionguard.ErrHeadersSent)
	case err == nil || errors.Is(err, sessionguard.ErrHeadersSent):
		e.mustBeGone(presented, "End")
		e.failed, e.login = false, nil // perhaps at a second attempt
	}
	e.loggedOut(!errors.Is(err, sessionguard.ErrHeadersSent))
}

func (e *exchange) stepLogout(w http.ResponseWriter, r *http.Request, _ *node) {
	e.before()
	presented, began := e.presented(), e.began || e.hijacked
	e.split = e.split || began
	if r.Method == http.MethodPost {
		e.failed, e.userFailed, e.leaving = false, false, true // this attempt counts
	}
	e.guard.Logout("/").ServeHTTP(w, r)
	e.sync()
	if r.Method != http.MethodPost || began || e.hijacked && e.copied {
		return // of the last, User goes on to know the user of the handler's own request
	}
	if e.began && (e.status == http.StatusSeeOther || e.status == http.StatusNoContent) {
		e.mustBeGone(presented, "Logout")
		e.login = nil
	}
	e.loggedOut(false)
}

func (e *exchange) stepEndUser(_ http.ResponseWriter, r *http.Request, n *node) {
	sessions := e.live(n.n)
	e.ending = true
	defer func() { e.ending = false }()
	if err := e.guard.EndUser(r.Context(), e.userNow(n.n).ID); err == nil {
		e.sync()
		e.mustBeGone(sessions, "EndUser")
	}
}

func (e *exchange) stepEndAll(_ http.ResponseWriter, r *http.Request, _ *node) {
	sessions := slices.Concat(e.live(0), e.live(1))
	if err := e.guard.EndAll(r.Context()); err == nil {
		e.sync()
		e.mustBeGone(sessions, "EndAll")
	}
}

// All implements store.Lister. A fault comes before the sessions of a kind, or after the last.
func (b *faultyBackend) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		more := true
		err := exchangeOf(ctx).call("All", store.Key{}, "", func() error {
			b.Memory.All(ctx, realm)(func(r store.Record, err error) bool {
				more = yield(r, err)
				return more
			})
			return nil
		})
		if err != nil && more {
			yield(store.Record{}, err)
		}
	}
}

func (e *exchange) stepEndSession(_ http.ResponseWriter, r *http.Request, n *node) {
	sessions := e.live(n.n)
	if len(sessions) == 0 {
		return
	}
	first := sessions[0]
	if err := e.guard.EndSession(r.Context(), e.userNow(1-n.n).ID, first.ID); err == nil {
		e.breaks("EndSession ended another user's session")
	}
	if err := e.guard.EndSession(r.Context(), e.userNow(n.n).ID, first.ID); err == nil {
		e.sync()
		e.mustBeGone(sessions[:1], "EndSession")
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
	if e.split {
		return
	}
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
	if err != nil && !(n.n == 0 && strings.Contains(err.Error(), "cannot be decoded")) { // Save replaces them
		return
	}
	e.mu.Lock()
	if e.known >= 0 { // after a failure too, although User does not tell it any more
		owner = e.users[e.known].ID
	}
	for _, value := range session.Values {
		if value, ok := value.(string); ok && value != "visitor" && value != owner && !e.split {
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
	if r.Context().Err() != nil { // it would give up while h begins
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	outside := !e.entered
	var ctx context.Context
	e.wait.Add(1)
	e.turn()
	http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer e.wait.Done()
		defer e.turn()
		e.turn()
		e.mu.Lock()
		ctx = r.Context()
		e.mu.Unlock()
		if r.Context().Err() != nil {
			e.nap(time.Millisecond) // as in body
		}
		h.ServeHTTP(w, r)
	}), e.deadline(), "too slow").ServeHTTP(w, r)
	e.turn()
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
func (e *exchange) loggedIn(s *modelSession, stamp string, limit time.Duration, remember bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := store.TimeOf(time.Now())
	s.by, s.stamp, s.login, s.seen = e, stamp, now, now
	if remember {
		s.remembered = now.Add(rememberFor)
	}
	s.ends = max(now.Add(limit), s.remembered)
	if e.began || e.hijacked {
		s.excused = e.hijacked
		return
	}
	e.known, e.login, e.signedOut = s.user, s, false
	e.looked = now
	e.logins = append(e.logins, s)
}

// loggedOut notes an End of this request.
func (e *exchange) loggedOut(deletes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known, e.userFailed = noUser, false
	e.signedOut = e.signedOut || deletes
}
