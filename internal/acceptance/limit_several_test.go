package acceptance

import (
	"net/http"
	"slices"
	"testing"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// I1, K2: somebody who plants the cookie of a live session of their own logs the user out. But
// the user's own session, whose cookie the browser sends too, does not keep the user from
// logging in again where the limit refuses a second one.
func TestAPlantedCookieLocksNobodyOutOfALimit(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		s := limited(t, backend, store.Limit{Max: 1, Refuse: true})
		ada := s.browse()
		ada.login("ada")
		for _, mineFirst := range []bool{false, true} {
			grace := s.browse()
			grace.login("grace")
			planted := grace.Cookies()[sessionCookie]
			values := []string{planted, ada.Cookies()[sessionCookie]}
			if mineFirst {
				slices.Reverse(values)
			}
			both := cookiesNamed(sessionCookie, values...)
			require.Equal(t, "welcome nobody []", s.browse().Get("/", "Cookie", both).Body)
			alone := s.browse().Post("/login?user=ada", "Cookie", cookiesNamed(sessionCookie, planted))
			require.Equal(t, http.StatusForbidden, alone.StatusCode, "the limit counts for other browsers")
			require.True(t, grace.loggedIn(), "a login that is refused ends nothing")

			resp := s.browse().Post("/login?user=ada", "Cookie", both)
			require.Equal(t, http.StatusSeeOther, resp.StatusCode, resp.Body)
			ada.SetCookies(map[string]string{sessionCookie: resp.Cookie(sessionCookie).Value})
			require.True(t, ada.loggedIn())
			require.Len(t, sessionsOf(t, backend, "ada"), 1)
		}
	})
}
