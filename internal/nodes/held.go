package nodes

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A held request has loaded its session when the server goes away, and saves then. What it
// sends may reach the server after the guard has given up waiting.
type held struct {
	session *session
	finish  func() response
}

// hold begins a few such requests.
func (l *load) hold() (all []held) {
	for range 2 {
		for _, n := range l.nodes {
			if s := l.logIn(l.newSession()); s != nil {
				all = append(all, held{s, s.begin(n, "k=n&v=1")})
			}
		}
	}
	return all
}

// release lets them save, which the server cannot confirm.
func (l *load) release(all []held) {
	var saving sync.WaitGroup
	for _, h := range all {
		saving.Go(func() {
			start := time.Now()
			a := h.finish()
			if took := time.Since(start); took > l.within {
				l.problem("a save took %v", took)
			}
			if a.StatusCode != http.StatusServiceUnavailable {
				l.problem("a save got %d while the server was away", a.StatusCode)
			}
		})
	}
	saving.Wait()
}

// overtake logs them out as soon as the server can confirm that. Each attempt has its own
// copy of the cookie, because even a failed logout deletes it.
func (l *load) overtake(ctx context.Context, all []held) {
	end := time.Now().Add(recovery)
	for _, h := range all {
		for !l.logOut(&session{browser: h.session.copied()}) {
			if ctx.Err() != nil || time.Now().After(end) {
				return // verify reports it
			}
			pause(ctx, 5*time.Millisecond)
		}
	}
}
