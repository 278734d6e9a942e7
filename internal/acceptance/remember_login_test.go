package acceptance

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// A login with the cookie of a dormant session does not revive that session: a password
// proves more than a cookie. It creates a new session, which is remembered only if the
// login has the Remember option.
func TestLoginInsteadOfRevivalCreatesNewSession(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.on("POST /enter", func(w http.ResponseWriter, r *http.Request) error { // not Config.LoginPath, which revives nothing
			ada := testUsers["ada"]
			return s.guard.Login(w, r, &ada)
		})
		b := s.browse()
		b.login("ada")
		id := statusOf(b).Session
		advance(idle)
		s.events.take()
		require.Zero(s.T, b.Post("/enter").Cookie(sessionCookie).MaxAge)
		require.NotEqual(s.T, id, statusOf(b).Session)
		events := s.events.take()
		require.Len(s.T, events, 2)
		require.Equal(s.T, sessionguard.EventEnded, events[0].Name)
		require.Equal(s.T, store.ReasonReplaced, events[0].Reason)
		require.Equal(s.T, sessionguard.EventLogin, events[1].Name)
	})
}

// A persistent cookie does not make the session of the next user persistent.
func TestLoginReplacesPersistentCookieOfAnotherUser(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		s.loginOptions = nil
		require.Zero(s.T, b.login("grace").Cookie(sessionCookie).MaxAge)
		advance(idle)
		require.Equal(s.T, "/login?next=%2Fhome&reason=idle", b.Get("/home").Header.Get("Location"))
		require.Len(s.T, strings.Split(b.Get("/").Body, "nobody"), 2)
	})
}

// If the session ends while its user logs in again, the login creates a new session. The
// new session is not remembered, although the old one was.
func TestLoginToSessionEndedMeanwhileIsNotRemembered(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := rememberingSite(t, backend)
		b := s.browse()
		b.login("ada")
		s.loginOptions = nil
		backend.beforeCall("Replace", func() {
			backend.beforeCall("Replace", nil)
			require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		})
		require.Zero(t, b.login("ada").Cookie(sessionCookie).MaxAge)
		require.LessOrEqual(t, statusOf(b).Absolute, int(absolute/time.Second))
		require.Zero(t, sessionsOf(t, backend, "ada")[0].Detail().Rotated, "it never had another token")
		advance(idle)
		require.False(t, b.loggedIn())
	})
}

// A logout and a remembered login in one request: only the session outlives the browser,
// not the values of visitors.
func TestRememberedLoginAfterEndKeepsNoVisitorCookie(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.on("POST /anew", func(w http.ResponseWriter, r *http.Request) error {
			ada := testUsers["ada"]
			return errors.Join(s.guard.End(w, r), s.guard.Login(w, r, &ada, sessionguard.Remember()))
		})
		resp := s.browse().Post("/anew")
		require.Equal(s.T, int((twoWeeks+time.Hour)/time.Second), resp.Cookie(sessionCookie).MaxAge)
		require.Zero(s.T, resp.Cookie(visitorCookie).MaxAge)
	})
}

// Once nothing can be revived any more, logging in again without Remember makes the cookie
// that of an ordinary session, which ends with the browser.
func TestLoginAfterRememberForIsNotRemembered(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingSite(t, nil, func(c *sessionguard.Config[*user]) { c.RememberFor = time.Hour })
		b := s.browse()
		b.login("ada")
		for range 3 {
			advance(20 * time.Minute)
			require.Equal(t, "secret of ada", b.Get("/home").Body)
		}
		s.loginOptions = nil
		require.Zero(t, b.login("ada").Cookie(sessionCookie).MaxAge)
	})
}
