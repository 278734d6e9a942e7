package acceptance

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

const twoWeeks = 14 * 24 * time.Hour

// onBothRemembered is like onBoth, with logins that are remembered for two weeks.
func onBothRemembered(t *testing.T, test func(s *site, backend *failingBackend)) {
	t.Helper()
	for name, backend := range map[string]*failingBackend{"in process": nil, "remote": newFailingBackend()} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				if backend != nil {
					backend = newFailingBackend() // made in the bubble of synctest
				}
				test(rememberingSite(t, backend), backend)
			})
		})
	}
}

// rememberingSite returns a site whose logins are remembered for two weeks. backend may
// be nil.
func rememberingSite(t *testing.T, backend *failingBackend, configure ...func(*sessionguard.Config[*user])) *site {
	t.Helper()
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.RememberFor = twoWeeks
		if backend != nil {
			c.Backend = backend
		}
		for _, f := range configure {
			f(c)
		}
	})
	s.loginOptions = func(string) []sessionguard.LoginOption {
		return []sessionguard.LoginOption{sessionguard.Remember()}
	}
	return s
}

func TestRememberedSessionIsRevivedAfterIdleTimeout(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.mux.Handle("GET /day", s.guard.RequireFresh(24*time.Hour)(http.NotFoundHandler()))
		b := s.browse()
		first := b.login("ada").Cookie(sessionCookie)
		require.Equal(s.T, int((twoWeeks+time.Hour)/time.Second), first.MaxAge, "the browser keeps the cookie")
		b.Post("/value?k=cart&v=17")
		id := statusOf(b).Session
		require.Contains(s.T, b.Get("/fresh").Body, "secret")
		s.events.take()

		advance(idle)
		resp := b.Get("/home")
		require.Equal(s.T, "secret of ada", resp.Body)
		requireNoStore(s.T, resp.Header)
		second := resp.Cookie(sessionCookie)
		require.NotNil(s.T, second)
		require.NotEqual(s.T, first.Value, second.Value, "a new token")
		require.Equal(s.T, int((twoWeeks+time.Hour-idle)/time.Second), second.MaxAge, "the same end")
		require.True(s.T, second.Secure && second.HttpOnly && second.SameSite == http.SameSiteLaxMode && second.Path == "/" && second.Domain == "")
		require.Equal(s.T, id, statusOf(b).Session, "the same session")
		require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=cart").Body, "without its values")
		require.Equal(s.T, "/login?next=%2Ffresh", b.Get("/fresh").Header.Get("Location"), "not fresh")
		require.Equal(s.T, "/login?next=%2Fday", b.Get("/day").Header.Get("Location"), "whatever age RequireFresh allows")
		revivals := s.events.take(sessionguard.EventRevived)
		require.Len(s.T, revivals, 1)
		require.Equal(s.T, "ada", revivals[0].UserID)
		require.Nil(s.T, b.Get("/home").Cookie(sessionCookie), "an ordinary request sets no cookie")

		// A new login makes it fresh again. It is still remembered.
		s.loginOptions = nil
		third := b.login("ada").Cookie(sessionCookie)
		require.Equal(s.T, int((twoWeeks+time.Hour-idle)/time.Second), third.MaxAge)
		require.Contains(s.T, b.Get("/fresh").Body, "secret")
		require.Equal(s.T, id, statusOf(b).Session)
		advance(idle)
		require.True(s.T, b.Get("/home").Body == "secret of ada")
	})
}

// L1, L2
func TestWithoutRememberNothingIsRevived(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.loginOptions = nil
		b := s.browse()
		require.Zero(s.T, b.login("ada").Cookie(sessionCookie).MaxAge)
		require.Less(s.T, statusOf(b).Absolute, int(absolute/time.Second)+1)
		advance(idle)
		resp := b.Get("/home")
		require.Equal(s.T, "/login?next=%2Fhome&reason=idle", resp.Header.Get("Location"))
		require.Nil(s.T, resp.Cookie(sessionCookie))
	})
}

func TestRememberedSessionEndsAfterRememberFor(t *testing.T) {
	onBothRemembered(t, func(s *site, backend *failingBackend) {
		start := time.Now()
		b := s.browse()
		b.login("ada")
		for time.Since(start)+25*time.Hour < twoWeeks {
			advance(25 * time.Hour) // more than the absolute timeout of other logins
			require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		}
		advance(twoWeeks - time.Since(start) - time.Second)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body, "until the last second")
		advance(time.Second)
		require.Equal(s.T, "/login?next=%2Fhome&reason=absolute", b.Get("/home").Header.Get("Location"), "although it was active")
	})
}

// By default a session is remembered for half an hour after its login, whatever happens
// meanwhile.
func TestDefaultRememberForChangesNoTimeout(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingSite(t, nil, func(c *sessionguard.Config[*user]) { c.RememberFor = 0 })
		b := s.browse()
		require.Equal(t, int((absolute+time.Hour)/time.Second), b.login("ada").Cookie(sessionCookie).MaxAge, "an active session needs the cookie that long")
		advance(20 * time.Minute)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		advance(20 * time.Minute)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		advance(idle)
		require.Equal(t, "/login?next=%2Fhome&reason=idle", b.Get("/home").Header.Get("Location"))
	})
}

// A login with an AbsoluteTimeout of its own may end earlier, and is not revived after
// that.
func TestAbsoluteTimeoutOptionEndsRememberedSession(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.Remember(), sessionguard.AbsoluteTimeout(2 * time.Hour)}
		}
		b := s.browse()
		require.Equal(s.T, int(3*time.Hour/time.Second), b.login("ada").Cookie(sessionCookie).MaxAge)
		advance(time.Hour)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		advance(time.Hour)
		list, err := s.guard.Sessions(s.T.Context(), "ada")
		require.NoError(s.T, err)
		require.Empty(s.T, list)
		require.Equal(s.T, "/login?next=%2Fhome&reason=absolute", b.Get("/home").Header.Get("Location"))
	})
}

// A page makes many requests at once, and they may arrive on different nodes.
func TestParallelRequestsReviveSessionOnce(t *testing.T) {
	for _, remote := range []bool{false, true} {
		withFakeClock(t, func(t *testing.T) {
			var backend store.Backend = store.NewMemory()
			if remote {
				backend = newFailingBackend()
			}
			nodes := make([]*site, 2)
			for i := range nodes {
				nodes[i] = rememberingSite(t, nil, func(c *sessionguard.Config[*user]) { c.Backend = backend })
			}
			first := nodes[0].browse()
			first.login("ada")
			before := first.Cookies()[sessionCookie]
			advance(idle)

			const requests = 50
			browsers := make([]*browser, requests)
			for i := range browsers {
				browsers[i] = nodes[i%2].browse()
				browsers[i].SetCookies(first.Cookies())
			}
			responses := make([]response, requests)
			var wg sync.WaitGroup
			for i, b := range browsers {
				wg.Go(func() { responses[i] = b.Get("/home") })
			}
			wg.Wait()

			value := responses[0].Cookie(sessionCookie).Value
			require.NotEqual(t, before, value)
			for _, resp := range responses {
				require.Equal(t, "secret of ada", resp.Body)
				require.Equal(t, value, resp.Cookie(sessionCookie).Value, "every response has the same new token, because any of them may be lost")
			}
			require.Len(t, sessionsOf(t, backend, "ada"), 1)
			revivals := append(nodes[0].events.take(sessionguard.EventRevived), nodes[1].events.take(sessionguard.EventRevived)...)
			require.Len(t, revivals, 1, "exactly one revival")
		})
	}
}

// No client can force the guard to follow a long chain of moves, as often as it likes: after
// three moves, or where a marker is gone, the session is found by its ID.
func TestLongChainOfMovesCostsFewCalls(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := rememberingSite(t, backend)
		b := s.browse()
		b.login("ada")
		old := s.copyOf(b)
		for range 100 {
			advance(time.Hour)
			require.Equal(t, "secret of ada", b.Get("/home").Body)
			b.Get("/home")
		}
		requireFew := func(method, path string) {
			before := backend.callCounts()
			s.sendCookies(method, path, sessionCookie+"="+old.Cookies()[sessionCookie])
			calls := callsSince(backend, before)
			require.LessOrEqual(t, sum(calls), 5, "%s %s: %v", method, path, calls)
			require.Zero(t, calls["ByOwner"])
		}
		paths := []string{"/", "/home", "/poll", "/status", "/value?k=k"}
		for _, path := range paths {
			requireFew("GET", path) // it is still within the grace
		}
		require.True(t, b.loggedIn())
		requireFew("POST", "/logout")
		require.False(t, b.loggedIn(), "the session was found")
		for _, path := range paths {
			requireFew("GET", path)
		}
	})
}

// The login page is where the browser goes from a page that was left alone. It calls
// User, but that revives nothing.
func TestLoginPageRevivesNoSession(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.addReasonRoutes()
		s.mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
			if _, ok := s.guard.User(r); ok {
				http.Redirect(w, r, s.guard.Next(r, "/home"), http.StatusSeeOther)
				return
			}
			io.WriteString(w, string(s.guard.EndReason(r)))
		})
		b := s.browse()
		b.login("ada")
		advance(idle)
		require.Equal(s.T, "/login?next=%2Fhome&reason=remembered", b.Get("/sessionguard/resume?next=/home&reason=idle").Header.Get("Location"))
		require.Equal(s.T, "remembered", b.Get("/login?next=/home").Body)
		require.JSONEq(s.T, `{"authenticated":false,"idle_seconds":0,"absolute_seconds":0,"reason":"remembered"}`, b.Post("/sessionguard/stay").Body)
		require.Equal(s.T, http.StatusSeeOther, b.Get("/home", "Sec-Purpose", "prefetch").StatusCode)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
	})
}

func TestEndedSessionIsNotRevived(t *testing.T) {
	for name, end := range map[string]func(*site, *browser){
		"logout":        func(_ *site, b *browser) { b.Post("/logout") },
		"EndUser":       func(s *site, _ *browser) { require.NoError(s.T, s.guard.EndUser(s.T.Context(), "ada")) },
		"changed stamp": func(s *site, _ *browser) { s.users.change("ada", func(u *user) { u.Stamp = "new" }) },
		"inactive user": func(s *site, _ *browser) { s.users.change("ada", func(u *user) { u.Inactive = true }) },
		"deleted user":  func(s *site, _ *browser) { delete(s.users.users, "ada") },
		"EndSession": func(s *site, _ *browser) {
			list, err := s.guard.Sessions(s.T.Context(), "ada")
			require.NoError(s.T, err)
			require.NoError(s.T, s.guard.EndSession(s.T.Context(), "ada", list[0].ID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, order := range []string{"ended, then idle", "idle, then ended"} {
				onBothRemembered(t, func(s *site, _ *failingBackend) {
					b := s.browse()
					b.login("ada")
					copied := s.copyOf(b)
					if order == "ended, then idle" {
						end(s, b)
						advance(idle)
					} else {
						advance(idle)
						end(s, b)
					}
					for range 3 {
						resp := copied.Get("/home")
						require.NotContains(s.T, resp.Body, "secret", order)
						require.Nil(s.T, resp.Cookie(sessionCookie), order)
						require.Empty(s.T, s.events.take(sessionguard.EventRevived), order)
						require.NotContains(s.T, b.Get("/home").Body, "secret", order)
						advance(time.Hour)
					}
					s.users.change("ada", func(u *user) { *u = testUsers["ada"] })
					require.NotContains(s.T, copied.Get("/home").Body, "secret", order)
				})
			}
		})
	}
}

// A logout with a superseded token ends the session all the same.
func TestLogoutWithSupersededTokenEndsSession(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		old := s.copyOf(b)
		advance(idle)
		require.True(s.T, b.Get("/home").Body == "secret of ada")
		old.Post("/logout")
		require.False(s.T, b.loggedIn())
	})
}

// A request that no person caused revives no session, and ends none.
func TestPassiveRequestsReviveNothing(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.mux.Handle("GET /ws", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})))
		b := s.browse()
		b.login("ada")
		advance(idle)
		require.Equal(s.T, "/login?next=%2Fpoll&reason=remembered", b.Get("/poll").Header.Get("Location"))
		status := b.Get("/status")
		require.Nil(s.T, status.Cookie(sessionCookie))
		require.JSONEq(s.T, `{"authenticated":false,"idle_seconds":0,"absolute_seconds":0,"reason":"remembered"}`, status.Body)
		upgrade := b.Get("/ws", "Upgrade", "websocket", "Connection", "Upgrade", "Sec-Fetch-Site", "same-origin")
		require.Equal(s.T, "/login?next=%2Fws&reason=remembered", upgrade.Header.Get("Location"))
		require.Nil(s.T, upgrade.Cookie(sessionCookie))
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		require.True(s.T, b.loggedIn())
	})
}

// L5
func TestBackendFailureEndsNoRememberedSession(t *testing.T) {
	for _, method := range []string{"Load", "Replace"} {
		withFakeClock(t, func(t *testing.T) {
			backend := newFailingBackend()
			s := rememberingSite(t, backend)
			b := s.browse()
			b.login("ada")
			advance(idle)
			backend.failOn(method)
			resp := b.Get("/home")
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			require.Nil(t, resp.Cookie(sessionCookie))
			backend.failOn()
			require.Equal(t, "secret of ada", b.Get("/home").Body)
		})
	}
}

// The new cookie comes with any response, also with a refusal.
func TestRefusalForMissingRoleRevivesSession(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		advance(idle)
		resp := b.Get("/admin")
		require.Equal(s.T, "/?reason=forbidden", resp.Header.Get("Location"))
		require.NotNil(s.T, resp.Cookie(sessionCookie))
		advance(time.Minute)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
	})
}
