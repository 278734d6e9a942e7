package acceptance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
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

// stepServeKept serves a request that is over, as it was or with a context that goes on.
func (e *exchange) stepServeKept(_ http.ResponseWriter, _ *http.Request, n *node) {
	if e.inCall {
		return // a callback may be refused a request that somebody else is using
	}
	e.sync()
	e.mu.Lock()
	if len(e.kept) == 0 {
		e.mu.Unlock()
		return
	}
	k := e.kept[n.n%len(e.kept)]
	e.mu.Unlock()
	if !k.e.done {
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
