package acceptance

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// A keptRequest is a request that a handler has kept.
type keptRequest struct {
	r *http.Request
	e *exchange
}

// letIn serves r behind a gate to a recorder, and returns who was let in.
func (e *exchange) letIn(r *http.Request) int {
	defer func(was bool) { e.ending = was }(e.ending)
	e.ending = true // a FindUser that fails is not the response's failure
	id := ""
	e.guard.Passive(e.guard.RequireLogin(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if u, ok := e.guard.User(r); ok {
			id = u.ID
		}
	}))).ServeHTTP(httptest.NewRecorder(), r)
	e.sync()
	for i := range e.users {
		if e.userNow(i).ID == id {
			return i
		}
	}
	return noUser
}

// stepInclude serves a request with the cookies of any browser and the context of this one.
func (e *exchange) stepInclude(_ http.ResponseWriter, r *http.Request, n *node) {
	value := e.clients[n.n].jar[sessionCookie]
	if slices.Contains(e.sent, value) {
		return // it may be the same request
	}
	sub, _ := http.NewRequestWithContext(r.Context(), http.MethodGet, "/included", nil)
	sub.AddCookie(&http.Cookie{Name: sessionCookie, Value: value})
	e.sync()
	e.mu.Lock()
	s := e.byKey[keyOf(value)]
	e.mu.Unlock()
	gone := s == nil || s.gone
	switch i := e.letIn(sub); {
	case i == noUser:
	case gone:
		e.breaks("a request with the context of another was accepted without a session")
	case i != s.user:
		e.breaks("a request with the context of another was accepted as another user")
	}
}

// keptRequest returns one that is over, or none.
func (e *exchange) keptRequest(n *node) (k keptRequest) {
	e.sync()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.kept) > 0 {
		k = e.kept[n.n%len(e.kept)]
	}
	if k.e != nil && !k.e.done {
		return keptRequest{}
	}
	return k
}

// stepServeKept serves a request that is over, as it was or with a context that goes on.
func (e *exchange) stepServeKept(_ http.ResponseWriter, _ *http.Request, n *node) {
	if e.inCall {
		return // a callback may be refused a request that somebody else is using
	}
	k := e.keptRequest(n)
	if k.e == nil {
		return
	}
	s := k.e.current()
	gone := s == nil || s.gone
	r := k.r
	if n.n%2 == 1 {
		r = r.WithContext(context.WithoutCancel(r.Context()))
	}
	switch i := k.e.letIn(r); {
	case i == noUser:
	case s != nil && gone:
		e.breaks("a request that was kept was accepted after its session's end")
	case s != nil && i != s.user:
		e.breaks("a request that was kept was accepted as another user")
	}
}

// stepActiveKept reads the body of a request that is over, which is nothing, and then has a
// person do something on it, which brings no session back.
func (e *exchange) stepActiveKept(_ http.ResponseWriter, _ *http.Request, n *node) {
	if e.inCall {
		return // as in stepServeKept
	}
	k := e.keptRequest(n)
	if k.e == nil || k.e.split {
		return
	}
	_, _ = io.CopyN(io.Discard, k.r.Body, 1)
	s, now := k.e.current(), store.TimeOf(time.Now())
	e.mu.Lock()
	gone := s != nil && (s.gone || now >= max(s.LastSeen, s.login).Add(idle))
	if s != nil && s.dead == "" && !gone {
		s.seen = max(s.seen, now)
	}
	e.mu.Unlock()
	err := k.e.guard.Active(k.r)
	e.sync()
	if gone && err == nil && !e.p.remote && now > k.e.askedAt {
		e.breaks("Active returned nil for a request that was kept after its session's end")
	}
	k.e.askedAt = now // in the same millisecond, the backend is not asked again
}

// stepReadMeanwhile reads the body in a goroutine that may outlive the handler.
func (e *exchange) stepReadMeanwhile(_ http.ResponseWriter, r *http.Request, n *node) {
	e.wait.Go(func() {
		e.nap(pauses[n.n])
		if !e.served {
			e.active(false)
		}
		_, _ = io.CopyN(io.Discard, r.Body, 1)
		e.turn()
	})
}

// stepDamage replaces the stored values by some that cannot be decoded.
func (e *exchange) stepDamage(http.ResponseWriter, *http.Request, *node) {
	if s := e.current(); s != nil {
		if rec, err := e.memory.Load(context.Background(), s.Key); err == nil {
			_ = e.memory.Save(context.Background(), withValues(rec, []byte("damaged")))
		}
	}
}

// wasCurrent reports whether value was the token of a session when that ended. The lab is
// locked.
func (l *lab) wasCurrent(value, hash string) bool {
	s := l.byKey[keyOf(value)]
	_, err := l.memory.Load(context.Background(), keyOf(value))
	return s != nil && hashOf(s.ID) == hash && errors.As(err, new(*store.EndedError))
}
