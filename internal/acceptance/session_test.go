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

func TestTheWholeFlow(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		b := s.browse()

		a := b.Get("/home")
		require.Equal(t, http.StatusSeeOther, a.StatusCode)
		require.Equal(t, "/login?next=%2Fhome", a.Header.Get("Location"))

		b.login("ada")
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		advance(idle - time.Minute)
		require.True(t, b.loggedIn(), "still within the idle timeout")

		require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
		require.Equal(t, "welcome nobody [You have been logged out.]", b.Get("/").Body)
		require.Equal(t, "welcome nobody []", b.Get("/").Body, "a flash shows once")
		require.False(t, b.loggedIn())
		require.Empty(t, s.log.String())
	})
}

// Everybody ignores the error of Get, so the guard says once that nothing works.
func TestForgettingHandlerIsLogged(t *testing.T) {
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
