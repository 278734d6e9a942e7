package acceptance

import (
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// D9: a remembered cookie of a bound session revives nothing without its device, a day or two
// weeks later; the browser that has the key is revived.
func TestARememberedCookieIsUselessWithoutItsDevice(t *testing.T) {
	for name, later := range map[string]time.Duration{"a day": 24 * time.Hour, "almost two weeks": twoWeeks - time.Hour} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s := rememberingDeviceSite(t)
				b := s.bound("ada")
				b.Post("/value?k=cart&v=17")
				thief := s.copyOf(b) // with both cookies, from the disk
				advance(later)
				s.events.take()
				for range 3 {
					thief.requireUnproven()
				}
				require.Empty(t, s.events.take(sessionguard.EventRevived, sessionguard.EventExpired))
				require.Equal(t, "secret of ada", b.Get("/home").Body, "it proves, and then the session is revived")
				require.Len(t, s.events.take(sessionguard.EventRevived), 1)
				require.Equal(t, "bound", b.Get("/bound").Body)
				require.Equal(t, "<nil> <nil>", b.Get("/value?k=cart").Body)
				b.Post("/value?k=cart&v=18")
				advance(20 * time.Minute)
				require.Equal(t, "18 <nil>", b.Get("/value?k=cart").Body)
				require.Equal(t, "bound", b.Get("/bound").Body)
				thief.requireUnproven()
			})
		})
	}
}

// D9: a token that a revival has replaced is theft only with a proof: otherwise a copy of the
// cookie would end the session of its user.
func TestASupersededTokenWithoutProofIsNoTheft(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingDeviceSite(t)
		b := s.bound("ada")
		thief := s.thiefOf(b)
		advance(24 * time.Hour)
		b.Get("/home")
		for _, wait := range []time.Duration{0, 10 * time.Second, time.Minute, 20 * time.Minute} {
			advance(wait)
			thief.requireUnproven()
			require.Equal(t, "secret of ada", b.Get("/home").Body)
		}
		require.Empty(t, s.events.take(sessionguard.EventTheftSuspected))

		thief.addCookies(b.boundCookies())
		resp := thief.Get("/home")
		require.Equal(t, "/login?next=%2Fhome&reason=theft_suspected", resp.Header.Get("Location"))
		require.False(t, b.loggedIn(), "the guard cannot tell which of them is the thief")
		require.Len(t, s.events.take(sessionguard.EventTheftSuspected), 1)
	})
}

// D9: of an idle session, the one who has both cookies while the proof counts may revive it,
// and is refused with the end of that proof.
func TestARevivalWithACopiedProofEndsWithIt(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingDeviceSite(t, func(c *sessionguard.Config[*user]) { c.IdleTimeout = 5 * time.Minute })
		b := s.bound("ada")
		thief := s.copyOf(b)
		advance(6 * time.Minute)
		require.Equal(t, "secret of ada", thief.Get("/home").Body)
		require.Len(t, s.events.take(sessionguard.EventRevived), 1)
		advance(deviceProof + deviceSlack - 6*time.Minute)
		thief.requireUnproven()
	})
}

// A passive request revives nothing, with a proof or without. A proof revives nothing either.
func TestAProofRevivesNothing(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingDeviceSite(t)
		b, key, id := s.bySelf("ada")
		advance(24 * time.Hour)
		require.Equal(t, http.StatusOK, b.proveDevice(key, id).StatusCode, "a browser proves before it navigates")
		require.False(t, b.loggedIn())
		require.Empty(t, s.events.take(sessionguard.EventRevived))
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		advance(twoWeeks)
		require.Equal(t, forget, b.Post(provePath, "Sec-Secure-Session-Id", id).Body)
		require.NotEqual(t, "secret of ada", b.Get("/home").Body)
	})
}

// D3: a remembered session that is not bound is as without DeviceProof.
func TestARememberedSessionWithoutDeviceIsRevivedAsEver(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingDeviceSite(t)
		b := s.browse()
		b.login("ada")
		advance(24 * time.Hour)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
	})
}

// A login from where a cookie without proof is ends that session, as any login does.
func TestALoginReplacesASessionThatItCannotProve(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingDeviceSite(t)
		b := s.bound("ada")
		b.Device.Forget() // a profile that was moved to another machine
		advance(24 * time.Hour)
		b.requireUnproven()
		require.NotEmpty(t, b.login("ada").Header.Get("Secure-Session-Registration"))
		require.Len(t, s.sessionsOf("ada"), 1)
		b.Get("/static")
		require.Equal(t, "bound", b.Get("/bound").Body)
	})
}
