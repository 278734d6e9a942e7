package acceptance

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

func TestSessionFromLoginToLogout(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		b := s.browse()

		resp := b.Get("/home")
		require.Equal(t, http.StatusSeeOther, resp.StatusCode)
		require.Equal(t, "/login?next=%2Fhome", resp.Header.Get("Location"))

		b.login("ada")
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		advance(idle - time.Minute)
		require.True(t, b.loggedIn(), "still within the idle timeout")

		require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
		require.Equal(t, "welcome nobody [You have been logged out.]", b.Get("/").Body)
		require.Equal(t, "welcome nobody []", b.Get("/").Body, "a flash is shown once")
		require.False(t, b.loggedIn())
		require.Empty(t, s.log.String())
	})
}

// Callers routinely ignore the error of Get, so the guard also logs it, once.
func TestMissingHandlerIsLoggedOnce(t *testing.T) {
	s := newSite(t, nil)
	for range 2 {
		r := httptest.NewRequest("GET", "/cart", nil)
		session, err := s.guard.Get(r, "cart")
		require.NotNil(t, session)
		require.ErrorIs(t, err, sessionguard.ErrNotWrapped)
		require.ErrorIs(t, s.guard.Save(r, nil, session), sessionguard.ErrNotWrapped)
		_, ok := s.guard.User(r)
		require.False(t, ok)
		require.ErrorIs(t, s.guard.Login(nil, r, &user{ID: "ada"}), sessionguard.ErrNotWrapped)
		require.ErrorIs(t, s.guard.End(nil, r), sessionguard.ErrNotWrapped)
		require.ErrorIs(t, s.guard.EndOthers(r), sessionguard.ErrNotWrapped)
	}
	require.Equal(t, 1, strings.Count(s.log.String(), "\n"))
	require.Contains(t, s.log.String(), "path=/cart")
}

// C1: once a cacheable response has begun, Sessions does not resolve the session of the
// request, so none is Current
func TestSessionsAfterHeadersHaveNoCurrent(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		current := true
		s.mux.HandleFunc("GET /late", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=3600")
			w.WriteHeader(http.StatusOK)
			http.NewResponseController(w).Flush()
			list, err := s.guard.Sessions(r.Context(), "ada")
			current = err != nil || list[0].Current
		})
		b := s.browse()
		b.login("ada")
		require.Equal(s.T, "public, max-age=3600", b.Get("/late").Header.Get("Cache-Control"))
		require.False(s.T, current)
	})
}
