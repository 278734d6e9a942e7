package acceptance

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// A page opens its WebSocket while the response with the new token is on its way. The
// handshake cannot carry that token, and it is no proof that the token has arrived.
func TestUpgradeWithTheSupersededTokenNeitherSetsNorUsesTheNewOne(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.mux.Handle("GET /ws", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		})))
		b := s.browse()
		b.login("ada")
		before := s.copyOf(b)
		advance(idle)
		lost := s.copyOf(b)
		require.Equal(s.T, "secret of ada", lost.Get("/home").Body)

		resp, err := before.Client.Do(before.Request("GET", "/ws", "Connection", "Upgrade", "Upgrade", "echo"))
		require.NoError(s.T, err)
		resp.Body.Close()
		require.Equal(s.T, http.StatusSwitchingProtocols, resp.StatusCode)
		require.Empty(s.T, resp.Cookies())

		advance(10 * time.Minute) // nobody has used the new token yet
		require.Equal(s.T, "secret of ada", before.Get("/home").Body)
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
	})
}

// I3: a revival never passes for a login, even if the clock was set back since the login.
func TestRevivalWithTheClockSetBackIsNotFresh(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &editedBackend{Backend: newFailingBackend()}
		s := rememberingSite(t, nil, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		b := s.browse()
		b.login("ada")
		advance(idle)
		backend.edit(func(r *store.Record) { r.Authenticated = r.Authenticated.Add(2 * time.Hour) })
		require.Equal(t, "secret of ada", b.Get("/home").Body, "it is revived")
		backend.edit(nil)
		require.Len(t, s.events.take(sessionguard.EventRevived), 1)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		require.Equal(t, "/login?next=%2Ffresh", b.Get("/fresh").Header.Get("Location"))
	})
}

// L1: where a login's own idle timeout is shorter than the grace, the superseded token does
// not open a session that has idled out again. Nor is it a sign of theft so early.
func TestSupersededTokenOfADormantSessionNeitherEntersNorIsTheft(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.Remember(), sessionguard.IdleTimeout(10 * time.Second)}
		}
		b := s.browse()
		b.login("ada")
		before := s.copyOf(b)
		advance(10 * time.Second)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		advance(time.Second)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body, "the new token is in use")
		advance(10 * time.Second)
		resp := before.Get("/home")
		require.Equal(s.T, "/login?next=%2Fhome", resp.Header.Get("Location"))
		require.Empty(s.T, resp.Cookies())
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
	})
}
