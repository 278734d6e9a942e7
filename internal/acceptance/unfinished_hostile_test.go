package acceptance

import (
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
			"", "x", id[1:], id + "A", id + "\x00", strings.ToLower(id), id[1:] + "\x00", id[1:] + "1", id[2:] + "é",
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
