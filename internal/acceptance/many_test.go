package acceptance

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// addSessions adds n sessions with 10 KB of values to the one that a user has.
func addSessions(t *testing.T, backend store.Backend, id string, n int) {
	t.Helper()
	addCopies(t, backend, sessionsOf(t, backend, id)[0], n)
}

// addCopies adds n sessions that differ from model in ID, key and values.
func addCopies(t *testing.T, backend store.Backend, model store.Record, n int) {
	t.Helper()
	for range n {
		s := *model.Session
		s.ID, s.Values = rand.Text(), make([]byte, 10_000)
		for rand.Read(s.Key[:]); s.Key.Group() != store.GroupOf(s.Owner); {
			rand.Read(s.Key[:])
		}
		_, err := backend.Create(t.Context(), store.Record{Session: &s, LastSeen: model.LastSeen}, store.Limit{})
		require.NoError(t, err)
	}
}

// requireEventsOnce checks that n sessions have ended, and that each has one event.
func requireEventsOnce(t *testing.T, s *site, n int) {
	t.Helper()
	ended := map[string]bool{}
	for _, e := range s.events.take(sessionguard.EventEnded, sessionguard.EventLogout) {
		require.False(t, ended[e.SessionHash], "two events for a session")
		ended[e.SessionHash] = true
	}
	require.Equal(t, n, len(ended))
}

// I4: the number of calls depends on the number of pages, not of sessions.
func TestEndUserAndEndOthersEndManySessionsInFewCalls(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.on("POST /others", func(_ http.ResponseWriter, r *http.Request) error { return s.guard.EndOthers(r) })
		b := s.browse()
		b.login("ada")
		addSessions(t, backend, "ada", 1000)
		s.events.take()
		before := backend.callCounts()
		require.Equal(t, 200, b.Post("/others").StatusCode)
		since := callsSince(backend, before)
		require.LessOrEqual(t, since["ByOwner"]+since["DeleteByID"], 9)
		require.Zero(t, since["Delete"])
		requireEventsOnce(t, s, 1000)
		require.True(t, b.loggedIn())
		require.Len(t, sessionsOf(t, backend, "ada"), 1)

		addSessions(t, backend, "ada", 1000)
		before = backend.callCounts()
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		since = callsSince(backend, before)
		require.LessOrEqual(t, since["ByOwner"]+since["DeleteByID"], 9)
		require.Zero(t, since["Delete"]+since["Load"])
		requireEventsOnce(t, s, 1001)
		require.False(t, b.loggedIn())
		require.Empty(t, sessionsOf(t, backend, "ada"))

		b.login("ada")
		addSessions(t, backend, "ada", 1000)
		before = backend.callCounts()
		require.NoError(t, s.guard.EndSession(t.Context(), "ada", publicID(b)))
		since = callsSince(backend, before)
		delete(since, "Load") // of publicID
		require.Equal(t, map[string]int{"DeleteByID": 1}, since)
	})
}

// I4: EndUser ends the sessions from before the call, and returns although a client logs in
// faster than a page of sessions ends.
func TestEndUserReturnsAlthoughAClientKeepsLoggingIn(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		addSessions(t, backend, "ada", 500)
		model := sessionsOf(t, backend, "ada")[0]
		earlier := map[string]bool{}
		for after, more := "", true; more; {
			page, err := backend.Backend.ByOwner(t.Context(), sessionCookie+"=ada", after, store.MaxPage)
			require.NoError(t, err)
			for _, r := range page {
				earlier[r.ID], after = true, r.ID
			}
			more = len(page) == store.MaxPage
		}
		require.Len(t, earlier, 501)
		calls := 0
		logIn := func() {
			if calls++; calls == 200 {
				backend.failOn("*")
			}
			addCopies(t, backend.Backend, model, 200)
		}
		backend.beforeCall("ByOwner", logIn)
		backend.beforeCall("DeleteByID", logIn)
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		require.False(t, b.loggedIn())
		for id := range earlier {
			_, err := backend.Backend.LoadByID(t.Context(), sessionCookie+"=ada", id)
			require.ErrorIs(t, err, store.ErrNotFound)
		}
	})
}

// I4: logins and revivals that move sessions to new keys while EndUser reads its pages do not
// save them.
func TestNoSessionEscapesEndUserByMoving(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := rememberingSite(t, backend)
		var browsers []*browser
		for range 40 {
			b := s.browse()
			b.login("ada")
			browsers = append(browsers, b)
		}
		advance(idle)
		addSessions(t, backend, "ada", 600)
		calls := 0
		move := func() {
			calls++
			for i, b := range browsers {
				if i%2 == calls%2 {
					b.Get("/home") // revives it, if it has not ended
				} else if b.loggedIn() {
					b.login("ada")
				}
			}
		}
		backend.beforeCall("ByOwner", move)
		backend.beforeCall("DeleteByID", move)
		s.events.take()
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		require.NotZero(t, calls)
		for _, b := range browsers {
			require.False(t, b.loggedIn())
		}
		require.Empty(t, sessionsOf(t, backend, "ada"))
		requireEventsOnce(t, s, 640)
	})
}

// I4: EndOthers keeps its own session even if another request of the same browser has logged
// in again meanwhile, with new credentials.
func TestEndOthersKeepsItsSessionDuringReauthentication(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.on("POST /others", func(_ http.ResponseWriter, r *http.Request) error {
			s.guard.User(r)
			return s.guard.EndOthers(r)
		})
		s.on("POST /password", func(w http.ResponseWriter, r *http.Request) error {
			s.guard.User(r)
			s.users.change("ada", func(u *user) { u.Stamp = "new" })
			u, err := s.users.Find(r.Context(), "ada")
			return errors.Join(err, s.guard.Login(w, r, u))
		})
		b, phone := s.browse(), s.browse()
		b.login("ada")
		phone.login("ada")
		tab := s.copyOf(b)
		backend.beforeCall("ByOwner", func() { tab.Post("/password") })
		b.Post("/others")
		backend.beforeCall("ByOwner", nil)
		require.True(t, tab.loggedIn())
		require.False(t, phone.loggedIn())
		require.Len(t, sessionsOf(t, backend, "ada"), 1)
	})
}

// Events that take long to handle do not use up the time in which sessions end.
func TestSlowEventsKeepNoSessionAlive(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend, events := newFailingBackend(), 0
		backend.Backend = &contextBackend{Backend: backend.Backend}
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = backend
			c.OnEvent = func(ctx context.Context, e sessionguard.Event) {
				if e.Name == sessionguard.EventEnded {
					events++
					time.Sleep(time.Second)
					require.NoError(t, ctx.Err())
				}
			}
		})
		s.browse().login("ada")
		addSessions(t, backend, "ada", 600)
		ctx, cancel := context.WithCancel(t.Context())
		backend.beforeCall("DeleteByID", cancel) // the client disconnects
		require.NoError(t, s.guard.EndUser(ctx, "ada"))
		require.Equal(t, 601, events)
		require.Empty(t, sessionsOf(t, backend, "ada"))
	})
}

// K2: whoever sends a thousand signed cookies keeps no backend busy. The browser's own cookie
// is the last, because planted ones with longer paths come first.
func TestLogoutAndLoginLookAtFewCookies(t *testing.T) {
	for _, path := range []string{"/logout", "/login?user=grace"} {
		onBoth(t, func(s *site, backend *failingBackend) {
			var header strings.Builder
			handler := s.guard.Handler(s.mux)
			send := func(path, cookies string) *http.Response {
				r := httptest.NewRequest("POST", "https://app.example"+path, nil)
				r.Header.Set("Cookie", cookies)
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				return w.Result()
			}
			for range 1000 {
				c := send("/login?user=ada", "").Cookies()[0]
				header.WriteString(c.Name + "=" + c.Value + "; ")
			}
			b := s.browse()
			b.login("ada")
			var before map[string]int
			if backend != nil {
				before = backend.callCounts()
			}
			s.events.take()
			resp := send(path, header.String()+sessionCookie+"="+b.Cookies()[sessionCookie])
			require.Less(s.T, resp.StatusCode, 400)
			require.False(s.T, b.loggedIn())
			require.Equal(s.T, 8, len(s.events.take(sessionguard.EventEnded, sessionguard.EventLogout)))
			if backend != nil {
				require.Equal(s.T, 8, callsSince(backend, before)["Delete"])
			}
		})
	}
}

// valueCounter counts the bytes of values that a backend returns.
type valueCounter struct {
	store.Backend
	bytes int
}

func (c *valueCounter) count(r store.Record) {
	if r.Session != nil {
		c.bytes += len(r.Values)
	}
}

func (c *valueCounter) Load(ctx context.Context, key store.Key) (store.Record, error) {
	r, err := c.Backend.Load(ctx, key)
	c.count(r)
	return r, err
}

func (c *valueCounter) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	r, err := c.Backend.LoadByID(ctx, owner, id)
	c.count(r)
	return r, err
}

// A superseded token finds its session in few calls, and with no values but the session's,
// however many sessions the owner has, before and after the session has ended.
func TestSupersededTokenDoesNotLoadTheOwnersSessions(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		memory := backend.Backend.(*store.Memory)
		values := &valueCounter{Backend: memory}
		backend.Backend = values
		s := rememberingSite(t, backend)
		b := s.browse()
		b.login("ada")
		old := s.copyOf(b)
		advance(idle)
		require.Equal(t, "secret of ada", b.Get("/home").Body, "revived")
		b.login("ada")
		addSessions(t, backend, "ada", 1000)
		advance(2 * time.Minute)
		purge(t, memory) // of the last move there is no marker any more
		for _, ended := range []bool{false, true} {
			for range 3 {
				before := backend.callCounts()
				values.bytes = 0
				require.NotEqual(t, "secret of ada", old.Get("/home").Body)
				since := callsSince(backend, before)
				require.Zero(t, since["ByOwner"])
				require.LessOrEqual(t, since["Load"]+since["LoadByID"]+since["Delete"], 5)
				require.Less(t, values.bytes, 1000)
			}
			if !ended {
				require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
				advance(2 * store.TombstoneLifetime)
				purge(t, memory)
			}
		}
	})
}
