package acceptance

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shutDown shuts the site's server down, and returns how long that took.
func (s *site) shutDown() time.Duration {
	s.Helper()
	s.server.Config.RegisterOnShutdown(s.guard.EndStreams)
	begun := time.Now()
	bounded, cancel := context.WithTimeout(s.T.Context(), time.Minute)
	defer cancel()
	require.NoError(s.T, s.server.Config.Shutdown(bounded))
	return time.Since(begun)
}

// Shutdown waits for no stream, whose handler can tell the reason, and the sessions live on.
func TestShutdownEndsStreams(t *testing.T) {
	onEveryBackend(t, func(s *site, backend *failingBackend, _ bool) {
		s.addStream(s.guard.CancelOnEnd)
		b, visitor := s.browse(), s.browse()
		b.login("ada")
		streams := []*stream{b.openStream("/events"), b.openStream("/events"), visitor.openStream("/events")}
		advance(time.Minute)
		require.Less(s.T, s.shutDown(), time.Second, "net/http looks for idle connections every half a second at most")
		for _, live := range streams {
			require.Equal(s.T, "cancelled: http: Server closed", <-live.lines)
		}
		after := browse(s.T, serve(s.T, s.guard.Handler(s.mux)))
		after.SetCookies(b.Cookies())
		require.True(s.T, after.loggedIn(), "no session has ended")
		late := after.openStream("/events")
		late.requireEnds("cancelled: http: Server closed", 0)
	})
}

// A handler that ignores its context is stopped a second later, and so is a WebSocket, for which
// Shutdown does not wait.
func TestShutdownStopsWhatIgnoresItsContext(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		begun := make(chan bool)
		s.mux.Handle("GET /ignoring", s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(begun)
			for {
				time.Sleep(100 * time.Millisecond)
				if _, err := io.WriteString(w, "tick\n"); err != nil {
					require.ErrorIs(t, err, http.ErrServerClosed)
					return
				}
			}
		})))
		c := s.addChat(true, s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		resp, err := b.Client.Do(b.Request("GET", "/chat", "Connection", "Upgrade", "Upgrade", "test", "Sec-Fetch-Site", "same-origin"))
		require.NoError(t, err)
		defer resp.Body.Close()
		require.NoError(t, c.say())
		ignoring := s.copyOf(b)
		go ignoring.Client.Do(ignoring.Request("GET", "/ignoring"))
		<-begun
		require.Less(t, s.shutDown(), 2*time.Second)
		_, err = bufio.NewReader(resp.Body).ReadByte()
		require.Error(t, err, "the connection is closed")
	})
}
