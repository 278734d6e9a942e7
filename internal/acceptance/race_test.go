package acceptance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// These tests are for the race detector: two goroutines of one request do what the lock of
// the request makes one after the other. Nothing else orders them.

// serveAs serves a request with the cookies of b to handler behind the guard.
func (s *site) serveAs(b *browser, handler http.HandlerFunc) {
	r := httptest.NewRequest("POST", "https://app.example/", endlessBody{})
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

// A handler's goroutines may read the body and call Active after it has returned, as those of
// httputil.ReverseProxy do, while other requests log in again and end the session.
func TestReadsAndActiveBesideTheEndOfTheRequestAndOfItsSession(t *testing.T) {
	for name, backend := range map[string]store.Backend{"in process": store.NewMemory(), "remote": newFailingBackend()} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
			for range 10 {
				b := s.browse()
				b.login("ada")
				var all sync.WaitGroup
				s.serveAs(b, func(w http.ResponseWriter, r *http.Request) {
					s.guard.RequireLogin(s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						for range 2 {
							all.Go(func() {
								for range 2000 {
									_, _ = r.Body.Read(make([]byte, 1))
								}
							})
							all.Go(func() {
								for range 2000 {
									_ = s.guard.Active(r)
								}
							})
						}
						all.Go(func() {
							s.serveAs(b, func(w http.ResponseWriter, r *http.Request) {
								require.NoError(t, s.guard.Login(w, r, &user{ID: "ada"}))
							})
							require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
						})
						for range 1000 {
							runtime.Gosched()
						}
					}))).ServeHTTP(w, r)
				})
				all.Wait()
				require.Empty(t, sessionsOf(t, backend, "ada"))
			}
		})
	}
}
