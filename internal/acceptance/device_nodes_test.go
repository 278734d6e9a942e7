package acceptance

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// deviceNode returns a node with a shared backend.
func deviceNode(t *testing.T, backend store.Backend, configure ...func(*sessionguard.Config[*user])) *site {
	t.Helper()
	configure = append(configure, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	return deviceSite(t, configure...)
}

// moveTo returns b's state of a node as another node's browser.
func (s *site) moveTo(b *browser) *browser {
	s.Helper()
	moved := s.copyOf(b)
	moved.Device = b.Device
	return moved
}

// D11: what one node offers, asks and gives, another one takes, with the same keys.
func TestNodesShareDevices(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		one, two := deviceNode(t, backend), deviceNode(t, backend)
		key := testbrowser.NewKey()
		here := one.browse()
		offer := offerOf(t, here.login("ada"))
		there := two.copyOf(here)
		_, id := there.register(key.Registration(offer))
		challenge := here.challenge(id)
		resp := there.sendProof(id, key.Proof(challenge))
		require.Equal(t, http.StatusOK, resp.StatusCode)
		here.addCookies(there.boundCookies())
		require.Equal(t, "bound", here.Get("/bound").Body)
		require.Equal(t, "bound", there.Get("/bound").Body)
		advance(time.Minute)
		one.thiefOf(here).requireUnproven()
		two.thiefOf(here).requireUnproven()
	})
}

// D11: with other keys, nothing of a device counts.
func TestDevicesNeedTheKeysTheyWereBoundWith(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		first, second := bytes.Repeat([]byte("1"), 32), bytes.Repeat([]byte("2"), 32)
		with := func(keys ...[]byte) func(*sessionguard.Config[*user]) {
			return func(c *sessionguard.Config[*user]) { c.Keys = keys }
		}
		backend := newFailingBackend()
		before := deviceNode(t, backend, with(first))
		b, key, id := before.bySelf("ada")
		unbound := before.browse()
		offer := offerOf(t, unbound.login("ada"))
		advance(time.Minute)

		rotated := deviceNode(t, backend, with(second, first))
		moved := rotated.copyOf(b)
		require.Equal(t, "bound", moved.Get("/bound").Body)
		require.Equal(t, http.StatusOK, moved.proveDevice(key, id).StatusCode)
		require.Equal(t, "bound", moved.Get("/bound").Body)
		resp, _ := rotated.copyOf(unbound).register(testbrowser.NewKey().Registration(offer))
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.False(t, before.copyOf(moved).loggedIn(), "a node without the new key does not take its proofs")

		after := deviceNode(t, backend, with(second))
		late := after.copyOf(b)
		require.False(t, late.loggedIn())
		require.Equal(t, forget, late.Post(provePath, "Sec-Secure-Session-Id", id).Body)
		resp, _ = late.register(testbrowser.NewKey().Registration(offer))
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
	})
}

// D6: turned off, it asks of no session anything; turned on again, it does so of those that are
// still bound: not of those whose browser has proven itself meanwhile and forgotten its key. How long proofs count, the node decides that gets one.
func TestDeviceProofMayBeTurnedOffAndOn(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		on := deviceNode(t, backend)
		off := deviceNode(t, backend, func(c *sessionguard.Config[*user]) { c.DeviceProof = 0 })
		short := deviceNode(t, backend, func(c *sessionguard.Config[*user]) { c.DeviceProof = 5 * time.Minute })
		b := on.bound("ada")
		advance(time.Minute)
		thief := off.thiefOf(b)
		require.True(t, thief.loggedIn())
		require.Equal(t, http.StatusForbidden, thief.Get("/bound").StatusCode)
		require.True(t, off.sessionsOf("ada")[0].Bound.IsZero())
		thief.Post("/value?k=a&v=1")
		b.Get("/home")

		on.thiefOf(b).requireUnproven()
		require.Equal(t, "1 <nil>", b.Get("/value?k=a").Body)
		require.Equal(t, "bound", b.Get("/bound").Body)
		advance(4*time.Minute + 30*time.Second)
		copied := short.copyOf(b)
		copied.requireUnproven()
		require.Equal(t, "bound", b.Get("/bound").Body)

		moved := off.moveTo(b)
		moved.SetCookies(map[string]string{sessionCookie: b.Cookies()[sessionCookie]})
		id := b.Device.Identifiers()[0]
		off.thiefOf(b).challenge(id)
		require.Equal(t, http.StatusBadRequest, off.thiefOf(b).proveDevice(testbrowser.NewKey(), id).StatusCode)
		require.NotNil(t, off.stored(backend, "ada")[0].Detail().Device, "only the device ends its binding")
		b.Device.History()
		moved.Get("/home")
		require.Equal(t, []string{"ended"}, b.Device.History(), "the browser forgets its key")
		advance(deviceProof)
		require.Equal(t, "secret of ada", b.Get("/home").Body, "and so does the session, so that nobody is logged out")
		require.Equal(t, "1 <nil>", b.Get("/value?k=a").Body)
		require.Equal(t, http.StatusForbidden, b.Get("/bound").StatusCode)
		b.login("ada")
		b.Get("/static")
		require.Equal(t, "bound", b.Get("/bound").Body)
	})
}

// A node whose clock is ahead is simulated by another bubble of synctest, in which more time has
// passed. All that they share are the keys and the record of the session.
func TestProofsOfAClockThatIsAheadCountForAMinute(t *testing.T) {
	for ahead, admitted := range map[time.Duration]bool{59 * time.Second: true, 61 * time.Second: false} {
		t.Run(ahead.String(), func(t *testing.T) {
			var record store.Record
			var cookies map[string]string
			var id, challenge string
			key := testbrowser.NewKey()
			bind := func(s *site) *browser {
				b := s.browse()
				_, id = b.register(key.Registration(offerOf(s.T, b.login("ada"))))
				require.Equal(s, http.StatusOK, b.proveDevice(key, id).StatusCode)
				return b
			}
			withFakeClock(t, func(t *testing.T) {
				memory := store.NewMemory()
				s := deviceNode(t, memory)
				b := bind(s)
				record = s.stored(memory, "ada")[0]
				advance(ahead)
				require.Equal(t, http.StatusOK, b.proveDevice(key, id).StatusCode)
				cookies, challenge = b.Cookies(), b.challenge(id)
			})
			withFakeClock(t, func(t *testing.T) {
				memory := store.NewMemory()
				s := deviceNode(t, memory)
				_, err := memory.Create(t.Context(), record, store.Limit{})
				require.NoError(t, err)
				b := s.browse()
				b.SetCookies(cookies)
				require.Equal(t, admitted, b.Get("/bound").StatusCode == http.StatusOK)
				require.True(t, b.loggedIn(), "during the grace")
				resp := b.sendProof(id, key.Proof(challenge))
				require.Equal(t, admitted, resp.StatusCode == http.StatusOK)
				if admitted {
					require.Equal(t, int(deviceProof/time.Second), resp.Cookie(keysOf(b.boundCookies())[0]).MaxAge, "no longer than from now on")
				}
				advance(deviceGrace)
				require.True(t, b.loggedIn(), "by then the clock is ahead by less than a minute")
			})
		})
	}
}

// A node whose clock differs from that of the node with the first proof takes requests without
// a proof at another time. The clock of the node other is ahead.
func TestTheGraceOfTheFirstProofMovesWithTheClocks(t *testing.T) {
	for _, test := range []struct{ ahead, from, until time.Duration }{
		{0, 0, 30 * time.Second},
		{time.Second, 0, 29 * time.Second},
		{29 * time.Second, 0, time.Second},
		{30 * time.Second, 0, 0},
		{5 * time.Minute, 0, 0},
		{-time.Second, 0, 31 * time.Second},
		{-40 * time.Second, 0, 70 * time.Second},
		{-59 * time.Second, 0, 89 * time.Second},
		{-61 * time.Second, time.Second + time.Millisecond, 91 * time.Second}, // not before the clock is a minute behind
		{-5 * time.Minute, 4*time.Minute + time.Millisecond, 5*time.Minute + 30*time.Second},
	} {
		t.Run(test.ahead.String(), func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				memory := store.NewMemory()
				exact, other := deviceNode(t, memory), deviceNode(t, skewedBackend{memory, test.ahead})
				b := exact.bound("ada")
				thief := other.thiefOf(b)
				now := time.Duration(0)
				at := func(moment time.Duration) bool {
					advance(moment - now)
					now = moment
					require.Equal(t, now < deviceGrace, exact.copyOf(thief).loggedIn(), "the node with the proof")
					return thief.loggedIn()
				}
				if test.from > 0 {
					require.False(t, at(0))
					require.False(t, at(test.from-time.Millisecond))
				}
				if test.until > 0 {
					require.True(t, at(test.from))
					require.True(t, at(test.until-time.Millisecond))
				}
				for later := range 10 {
					require.False(t, at(test.until+time.Duration(later)*time.Minute))
				}
			})
		})
	}
}

// The cookie of before the first proof is of no use on any node once the session was used later,
// wherever that was, also where the backend is told of few uses: a remote one, of one in four minutes
// with this idle timeout.
func TestTheGraceOfTheFirstProofEndsWhenTheSessionWasUsedLater(t *testing.T) {
	for _, behind := range []time.Duration{61 * time.Second, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute} {
		t.Run(behind.String(), func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				memory := store.NewMemory()
				idle := func(c *sessionguard.Config[*user]) { c.IdleTimeout = 2 * time.Hour }
				exact, late := deviceNode(t, skewedBackend{memory, 0}, idle), deviceNode(t, skewedBackend{memory, -behind}, idle)
				b := exact.bound("ada")
				thief := late.thiefOf(b)
				advance(deviceGrace + time.Minute - time.Millisecond)
				b.Get("/bound") // the backend is told of nothing yet
				advance(time.Millisecond)
				require.Equal(t, "bound", b.Get("/bound").Body)
				for range 100 {
					require.False(t, thief.loggedIn())
					advance(7 * time.Second)
				}
			})
		})
	}
}
