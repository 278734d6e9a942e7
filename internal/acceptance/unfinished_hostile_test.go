package acceptance

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// I4, L5: the ID is a client's. What can be no session's costs no call, whose error would be
// this client's doing, and takes no place among the ends that are tried again.
func TestEndSessionWithAnIDOfNoSessionCostsNothing(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b, copied := s.browse(), s.browse()
		b.login("ada")
		copied.SetCookies(b.Cookies())
		id := publicID(b)
		backend.failOn("DeleteByID", "Delete")
		before := backend.callCounts()
		for _, wrong := range []string{
			"", "x", id[1:], id + "\x00", strings.ToLower(id), id[1:] + "\x00", id[1:] + "1", id[2:] + "é",
			strings.Repeat("A", 10<<20), // as long as http.Request.ParseForm allows
		} {
			require.ErrorIs(t, s.guard.EndSession(t.Context(), "ada", wrong), sessionguard.ErrNoSession)
		}
		require.Equal(t, before, backend.callCounts())
		requireUnavailable(t, b.Post("/logout"))
		s.guard.EndStreams()
		require.Contains(t, s.log.String(), "count=1")
		backend.failOn()
		advance(time.Minute)
		require.False(t, copied.loggedIn())
	})
}

// L5: a client of many cookies and IDs takes no place among the ends that are tried again for
// what has ended already, so that others' are, where the backend can still be asked.
func TestClientsTakeNoPlaceForWhatHasEnded(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		var dead []string
		for range 16 {
			b := s.browse()
			b.login("grace")
			dead = append(dead, b.Cookies()[sessionCookie])
			b.Post("/logout")
		}
		b, copied := s.browse(), s.browse()
		b.login("ada")
		copied.SetCookies(b.Cookies())
		backend.failOn("Delete", "DeleteByID")
		for i := 0; i < len(dead); i += 8 {
			requireUnavailable(t, s.browse().Post("/logout", "Cookie", cookiesNamed(sessionCookie, dead[i:i+8]...)))
		}
		for range 1100 {
			require.ErrorIs(t, s.guard.EndSession(t.Context(), "grace", rand.Text()), sessionguard.ErrUnavailable)
		}
		requireUnavailable(t, b.Post("/logout"))
		s.guard.EndStreams()
		require.Contains(t, s.log.String(), "count=1")
		require.NotContains(t, s.log.String(), "gave up")
		backend.failOn()
		advance(time.Minute)
		require.False(t, copied.loggedIn())
	})
}

// L5: a browser that has not got the response to a logout that failed logs in again, in the same
// session. That is later than the logout, whose cookie it has replaced.
func TestALoginAfterAnIncompleteLogoutStays(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b, lost := s.browse(), s.browse()
		lost.login("ada")
		b.SetCookies(lost.Cookies())
		old := s.copyOf(b)
		backend.failOn("Delete")
		requireUnavailable(t, lost.Post("/logout"))
		advance(time.Second / 2)
		id := publicID(b)
		b.login("ada")
		require.Equal(t, id, publicID(b))
		backend.failOn()
		advance(time.Minute)
		require.True(t, b.loggedIn())
		require.False(t, old.loggedIn())
		calls := backend.callCounts()
		advance(outage)
		require.Equal(t, calls, backend.callCounts(), "nothing is left to do")
	})
}
