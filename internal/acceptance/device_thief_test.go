package acceptance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// D1: no route lets an unproven request in, and none counts as activity.
func TestNoRouteLetsAnUnprovenRequestIn(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingDeviceSite(t)
		reached := 0
		inner := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ })
		for path, gate := range map[string]func(http.Handler) http.Handler{
			"/g-login": s.guard.RequireLogin, "/g-role": s.guard.RequireRole("Engineer"), "/g-fresh": s.guard.RequireFresh(time.Hour),
			"/g-bound": s.guard.RequireBound(0), "/g-proven": s.guard.RequireBound(time.Hour),
			"/g-stream": func(next http.Handler) http.Handler { return s.guard.RequireLogin(s.guard.CancelOnEnd(next)) },
			"/g-cut":    func(next http.Handler) http.Handler { return s.guard.RequireLogin(s.guard.CancelUnproven(next)) },
			"/g-auth":   func(http.Handler) http.Handler { return s.guard.AuthRequest(s.guard.RequireLogin) },
		} {
			s.mux.Handle(path, gate(inner))
		}
		b := s.bound("ada")
		advance(time.Minute)
		thief := s.thiefOf(b)
		for range 2 {
			for _, path := range []string{"/g-login", "/g-role", "/g-fresh", "/g-bound", "/g-proven", "/g-stream", "/g-cut"} {
				for _, resp := range []response{thief.Get(path), thief.Get(path, "Accept", "application/json"), thief.Post(path)} {
					require.Contains(t, []int{http.StatusSeeOther, http.StatusUnauthorized}, resp.StatusCode, path)
					require.Empty(t, resp.Cookies(), path)
				}
			}
			require.Equal(t, http.StatusUnauthorized, thief.Get("/g-auth", "Accept", "application/json", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/a").StatusCode)
			require.Contains(t, thief.Post("/sessionguard/stay", "Accept", "application/json").Body, `"reason":"device_unproven"`)
			thief.requireUnproven()
			advance(25 * time.Minute)
		}
		require.Zero(t, reached)
		require.Empty(t, s.events.take(sessionguard.EventRevived))
		require.False(t, thief.loggedIn())
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		require.Len(t, s.events.take(sessionguard.EventRevived), 1, "the session was idle meanwhile")
	})
}

// D3: the cookie of a session that is not bound is as without DeviceProof, but never bound.
func TestAThiefOfAnUnboundSessionCannotBindIt(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.browse()
		b.login("ada")
		thief := s.copyOf(b)
		thief.Device = testbrowser.NewDevice()
		for _, path := range []string{"/home", "/", "/status", "/bound", "/value?k=a"} {
			requireNoDeviceHeader(t, thief.Get(path))
		}
		require.True(t, thief.loggedIn())
		require.Equal(t, http.StatusForbidden, thief.Get("/bound").StatusCode)
		require.Empty(t, thief.Device.History())
	})
}

// D3: a cookie that was copied before the session was bound is refused 30 seconds after that.
func TestACookieCopiedBeforeTheBindingIsUselessAfterIt(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.browseWithDevice()
		b.Device.Manual = true
		b.login("ada")
		thief := s.copyOf(b)
		advance(4 * time.Minute)
		require.True(t, thief.loggedIn())
		b.Device.Register(b.Browser)
		advance(4 * time.Minute)
		require.True(t, thief.loggedIn(), "nothing is proven yet")
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		advance(deviceGrace - time.Millisecond)
		require.True(t, thief.loggedIn())
		advance(time.Millisecond)
		thief.requireUnproven()
	})
}

// The identifier alone brings challenges, which are of no use.
func TestAnIdentifierAloneGivesNothing(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b, key, id := s.bySelf("ada")
		advance(time.Minute)
		thief := s.thiefOf(b)
		for range 3 {
			require.NotEmpty(t, thief.challenge(id))
		}
		thief.requireUnproven()
		require.Len(t, thief.Cookies(), 1)
		require.Equal(t, http.StatusOK, b.proveDevice(key, id).StatusCode, "it disturbs nobody")
	})
}

// Bound cookies of other sessions do not matter, however many and long, and of the session's own
// any of the last four is good.
func TestPlantedBoundCookies(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		advance(time.Minute)
		session := sessionCookie + "=" + b.Cookies()[sessionCookie]
		for name, value := range b.boundCookies() {
			own := name + "=" + value
			prefix := name[:len(name)-11]
			long := prefix + "AAAAAAAAAAA=" + strings.Repeat("A", 4000)
			many := ""
			for i := range 100 {
				many += prefix + string([]byte{byte('A' + i/26), byte('A' + i%26)}) + "BBBBBBBBB=" + value + "; "
			}
			others := func(n int) (header string) { // of the same session
				for i := range n {
					header += fmt.Sprintf("; %sA%c%c=%d", name[:len(name)-3], 'A'+i/26, 'A'+i%26, i)
				}
				return header
			}
			for header, admitted := range map[string]bool{
				session + "; " + own:                              true,
				own + ";" + session:                               true,
				many + session + "; " + own:                       true,
				long + "; " + session + "; " + own:                true,
				session + "; " + own + "; " + own:                 true,
				session + "; " + name + "=x; " + own:              true,
				session + "; " + own + "; " + name + "=":          true,
				session + "; " + own + others(3):                  true,
				session + "; " + own + others(4):                  false,
				session + others(100) + "; " + own:                true,
				session + "; " + name + "=" + value + "A":         false,
				session + "; " + name + "=" + value[:42]:          false,
				session + `; ` + name + `="` + value + `"`:        true,
				session + "; " + prefix + "=" + value:             false,
				session + "; " + name[:len(name)-1] + "=" + value: false,
				session + "; " + name + "x=" + value:              false,
			} {
				r := b.Request("GET", "/poll", "Cookie", header)
				jarless := *b.Client
				jarless.Jar = nil
				resp, err := jarless.Do(r)
				require.NoError(t, err)
				resp.Body.Close()
				require.Equal(t, admitted, resp.StatusCode == http.StatusOK, header)
			}
		}
		require.Equal(t, "bound", b.Get("/bound").Body)
	})
}

// A logout deletes whatever bound cookies come with it, and no more than a browser can have.
func TestALogoutDeletesTheBoundCookiesThatWerePlanted(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		planted := map[string]string{}
		for i := range 150 {
			planted[boundCookie+string([]byte{byte('A' + i/26), byte('A' + i%26)})+"CCCCCCCCC"] = "x"
		}
		b.addCookies(planted)
		resp := b.Post("/logout")
		require.Equal(t, http.StatusSeeOther, resp.StatusCode)
		require.Empty(t, s.sessionsOf("ada"))
		require.LessOrEqual(t, len(resp.Cookies()), 160)
	})
}

// D9 (the design's): somebody else who logs in with the cookie replaces the session, as ever.
func TestALoginOverACopiedCookieEndsItsSession(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		b.Post("/value?k=cart&v=17")
		advance(time.Minute)
		thief := s.thiefOf(b)
		thief.login("grace")
		require.Equal(t, "<nil> <nil>", thief.Get("/value?k=cart").Body)
		require.False(t, b.loggedIn())
		require.Equal(t, "secret of grace", thief.Get("/poll").Body)

		b = s.bound("ada")
		b.Post("/value?k=cart&v=18")
		since := s.sessionsOf("ada")[0].Bound
		advance(time.Minute)
		other := s.thiefOf(b) // of somebody who knows the password, on another device
		other.login("ada")
		require.False(t, b.loggedIn())
		require.True(t, other.loggedIn())
		require.Equal(t, "<nil> <nil>", other.Get("/value?k=cart").Body, "values are for who has proven the device")
		require.NotEqual(t, since, s.sessionsOf("ada")[0].Bound, "it is another session")
	})
}
