package acceptance

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// Whoever only polls with the new token has it all the same.
func TestPassiveUseOfTheNewTokenIsUse(t *testing.T) {
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
		require.LessOrEqual(s.T, statusOf(b).Idle, 60, "and it is no activity")
		require.NotEqual(s.T, "secret of ada", thief.Get("/home").Body)
		require.Len(s.T, s.events.take(sessionguard.EventTheftSuspected), 1)
	})
}

// K2: nor does a 503 that is late
func TestALate503OverwritesNoLogin(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		slow := make(chan struct{}, 1)
		var s *site
		s = rememberingSite(t, newFailingBackend(), func(c *sessionguard.Config[*user]) {
			c.FindUser = func(ctx context.Context, id string) (*user, error) {
				select {
				case <-slow:
					advance(5 * time.Second)
					return nil, errBackendDown
				default:
					return s.users.Find(ctx, id)
				}
			}
		})
		b := s.browse()
		b.login("ada")
		advance(idle)
		slow <- struct{}{}
		done := make(chan response)
		go func() { done <- b.Get("/home") }()
		advance(time.Second)
		b.login("ada")
		want := b.Cookies()
		require.Equal(t, http.StatusServiceUnavailable, (<-done).StatusCode)
		require.Equal(t, want, b.Cookies())
		require.True(t, b.loggedIn())
	})
}

// K2: nor one that somebody further out has kept
func TestABufferedAnswerOverwritesNoLogin(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := rememberingSite(t, nil)
		s.mux.Handle("GET /report", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "begin")
			advance(5 * time.Second)
			io.WriteString(w, "end")
		})))
		b := writerBrowse(t, proto, http.TimeoutHandler(s.guard.Handler(s.mux), time.Minute, ""))
		b.login("ada")
		advance(idle)
		done := make(chan response)
		go func() { done <- b.Get("/report") }()
		advance(time.Second)
		b.login("ada")
		want := b.Cookies()
		<-done
		require.Equal(t, want, b.Cookies())
		require.True(t, b.loggedIn())
	})
}

// A session that is over is no thief's any more.
func TestAnOldTokenOfASessionThatIsOverIsNoTheft(t *testing.T) {
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

// While keys are rolled out, a node may not be able to open what another has sealed.
// That is nobody's theft, as long as the new token has not been used.
func TestARolloutOfKeysMakesNoThieves(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		newer := append([][]byte{[]byte(strings.Repeat("n", 64)), []byte(strings.Repeat("m", 32))}, testKeys...)
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

// Two answers may be lost, the second that of a login.
func TestALostLoginAfterALostRevivalIsNoTheft(t *testing.T) {
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

// A login that meets the end of the session is a new one, and remembers nothing of it.
func TestALoginThatMeetsAnEndIsNotRemembered(t *testing.T) {
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
		require.Zero(t, sessionCookieOf(b.login("ada")).MaxAge)
		require.LessOrEqual(t, statusOf(b).Absolute, int(absolute/time.Second))
		advance(idle)
		require.False(t, b.loggedIn())
	})
}

// C1: what comes too late to keep an answer from being cached is refused here as well
func TestSessionsAfterTheHeadersKnowNoCurrentOne(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		current := true
		s.mux.HandleFunc("GET /late", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=3600")
			w.WriteHeader(http.StatusOK)
			http.NewResponseController(w).Flush()
			list, err := s.guard.Sessions(r.Context(), "ada")
			current = err != nil || list[0].Current
		})
		b := s.browse()
		b.login("ada")
		require.Equal(s.T, "public, max-age=3600", b.Get("/late").Header.Get("Cache-Control"))
		require.False(s.T, current)
	})
}
