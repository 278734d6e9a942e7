package acceptance

import (
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// D7: a login's offer is for one key.
func TestAnOfferIsTakenOnce(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b, key := s.browse(), testbrowser.NewKey()
		challenge := offerOf(t, b.login("ada"))
		registration := key.Registration(challenge)
		thief := s.copyOf(b)
		resp, id := b.register(registration)
		require.Equal(t, http.StatusOK, resp.StatusCode, resp.Body)
		for _, again := range []string{registration, key.Registration(challenge), testbrowser.NewKey().Registration(challenge)} {
			for _, with := range []*browser{thief, b} {
				resp, _ := with.register(again)
				require.Equal(t, http.StatusForbidden, resp.StatusCode)
				require.Empty(t, resp.Cookies(), "a registration that somebody has recorded brings no proof")
			}
		}
		require.Equal(t, http.StatusOK, b.proveDevice(key, id).StatusCode)
		resp, _ = thief.register(testbrowser.NewKey().Registration(challenge))
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
		require.Equal(t, "bound", b.Get("/bound").Body)
	})
}

// D7: an offer is good for five minutes, and for the login that it came with.
func TestAnOfferIsForItsLogin(t *testing.T) {
	for name, test := range map[string]struct {
		between  func(s *site, b *browser)
		accepted bool
	}{
		"in time":        {func(*site, *browser) { advance(5*time.Minute - time.Millisecond) }, true},
		"too late":       {func(*site, *browser) { advance(5 * time.Minute) }, false},
		"after a logout": {func(_ *site, b *browser) { b.Post("/logout") }, false},
		"after an administrator ended it": {func(s *site, b *browser) {
			require.NoError(s, s.guard.EndUser(s.Context(), "ada"))
		}, false},
		"after another login":        {func(_ *site, b *browser) { advance(time.Second); b.login("ada") }, false},
		"after another user's login": {func(_ *site, b *browser) { b.login("grace") }, false},
		"after values were saved":    {func(_ *site, b *browser) { b.Post("/value?k=a&v=1") }, true},
		"without cookies":            {func(_ *site, b *browser) { b.SetCookies(nil) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s := deviceSite(t)
				b := s.browse()
				challenge := offerOf(t, b.login("ada"))
				test.between(s, b)
				resp, id := b.register(testbrowser.NewKey().Registration(challenge))
				require.Equal(t, test.accepted, resp.StatusCode == http.StatusOK, resp.StatusCode)
				require.Equal(t, test.accepted, id != "")
				require.Equal(t, test.accepted, len(b.boundCookies()) == 1)
				if !test.accepted {
					require.Equal(t, http.StatusForbidden, resp.StatusCode)
				}
			})
		})
	}
}

// D7: only the response to a login offers, never one to who merely has the cookie: a thief
// could bind the session to a device of their own.
func TestOnlyALoginOffersABinding(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingDeviceSite(t)
		b := s.browse()
		offerOf(t, b.login("ada"))
		for _, path := range []string{"/home", "/poll", "/fresh", "/status", "/", "/static", "/login", "/bound"} {
			requireNoDeviceHeader(t, b.Get(path))
		}
		requireNoDeviceHeader(t, b.Post("/value?k=a&v=1"))
		requireNoDeviceHeader(t, b.Post("/login?user=eve"))
		advance(time.Hour)
		requireNoDeviceHeader(t, b.Get("/home"))
		require.Len(t, s.events.take(sessionguard.EventRevived), 1)
		offerOf(t, b.login("ada"))
		requireNoDeviceHeader(t, b.Post("/logout"))
	})
}

// D7: whoever has the cookie and the login's response, and is first, has the session. It is
// noticed, and over with the next login of the browser.
func TestAThiefWhoIsFasterIsNoticed(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b, key := s.browseWithDevice(), testbrowser.NewKey()
		b.Device.Manual = true
		challenge := offerOf(t, b.login("ada"))
		thief := s.copyOf(b)
		thief.Header.Set("User-Agent", "thief")
		resp, id := thief.register(key.Registration(challenge))
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, http.StatusOK, thief.proveDevice(key, id).StatusCode)
		b.Device.Register(b.Browser)
		require.Equal(t, []string{"refused"}, b.Device.History())
		require.Equal(t, "thief", s.events.take(sessionguard.EventDeviceBound)[0].UserAgent)

		advance(time.Minute)
		require.True(t, thief.loggedIn())
		b.requireUnproven()
		require.Len(t, s.events.take(sessionguard.EventDeviceUnproven), 1)
		b.login("ada")
		b.Device.Register(b.Browser)
		b.Get("/static")
		require.Equal(t, "bound", b.Get("/bound").Body)
		require.False(t, thief.loggedIn(), "the login ends the session that the cookie names")
		require.Equal(t, forget, thief.Post(provePath, "Sec-Secure-Session-Id", id).Body)
	})
}

// The offer alone gives no access.
func TestAnOfferWithoutTheCookieGivesNoAccess(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b, thief, key := s.browse(), s.browse(), testbrowser.NewKey()
		resp, id := thief.register(key.Registration(offerOf(t, b.login("ada"))))
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, http.StatusOK, thief.proveDevice(key, id).StatusCode)
		require.False(t, thief.loggedIn())
		require.NotContains(t, thief.Cookies(), sessionCookie)
		advance(time.Minute)
		b.requireUnproven()
		b.login("ada")
		require.True(t, b.loggedIn(), "the user logs in again")
	})
}

// A login that other sites have led to, as that of OpenID Connect, is bound without cookies.
func TestALoginByARedirectOfAnotherSiteIsBound(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		s.mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
			u, err := s.users.Find(r.Context(), "ada")
			require.NoError(t, err)
			require.NoError(t, s.guard.Login(w, r, u))
		})
		b := s.browseWithDevice()
		require.Equal(t, http.StatusOK, b.Get("/callback", fromAnotherSite...).StatusCode)
		b.Get("/static", fromAnotherSite...)
		require.Equal(t, []string{"registered", "proven"}, b.Device.History())
		require.Equal(t, "bound", b.Get("/bound").Body)
		advance(deviceProof)
		require.Equal(t, "secret of ada", b.Get("/home", fromAnotherSite...).Body, "a link in a mail")
	})
}

// F2: a pending login is not bound; the one that completes it offers.
func TestAPendingLoginOffersNoBinding(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, func(c *sessionguard.Config[*user]) { c.DeviceProof = deviceProof })
		s.deviceRoutes()
		b := s.browseWithDevice()
		requireNoDeviceHeader(t, b.prove("ada", "pwd"))
		require.Empty(t, b.Device.History())
		require.Equal(t, "/factor?next=%2Fbound", b.Get("/bound").Header.Get("Location"))
		require.NotEmpty(t, b.prove("ada", "otp").Header.Get("Secure-Session-Registration"))
		b.Get("/static")
		require.Equal(t, "bound", b.Get("/bound").Body)

		advance(20 * time.Minute)
		b.Get("/static")
		requireNoDeviceHeader(t, b.prove("ada", "pwd,otp"))
		require.Equal(t, "bound", b.Get("/bound").Body, "the same session")
	})
}

// A login whose response sets no session cookie offers nothing.
func TestALoginThatFailsOffersNothing(t *testing.T) {
	backend := newFailingBackend()
	s := deviceSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	backend.failOn("Create")
	b := s.browse()
	requireNoDeviceHeader(t, b.Post("/login?user=ada"))
	requireNoDeviceHeader(t, b.Post("/login?user=eve"))
}
