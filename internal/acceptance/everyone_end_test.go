package acceptance

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// L3: EndAll ends what is live, dormant, pending and acting, on this node and on others, with
// its streams, and nobody is kept from logging in again.
func TestEndAllEndsEverybodysSessions(t *testing.T) {
	for _, name := range []string{"memory", "with Watch", "without Watch"} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				var backend store.Backend
				within := time.Duration(0) // until a stream of another node ends
				switch name {
				case "memory":
					backend = store.NewMemory()
				case "with Watch":
					backend = watchedBackend{newFailingBackend()}
				case "without Watch":
					backend, within = newFailingBackend(), 30*time.Second
				}
				node := func() *site {
					s := factorSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.RememberFor = backend, twoWeeks })
					s.users.change("eve", func(u *user) { u.Inactive = false })
					s.addStream(s.passiveCancelOnEnd)
					return s
				}
				here, there := node(), node()
				dormant, pending, ada, grace, visitor := here.browse(), here.browse(), here.browse(), there.browse(), there.browse()
				here.loginOptions = func(string) []sessionguard.LoginOption {
					return []sessionguard.LoginOption{sessionguard.Remember()}
				}
				dormant.prove("eve", "pwd")
				here.loginOptions = nil
				advance(idle + time.Minute)
				pending.prove("ada", "pwd")
				ada.prove("ada", "pwd,otp")
				grace.prove("grace", "pwd,otp")
				visitor.Post("/value?k=cart&v=17")
				streams := []*stream{ada.openStream("/events"), grace.openStream("/events")}

				require.NoError(t, here.guard.EndAll(t.Context()))
				streams[0].requireEnds("ended: ended", 0)
				streams[1].requireEnds("ended: ended", within)
				for _, b := range []*browser{dormant, ada, grace} {
					require.Equal(t, "/login?next=%2Fhome&reason=ended", b.Get("/home").Header.Get("Location"))
				}
				require.Equal(t, "nobody", pending.Get("/factor").Body)
				require.Equal(t, "17 <nil>", visitor.Get("/value?k=cart").Body)
				here.requireEveryone()

				ada.prove("ada", "pwd,otp")
				require.True(t, ada.loggedIn())
				there.requireEveryone("ada")
			})
		})
	}
}

// L3: whoever acts for somebody is logged out as well, and there is no way back.
func TestEndAllEndsActing(t *testing.T) {
	acting(t, func(t *testing.T, a *actingSite) {
		before := a.act()
		require.NoError(t, a.guard.EndAll(t.Context()))
		require.Equal(t, "/login?next=%2Fhome&reason=ended", a.grace.Get("/home").Header.Get("Location"))
		require.Equal(t, http.StatusSeeOther, a.grace.Post("/stop").StatusCode)
		for _, b := range []*browser{a.grace, before} {
			require.False(t, b.loggedIn())
		}
		ids, _ := a.everyone()
		require.Empty(t, ids)
	})
}

// L3: the request that calls EndAll is one whose session has ended meanwhile. With End, its
// own response goes out, and takes the cookie back.
func TestTheRequestThatCallsEndAll(t *testing.T) {
	for name, test := range map[string]struct {
		end      bool
		accept   string
		later    time.Duration // than the last touch
		location string
		status   int
	}{
		"and End":              {end: true, later: 5 * time.Minute, status: 303, location: "/bye"},
		"and End, at once":     {end: true, status: 303, location: "/bye"},
		"and End, not a page":  {end: true, accept: "application/json", later: 5 * time.Minute, status: 303, location: "/bye"},
		"alone":                {later: 5 * time.Minute, status: 303, location: "/login?reason=ended"},
		"alone, not a page":    {accept: "application/json", later: 5 * time.Minute, status: 401},
		"alone, nothing to do": {status: 303, location: "/bye"},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				users := make(chan string, 2)
				s.mux.Handle("POST /everyone", s.guard.RequireRole("Admin")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					err := s.guard.EndAll(r.Context())
					user, ok := s.guard.User(r) // as the gate found it
					users <- fmt.Sprintf("%s %v %v", user.ID, ok, err)
					if test.end {
						err = s.guard.End(w, r)
						_, ok = s.guard.User(r)
						_, listed := s.guard.Session(r)
						users <- fmt.Sprintf("%v %v %v", ok, listed, err)
					}
					http.Redirect(w, r, "/bye", http.StatusSeeOther)
				})))
				ada, grace := s.browse(), s.browse()
				ada.login("ada")
				grace.login("grace")
				copied := s.copyOf(grace)
				advance(test.later)
				s.events.take()
				header := []string{}
				if test.accept != "" {
					header = []string{"Accept", test.accept}
				}
				resp := grace.Post("/everyone", header...)
				require.Equal(s.T, "grace true <nil>", <-users)
				require.Equal(s.T, test.status, resp.StatusCode)
				require.Equal(s.T, test.location, resp.Header.Get("Location"))
				requireNoStore(s.T, resp.Header)
				if test.end {
					require.Equal(s.T, "false false <nil>", <-users)
					require.NotContains(s.T, grace.Cookies(), sessionCookie)
				}
				for _, b := range []*browser{ada, grace, copied} {
					require.False(s.T, b.loggedIn())
				}
				events := s.events.take(sessionguard.EventEnded, sessionguard.EventLogout)
				require.Len(s.T, events, 2, "one for each session")
				for _, e := range events {
					require.Equal(s.T, sessionguard.EventEnded, e.Name)
					require.Equal(s.T, []string{"ended", "grace", "/everyone"}, []string{string(e.Reason), e.Actor, e.Path})
				}
				grace.login("grace")
				require.True(s.T, grace.loggedIn())
			})
		})
	}
}

// L6: EndAll completes although the client is gone.
func TestEndAllOutlivesItsClient(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		backend.Backend = &listingContextBackend{contextBackend{Backend: backend.Backend}}
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		s.browse().login("ada")
		addSessions(t, backend, "ada", 600)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, s.guard.EndAll(ctx))
		s.requireEveryone()
	})
}

// L6: no number of sessions and no slow events end EndAll early, but a backend that hangs does.
func TestEndAllTakesItsTimeButDoesNotHang(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		hanging := &listingContextBackend{contextBackend{Backend: backend.Backend}}
		backend.Backend = hanging
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = backend
			c.OnEvent = func(ctx context.Context, e sessionguard.Event) {
				if e.Name == sessionguard.EventEnded {
					time.Sleep(time.Second)
				}
			}
		})
		s.browse().login("ada")
		addSessions(t, backend, "ada", 600)
		backend.beforeCall("next", func() { time.Sleep(time.Second) })
		require.NoError(t, s.guard.EndAll(t.Context()))
		backend.beforeCall("next", nil)
		s.requireEveryone()

		s.browse().login("ada")
		for method, within := range map[string]time.Duration{"All": 2 * time.Minute, "DeleteByID": 5 * time.Second} {
			hanging.hangOn.Store(method)
			start := time.Now()
			require.ErrorIs(t, s.guard.EndAll(t.Context()), sessionguard.ErrUnavailable)
			require.Equal(t, within, time.Since(start), method)
		}
		hanging.hangOn.Store("")
		advance(time.Minute)
		s.requireEveryone()
	})
}

// I4: the number of calls depends on the number of pages, not of sessions, and each session has
// one event.
func TestEndAllEndsManySessionsInFewCalls(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		ada, grace := s.browse(), s.browse()
		ada.login("ada")
		grace.login("grace")
		addSessions(t, backend, "ada", 3000)
		addSessions(t, backend, "grace", 300)
		ids, _ := s.everyone()
		require.Len(t, ids, 3302)
		n, err := s.guard.CountSessions(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3302, n)

		s.events.take()
		before := backend.callCounts()
		require.NoError(t, s.guard.EndAll(t.Context()))
		since := callsSince(backend, before)
		delete(since, "next")
		require.Equal(t, map[string]int{"All": 2, "DeleteByID": 13}, since)
		requireEventsOnce(t, s, 3302)
		s.requireEveryone()
		require.False(t, ada.loggedIn() || grace.loggedIn())

		before = backend.callCounts()
		require.NoError(t, s.guard.EndAll(t.Context()))
		require.Equal(t, map[string]int{"All": 2}, callsSince(backend, before), "nothing is left to do")
	})
}

// I4: logins and revivals that move sessions while EndAll reads its pages do not save them.
func TestNoSessionEscapesEndAllByMoving(t *testing.T) {
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
			if calls++; calls%100 != 1 {
				return
			}
			for i, b := range browsers {
				if i%2 == calls/100%2 {
					b.Get("/home") // revives it, if it has not ended
				} else if b.loggedIn() {
					b.login("ada")
				}
			}
		}
		backend.beforeCall("next", move)
		s.events.take()
		require.NoError(t, s.guard.EndAll(t.Context()))
		require.Greater(t, calls, 600)
		for _, b := range browsers {
			require.False(t, b.loggedIn())
		}
		require.Empty(t, sessionsOf(t, backend, "ada"))
		requireEventsOnce(t, s, 640)
	})
}

// F3: a pending login that is completed during EndAll is either ended or a login of its own
// time: it is not between the two.
func TestNoPendingLoginEscapesEndAllByBeingCompleted(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := factorSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		b := s.browse()
		b.prove("ada", "pwd")
		calls := 0
		backend.beforeCall("All", func() {
			if calls++; calls == 2 {
				b.Post("/factor?user=ada&factors=otp")
			}
		})
		require.NoError(t, s.guard.EndAll(t.Context()))
		require.Equal(t, 2, calls)
		require.False(t, b.loggedIn())
		s.requireEveryone()
	})
}

// L3: people go on logging in while EndAll runs, and it returns all the same. What began before
// the call has ended, and a cookie that has been handed out works or is refused: no other state.
func TestEndAllWhilePeopleLogIn(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	var earlier []*browser
	for range 20 {
		b := s.browse()
		b.login("ada")
		earlier = append(earlier, b)
	}
	addSessions(t, backend, "ada", 1000)
	var wg sync.WaitGroup
	done := make(chan struct{})
	later := make([]*browser, 4)
	for i := range later {
		later[i] = s.browse()
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					later[i].Post("/login?user=grace")
				}
			}
		})
	}
	errs := make(chan error, 2)
	for range cap(errs) { // two administrators at once
		wg.Go(func() { errs <- s.guard.EndAll(t.Context()) })
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	for _, b := range earlier {
		require.False(t, b.loggedIn())
	}
	require.Empty(t, sessionsOf(t, backend, "ada"))
	close(done)
	wg.Wait()
	for _, b := range later {
		b.login("grace")
		require.True(t, b.loggedIn())
	}
	s.requireEveryone("grace", "grace", "grace", "grace")
}

// listingContextBackend is a contextBackend that is a store.Lister.
type listingContextBackend struct{ contextBackend }

func (h *listingContextBackend) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for r, err := range h.Backend.(store.Lister).All(ctx, realm) {
			if failed := h.wait(ctx, "All"); failed != nil {
				r, err = store.Record{}, failed
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func (h *listingContextBackend) Count(ctx context.Context, realm string) (int, error) {
	return h.Backend.(store.Lister).Count(ctx, realm)
}

func (h *listingContextBackend) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	if err := h.wait(ctx, "DeleteByID"); err != nil {
		return nil, err
	}
	return h.Backend.DeleteByID(ctx, ends)
}
