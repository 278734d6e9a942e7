package acceptance

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// telling is the ResponseWriter of a framework, which tells whether it was written to.
type telling struct {
	http.ResponseWriter
	written bool
}

func (w *telling) Write(b []byte) (int, error) { w.written = true; return w.ResponseWriter.Write(b) }
func (w *telling) Written() bool               { return w.written }

// around drops the ResponseWriter that wrap hands on: page gets the framework's.
func around(wrap func(http.Handler) http.Handler, page http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		framework := &telling{ResponseWriter: w}
		wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { page(framework, r) })).ServeHTTP(framework, r)
	})
}

// L6: a login whose cookie cannot be sent is no login.
func TestALoginAroundTheGuardIsRefused(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		b := browse(s.T, serve(s.T, around(s.guard.Handler, func(w http.ResponseWriter, r *http.Request) {
			require.ErrorIs(s.T, s.guard.Login(w, r, &user{ID: "ada"}), sessionguard.ErrNotWrapped)
		})))
		require.Empty(s.T, b.Post("/").Cookies())
		require.Empty(s.T, s.events.take())
		require.Contains(s.T, s.log.String(), "goes around the guard")
		if backend != nil {
			require.Empty(s.T, sessionsOf(s.T, backend, "ada"))
		}
	})
}

// L6: Login cannot know where a ResponseWriter without Unwrap leads.
func TestALoginWhoseResponseWentAroundTheGuardIsUndone(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		b := browse(s.T, serve(s.T, around(s.guard.Handler, func(w http.ResponseWriter, r *http.Request) {
			require.NoError(s.T, s.guard.Login(struct{ http.ResponseWriter }{w}, r, &user{ID: "ada"}))
			fmt.Fprint(w, "welcome")
		})))
		require.Empty(s.T, b.Post("/").Cookies())
		require.Contains(s.T, s.log.String(), "goes around the guard")
		if backend != nil {
			require.Empty(s.T, sessionsOf(s.T, backend, "ada"))
		}
	})
}
