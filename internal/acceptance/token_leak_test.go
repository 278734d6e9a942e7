package acceptance

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// K1, ASVS 3.3.4, 14.2.1, 16.2.5, WSTG-SESS-04: what a cookie says is in no header but Set-Cookie,
// in no URL, no body and no log, from a visitor's first value to the end of the session.
func TestATokenIsInSetCookieAlone(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		var log logBuffer
		backend := newFailingBackend()
		s := rememberingSite(t, backend, func(c *sessionguard.Config[*user]) {
			c.OnEvent = nil // the events are logged
			c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		s.addReasonRoutes()
		s.addSessionsRoute()
		b := s.browse()
		var sent strings.Builder
		see := func(on *browser, paths ...string) {
			for _, path := range paths {
				method, path, _ := strings.Cut(path, " ")
				for _, accept := range []string{"text/html", "application/json"} {
					resp := on.Do(on.Request(method, path, "Accept", accept))
					resp.Header.Del("Set-Cookie")
					fmt.Fprintln(&sent, resp.Header, resp.Body)
				}
			}
		}
		all := []string{"GET /home", "GET /admin", "GET /fresh", "GET /poll", "GET /status", "GET /value?k=a", "GET /", "GET /reason",
			"GET /sessions", "GET /sessionguard/resume?next=%2Fhome", "GET /sessionguard/status", "POST /sessionguard/stay"}

		see(b, append(all, "POST /value?k=a&v=1", "POST /login?user=ada", "POST /login?user=ada", "POST /login?user=eve")...)
		see(b, all...)
		thief := s.copyOf(b)
		advance(idle)
		see(b, all...) // revived
		advance(time.Minute)
		see(b, "GET /home")
		see(thief, all...) // taken for theft
		see(b, all...)
		see(b, "POST /login?user=ada")
		advance(idle)
		backend.failOn("*")
		see(b, all...)
		see(b, "POST /login?user=ada", "POST /logout")
		backend.failOn()
		see(b, "POST /login?user=ada", "POST /logout")
		see(b, all...)

		everything := sent.String() + log.String()
		for _, event := range []string{"logged_in", "reauthenticated", "revived", "theft_suspected", "unavailable", "logged_out"} {
			require.Contains(t, everything, "sessionguard."+event)
		}
		requireNoPartOf(t, everything, b, thief)
	})
}

// requireNoPartOf requires that everything has no 16 characters in a row of a cookie that the
// browsers have received.
func requireNoPartOf(t *testing.T, everything string, browsers ...*browser) {
	t.Helper()
	parts := 0
	for _, b := range browsers {
		for _, cookie := range b.Received() {
			for i := 0; i+16 <= len(cookie.Value); i++ {
				parts++
				require.False(t, strings.Contains(everything, cookie.Value[i:i+16]), "%s: %s", cookie.Name, cookie.Value[i:i+16])
			}
		}
	}
	require.Greater(t, parts, 500)
}
