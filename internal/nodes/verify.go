package nodes

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// verify checks on both nodes everything that was ever confirmed. It repeats a check until
// the server is back.
func (l *load) verify(ctx context.Context) {
	l.mu.Lock()
	ended, live := slices.Clone(l.ended), slices.Clone(l.live)
	l.mu.Unlock()
	checks := make(chan func() bool)
	end := time.Now().Add(recovery)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for check := range checks {
				for !check() {
					if time.Now().After(end) {
						l.problem("no recovery within %v", recovery)
						break
					}
					pause(ctx, 20*time.Millisecond)
				}
			}
		})
	}
	for _, n := range l.nodes {
		for _, b := range ended {
			checks <- func() bool { return l.checkEnded(b, n) }
		}
		for _, s := range live {
			checks <- func() bool { return l.checkKept(s, n) }
		}
	}
	close(checks)
	workers.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live = slices.DeleteFunc(l.live, func(s *session) bool { return s.since < l.lostBefore.Load() })
}

// checkKept checks that a live session exists with the values that were stored in it. It
// reports whether the server could be reached.
func (l *load) checkKept(s *session, n *node) bool {
	a, _ := l.send(s.browser, n, "GET", "/home")
	if a.StatusCode == http.StatusServiceUnavailable {
		return false
	}
	if s.since < l.lostBefore.Load() {
		if letIn(a) {
			l.problem("the server has kept sessions that a kill should lose: was it killed?")
		}
		return true
	}
	if !l.checkLive(s, a) {
		return true
	}
	a, _ = l.send(s.browser, n, "GET", "/value?k=n")
	if a.StatusCode == http.StatusServiceUnavailable {
		return false
	}
	// A later number may have been stored without a confirmation.
	if stored, _ := strconv.Atoi(a.Body); stored < s.saved || stored > s.tried {
		l.problem("the stored number should be between %d and %d, and is %q", s.saved, s.tried, a.Body)
	}
	return true
}
