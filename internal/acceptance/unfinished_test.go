package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// outage is longer than any pause between two attempts.
const outage = 5 * time.Minute

// L5: what a logout could not end, because the backend failed, ends as soon as the backend is
// back, with the event that it would have had.
func TestIncompleteLogoutIsCompletedInTheBackground(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b, copied := s.browse(), s.browse()
		b.login("ada")
		copied.SetCookies(b.Cookies())
		backend.failOn("Delete", "DeleteByID")
		requireUnavailable(t, b.Post("/logout"))
		s.guard.EndStreams()
		require.Contains(t, s.log.String(), "has not ended these sessions yet", "for whoever ends the process")
		b.login("ada") // meanwhile, on the same device
		advance(outage)
		require.True(t, copied.loggedIn())
		backend.failOn()
		s.events.take()
		advance(time.Minute)
		require.False(t, copied.loggedIn())
		require.True(t, b.loggedIn(), "it is another session")
		require.Len(t, s.events.take(sessionguard.EventLogout), 1)
		calls := backend.callCounts()["Delete"]
		advance(outage)
		require.Equal(t, calls, backend.callCounts()["Delete"], "nothing is left to do")
	})
}

// L5: the attempt that failed may have had its effect, and only the response was lost.
func TestEndWhoseResponseWasLostIsReported(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		s.on("POST /end", func(w http.ResponseWriter, r *http.Request) error {
			user, _ := s.guard.User(r)
			backend.failOn("Delete")
			_, err := backend.Backend.Delete(r.Context(), sessionsOf(t, backend, user.ID)[0].Key, store.ReasonLoggedOut)
			require.NoError(t, err)
			return s.guard.End(w, r)
		})
		requireUnavailable(t, b.Post("/end"))
		backend.failOn()
		advance(time.Minute)
		logouts := s.events.take(sessionguard.EventLogout)
		require.Len(t, logouts, 1)
		require.Equal(t, "ada", logouts[0].UserID)
	})
}

// L5: a backend may end the session and return it with an error, because not all of its
// servers know of the end yet. Who it was is in the event of the attempt that succeeds.
func TestEndThatNotAllServersKnowOfIsReportedOnceTheyDo(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &laggingBackend{failingBackend: newFailingBackend()}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		b := s.browse()
		b.login("ada")
		s.events.take()
		requireUnavailable(t, b.Post("/logout"))
		require.Empty(t, s.events.take(sessionguard.EventLogout))
		advance(time.Minute)
		logouts := s.events.take(sessionguard.EventLogout)
		require.Len(t, logouts, 1)
		require.Equal(t, "ada", logouts[0].UserID)
	})
}

// laggingBackend returns an error with the first session that it ends.
type laggingBackend struct {
	*failingBackend
	warned atomic.Bool
}

func (b *laggingBackend) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	ended, err := b.failingBackend.Delete(ctx, key, reason)
	if ended.Session != nil && b.warned.CompareAndSwap(false, true) {
		err = errors.New("no replica has received it")
	}
	return ended, err
}

// L5: EndUser and the like go on with what began before the call, and with nothing else.
func TestIncompleteEndOfAUserIsCompletedInTheBackground(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(s *site, b *browser) error
		left int // of the two sessions that there were
	}{
		"EndUser":    {func(s *site, _ *browser) error { return s.guard.EndUser(s.Context(), "ada") }, 0},
		"EndSession": {func(s *site, b *browser) error { return s.guard.EndSession(s.Context(), "ada", publicID(b)) }, 1},
		"EndOthers": {func(s *site, b *browser) error {
			var err error
			s.on("POST /others", func(w http.ResponseWriter, r *http.Request) error {
				err = s.guard.EndOthers(r)
				return nil
			})
			b.Post("/others")
			return err
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				one, two, later, grace := s.browse(), s.browse(), s.browse(), s.browse()
				one.login("ada")
				two.login("ada")
				grace.login("grace")
				advance(time.Second)
				backend.failOn("DeleteByID")
				require.ErrorIs(t, test.end(s, one), sessionguard.ErrUnavailable)
				advance(time.Second)
				later.login("ada")
				backend.failOn()
				s.events.take()
				advance(time.Minute)
				require.Len(t, sessionsOf(t, backend, "ada"), test.left+1)
				require.True(t, later.loggedIn(), "began afterwards")
				require.True(t, grace.loggedIn())
				require.Len(t, s.events.take(sessionguard.EventEnded, sessionguard.EventLogout), 2-test.left)
			})
		})
	}
}

// L5: a session whose login was undone counts for the limit until it has ended, and nobody has
// its cookie.
func TestLoginThatCouldNotBeUndoneLocksNobodyOut(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = backend
			c.MaxSessions = func(*user) store.Limit { return store.Limit{Max: 1, Refuse: true} }
		})
		s.on("POST /broken", func(w http.ResponseWriter, r *http.Request) error {
			require.NoError(t, s.guard.Login(w, r, &user{ID: "ada"}))
			backend.failOn("Delete")
			panic(http.ErrAbortHandler)
		})
		b := s.browse()
		_, err := b.Client.Do(b.Request("POST", "/broken"))
		require.Error(t, err)
		backend.failOn()
		require.Len(t, sessionsOf(t, backend, "ada"), 1)
		require.Equal(t, 1, s.guard.Stats().UnfinishedEnds)
		advance(time.Minute)
		require.Zero(t, s.guard.Stats().UnfinishedEnds)
		require.Equal(t, http.StatusSeeOther, b.Post("/login?user=ada").StatusCode)
	})
}

// L5: a login that failed leaves the browser's session alone, also later.
func TestFailedLoginEndsNothingLater(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		backend.failOn("Delete")
		requireUnavailable(t, b.Post("/login?user=grace"))
		backend.failOn()
		advance(time.Minute)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
	})
}

// L5: attempts end after ten minutes, and the log says so. At most 1024 ends wait.
func TestUnfinishedEndsAreBounded(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		id := publicID(b)
		backend.failOn("DeleteByID", "LoadByID")
		for i := range 1100 {
			require.Error(t, s.guard.EndSession(t.Context(), "ada", fmt.Sprintf("%s%c%c%c", id[3:], 'A'+i/676, 'A'+i/26%26, 'A'+i%26)))
		}
		require.Contains(t, s.log.String(), "gave up ending a session", "76 are too many")
		before := backend.callCounts()["DeleteByID"]
		advance(11 * time.Minute)
		calls := backend.callCounts()["DeleteByID"] - before
		require.Less(t, calls, 150, "of a backend that is down")
		require.Greater(t, calls, 50)
		backend.failOn()
		advance(outage)
		require.Equal(t, before+calls, backend.callCounts()["DeleteByID"])
	})
}
