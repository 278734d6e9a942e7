package acceptance

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// D1: a session is bound by the first proof, and then needs one in every request. The browser
// that has the key notices nothing.
func TestABoundSessionNeedsItsDevice(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		both, bare := s.copyOf(b), s.thiefOf(b)
		require.True(t, bare.loggedIn(), "requests that began before the first proof")
		require.Equal(t, http.StatusForbidden, bare.Get("/bound").StatusCode)
		advance(deviceGrace - time.Millisecond)
		require.True(t, bare.loggedIn())
		advance(time.Millisecond)
		bare.requireUnproven()

		advance(deviceProof + deviceSlack - deviceGrace - time.Millisecond)
		require.Equal(t, "bound", both.Get("/bound").Body, "both cookies, for as long as the proof counts")
		advance(time.Millisecond)
		both.requireUnproven()
		require.Equal(t, "bound", b.Get("/bound").Body)
		for range 20 {
			advance(20 * time.Minute)
			require.Equal(t, "secret of ada", b.Get("/home").Body)
		}
		both.requireUnproven()
		require.NotContains(t, b.Device.History(), "ended")
	})
}

// D1: what the bound cookie is, and that no response to an ordinary request sets one.
func TestTheBoundCookieHasAllSecurityAttributes(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		name := boundCookie + statusOf(b).Session[:8]
		var lifetimes []int
		for _, c := range b.Received() {
			if strings.HasPrefix(c.Name, name) && c.MaxAge > 0 {
				require.True(t, c.Secure && c.HttpOnly && c.Path == "/" && c.Domain == "" && c.SameSite == http.SameSiteLaxMode, c.Raw)
				require.Len(t, c.Value, 43)
				lifetimes = append(lifetimes, c.MaxAge)
			}
		}
		require.Equal(t, []int{60, 600}, lifetimes, "so short that a proof follows the registration")
		require.Len(t, b.boundCookies(), 1)
		advance(time.Minute)
		received := len(b.Received())
		b.Get("/home")
		require.Len(t, b.Received(), received)
	})
}

// D2: events, and the list of a user's sessions
func TestEventsAndSessionsTellOfDevices(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.browseWithDevice()
		b.login("ada")
		require.True(t, s.sessionsOf("ada")[0].Bound.IsZero())
		require.Empty(t, s.events.take(sessionguard.EventDeviceBound))
		advance(time.Second)
		b.Get("/home")
		bound := s.events.take(sessionguard.EventDeviceBound)
		require.Len(t, bound, 1)
		require.Equal(t, "ada", bound[0].UserID)
		require.NotEmpty(t, bound[0].SessionHash)
		require.WithinDuration(t, time.Now(), s.sessionsOf("ada")[0].Bound, 0)

		thief := s.thiefOf(b)
		for range 10 {
			advance(20 * time.Minute)
			b.Get("/home")
		}
		require.Empty(t, s.events.take(sessionguard.EventDeviceBound, sessionguard.EventDeviceUnproven), "an honest browser")
		for range 5 {
			thief.requireUnproven() // two requests
		}
		advance(time.Second)
		thief.requireUnproven()
		unproven := s.events.take(sessionguard.EventDeviceUnproven)
		require.Len(t, unproven, 2)
		require.Equal(t, "no_proof", unproven[0].Code)
		require.Equal(t, "ada", unproven[0].UserID)
		require.Equal(t, bound[0].SessionHash, unproven[0].SessionHash)
		require.Equal(t, "/home", unproven[0].Path)
		require.Equal(t, []int{1, 10}, []int{unproven[0].Count, unproven[1].Count})
	})
}

func (s *site) sessionsOf(name string) []sessionguard.Session {
	s.Helper()
	all, err := s.guard.Sessions(s.Context(), name)
	require.NoError(s, err)
	return all
}

// D3: nobody is asked for what they cannot do.
func TestNothingIsAskedOfABrowserThatCannot(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		without := s.browse()
		without.login("ada")
		registered := s.browseWithDevice() // whose challenges a proxy takes out
		registered.login("ada")
		require.Equal(t, []string{"registered"}, registered.Device.History())
		registered.Device = nil
		for range 20 {
			for _, b := range []*browser{without, registered} {
				require.Equal(t, "secret of ada", b.Get("/home").Body)
				require.Equal(t, http.StatusForbidden, b.Get("/bound").StatusCode)
				require.Empty(t, b.Get("/home").Header.Get("Secure-Session-Registration"))
			}
			advance(20 * time.Minute)
		}
		require.Empty(t, s.events.take(sessionguard.EventDeviceBound, sessionguard.EventDeviceUnproven))
		for _, session := range s.sessionsOf("ada") {
			require.True(t, session.Bound.IsZero())
		}
	})
}

// D3: a registration that nothing was proven of does not last: the next login offers anew.
func TestARegistrationWithoutProofIsReplacedByTheNextLogin(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.browseWithDevice()
		b.login("ada")
		b.Device.Forget()
		advance(time.Minute)
		require.NotEmpty(t, b.login("ada").Header.Get("Secure-Session-Registration"))
		b.Get("/static")
		require.Equal(t, "bound", b.Get("/bound").Body)
	})
}

// D4: logging in again keeps the session, and so its device. Another user's login does not.
func TestReauthenticationKeepsTheDevice(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		since := s.sessionsOf("ada")[0].Bound
		advance(20 * time.Minute)
		b.Get("/static") // proves, as before any request
		require.Empty(t, b.login("ada").Header.Get("Secure-Session-Registration"))
		require.Equal(t, "bound", b.Get("/bound").Body)
		require.Equal(t, since, s.sessionsOf("ada")[0].Bound)
		thief := s.thiefOf(b)
		advance(20 * time.Minute)
		thief.requireUnproven()

		id := b.Device.Identifiers()[0]
		require.NotEmpty(t, b.login("grace").Header.Get("Secure-Session-Registration"))
		b.Get("/static")
		require.Equal(t, "bound", b.Get("/bound").Body)
		advance(deviceProof)
		require.Equal(t, "bound", b.Get("/bound").Body)
		require.NotContains(t, b.Device.Identifiers(), id, "the browser forgets the key of the session before")
		require.Len(t, b.Device.Identifiers(), 1)
	})
}

// D5: a logout needs no proof, and leaves nothing in the browser.
func TestALogoutNeedsNoDeviceAndDeletesTheBoundCookies(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		advance(20 * time.Minute)
		thief := s.thiefOf(b)
		require.Equal(t, http.StatusSeeOther, thief.Post("/logout").StatusCode)
		require.Empty(t, s.sessionsOf("ada"), "a person must always get out")
		require.NotContains(t, thief.Cookies(), sessionCookie)

		b = s.bound("ada")
		require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
		require.NotContains(t, b.Cookies(), sessionCookie)
		require.Empty(t, b.boundCookies())
		require.Empty(t, s.sessionsOf("ada"))
		b.Device.History()
		b.Get("/static")
		require.Equal(t, []string{"ended"}, b.Device.History())
		b.login("ada")
		b.Get("/static")
		require.Equal(t, "bound", b.Get("/bound").Body, "the next login binds again")
	})
}

// D5: what an administrator ends has ended, and the browser forgets its key.
func TestABoundSessionThatHasEndedIsForgotten(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		require.Equal(t, "/login?next=%2Fhome&reason=ended", b.Get("/home").Header.Get("Location"))
		advance(deviceProof)
		b.Device.History()
		b.Get("/static")
		require.Equal(t, []string{"ended"}, b.Device.History())
		require.Empty(t, b.Device.Identifiers())

		b = s.bound("ada")
		advance(absolute)
		b.Get("/home")
		require.Contains(t, b.Device.History(), "ended", "an absolute timeout")
	})
}

// D2: the page and the document that an unproven request gets say why.
func TestAnUnprovenRequestIsToldWhy(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		thief := s.thiefOf(b)
		advance(time.Minute)
		require.Equal(t, "device_unproven", thief.Get("/login").Body)
		require.Equal(t, "welcome nobody []", thief.Get("/").Body)
		require.False(t, statusOf(thief).Authenticated)
		require.Contains(t, thief.Get("/status").Body, `"reason":"device_unproven"`)
		api := thief.Get("/home", "Accept", "application/json")
		require.Equal(t, http.StatusUnauthorized, api.StatusCode)
		require.Contains(t, api.Body, `"reason":"device_unproven"`)
		require.Equal(t, "<nil> <nil>", thief.Get("/value?k=a").Body)
		require.Equal(t, http.StatusForbidden, thief.Post("/login?user=eve").StatusCode, "who is inactive")
		require.Equal(t, "secret of ada", b.Get("/home").Body, "its user notices nothing")
	})
}

// Values belong to the session. A request without a proof reads and changes none of them.
func TestAnUnprovenRequestReachesNoValues(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		b.Post("/value?k=cart&v=17")
		advance(time.Minute)
		thief := s.thiefOf(b)
		require.NotContains(t, thief.Get("/value?k=cart").Body, "17")
		thief.Post("/value?k=cart&v=18")
		require.Equal(t, "17 <nil>", b.Get("/value?k=cart").Body)
	})
}

// D6: with DeviceProof off nothing differs, and visitors never notice it.
func TestWithoutDeviceProofNothingDiffers(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		memory := store.NewMemory()
		off := deviceSite(t, func(c *sessionguard.Config[*user]) { c.DeviceProof, c.Backend = 0, memory })
		on := deviceSite(t)
		for _, s := range []*site{off, on} {
			visitor := s.browseWithDevice()
			for _, resp := range []response{visitor.Get("/"), visitor.Post("/value?k=a&v=1"), visitor.Get("/home"), visitor.Get("/status")} {
				requireNoDeviceHeader(t, resp)
			}
			require.Equal(t, "1 <nil>", visitor.Get("/value?k=a").Body)
			require.Empty(t, visitor.Device.History())
		}
		b := off.browseWithDevice()
		requireNoDeviceHeader(t, b.login("ada"))
		requireNoDeviceHeader(t, b.Get("/home"))
		require.Equal(t, http.StatusForbidden, b.Get("/bound").StatusCode)
		require.Len(t, b.Cookies(), 1)
		require.Equal(t, forget, b.Post(provePath, "Sec-Secure-Session-Id", "x").Body)
		require.Equal(t, forget, b.Post(bindPath).Body)
		require.Nil(t, off.stored(memory, "ada")[0].Detail().Device)
	})
}

func requireNoDeviceHeader(t *testing.T, resp response) {
	t.Helper()
	for name := range resp.Header {
		require.False(t, strings.HasPrefix(name, "Secure-Session-"), name)
	}
	for _, c := range resp.Cookies() {
		require.NotContains(t, c.Name, "bound")
	}
}

// The bound cookie is hidden from the server of a proxy, like the session cookie.
func TestHideCookiesHidesTheBoundCookie(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		var got []string
		s.mux.Handle("GET /inner", s.guard.RequireLogin(s.guard.HideCookies(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.Header["Cookie"]
			for name := range r.URL.Query() {
				http.SetCookie(w, &http.Cookie{Name: name, Value: "planted", Path: "/", Secure: true})
			}
		}))))
		b := s.bound("ada")
		bound := b.boundCookies()
		b.addCookies(map[string]string{"theme": "dark"})
		for name := range bound {
			require.Empty(t, b.Get("/inner?"+name).Cookies())
		}
		require.Equal(t, []string{"theme=dark"}, got)
		require.Equal(t, bound, b.boundCookies())
	})
}

// A session counts for MaxSessions whether or not somebody proves it.
func TestABoundSessionIsOneSession(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t, func(c *sessionguard.Config[*user]) {
			c.MaxSessions = func(*user) store.Limit { return store.Limit{Max: 2} }
		})
		first, second := s.bound("ada"), s.bound("ada")
		require.Len(t, s.sessionsOf("ada"), 2)
		advance(time.Minute)
		third := s.bound("ada")
		require.Len(t, s.sessionsOf("ada"), 2)
		require.False(t, first.loggedIn() && second.loggedIn())
		require.True(t, third.loggedIn())
	})
}
