package acceptance

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// L3: at whatever step of StopActing a logout comes, nothing is logged in afterwards.
func TestALogoutThatOvertakesStopActingIsFinal(t *testing.T) {
	for _, cookie := range []string{"of the session of ActAs", "of the actor's own session"} {
		for _, method := range []string{"Load", "LoadByID", "Replace", "Delete"} {
			for call := 1; call <= 2; call++ {
				withFakeClock(t, func(t *testing.T) {
					a := newActingSite(t, newFailingBackend())
					before := a.act()
					during := a.copyOf(a.grace)
					logsOut := a.copyOf(a.grace)
					if cookie == "of the actor's own session" {
						logsOut = before
					}
					n := 0
					a.beforeCall(method, func() {
						if n++; n == call {
							a.beforeCall(method, nil)
							logsOut.Post("/logout")
						}
					})
					a.grace.Post("/stop")
					if n < call {
						return // it takes no second call
					}
					for _, b := range []*browser{a.grace, before, during, logsOut} {
						require.False(t, b.loggedIn(), "%s, before call %d of %s", cookie, call, method)
					}
					require.Empty(t, sessionsOf(t, a.failingBackend, "grace"))
				})
			}
		}
	}
}

// Of several requests at the same time, exactly one gets a cookie, and it is the one that
// counts.
func TestStopActingHappensOnce(t *testing.T) {
	for _, method := range []string{"Load", "LoadByID", "Replace", "Delete"} {
		withFakeClock(t, func(t *testing.T) {
			a := newActingSite(t, newFailingBackend())
			a.act()
			other := a.copyOf(a.grace)
			a.beforeCall(method, func() {
				a.beforeCall(method, nil)
				other.Post("/stop")
			})
			a.grace.Post("/stop")
			require.NotEqual(t, a.grace.loggedIn(), other.loggedIn(), method)
			require.Len(t, sessionsOf(t, a.failingBackend, "grace"), 1)
		})
	}
	acting(t, func(t *testing.T, a *actingSite) { // replayed later
		a.act()
		during := a.copyOf(a.grace)
		a.stop()
		resp := during.Post("/stop")
		require.Equal(t, "/login", resp.Header.Get("Location"))
		require.Empty(t, resp.Cookies())
		require.Equal(t, "/login", during.Post("/stop").Header.Get("Location"))
		a.requireUser(a.grace, "grace")
	})
}

// R1: it ends something, so it must be a POST of this site.
func TestStopActingAcceptsOnlyAPostOfThisSite(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		a.act()
		require.Equal(t, http.StatusMethodNotAllowed, a.grace.Get("/stop").StatusCode)
		require.Equal(t, http.StatusForbidden, a.grace.Do(a.grace.Request("POST", "/stop", "Sec-Fetch-Site", "cross-site")).StatusCode)
		a.requireUser(a.grace, "ada")
		require.Equal(t, http.StatusNoContent, a.grace.Do(a.grace.Request("POST", "/stop", "Accept", "application/json")).StatusCode)
		a.requireUser(a.grace, "grace")
		a.stop() // nobody acts: nothing ends
		a.requireUser(a.grace, "grace")
		require.Equal(t, "/login", a.browse().Post("/stop").Header.Get("Location"))
	})
}

// L5: whatever fails, no cookie that worked before works for somebody else, and what the
// guard goes on trying does not end the actor's own session.
func TestStopActingWhileTheBackendFails(t *testing.T) {
	for _, method := range []string{"Load", "LoadByID", "Replace"} {
		withFakeClock(t, func(t *testing.T) {
			a := newActingSite(t, newFailingBackend())
			a.act()
			a.failOn(method)
			resp := a.grace.Post("/stop")
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, method)
			require.Empty(t, resp.Cookies())
			a.failOn()
			a.requireUser(a.grace, "ada")
			a.stop()
			a.requireUser(a.grace, "grace")
		})
	}
	withFakeClock(t, func(t *testing.T) {
		a := newActingSite(t, newFailingBackend())
		a.act()
		during := a.copyOf(a.grace)
		a.failOn("Delete", "DeleteByID")
		a.stop()
		a.failOn()
		advance(time.Minute)
		a.requireUser(a.grace, "grace")
		require.False(t, during.loggedIn())
		list, err := a.guard.Sessions(t.Context(), "ada")
		require.NoError(t, err)
		require.Empty(t, list)
	})
	withFakeClock(t, func(t *testing.T) { // after half of it
		a := newActingSite(t, newFailingBackend())
		before := a.act()
		during := a.copyOf(a.grace)
		calls := 0
		a.beforeCall("Replace", func() {
			if calls++; calls == 1 {
				a.failOn("Replace") // the next one
			}
		})
		require.Equal(t, http.StatusServiceUnavailable, a.grace.Post("/stop").StatusCode)
		a.failOn()
		require.False(t, a.grace.loggedIn())
		require.False(t, during.loggedIn())
		a.requireUser(before, "grace")
	})
}

// L6: without the response, the browser goes on with the actor's own session.
func TestActingWhoseResponseIsNotSentIsUndone(t *testing.T) {
	for name, handler := range map[string]func(a *actingSite, w http.ResponseWriter, r *http.Request) error{
		"a panic": func(a *actingSite, w http.ResponseWriter, r *http.Request) error {
			_ = a.actAs(w, r)
			panic(http.ErrAbortHandler)
		},
		"values that cannot be stored": func(a *actingSite, w http.ResponseWriter, r *http.Request) error {
			err := a.actAs(w, r)
			session, _ := a.guard.Get(r, "app")
			session.Values["f"] = func() {}
			return err
		},
		"a backend that fails afterwards": func(a *actingSite, w http.ResponseWriter, r *http.Request) error {
			err := a.actAs(w, r)
			session, _ := a.guard.Get(r, "app")
			session.Values["k"] = "v"
			a.failOn("Save")
			return err
		},
		"a backend that fails": func(a *actingSite, w http.ResponseWriter, r *http.Request) error {
			a.failOn("Create")
			return a.actAs(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				a := newActingSite(t, newFailingBackend())
				a.grace.Post("/value?k=k&v=of-grace")
				a.on("POST /lost", func(w http.ResponseWriter, r *http.Request) error { return handler(a, w, r) })
				resp, err := a.grace.Send(a.grace.Request("POST", "/lost?user=ada"))
				require.True(t, err != nil || resp.StatusCode >= 500)
				a.failOn()
				a.requireUser(a.grace, "grace")
				require.Equal(t, "of-grace <nil>", a.grace.Get("/value?k=k").Body)
				list, err := a.guard.Sessions(t.Context(), "ada")
				require.NoError(t, err)
				require.Empty(t, list)
				a.act()
			})
		})
	}
}

// L3: a request of the session that is under way changes nothing once it has ended.
func TestARequestInFlightDoesNotBringBackActing(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		a.act()
		during := a.copyOf(a.grace)
		h := hold(a.site, during, "POST", requireLogin(a.site), func(w http.ResponseWriter, r *http.Request, wait func()) {
			changeValue(a.site, w, r)
			wait()
			io.WriteString(w, "secret")
		})
		a.stop()
		require.NotContains(t, h.finish(t).Body, "secret")
		require.False(t, during.loggedIn())
		require.Equal(t, "<nil> <nil>", a.grace.Get("/value?k=k").Body)
	})
}

// A remembered session that was revived stays one, and its superseded cookies stay dead.
func TestStopActingDoesNotRefreshARevivedSession(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		a.loginOptions = func(string) []sessionguard.LoginOption { return []sessionguard.LoginOption{sessionguard.Remember()} }
		a.grace.login("grace")
		advance(idle)
		require.Equal(t, http.StatusOK, a.grace.Post("/act?user=ada").StatusCode) // revives it as well
		a.requireUser(a.grace, "ada")
		a.stop()
		a.requireUser(a.grace, "grace")
		require.NotEqual(t, http.StatusOK, a.grace.Get("/fresh").StatusCode)
		list, err := a.guard.Sessions(t.Context(), "grace")
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.True(t, list[0].Authenticated.IsZero())
	}, func(c *sessionguard.Config[*user]) { c.RememberFor = 14 * 24 * time.Hour })
}

// A stream ends with the actor's own session, at once or when the session is next looked up.
func TestStreamOfActingEndsWithTheActorsSession(t *testing.T) {
	for name, end := range map[string]func(a *actingSite, before *browser){
		"actor_ended": func(_ *actingSite, before *browser) { before.Post("/logout") },
		"logged_out":  func(a *actingSite, _ *browser) { a.stop() },
		"ended":       func(a *actingSite, _ *browser) { require.NoError(a, a.guard.EndUser(a.Context(), "ada")) },
	} {
		acting(t, func(t *testing.T, a *actingSite) {
			a.addStream(a.passiveCancelOnEnd)
			before := a.act()
			s := a.grace.openStream("/events")
			advance(time.Minute)
			require.True(t, s.stillOpen())
			end(a, before)
			s.requireEnds("ended: "+name, 0)
		})
	}
	withFakeClock(t, func(t *testing.T) { // on another node, without a Watcher
		a := newActingSite(t, newFailingBackend())
		a.addStream(a.passiveCancelOnEnd)
		a.act()
		var active error
		a.on("POST /active", func(w http.ResponseWriter, r *http.Request) error {
			a.guard.User(r)
			key := sessionsOf(t, a.failingBackend, "grace")[0].Key
			_, err := a.failingBackend.Backend.Delete(r.Context(), key, store.ReasonEnded)
			advance(time.Minute + time.Second)
			active = a.guard.Active(r)
			return err
		})
		s := a.grace.openStream("/events")
		a.grace.Post("/active")
		require.Equal(t, sessionguard.ErrNoSession, active)
		require.Equal(t, "ended: actor_ended", <-s.lines)
	})
}
