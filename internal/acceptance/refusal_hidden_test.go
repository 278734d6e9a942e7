package acceptance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// buffered runs next on a ResponseWriter of its own, as many a cache or template engine
// does, and then sends what it wrote.
func buffered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
	})
}

// L1: a request that is refused is no activity, although the guard sees its refusal only
// by the status that a buffering middleware sends.
func TestRefusalInABufferingMiddlewareIsNoActivity(t *testing.T) {
	for name, middleware := range map[string]func(http.Handler) http.Handler{
		"a buffer":            buffered,
		"http.TimeoutHandler": func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "") },
	} {
		for accept, status := range map[string]int{"text/html": http.StatusSeeOther, "application/json": http.StatusForbidden} {
			t.Run(name+", "+accept, func(t *testing.T) {
				onBoth(t, func(s *site, _ *failingBackend) {
					s.mux.Handle("GET /refused", middleware(s.guard.RequireRole("Admin")(http.NotFoundHandler())))
					b := s.browse()
					b.login("ada")
					for range 2 {
						advance(idle / 3)
						require.Equal(s.T, status, b.Get("/refused", "Accept", accept).StatusCode)
					}
					require.True(s.T, b.loggedIn())
					advance(idle / 3)
					require.False(s.T, b.loggedIn())
				})
			})
		}
	}
}

// L5, R3: a 503 in a buffering middleware is sent as it is, and the handler for it runs once.
func TestFailureInABufferingMiddlewareIsSentOnce(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		served := 0
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Refusals.Unavailable = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				served++
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprint(w, "custom ", served)
			})
		})
		s.mux.Handle("GET /page", buffered(s.guard.RequireLogin(http.NotFoundHandler())))
		b := s.browse()
		b.login("ada")
		s.users.err = errBackendDown
		resp := b.Get("/page")
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, "custom 1", resp.Body)
		requireNoStore(t, resp.Header)
		s.users.err = nil
		require.True(t, b.loggedIn())
	})
}
