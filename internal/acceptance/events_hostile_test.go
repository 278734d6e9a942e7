package acceptance

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
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

// ASVS 16.4.1: what a client or a proxy puts where its address belongs goes to databases
// and logs only if it can be an address.
func TestAddressThatCannotBeOneIsIgnored(t *testing.T) {
	for name, test := range map[string]struct{ sent, want string }{
		"an address":           {"2001:db8::7", "2001:db8::7"},
		"100 bytes":            {strings.Repeat("a", 100), strings.Repeat("a", 100)},
		"101 bytes":            {strings.Repeat("a", 101), ""},
		"invalid UTF-8":        {"192.0.2.7\xff", ""},
		"a line feed":          {"192.0.2.7\nlogged in: root", ""},
		"a zero byte":          {"192.0.2.7\x00", ""},
		"an escape sequence":   {"\x1b[2J", ""},
		"a control beyond 127": {"192.0.2.7\u0085", ""},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s := newSite(t, func(c *sessionguard.Config[*user]) { c.ClientAddr = func(*http.Request) string { return test.sent } })
				s.browse().login("ada")
				require.Equal(t, test.want, s.events.take(sessionguard.EventLogin)[0].Address)
				list, err := s.guard.Sessions(t.Context(), "ada")
				require.NoError(t, err)
				require.Equal(t, test.want, list[0].Address)
			})
		})
	}
}

// An OnEvent that waits for its context, such as an INSERT into a database that hangs, holds
// up a login that ends another session for as long as a hung backend would.
func TestOnEventOfALoginHasAContextThatEnds(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		var waited []time.Duration
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = backend
			c.MaxSessions = func(*user) store.Limit { return store.Limit{Max: 1} }
			c.OnEvent = func(ctx context.Context, e sessionguard.Event) {
				if e.Name != sessionguard.EventEnded {
					return
				}
				begun := time.Now()
				select {
				case <-ctx.Done():
				case <-time.After(time.Hour):
				}
				waited = append(waited, time.Since(begun))
			}
		})
		b := s.browse()
		b.login("ada")
		b.login("grace") // which replaces ada's session
		s.browse().login("grace")
		require.Len(t, waited, 2)
		for _, d := range waited {
			require.LessOrEqual(t, d, 5*time.Second)
		}
	})
}
