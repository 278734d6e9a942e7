package promises

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheWholeFlow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newSite(t, nil)
		b := s.browse()

		a := b.get("/home")
		require.Equal(t, http.StatusSeeOther, a.StatusCode)
		require.Equal(t, "/login?next=%2Fhome", a.Header.Get("Location"))

		b.login("ada")
		require.Equal(t, "secret of ada", b.get("/home").body)
		pass(idle - time.Minute)
		require.True(t, b.loggedIn(), "still within the idle timeout")

		require.Equal(t, http.StatusSeeOther, b.post("/logout").StatusCode)
		require.Equal(t, "welcome nobody [You have been logged out.]", b.get("/").body)
		require.Equal(t, "welcome nobody []", b.get("/").body, "a flash shows once")
		require.False(t, b.loggedIn())
		require.Empty(t, s.log.String())
	})
}
