package acceptance

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// L5: what EndAll could not end, the guard goes on to end, and spares logins after the call.
func TestIncompleteEndAllIsCompletedInTheBackground(t *testing.T) {
	for _, method := range []string{"All", "next", "DeleteByID"} {
		t.Run(method, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				one, two, later := s.browse(), s.browse(), s.browse()
				one.login("ada")
				addSessions(t, backend, "ada", 600)
				two.login("grace")
				calls := 0
				backend.beforeCall(method, func() {
					if calls++; calls == 300 || method != "next" {
						backend.failOn(method)
					}
				})
				require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
				backend.beforeCall(method, nil)
				backend.failOn(method)
				advance(outage)
				later.login("ada")
				backend.failOn()
				advance(time.Minute)
				require.False(t, one.loggedIn() || two.loggedIn())
				require.True(t, later.loggedIn(), "began afterwards")
				s.requireEveryone("ada")
				requireEventsOnce(t, s, 602)
				before := backend.callCounts()
				advance(outage)
				require.Empty(t, callsSince(backend, before), "nothing is left to do")
			})
		})
	}
}

// L5: of two calls that fail, the later one's promise holds, whichever fails last.
func TestTwoIncompleteEndAlls(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		first, second, later := s.browse(), s.browse(), s.browse()
		first.login("ada")
		backend.failOn("DeleteByID")
		inner := false
		backend.beforeCall("DeleteByID", func() {
			if inner {
				return
			}
			inner = true // during the first call, somebody logs in, and the second call comes and goes
			advance(time.Second)
			second.login("grace")
			advance(time.Second)
			require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
		})
		require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
		advance(time.Second)
		later.login("ada")
		backend.failOn()
		advance(time.Minute)
		require.False(t, first.loggedIn())
		require.False(t, second.loggedIn())
		require.True(t, later.loggedIn())
	})
}

// K2: calls that fail take one place among what is tried again, however many they are.
func TestIncompleteEndAllsTakeOnePlace(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		id := publicID(b)
		backend.failOn("DeleteByID", "LoadByID", "All")
		for range 2000 {
			advance(time.Millisecond)
			require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
		}
		require.ErrorIs(t, s.guard.EndSession(t.Context(), "ada", id), sessionguard.ErrUnavailable)
		require.NotContains(t, s.log.String(), "gave up ending a session")
		backend.failOn()
		advance(time.Minute)
		s.requireEveryone()
	})
}

// L5: nobody keeps EndAll from being carried through by taking all places of some users.
func TestIncompleteEndAllIsCountedForNoGroup(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		id := "x"
		for store.GroupOf(sessionCookie+"="+id) != 0 {
			id += "x"
		}
		backend.failOn("*")
		for range 80 {
			require.ErrorIs(t, s.guard.EndSession(t.Context(), id, rand.Text()), sessionguard.ErrUnavailable)
		}
		require.Equal(t, 1, strings.Count(s.log.String(), "gave up ending a session"))
		require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
		backend.failOn()
		advance(time.Minute)
		require.False(t, b.loggedIn())
	})
}

// L5: a panic of the backend is an outage, and one of the loop is the loop's.
func TestAPanicInAllIsUnavailable(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.browse().login("ada")
		backend.beforeCall("next", func() { panic("in the backend") })
		require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
		for _, err := range s.guard.AllSessions(t.Context()) {
			require.ErrorIs(t, err, sessionguard.ErrUnavailable)
		}
		backend.beforeCall("next", nil)
		require.PanicsWithValue(t, "in the loop", func() {
			for range s.guard.AllSessions(t.Context()) {
				panic("in the loop")
			}
		})
		require.Contains(t, s.log.String(), "the backend panicked")
		advance(time.Minute)
		s.requireEveryone()
	})
}
