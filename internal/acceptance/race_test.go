package acceptance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// These tests are for the race detector: two goroutines of one request do what the lock of
// the request makes one after the other. Nothing else orders them.

// serveAs serves a request with the cookies of b to handler behind the guard.
func (s *site) serveAs(b *browser, handler http.HandlerFunc) {
	r := httptest.NewRequest("POST", "https://app.example/", nil)
	for name, value := range b.Cookies() {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	s.guard.Handler(handler).ServeHTTP(httptest.NewRecorder(), r)
}

// A hijack looks at the cookies that are to be set.
func TestHijackBesideALogout(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	s.serveAs(b, func(w http.ResponseWriter, r *http.Request) {
		s.guard.Get(r, "app")
		hijack := func() {
			_, _, err := http.NewResponseController(w).Hijack()
			require.Error(t, err, "the connection cannot be taken")
		}
		hijack() // commits, so that the second hijack does not have to
		var all sync.WaitGroup
		all.Go(func() { require.ErrorIs(t, s.guard.End(w, r), sessionguard.ErrHeadersSent) })
		all.Go(hijack)
		all.Wait()
	})
	require.False(t, b.loggedIn())
}

// Logout leaves its flash in the visitor's values, which the beginning of the response
// reads: http.TimeoutHandler may have given up meanwhile.
func TestFlashOfALogoutBesideTheResponse(t *testing.T) {
	ended := make(chan struct{}, 1)
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.OnEvent = func(_ context.Context, e sessionguard.Event) {
			if e.Name == sessionguard.EventLogout {
				ended <- struct{}{}
			}
		}
	})
	b := s.browse()
	b.login("ada")
	s.serveAs(b, func(w http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		all.Go(func() { s.guard.Logout("/").ServeHTTP(httptest.NewRecorder(), r) })
		<-ended // Logout has the lock now, and takes it again for the flash
		w.WriteHeader(http.StatusOK)
		all.Wait()
	})
	require.False(t, b.loggedIn())
}
