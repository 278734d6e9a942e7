package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// limited returns a site with this limit for everyone but grace.
func limited(t *testing.T, backend store.Backend, limit store.Limit) *site {
	t.Helper()
	return newSite(t, func(c *sessionguard.Config[*user]) {
		c.Backend = backend
		c.RememberFor = twoWeeks
		c.MaxSessions = func(u *user) store.Limit {
			if u.ID == "grace" {
				return store.Limit{}
			}
			return limit
		}
	})
}

// ASVS 7.1.2, WSTG-SESS-11
func TestLoginOverTheLimitEndsTheLeastActiveSession(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		s := limited(t, backend, store.Limit{Max: 2})
		first, second, third := s.browse(), s.browse(), s.browse()
		first.login("ada")
		advance(time.Minute)
		second.login("ada")
		advance(time.Minute)
		first.Get("/home")
		s.events.take()
		third.login("ada")
		require.Equal(t, "secret of ada", first.Get("/home").Body)
		require.Equal(t, "secret of ada", third.Get("/home").Body)
		require.Equal(t, "/login?next=%2Fhome&reason=too_many_sessions", second.Get("/home").Header.Get("Location"), "the refusal has the reason")
		ended := s.events.take(sessionguard.EventEnded)
		require.Len(t, ended, 1)
		require.Equal(t, store.ReasonTooManySessions, ended[0].Reason)
		require.Equal(t, "ada", ended[0].UserID)

		for range 5 {
			s.browse().login("grace")
		}
		require.Len(t, sessionsOf(t, backend, "grace"), 5, "grace has no limit")
	})
}

func TestLoginOverTheLimitIsRefusedIfConfigured(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		s := limited(t, backend, store.Limit{Max: 1, Refuse: true})
		first, second := s.browse(), s.browse()
		first.login("ada")
		second.login("grace")
		resp := second.Post("/login?user=ada")
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
		require.Contains(t, resp.Body, sessionguard.ErrTooManySessions.Error())
		require.Empty(t, resp.Cookies())
		refused := s.events.take(sessionguard.EventRefused)
		require.Len(t, refused, 1)
		require.Equal(t, "too_many_sessions", refused[0].Code)
		require.Equal(t, "ada", refused[0].UserID)
		require.Equal(t, "secret of grace", second.Get("/home").Body, "the browser's former session is alive")
		require.Equal(t, "secret of ada", first.Get("/home").Body)

		first.login("ada") // re-authentication is within the limit
		require.Equal(t, "secret of ada", first.Get("/home").Body)
		first.Post("/logout")
		second.login("ada")
		require.Equal(t, "secret of ada", second.Get("/home").Body)
		require.Empty(t, sessionsOf(t, backend, "grace"))
	})
}

// A refused login ends neither a dormant session nor one that has moved on from the
// browser's cookie.
func TestRefusedLoginEndsNoSession(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		s := limited(t, backend, store.Limit{Max: 1, Refuse: true})
		s.loginOptions = func(string) []sessionguard.LoginOption { return []sessionguard.LoginOption{sessionguard.Remember()} }
		s.users.users["bob"] = user{ID: "bob", Roles: []string{"Engineer"}}
		s.browse().login("bob")
		b := s.browse()
		b.login("ada")
		superseded := b.Cookies()
		advance(idle)
		require.Equal(t, http.StatusForbidden, b.Post("/login?user=bob").StatusCode)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		b.login("ada")
		late := s.browse()
		late.SetCookies(superseded)
		require.Equal(t, http.StatusForbidden, late.Post("/login?user=bob").StatusCode)
		require.Equal(t, "secret of ada", b.Get("/home").Body)

		// A login in the same browser replaces its own dormant session.
		advance(idle)
		require.Equal(t, http.StatusSeeOther, b.Post("/login?user=ada").StatusCode)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		require.Len(t, sessionsOf(t, backend, "ada"), 1)
	})
}

// Sessions that a password change has ended must not lock the user out.
func TestSessionsWithAnOldStampDoNotCountTowardsTheLimit(t *testing.T) {
	for _, refuse := range []bool{true, false} {
		onBothBackends(t, func(t *testing.T, backend store.Backend) {
			s := limited(t, backend, store.Limit{Max: 2, Refuse: refuse})
			old := []*browser{s.browse(), s.browse()}
			for _, b := range old {
				b.login("ada")
			}
			s.users.change("ada", func(u *user) { u.Stamp = "new" })
			for range 2 {
				require.Equal(t, http.StatusSeeOther, s.browse().Post("/login?user=ada").StatusCode)
			}
			if refuse {
				require.Equal(t, http.StatusForbidden, s.browse().Post("/login?user=ada").StatusCode)
			}
			for _, b := range old {
				require.NotContains(t, b.Get("/home").Body, "secret")
			}
		})
	}
}

// A session that can be revived counts.
func TestDormantSessionsCountTowardsTheLimit(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		s := limited(t, backend, store.Limit{Max: 1, Refuse: true})
		s.loginOptions = func(string) []sessionguard.LoginOption { return []sessionguard.LoginOption{sessionguard.Remember()} }
		b := s.browse()
		b.login("ada")
		advance(time.Hour)
		require.Equal(t, http.StatusForbidden, s.browse().Post("/login?user=ada").StatusCode)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		require.Len(t, sessionsOf(t, backend, "ada"), 1)
		advance(twoWeeks)
		require.Equal(t, http.StatusSeeOther, s.browse().Post("/login?user=ada").StatusCode)
	})
}

func TestConcurrentLoginsOnTwoNodesStayWithinTheLimit(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprint("refuse ", refuse), func(t *testing.T) {
			onBothBackends(t, func(t *testing.T, backend store.Backend) {
				limit := store.Limit{Max: 3, Refuse: refuse}
				nodes := []*site{limited(t, backend, limit), limited(t, backend, limit)}
				browsers := make([]*browser, 100)
				responses := make([]response, len(browsers))
				var wg sync.WaitGroup
				for i := range browsers {
					browsers[i] = nodes[i%2].browse()
					wg.Go(func() { responses[i] = browsers[i].Post("/login?user=ada") })
				}
				wg.Wait()
				alive, accepted := 0, 0
				for i, b := range browsers {
					if responses[i].StatusCode == http.StatusSeeOther {
						accepted++
					}
					if b.loggedIn() {
						alive++
					}
				}
				require.Equal(t, 3, alive)
				require.Len(t, sessionsOf(t, backend, "ada"), 3)
				ended := len(nodes[0].events.take(sessionguard.EventEnded)) + len(nodes[1].events.take(sessionguard.EventEnded))
				require.Equal(t, accepted-3, ended, "every other session has one event")
				if refuse {
					require.Equal(t, 3, accepted)
				} else {
					require.Equal(t, 100, accepted)
				}
			})
		})
	}
}

// lossyBackend stores a new session, but can lose the response.
type lossyBackend struct {
	*failingBackend
	loseResponses atomic.Bool
}

func (l *lossyBackend) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	ended, err := l.failingBackend.Create(ctx, r, limit)
	if l.loseResponses.Load() {
		return nil, errors.Join(err, errBackendDown)
	}
	return ended, err
}

func (l *lossyBackend) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	err := l.failingBackend.Replace(ctx, old, version, r)
	if l.loseResponses.Load() {
		return errors.Join(err, errBackendDown)
	}
	return err
}

// A session whose token never reached the browser must not lock the user out.
func TestSessionWithALostTokenDoesNotCountTowardsTheLimit(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := &lossyBackend{failingBackend: newFailingBackend()}
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = backend
			c.MaxSessions = func(*user) store.Limit { return store.Limit{Max: 1, Refuse: true} }
		})
		b := s.browse()
		backend.loseResponses.Store(true)
		require.Equal(t, http.StatusServiceUnavailable, b.Post("/login?user=ada").StatusCode)
		backend.loseResponses.Store(false)
		b.login("ada")

		backend.loseResponses.Store(true) // during re-authentication
		require.Equal(t, http.StatusServiceUnavailable, b.Post("/login?user=ada").StatusCode)
		backend.loseResponses.Store(false)
		s.browse().login("ada")
	})
}

// The new session comes first where logins may be refused. If the old one then cannot be
// ended, the login fails, and its session must not lock the user out either.
func TestLoginThatCannotEndTheOldSessionDoesNotCountTowardsTheLimit(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := limited(t, backend, store.Limit{Max: 1, Refuse: true})
		b := s.browse()
		b.login("grace")
		s.events.take()
		backend.failOn("Delete")
		backend.beforeCall("Delete", func() { backend.failOn() }) // only once
		require.Equal(t, http.StatusServiceUnavailable, b.Post("/login?user=ada").StatusCode)
		require.Empty(t, sessionsOf(t, backend, "ada"))
		require.Empty(t, s.events.take(sessionguard.EventLogin, sessionguard.EventEnded), "nobody was logged in")
		require.Equal(t, "secret of grace", b.Get("/home").Body, "the browser keeps its session")
		s.browse().login("ada")
	})
}

// A negative limit is a mistake, not "any number".
func TestLoginWithANegativeLimitFails(t *testing.T) {
	limit := store.Limit{Max: -1}
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.MaxSessions = func(*user) store.Limit { return limit } })
	b := s.browse()
	require.Equal(t, http.StatusServiceUnavailable, b.Post("/login?user=ada").StatusCode)
	require.Contains(t, s.log.String(), "MaxSessions returned a Max of -1")
	require.False(t, b.loggedIn())
	limit.Max = 0
	b.login("ada")
}
