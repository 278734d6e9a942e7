package acceptance

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

func TestSupersededTokenIsAcceptedDuringGraceAndThenTheft(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		thief := s.copyOf(b)
		advance(idle)
		b.Get("/home")
		advance(time.Second)
		b.Get("/home") // with the new token

		advance(29*time.Second - time.Millisecond)
		late := s.copyOf(thief)
		resp := late.Get("/home")
		require.Equal(s.T, "secret of ada", resp.Body)
		require.Equal(s.T, b.Cookies(), late.Cookies(), "it gets the current token")
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))

		advance(time.Millisecond)
		require.Equal(s.T, "/login?next=%2Fhome&reason=theft_suspected", thief.Get("/home").Header.Get("Location"))
		require.Equal(s.T, "/login?next=%2Fhome&reason=theft_suspected", b.Get("/home").Header.Get("Location"), "the guard cannot tell which of them is the thief")
		theft := s.events.take(sessionguard.EventTheftSuspected)
		require.Len(s.T, theft, 1)
		require.Equal(s.T, "ada", theft[0].UserID)
		require.Nil(s.T, thief.Get("/home").Cookie(sessionCookie))
	})
}

// The thief uses the copied cookie first, and more than once. The theft is noticed when
// the owner comes back.
func TestTheftIsNoticedAfterManyRotations(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		owner := s.browse()
		owner.login("ada")
		thief := s.copyOf(owner)
		for range 20 {
			advance(10 * time.Hour)
			require.Equal(s.T, "secret of ada", thief.Get("/home").Body)
		}
		advance(time.Minute)
		require.Equal(s.T, "/login?next=%2Fhome&reason=theft_suspected", owner.Get("/home").Header.Get("Location"))
		require.NotEqual(s.T, "secret of ada", thief.Get("/home").Body)
		require.Len(s.T, s.events.take(sessionguard.EventTheftSuspected), 1)
	})
}

// A session that moves to a new key while it is being ended for theft ends all the same.
func TestTheftEndsSessionThatMovesMeanwhile(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := rememberingSite(t, backend)
		b := s.browse()
		b.login("ada")
		thief := s.copyOf(b)
		advance(idle)
		b.Get("/home")
		advance(time.Minute)
		b.Get("/home")
		var once sync.Once
		backend.beforeCall("Delete", func() { once.Do(func() { b.login("ada") }) })
		thief.Get("/home")
		require.False(t, b.loggedIn())
		require.Empty(t, sessionsOf(t, backend, "ada"))
	})
}

// I1: a new login invalidates the previous token at once. That token is no sign of theft:
// the response with the new one may be lost, and the user knew the password.
func TestTokenFromBeforeLoginIsRefusedAtOnceAndIsNoTheft(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		old := s.copyOf(b)
		b.login("ada")
		for range 5 {
			require.False(s.T, old.loggedIn())
			require.Equal(s.T, "secret of ada", b.Get("/home").Body) // uses the new token
			advance(20 * time.Second)
		}
		require.False(s.T, old.loggedIn(), "after the grace too")
		require.True(s.T, b.loggedIn())
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
	})
}

// A token that a revival superseded is a sign of theft even after a new login.
func TestTheftIsNoticedAfterLogin(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		thief := s.copyOf(b)
		advance(idle)
		b.Get("/home")
		advance(10 * time.Second)
		b.login("ada")
		require.False(s.T, thief.loggedIn())
		require.True(s.T, b.loggedIn(), "the request may have been in flight during the login")
		advance(2 * time.Minute)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		require.False(s.T, thief.loggedIn())
		require.False(s.T, b.loggedIn())
		require.Len(s.T, s.events.take(sessionguard.EventTheftSuspected), 1)
	})
}

// The response with the new token may never arrive. As long as nobody has used the new
// token, the superseded one is no sign of theft.
func TestLostResponseIsNoTheft(t *testing.T) {
	for name, lose := range map[string]func(s *site, b *browser){
		"the handler panics": func(s *site, b *browser) {
			s.mux.Handle("GET /boom", s.guard.RequireLogin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("bug") })))
			_, err := b.Client.Do(b.Request("GET", "/boom"))
			require.Error(s.T, err)
		},
		"the response takes long": func(s *site, b *browser) {
			s.addSlowRoute(10 * time.Minute)
			waiting := s.copyOf(b)
			go waiting.Client.Do(waiting.Request("GET", "/slow").WithContext(s.T.Context()))
		},
		"the client disconnects": func(s *site, b *browser) {
			s.addSlowRoute(time.Second)
			ctx, disconnect := context.WithTimeout(s.T.Context(), time.Millisecond)
			defer disconnect()
			_, err := b.Client.Do(b.Request("GET", "/slow").WithContext(ctx))
			require.Error(s.T, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBothRemembered(t, func(s *site, _ *failingBackend) {
				b := s.browse()
				b.login("ada")
				before := b.Cookies()
				advance(idle)
				lose(s, b)
				require.Equal(s.T, before, b.Cookies())
				for range 2 {
					advance(time.Minute)
					b.SetCookies(before)
					require.Equal(s.T, "secret of ada", b.Get("/home").Body)
				}
				require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
				after := b.Cookies()
				require.NotEqual(s.T, before, after)
				require.Equal(s.T, "secret of ada", b.Get("/home").Body) // now the new token has been used
				b.SetCookies(before)
				require.NotEqual(s.T, "secret of ada", b.Get("/home").Body)
				require.Len(s.T, s.events.take(sessionguard.EventTheftSuspected), 1)
			})
		})
	}
}

// A client that never uses the new token cannot use the superseded one for ever.
func TestSupersededTokenIsTheftOnceUnusedTokenHasIdledOut(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		owner, thief := s.browse(), s.browse()
		owner.SetCookies(b.Cookies())
		thief.SetCookies(b.Cookies())
		advance(idle)
		require.Equal(s.T, "secret of ada", thief.Get("/home").Body)
		advance(idle)
		require.Equal(s.T, "/login?next=%2Fhome&reason=theft_suspected", owner.Get("/home").Header.Get("Location"))
	})
}

// L5: if the backend fails to end a session for theft, the response is a 503 until it
// succeeds
func TestTheftIsUnavailableUntilSessionCanBeEnded(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := rememberingSite(t, backend)
		b := s.browse()
		b.login("ada")
		thief := s.copyOf(b)
		advance(idle)
		b.Get("/home")
		advance(time.Minute)
		b.Get("/home")
		backend.failOn("Delete")
		require.Equal(t, http.StatusServiceUnavailable, thief.Get("/home").StatusCode)
		require.Len(t, s.events.take(sessionguard.EventTheftSuspected), 1, "the event is emitted all the same")
		backend.failOn()
		require.NotContains(t, thief.Get("/home").Body, "secret")
		require.False(t, b.loggedIn())
	})
}

// A client that only polls with the new token has received it all the same.
func TestPassiveRequestUsesNewToken(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		thief := s.copyOf(b)
		advance(idle)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		deadline := time.Now().Add(idle)
		for time.Until(deadline) > time.Minute {
			advance(time.Minute)
			require.True(s.T, b.loggedIn())
		}
		require.LessOrEqual(s.T, statusOf(b).Idle, 60, "polling is no activity")
		require.NotEqual(s.T, "secret of ada", thief.Get("/home").Body)
		require.Len(s.T, s.events.take(sessionguard.EventTheftSuspected), 1)
	})
}

// Once a session has ended, its superseded tokens are no sign of theft.
func TestSupersededTokenOfEndedSessionIsNoTheft(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		old := s.copyOf(b)
		advance(twoWeeks - time.Hour)
		b.Get("/home")
		advance(time.Minute)
		b.Get("/home")
		advance(time.Hour)
		require.Equal(s.T, "/login?next=%2Fhome&reason=absolute", old.Get("/home").Header.Get("Location"))
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
	})
}

// While new keys are rolled out, a node may be unable to open a token that another node
// has sealed. That is no sign of theft as long as the new token has not been used.
func TestKeyRolloutCausesNoTheft(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		newer := append([][]byte{[]byte(strings.Repeat("n", 32))}, testKeys...)
		node := func(keys [][]byte) *site {
			return rememberingSite(t, backend, func(c *sessionguard.Config[*user]) { c.Keys = keys })
		}
		before, after := node(testKeys), node(newer)
		b := before.browse()
		b.login("ada")
		cookies := b.Cookies()
		advance(idle)
		lost := after.browse()
		lost.SetCookies(cookies)
		require.Equal(t, "secret of ada", lost.Get("/home").Body)
		advance(time.Minute)
		require.NotContains(t, b.Get("/home").Body, "secret")
		require.Empty(t, before.events.take(sessionguard.EventTheftSuspected))
		other := after.browse()
		other.SetCookies(cookies)
		require.Equal(t, "secret of ada", other.Get("/home").Body)
	})
}

// Two responses may be lost, the second one that of a login.
func TestLostLoginAfterLostRevivalIsNoTheft(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		before := b.Cookies()
		advance(idle)
		b.Get("/home")
		b.SetCookies(before)
		advance(time.Minute)
		b.login("ada")
		b.SetCookies(before)
		advance(time.Minute)
		require.NotContains(s.T, b.Get("/home").Body, "secret")
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
	})
}
