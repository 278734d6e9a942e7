package acceptance

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// actingSite is a site where admins may act as other users unless forbidden is set. grace
// is one, and is logged in.
//
//	POST /act?user=  acts as the user
//	POST /stop       guard.StopActing("/back")
type actingSite struct {
	*site
	*failingBackend // nil if the backend is in process
	grace           *browser
	forbidden       atomic.Bool
	options         []sessionguard.LoginOption // of ActAs
}

func newActingSite(t *testing.T, backend *failingBackend, configure ...func(*sessionguard.Config[*user])) *actingSite {
	t.Helper()
	a := &actingSite{failingBackend: backend}
	a.site = newSite(t, func(c *sessionguard.Config[*user]) {
		if backend != nil {
			c.Backend = backend
		}
		c.MayActAs = func(actor, target *user) bool { return actor.HasRole("Admin") && !a.forbidden.Load() }
		for _, f := range configure {
			f(c)
		}
	})
	a.mux.HandleFunc("POST /act", func(w http.ResponseWriter, r *http.Request) {
		if err := a.actAs(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	a.mux.Handle("/stop", a.guard.StopActing("/back"))
	a.grace = a.site.browse()
	a.grace.login("grace")
	a.events.take()
	return a
}

func (a *actingSite) actAs(w http.ResponseWriter, r *http.Request) error {
	target, err := a.users.Find(r.Context(), r.FormValue("user"))
	if err != nil {
		return err
	}
	return a.guard.ActAs(w, r, target, a.options...)
}

// acting runs a test in process and remotely, on the fake clock.
func acting(t *testing.T, test func(t *testing.T, a *actingSite), configure ...func(*sessionguard.Config[*user])) {
	t.Helper()
	t.Run("in process", func(t *testing.T) {
		withFakeClock(t, func(t *testing.T) { test(t, newActingSite(t, nil, configure...)) })
	})
	t.Run("remote", func(t *testing.T) {
		withFakeClock(t, func(t *testing.T) { test(t, newActingSite(t, newFailingBackend(), configure...)) })
	})
}

// act makes grace act as ada, and returns a browser with the cookies from before.
func (a *actingSite) act() (before *browser) {
	a.Helper()
	before = a.copyOf(a.grace)
	resp := a.grace.Post("/act?user=ada")
	require.Equal(a, http.StatusOK, resp.StatusCode, resp.Body)
	return before
}

func (a *actingSite) requireUser(b *browser, id string) {
	a.Helper()
	require.Equal(a, "secret of "+id, b.Get("/poll").Body)
}

// stop leads back to where the actor can go on.
func (a *actingSite) stop() {
	a.Helper()
	resp := a.grace.Post("/stop")
	require.Equal(a, http.StatusSeeOther, resp.StatusCode)
	require.Equal(a, "/back", resp.Header.Get("Location"))
}

func TestActingAsAUserAndBack(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		ada := a.browse()
		ada.login("ada")
		ada.Post("/value?k=k&v=of-ada")
		a.grace.Post("/value?k=k&v=of-grace")
		before := a.act()
		advance(5 * time.Minute)
		a.requireUser(a.grace, "ada")
		a.requireUser(ada, "ada")
		require.Equal(t, "<nil> <nil>", a.grace.Get("/value?k=k").Body, "it begins without values")
		a.grace.Post("/value?k=k&v=of-both")
		require.Equal(t, "of-both <nil>", a.grace.Get("/value?k=k").Body)
		require.Equal(t, "of-ada <nil>", ada.Get("/value?k=k").Body)
		require.Equal(t, http.StatusSeeOther, a.grace.Get("/admin").StatusCode, "the roles are ada's")
		a.requireUser(before, "grace")

		during := a.copyOf(a.grace)
		a.stop()
		require.Equal(t, "secret of grace", a.grace.Get("/admin").Body)
		require.Equal(t, "of-grace <nil>", a.grace.Get("/value?k=k").Body)
		require.False(t, during.loggedIn(), "a copy of the cookie from meanwhile")
		require.False(t, before.loggedIn(), "a copy of the cookie from before")
		a.requireUser(a.grace, "grace")
		a.requireUser(ada, "ada")
	})
}

// I3, I4: the actor's own session goes on as it was.
func TestTheActorsOwnSessionStaysAsItIs(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		before, err := a.guard.Sessions(t.Context(), "grace")
		require.NoError(t, err)
		advance(3 * time.Minute)
		a.act()
		advance(time.Minute)
		a.stop()
		after, err := a.guard.Sessions(t.Context(), "grace")
		require.NoError(t, err)
		require.Len(t, after, 1)
		require.Equal(t, before[0].LastSeen.Add(4*time.Minute), after[0].LastSeen)
		after[0].LastSeen = before[0].LastSeen
		require.Equal(t, before, after)
		require.Equal(t, "secret of grace", a.grace.Get("/fresh").Body)
		advance(time.Minute)
		require.Equal(t, "/login?next=%2Ffresh", a.grace.Get("/fresh").Header.Get("Location"))
		for range 24 {
			a.grace.Get("/home")
			advance(29 * time.Minute)
		}
		require.True(t, a.grace.loggedIn())
		advance(19 * time.Minute)
		require.Equal(t, "/login?next=%2Fhome&reason=absolute", a.grace.Get("/home").Header.Get("Location"))
	})
}

// I3: neither the target's logins nor the actor's make the session fresh.
func TestWhoeverActsIsNeverFresh(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		a.act()
		a.grace.Header.Set("Accept", "application/json")
		require.Equal(t, http.StatusForbidden, a.grace.Get("/fresh").StatusCode)
		a.events.take()
		require.Contains(t, a.grace.Get("/fresh").Body, "forbidden")
		e := a.events.take(sessionguard.EventRefused)
		require.Len(t, e, 1)
		require.Equal(t, "grace", e[0].Actor)
		require.Equal(t, "ada", e[0].UserID)
	})
}

func TestWhoMayNotAct(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		a.users.change("mary", func(u *user) { u.ID, u.Roles = "mary", []string{"Admin"} })
		refused := func(b *browser, target string, want error) {
			t.Helper()
			require.Equal(t, want.Error()+"\n", b.Post("/act?user="+target).Body)
		}
		ada := a.browse()
		refused(ada, "grace", sessionguard.ErrNoSession)
		ada.login("ada")
		a.events.take()
		refused(ada, "grace", sessionguard.ErrMayNotAct)
		e := a.events.take()
		require.Len(t, e, 1)
		require.Equal(t, sessionguard.EventRefused, e[0].Name)
		require.Equal(t, []string{"may_not_act", "grace", "ada"}, []string{e[0].Code, e[0].UserID, e[0].Actor})
		a.requireUser(ada, "ada")

		refused(a.grace, "grace", sessionguard.ErrMayNotAct)
		refused(a.grace, "eve", sessionguard.ErrInactive)
		a.requireUser(a.grace, "grace")
		require.Equal(t, http.StatusOK, a.grace.Post("/act?user=mary").StatusCode) // an admin, too
		refused(a.grace, "ada", sessionguard.ErrMayNotAct)
		a.requireUser(a.grace, "mary")
	})
	withFakeClock(t, func(t *testing.T) { // by default, nobody may
		a := newActingSite(t, nil, func(c *sessionguard.Config[*user]) { c.MayActAs = nil })
		require.Equal(t, http.StatusForbidden, a.grace.Post("/act?user=ada").StatusCode)
		a.requireUser(a.grace, "grace")
	})
}

// L1, L2: minutes by default, and never longer than the actor's own session.
func TestActingIsShort(t *testing.T) {
	for name, test := range map[string]struct {
		options []sessionguard.LoginOption
		elapsed time.Duration // of the actor's own session, which is used all the while
		lasts   time.Duration
		reason  store.Reason
	}{
		"by default":                       {lasts: 15 * time.Minute, reason: store.ReasonAbsolute},
		"with a shorter timeout":           {options: []sessionguard.LoginOption{sessionguard.IdleTimeout(time.Minute), sessionguard.AbsoluteTimeout(3 * time.Minute)}, lasts: 3 * time.Minute, reason: store.ReasonAbsolute},
		"with a longer one":                {options: []sessionguard.LoginOption{sessionguard.AbsoluteTimeout(time.Hour)}, lasts: idle, reason: store.ReasonAbsolute},
		"at the end of the actor's own":    {elapsed: absolute - 10*time.Minute, lasts: 10 * time.Minute, reason: store.ReasonAbsolute},
		"the idle timeout is not the rest": {options: []sessionguard.LoginOption{sessionguard.IdleTimeout(10 * time.Second)}, lasts: 10 * time.Second, reason: store.ReasonIdle},
	} {
		t.Run(name, func(t *testing.T) {
			acting(t, func(t *testing.T, a *actingSite) {
				for begun := time.Now(); time.Since(begun) < test.elapsed; advance(10 * time.Minute) {
					a.grace.Get("/home")
				}
				a.options = test.options
				a.act()
				for begun := time.Now(); test.reason == store.ReasonAbsolute && time.Since(begun) < test.lasts-30*time.Second; advance(30 * time.Second) {
					require.Equal(t, "secret of ada", a.grace.Get("/home").Body, time.Since(begun))
				}
				if test.reason == store.ReasonAbsolute {
					advance(30*time.Second - time.Millisecond)
				} else {
					advance(test.lasts - time.Millisecond)
				}
				a.requireUser(a.grace, "ada")
				advance(time.Millisecond)
				require.Equal(t, "/login?next=%2Fhome&reason="+string(test.reason), a.grace.Get("/home").Header.Get("Location"))
			})
		})
	}
	withFakeClock(t, func(t *testing.T) {
		a := newActingSite(t, nil)
		for _, option := range []sessionguard.LoginOption{sessionguard.Remember(), sessionguard.IdleTimeout(time.Hour), sessionguard.AbsoluteTimeout(-1)} {
			a.options = []sessionguard.LoginOption{option}
			resp := a.grace.Post("/act?user=ada")
			require.True(t, strings.HasPrefix(resp.Body, "sessionguard: ActAs: "), resp.Body)
			a.requireUser(a.grace, "grace")
		}
	})
}

// L1: it is activity of the actor's own session, which would have idled out meanwhile.
func TestActingBeginsWithActivityOfTheActors(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		advance(idle - time.Minute)
		a.act()
		advance(10 * time.Minute)
		a.requireUser(a.grace, "ada")
		a.stop()
		advance(idle - time.Millisecond)
		a.requireUser(a.grace, "grace")
	})
}

// It is no login of the target's, so it neither counts nor ends one.
func TestActingCountsForNoLimit(t *testing.T) {
	for _, limit := range []store.Limit{{Max: 1}, {Max: 1, Refuse: true}} {
		acting(t, func(t *testing.T, a *actingSite) {
			ada, other := a.browse(), a.browse()
			ada.login("ada")
			a.act()
			a.requireUser(ada, "ada")
			require.Equal(t, limit.Refuse, other.Post("/login?user=ada").StatusCode == http.StatusForbidden)
			a.requireUser(a.grace, "ada")

			// grace's own session ends with this login, so it does not stand in its way.
			a.grace.login("grace")
			a.requireUser(a.grace, "grace")
		}, func(c *sessionguard.Config[*user]) {
			c.MaxSessions = func(*user) store.Limit { return limit }
		})
	}
}
