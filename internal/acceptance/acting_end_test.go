package acceptance

import (
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// I2: every request decides anew whether the actor may still act.
func TestActingEndsWithTheActorsRightToIt(t *testing.T) {
	for name, end := range map[string]func(a *actingSite, before *browser){
		"may not act any more": func(a *actingSite, _ *browser) { a.forbidden.Store(true) },
		"has lost the role":    func(a *actingSite, _ *browser) { a.users.change("grace", func(u *user) { u.Roles = nil }) },
		"is inactive":          func(a *actingSite, _ *browser) { a.users.change("grace", func(u *user) { u.Inactive = true }) },
		"has a new password":   func(a *actingSite, _ *browser) { a.users.change("grace", func(u *user) { u.Stamp = "2" }) },
		"no longer exists":     func(a *actingSite, _ *browser) { delete(a.users.users, "grace") },
		"was logged out":       func(a *actingSite, _ *browser) { require.NoError(a, a.guard.EndUser(a.Context(), "grace")) },
		"logs out elsewhere":   func(_ *actingSite, before *browser) { before.Post("/logout") },
		"logs in elsewhere as somebody else": func(_ *actingSite, before *browser) {
			before.login("ada")
		},
	} {
		t.Run(name, func(t *testing.T) {
			acting(t, func(t *testing.T, a *actingSite) {
				before := a.act()
				a.requireUser(a.grace, "ada")
				a.events.take()
				end(a, before)
				for range 2 {
					require.Equal(t, "/login?next=%2Fhome&reason=actor_ended", a.grace.Get("/home").Header.Get("Location"))
				}
				e := a.events.take(sessionguard.EventEnded)
				last := e[len(e)-1]
				require.Equal(t, []string{"ada", "actor_ended", "grace"}, []string{last.UserID, string(last.Reason), last.Actor})
				a.forbidden.Store(false)
				a.users.change("grace", func(u *user) { *u = testUsers["grace"] })
				require.False(t, a.grace.loggedIn(), "it does not come back")
				require.Equal(t, http.StatusSeeOther, a.grace.Post("/stop").StatusCode)
				require.False(t, a.grace.loggedIn())
			})
		})
	}
}

// I2: what ends a session of the target's ends this one too.
func TestActingEndsWithTheTarget(t *testing.T) {
	for reason, end := range map[store.Reason]func(a *actingSite){
		store.ReasonDeactivated:        func(a *actingSite) { a.users.change("ada", func(u *user) { u.Inactive = true }) },
		store.ReasonCredentialsChanged: func(a *actingSite) { a.users.change("ada", func(u *user) { u.Stamp = "2" }) },
		store.ReasonEnded:              func(a *actingSite) { require.NoError(a, a.guard.EndUser(a.Context(), "ada")) },
		store.ReasonLoggedOutElsewhere: func(a *actingSite) { a.endFrom("ada", "ada", a.idOf(a.grace)) },
	} {
		t.Run(string(reason), func(t *testing.T) {
			acting(t, func(t *testing.T, a *actingSite) {
				before := a.act()
				end(a)
				require.Equal(t, "/login?next=%2Fhome&reason="+string(reason), a.grace.Get("/home").Header.Get("Location"))
				a.requireUser(before, "grace")
			})
		})
	}
}

// endFrom ends a session of user's in a request of who.
func (a *actingSite) endFrom(who, user, id string) {
	a.Helper()
	a.on("POST /end", func(_ http.ResponseWriter, r *http.Request) error {
		a.guard.User(r)
		return a.guard.EndSession(r.Context(), user, id)
	})
	b := a.browse()
	b.login(who)
	require.Equal(a, http.StatusOK, b.Post("/end").StatusCode)
}

func (a *actingSite) idOf(b *browser) string {
	a.Helper()
	return statusOf(b).Session
}

// L5: the actor cannot be found out now, so nothing ends.
func TestActingWhileTheActorIsUnknown(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		a := newActingSite(t, newFailingBackend())
		before := a.act()
		for _, method := range []string{"LoadByID", "Load"} {
			a.failOn(method)
			require.Equal(t, http.StatusServiceUnavailable, a.grace.Get("/home").StatusCode, method)
			require.Equal(t, http.StatusServiceUnavailable, a.grace.Post("/stop").StatusCode, method)
		}
		a.failOn()
		a.users.err = errBackendDown
		require.Equal(t, http.StatusServiceUnavailable, a.grace.Get("/home").StatusCode)
		require.Equal(t, http.StatusServiceUnavailable, a.grace.Post("/stop").StatusCode)
		a.users.err = nil
		a.requireUser(a.grace, "ada")
		a.requireUser(before, "grace")
		a.stop()
		a.requireUser(a.grace, "grace")
	})
}

// I1: a logout in the actor's browser, and any login there, end both sessions.
func TestALogoutOrLoginOfWhoActsEndsBothSessions(t *testing.T) {
	for name, c := range map[string]struct {
		do  func(b *browser) response
		now string
	}{
		"logout":                       {func(b *browser) response { return b.Post("/logout") }, ""},
		"login as the target":          {func(b *browser) response { return b.login("ada") }, "ada"},
		"login as the actor":           {func(b *browser) response { return b.login("grace") }, "grace"},
		"login as somebody":            {func(b *browser) response { return b.login("mary") }, "mary"},
		"logout that a gate is around": {func(b *browser) response { return b.Post("/gated/logout") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			acting(t, func(t *testing.T, a *actingSite) {
				a.users.change("mary", func(u *user) { u.ID = "mary" })
				a.mux.Handle("POST /gated/logout", a.guard.RequireLogin(a.guard.Logout("/")))
				ada := a.browse()
				ada.login("ada")
				a.grace.Post("/value?k=k&v=of-grace")
				before := a.act()
				a.grace.Post("/value?k=k&v=of-both")
				during, id := a.copyOf(a.grace), a.idOf(a.grace)
				c.do(a.grace)
				require.False(t, before.loggedIn(), "a copy of the actor's cookie")
				require.False(t, during.loggedIn(), "a copy of the cookie from meanwhile")
				require.Equal(t, "<nil> <nil>", a.grace.Get("/value?k=k").Body)
				a.requireUser(ada, "ada")
				if c.now == "" {
					require.False(t, a.grace.loggedIn())
				} else {
					a.requireUser(a.grace, c.now)
					require.NotEqual(t, id, a.idOf(a.grace), "a new session, and no re-authentication")
					require.Equal(t, http.StatusOK, a.grace.Get("/fresh").StatusCode)
				}
			})
		})
	}
}

// A logout whose backend fails at any step, even after it has deleted, ends both all the same.
func TestAnUnfinishedLogoutOfWhoActsEndsBothSessions(t *testing.T) {
	for _, fails := range [][]string{{"Delete"}, {"DeleteByID"}, {"Delete", "DeleteByID"}, {"Load", "Delete", "DeleteByID"}, {"*"}} {
		withFakeClock(t, func(t *testing.T) {
			a := newActingSite(t, newFailingBackend())
			before := a.act()
			during := a.copyOf(a.grace)
			a.failOn(fails...)
			require.Equal(t, http.StatusServiceUnavailable, a.grace.Post("/logout").StatusCode, fails)
			a.failOn()
			advance(time.Minute)
			require.False(t, during.loggedIn(), fails)
			require.False(t, before.loggedIn(), fails)
		})
	}
	withFakeClock(t, func(t *testing.T) {
		a := newActingSite(t, newFailingBackend())
		before := a.act()
		key := keyOf(a.grace.Cookies()[sessionCookie])
		a.beforeCall("Delete", func() { // its response is lost
			_, _ = a.failingBackend.Backend.Delete(t.Context(), key, store.ReasonLoggedOut)
		})
		a.failOn("Delete")
		a.grace.Post("/logout")
		require.False(t, before.loggedIn())
	})
}

// An acting request must not end the target's own logins, unless the application says so.
func TestWhoeverActsCannotEndTheTargetsOtherSessions(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		ada := a.browse()
		ada.login("ada")
		a.on("POST /others", func(_ http.ResponseWriter, r *http.Request) error { return a.guard.EndOthers(r) })
		a.on("POST /all", func(_ http.ResponseWriter, r *http.Request) error {
			a.guard.User(r)
			return a.guard.EndUser(r.Context(), "ada")
		})
		a.act()
		require.Equal(t, sessionguard.ErrMayNotAct.Error()+"\n", a.grace.Post("/others").Body)
		a.requireUser(ada, "ada")
		a.events.take()
		a.grace.Post("/all")
		require.Equal(t, "/login?next=%2Fhome&reason=ended", ada.Get("/home").Header.Get("Location"))
		require.Equal(t, "/login?next=%2Fhome&reason=ended", a.grace.Get("/home").Header.Get("Location"))
		ends := a.events.take(sessionguard.EventEnded)
		require.Len(t, ends, 2)
		for _, e := range ends {
			require.Equal(t, "grace", e.Actor, "not ada")
		}
	})
}

func TestEventsOfActingNameTheActor(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		a.act()
		a.grace.Get("/admin")
		a.stop()
		var got []sessionguard.EventName
		for _, e := range a.events.take() {
			got = append(got, e.Name)
			require.Equal(t, []string{"ada", "grace"}, []string{e.UserID, e.Actor}, e.Name)
		}
		require.Equal(t, []sessionguard.EventName{sessionguard.EventActing, sessionguard.EventRefused, sessionguard.EventLogout}, got)
	})
}
