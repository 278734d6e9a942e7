package acceptance

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// A panic in OnEvent does not end the process, and does not interrupt what caused the
// event.
func TestPanicInOnEventInterruptsNothing(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.config.OnEvent = func(context.Context, sessionguard.Event) { panic("OnEvent") }
		guard, err := sessionguard.New(s.config)
		require.NoError(s.T, err)
		s.guard, s.mux = guard, http.NewServeMux()
		s.routes()
		s.addStream(s.passiveCancelOnEnd)
		s.server = serve(s.T, guard.Handler(s.mux))
		b := s.browse()
		b.login("ada")
		live := b.openStream("/events")
		require.NoError(s.T, guard.EndUser(s.T.Context(), "ada"))
		live.requireEnds("ended: ended", 0)
		require.Equal(s.T, http.StatusSeeOther, b.Get("/home").StatusCode)
		require.Contains(s.T, s.log.String(), "OnEvent")
	})
}

// ASVS 16.4: clients that may send anything cannot fill the log
func TestFloodOfRequestsDoesNotFloodTheLog(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.OnEvent = nil })
		b := s.browse()
		for range 100 {
			b.Post("/static?"+strings.Repeat("x", 10_000), "Sec-Fetch-Site", "cross-site", "User-Agent", strings.Repeat("A", 100_000),
				"Cookie", sessionCookie+"="+strings.Repeat("x", 150))
			b.Get("/"+strings.Repeat("x", 10_000), "Cookie", sessionCookie+"="+strings.Repeat("x", 150))
		}
		require.Less(t, len(s.log.String()), 2000)
		require.Contains(t, s.log.String(), "cross_origin")
	})
}
