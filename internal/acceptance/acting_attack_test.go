package acceptance

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// I1: a thief with a copy of the actor's cookie acts, and stops acting once the actor has a
// new token. That must not lead to it.
func TestActingEndsWithTheTokenThatItBeganWith(t *testing.T) {
	for name, renew := range map[string]func(a *actingSite){
		"the actor has logged in again": func(a *actingSite) { a.grace.login("grace") },
		"the actor has stopped acting": func(a *actingSite) {
			a.act()
			a.stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			acting(t, func(t *testing.T, a *actingSite) {
				a.addStream(a.passiveCancelOnEnd)
				thief := a.copyOf(a.grace)
				require.Equal(t, http.StatusOK, thief.Post("/act?user=ada").StatusCode)
				s := thief.openStream("/events")
				advance(time.Minute)
				id := a.idOf(a.grace)
				renew(a)
				require.Equal(t, id, a.idOf(a.grace), "the session goes on")
				s.requireEnds("ended: actor_ended", 0)
				for range 2 {
					require.Equal(t, "/login?reason=actor_ended", a.copyOf(thief).Post("/stop").Header.Get("Location"))
					require.Equal(t, "/login?next=%2Fhome&reason=actor_ended", thief.Get("/home").Header.Get("Location"))
				}
				require.False(t, thief.loggedIn())
				a.requireUser(a.grace, "grace")
				a.act()
				a.requireUser(a.grace, "ada")
				a.stop()
				a.requireUser(a.grace, "grace")
			})
		})
	}
}

// I1: so it is if the actor logs in again while a thief stops acting, at whatever step.
func TestALoginThatOvertakesStopActingKeepsItsToken(t *testing.T) {
	for _, method := range []string{"Load", "LoadByID", "Replace"} {
		for call := 1; call <= 2; call++ {
			withFakeClock(t, func(t *testing.T) {
				a := newActingSite(t, newFailingBackend())
				thief := a.copyOf(a.grace)
				require.Equal(t, http.StatusOK, thief.Post("/act?user=ada").StatusCode)
				n := 0
				a.beforeCall(method, func() {
					if n++; n == call {
						a.beforeCall(method, nil)
						a.grace.login("grace")
					}
				})
				thief.Post("/stop")
				if n == call {
					require.False(t, thief.loggedIn(), "before call %d of %s", call, method)
					a.requireUser(a.grace, "grace")
				}
			})
		}
	}
}

// An administrator who acts as another one must not make that one appear in the audit trail.
func TestTheEventOfARefusedActAsNamesWhoReallyActs(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		a.users.change("ada", func(u *user) { u.Roles = []string{"Admin"} })
		a.users.change("mary", func(u *user) { u.ID = "mary" })
		a.act()
		a.events.take()
		require.Equal(t, sessionguard.ErrMayNotAct.Error()+"\n", a.grace.Post("/act?user=mary").Body)
		e := a.events.take(sessionguard.EventRefused)
		require.Len(t, e, 1)
		require.Equal(t, []string{"may_not_act", "mary", "grace"}, []string{e[0].Code, e[0].UserID, e[0].Actor})
	})
}

// Nobody learns whether a user is active by asking to act as them, or leaves an event that
// looks like a login of theirs.
func TestARefusedActAsOfAnInactiveUser(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		visitor, ada := a.browse(), a.browse()
		ada.login("ada")
		a.events.take()
		for _, c := range []struct {
			by          *browser
			err         error
			code, actor string // of the event
		}{
			{visitor, sessionguard.ErrNoSession, "", ""},
			{ada, sessionguard.ErrMayNotAct, "may_not_act", "ada"},
			{a.grace, sessionguard.ErrInactive, "deactivated", "grace"},
		} {
			require.Equal(t, c.err.Error()+"\n", c.by.Post("/act?user=eve").Body)
			e := a.events.take()
			if c.code == "" {
				require.Empty(t, e)
				continue
			}
			require.Len(t, e, 1)
			require.Equal(t, []string{c.code, "eve", c.actor, "/act"}, []string{e[0].Code, e[0].UserID, e[0].Actor, e[0].Path})
		}
	})
}

// I1: a login that the backend fails half way has ended the session of ActAs, so that no later
// one finds the actor's own by it.
func TestALoginThatFailsHalfWayEndsTheActorsSessionAllTheSame(t *testing.T) {
	for _, method := range []string{"DeleteByID", "Create"} {
		withFakeClock(t, func(t *testing.T) {
			a := newActingSite(t, newFailingBackend())
			before := a.act()
			a.failOn(method)
			require.Equal(t, http.StatusServiceUnavailable, a.grace.Post("/login?user=ada").StatusCode)
			a.failOn()
			a.grace.login("ada")
			advance(time.Minute)
			require.False(t, before.loggedIn(), method)
			a.requireUser(a.grace, "ada")
		})
	}
}

// A logout that takes several attempts is one event of each session.
func TestAnUnfinishedLogoutOfWhoActsIsReportedOnce(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		a := newActingSite(t, newFailingBackend())
		before := a.act()
		a.events.take()
		a.failOn("Delete", "DeleteByID")
		a.grace.Post("/logout")
		a.failOn("DeleteByID")
		advance(2 * time.Minute)
		a.failOn()
		advance(2 * time.Minute)
		require.False(t, before.loggedIn())
		require.Len(t, a.events.take(sessionguard.EventLogout), 2)
	})
}

// losesReplace carries out the nth Replace from now on, and says that it has not.
type losesReplace struct {
	*failingBackend
	nth int
}

func (b *losesReplace) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	err := b.failingBackend.Replace(ctx, old, version, r)
	if b.nth--; b.nth == 0 && err == nil {
		return errBackendDown
	}
	return err
}

// L5: whatever step of StopActing is carried out and not confirmed, no session is left that
// nobody can log out of, and nobody sees more of the target.
func TestStopActingThatIsNotConfirmedLeavesNoSession(t *testing.T) {
	for nth := 1; nth <= 2; nth++ {
		withFakeClock(t, func(t *testing.T) {
			backend := &losesReplace{failingBackend: newFailingBackend()}
			a := newActingSite(t, backend.failingBackend, func(c *sessionguard.Config[*user]) { c.Backend = backend })
			a.addStream(a.passiveCancelOnEnd)
			a.act()
			s := a.grace.openStream("/events")
			backend.nth = nth
			require.Equal(t, http.StatusServiceUnavailable, a.grace.Post("/stop").StatusCode)
			advance(time.Minute)
			require.False(t, s.stillOpen(), nth)
			require.False(t, a.grace.loggedIn())
			acted, err := a.guard.Sessions(t.Context(), "ada")
			require.NoError(t, err)
			require.Empty(t, acted, nth)
			own, err := a.guard.Sessions(t.Context(), "grace")
			require.NoError(t, err)
			require.Len(t, own, 2-nth, "the actor's own session goes on if it has not moved")
		})
	}
}

// Whoever has stopped acting sees nothing more of the target, even if the backend fails.
func TestStreamOfActingEndsIfItsSessionCannotBeDeleted(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		a := newActingSite(t, newFailingBackend())
		a.addStream(a.passiveCancelOnEnd)
		a.act()
		s := a.grace.openStream("/events")
		a.failOn("Delete")
		a.stop()
		s.requireEnds("ended: logged_out", 0)
	})
}

// L6: a request that begins to act and stops, whose client has gone meanwhile.
func TestStopActingInTheRequestThatBeganIt(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		a := newActingSite(t, newFailingBackend())
		b, disconnect := a.browseAndDisconnect()
		b.login("grace")
		stop, disconnects := a.guard.StopActing("/back"), false
		a.mux.HandleFunc("POST /both", func(w http.ResponseWriter, r *http.Request) {
			if err := a.actAs(w, r); err != nil {
				panic(err)
			}
			_ = a.guard.EndUser(context.WithoutCancel(r.Context()), "grace")
			if disconnects {
				disconnect()
			}
			stop.ServeHTTP(w, r)
		})
		resp := b.Post("/both?user=ada")
		require.Equal(t, "/login?reason=actor_ended", resp.Header.Get("Location"))
		require.Empty(t, resp.Cookies())
		b.login("grace")
		disconnects = true
		resp = b.Post("/both?user=ada")
		require.NotEqual(t, http.StatusInternalServerError, resp.StatusCode, resp.Body)
		require.False(t, b.loggedIn())
	})
}
