package acceptance

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// everyone returns what AllSessions yields, the users' IDs in order first.
func (s *site) everyone() (ids []string, sessions []sessionguard.Session) {
	s.Helper()
	for session, err := range s.guard.AllSessions(s.Context()) {
		require.NoError(s.T, err)
		ids, sessions = append(ids, session.UserID), append(sessions, session)
	}
	slices.Sort(ids)
	return ids, sessions
}

func (s *site) requireEveryone(ids ...string) {
	s.Helper()
	listed, _ := s.everyone()
	require.Equal(s.T, ids, listed)
	n, err := s.guard.CountSessions(s.Context())
	require.NoError(s.T, err)
	require.Equal(s.T, len(ids), n)
}

// I4: everybody's sessions are listed as those of one user are.
func TestAllSessionsListsTheLoginsOfAllUsers(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.requireEveryone()
		phone, desk, grace, out := s.browse(), s.browse(), s.browse(), s.browse()
		phone.login("ada")
		advance(time.Hour)
		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.Label("the desk's")}
		}
		desk.login("ada")
		grace.login("grace")
		out.login("grace")
		out.Post("/logout")
		s.browse().Get("/") // a visitor
		s.requireEveryone("ada", "ada", "grace")

		_, all := s.everyone()
		for _, id := range []string{"ada", "grace"} {
			listed, err := s.guard.Sessions(s.T.Context(), id)
			require.NoError(s.T, err)
			for _, session := range listed {
				require.Equal(s.T, id, session.UserID)
				require.Contains(s.T, all, session)
			}
		}
		advance(idle)
		s.requireEveryone("ada") // the remembered session
		require.Equal(s.T, "secret of ada", phone.Get("/home").Body)
		s.requireEveryone("ada")
		require.NoError(s.T, s.guard.EndUser(s.T.Context(), "ada"))
		s.requireEveryone()
	})
}

// F2: a login that lacks a factor is nobody's session yet.
func TestAllSessionsOmitsPendingLogins(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := factorSite(t, nil)
		b := s.browse()
		b.prove("ada", "pwd")
		s.requireEveryone()
		b.prove("ada", "otp")
		s.requireEveryone("ada")
	})
}

func TestAllSessionsListsWhoActsForWhom(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		a.act()
		actors := map[string]string{}
		ids, all := a.everyone()
		for _, session := range all {
			actors[session.UserID] = session.Actor
		}
		require.Len(t, ids, 2)
		require.Equal(t, map[string]string{"grace": "", "ada": "grace"}, actors)
		n, err := a.guard.CountSessions(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n, "the logins")
	})
}

// I1, I4: one guard neither lists nor ends the sessions of another on the same backend.
func TestEveryoneIsOfOneGuard(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		customers, staff := twoGuards(t, backend)
		others := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.CookieName = backend, staffCookie+"2" })
		customer, admin, other := customers.browse(), staff.browse(), others.browse()
		customer.login("ada")
		admin.login("ada")
		admin.Post("/value?k=k&v=v")
		other.login("grace")
		customers.requireEveryone("ada")
		staff.requireEveryone("ada")
		others.requireEveryone("grace")
		require.NoError(t, staff.guard.EndAll(t.Context()))
		require.False(t, admin.loggedIn())
		require.True(t, customer.loggedIn())
		require.True(t, other.loggedIn())
		staff.requireEveryone()
		customers.requireEveryone("ada")
	})
}

// L3: the loop may end what it gets, and stop.
func TestTheLoopOverAllSessionsMayEndThem(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		var browsers []*browser
		for range 10 {
			b := s.browse()
			b.login("ada")
			browsers = append(browsers, b)
		}
		for session, err := range s.guard.AllSessions(s.T.Context()) {
			require.NoError(s.T, err)
			require.NoError(s.T, s.guard.EndSession(s.T.Context(), session.UserID, session.ID))
			break
		}
		s.requireEveryone(slices.Repeat([]string{"ada"}, 9)...)
		for session, err := range s.guard.AllSessions(s.T.Context()) {
			require.NoError(s.T, err)
			require.NoError(s.T, s.guard.EndSession(s.T.Context(), session.UserID, session.ID))
		}
		s.requireEveryone()
		for _, b := range browsers {
			require.False(s.T, b.loggedIn())
		}
	})
}

// L5
func TestEveryoneReportsABackendFailure(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.browse().login("ada")
		for _, method := range []string{"All", "next"} {
			backend.failOn(method)
			n := 0
			for session, err := range s.guard.AllSessions(t.Context()) {
				require.ErrorIs(t, err, sessionguard.ErrUnavailable)
				require.ErrorIs(t, err, errBackendDown)
				require.Zero(t, session)
				n++
			}
			require.Equal(t, 1, n)
			require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
		}
		backend.failOn("Count")
		_, err := s.guard.CountSessions(t.Context())
		require.ErrorIs(t, err, sessionguard.ErrUnavailable)
		require.ErrorIs(t, err, errBackendDown)

		backend.failOn()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		n := 0
		for _, err := range s.guard.AllSessions(ctx) {
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, sessionguard.ErrUnavailable)
			n++
		}
		require.Equal(t, 1, n)
	})
}

// A backend that lists nobody is an error of the configuration, not an outage.
func TestEveryoneNeedsALister(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = struct{ store.Backend }{store.NewMemory()} })
	b := s.browse()
	b.login("ada")
	errs := []error{s.guard.EndAll(t.Context())}
	for _, err := range s.guard.AllSessions(t.Context()) {
		errs = append(errs, err)
	}
	_, err := s.guard.CountSessions(t.Context())
	errs = append(errs, err)
	require.Len(t, errs, 3)
	for _, err := range errs {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.NotErrorIs(t, err, sessionguard.ErrUnavailable)
	}
	require.Zero(t, s.guard.Stats().UnfinishedEnds, "nothing that could be tried again")
	require.True(t, b.loggedIn())
}

// L4: AllSessions holds nothing of a request: a handler may list everybody while it answers.
func TestAHandlerMayListEverybody(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.mux.Handle("GET /online", s.guard.RequireRole("Admin")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for session, err := range s.guard.AllSessions(r.Context()) {
				u, _ := s.guard.User(r)
				if err != nil || session.Current || u.ID != "grace" {
					http.Error(w, "failed", http.StatusInternalServerError)
					return
				}
				w.Write([]byte(session.UserID + " "))
			}
		})))
		ada, grace := s.browse(), s.browse()
		ada.login("ada")
		grace.login("grace")
		require.Contains(s.T, []string{"ada grace ", "grace ada "}, grace.Get("/online").Body)
		require.NotEqual(s.T, http.StatusOK, ada.Get("/online").StatusCode)
	})
}
