package acceptance

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

const twoWeeks = 14 * 24 * time.Hour

// onBothRemembered is onBoth with logins that are remembered for two weeks.
func onBothRemembered(t *testing.T, test func(s *site, backend *failingBackend)) {
	t.Helper()
	for name, backend := range map[string]*failingBackend{"in process": nil, "remote": newFailingBackend()} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				if backend != nil {
					backend = newFailingBackend() // of this bubble
				}
				test(rememberingSite(t, backend), backend)
			})
		})
	}
}

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

// sessionCookieOf is the session cookie that an answer sets, if any.
func sessionCookieOf(a response) *http.Cookie {
	for _, c := range a.Cookies() {
		if c.Name == sessionCookie {
			return c
		}
	}
	return nil
}

func TestARememberedSessionGoesOnAfterItsIdleTimeout(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.mux.Handle("GET /day", s.guard.RequireFresh(24*time.Hour)(http.NotFoundHandler()))
		b := s.browse()
		first := sessionCookieOf(b.login("ada"))
		require.Equal(s.T, int((twoWeeks+time.Hour)/time.Second), first.MaxAge, "the browser keeps it")
		b.Post("/value?k=cart&v=17")
		id := statusOf(b).Session
		require.Contains(s.T, b.Get("/fresh").Body, "secret")
		s.events.take()

		advance(idle)
		a := b.Get("/home")
		require.Equal(s.T, "secret of ada", a.Body)
		requireNoStore(s.T, a.Header)
		second := sessionCookieOf(a)
		require.NotNil(s.T, second)
		require.NotEqual(s.T, first.Value, second.Value, "a new token")
		require.Equal(s.T, int((twoWeeks+time.Hour-idle)/time.Second), second.MaxAge, "the same end")
		require.True(s.T, second.Secure && second.HttpOnly && second.SameSite == http.SameSiteLaxMode && second.Path == "/" && second.Domain == "")
		require.Equal(s.T, id, statusOf(b).Session, "the same session")
		require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=cart").Body, "without its values")
		require.Equal(s.T, "/login?next=%2Ffresh", b.Get("/fresh").Header.Get("Location"), "and not fresh")
		require.Equal(s.T, "/login?next=%2Fday", b.Get("/day").Header.Get("Location"), "however long fresh lasts")
		used := s.events.take(sessionguard.EventRevived)
		require.Len(s.T, used, 1)
		require.Equal(s.T, "ada", used[0].UserID)
		require.Nil(s.T, sessionCookieOf(b.Get("/home")), "a hit sets no cookie")

		// A login is what makes it fresh again. What was to be remembered still is.
		s.loginOptions = nil
		third := sessionCookieOf(b.login("ada"))
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
		require.Zero(s.T, sessionCookieOf(b.login("ada")).MaxAge)
		require.Less(s.T, statusOf(b).Absolute, int(absolute/time.Second)+1)
		advance(idle)
		a := b.Get("/home")
		require.Equal(s.T, "/login?next=%2Fhome&reason=idle", a.Header.Get("Location"))
		require.Nil(s.T, sessionCookieOf(a))
	})
}

func TestARememberedSessionEndsWhenItWasSaid(t *testing.T) {
	onBothRemembered(t, func(s *site, backend *failingBackend) {
		begun := time.Now()
		b := s.browse()
		b.login("ada")
		for time.Since(begun)+25*time.Hour < twoWeeks {
			advance(25 * time.Hour) // past the absolute timeout of other logins, too
			require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		}
		advance(twoWeeks - time.Since(begun) - time.Second)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body, "to the last second")
		advance(time.Second)
		require.Equal(s.T, "/login?next=%2Fhome&reason=absolute", b.Get("/home").Header.Get("Location"), "however active")
	})
}

// The default is the recipe's: half an hour, from the login on, whatever happens.
func TestRememberingForLessThanTheIdleTimeoutChangesNoTimeout(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := rememberingSite(t, nil, func(c *sessionguard.Config[*user]) { c.RememberFor = 0 })
		b := s.browse()
		require.Equal(t, int((absolute+time.Hour)/time.Second), sessionCookieOf(b.login("ada")).MaxAge, "an active session needs it")
		advance(20 * time.Minute)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		advance(20 * time.Minute)
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		advance(idle)
		require.Equal(t, "/login?next=%2Fhome&reason=idle", b.Get("/home").Header.Get("Location"))
	})
}

// A login of its own may end sooner, and then does not come back later either.
func TestAnAbsoluteTimeoutOfOnesOwnEndsWhatIsRemembered(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.Remember(), sessionguard.AbsoluteTimeout(2 * time.Hour)}
		}
		b := s.browse()
		require.Equal(s.T, int(3*time.Hour/time.Second), sessionCookieOf(b.login("ada")).MaxAge)
		advance(time.Hour)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		advance(time.Hour)
		list, err := s.guard.Sessions(s.T.Context(), "ada")
		require.NoError(s.T, err)
		require.Empty(s.T, list)
		require.Equal(s.T, "/login?next=%2Fhome&reason=absolute", b.Get("/home").Header.Get("Location"))
	})
}

// A page asks for many things at once, and they may arrive on different nodes.
func TestParallelRequestsReviveASessionOnce(t *testing.T) {
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
			answers := make([]response, requests)
			var wg sync.WaitGroup
			for i, b := range browsers {
				wg.Go(func() { answers[i] = b.Get("/home") })
			}
			wg.Wait()

			value := sessionCookieOf(answers[0]).Value
			require.NotEqual(t, before, value)
			for _, a := range answers {
				require.Equal(t, "secret of ada", a.Body)
				require.Equal(t, value, sessionCookieOf(a).Value, "every answer brings the same new token, lest one is lost")
			}
			require.Len(t, sessionsOf(t, backend, "ada"), 1)
			used := append(nodes[0].events.take(sessionguard.EventRevived), nodes[1].events.take(sessionguard.EventRevived)...)
			require.Len(t, used, 1, "exactly one rotation")
		})
	}
}

func TestARotatedOutTokenIsGoodForAMomentAndThenATheft(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		thief := s.copyOf(b)
		advance(idle)
		b.Get("/home")
		advance(time.Second)
		b.Get("/home") // with the new token

		advance(29*time.Second - time.Millisecond)
		late := s.copyOf(thief)
		a := late.Get("/home")
		require.Equal(s.T, "secret of ada", a.Body)
		require.Equal(s.T, b.Cookies(), late.Cookies(), "it gets the token that there is")
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))

		advance(time.Millisecond)
		require.Equal(s.T, "/login?next=%2Fhome&reason=theft_suspected", thief.Get("/home").Header.Get("Location"))
		require.Equal(s.T, "/login?next=%2Fhome&reason=theft_suspected", b.Get("/home").Header.Get("Location"), "nobody can tell who is the thief")
		theft := s.events.take(sessionguard.EventTheftSuspected)
		require.Len(s.T, theft, 1)
		require.Equal(s.T, "ada", theft[0].UserID)
		require.Nil(s.T, sessionCookieOf(thief.Get("/home")))
	})
}

// The thief comes first, and more than once; it is noticed when the owner does.
func TestATheftIsNoticedAfterManyRotations(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		owner := s.browse()
		owner.login("ada")
		thief := s.copyOf(owner)
		for range 20 {
			advance(10 * time.Hour)
			require.Equal(s.T, "secret of ada", thief.Get("/home").Body)
		}
		advance(time.Minute)
		require.Equal(s.T, "/login?next=%2Fhome&reason=theft_suspected", owner.Get("/home").Header.Get("Location"))
		require.NotEqual(s.T, "secret of ada", thief.Get("/home").Body)
		require.Len(s.T, s.events.take(sessionguard.EventTheftSuspected), 1)
	})
}

// A session that moves on while it is being ended for theft is ended all the same.
func TestATheftEndsASessionThatIsBeingLoggedInToAgain(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := rememberingSite(t, backend)
		b := s.browse()
		b.login("ada")
		thief := s.copyOf(b)
		advance(idle)
		b.Get("/home")
		advance(time.Minute)
		b.Get("/home")
		var once sync.Once
		backend.beforeCall("Delete", func() { once.Do(func() { b.login("ada") }) })
		thief.Get("/home")
		require.False(t, b.loggedIn())
		require.Empty(t, sessionsOf(t, backend, "ada"))
	})
}

// I1: re-authentication kills the token from before at once. That is no theft: the
// answer with the new one may be lost, and the person had the password.
func TestTheTokenFromBeforeALoginIsDeadAtOnceAndNoTheft(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		old := s.copyOf(b)
		b.login("ada")
		for range 5 {
			require.False(s.T, old.loggedIn())
			require.True(s.T, b.loggedIn())
			advance(20 * time.Second)
		}
		require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
	})
}

// Who has a token that was revived away is a thief also after a login.
func TestATheftIsNoticedAfterALogin(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		thief := s.copyOf(b)
		advance(idle)
		b.Get("/home")
		advance(10 * time.Second)
		b.login("ada")
		require.False(s.T, thief.loggedIn())
		require.True(s.T, b.loggedIn(), "it may be a request that was under way")
		advance(2 * time.Minute)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		require.False(s.T, thief.loggedIn())
		require.False(s.T, b.loggedIn())
		require.Len(s.T, s.events.take(sessionguard.EventTheftSuspected), 1)
	})
}

// slow adds GET /slow, which takes a while.
func (s *site) slow(d time.Duration) {
	s.mux.Handle("GET /slow", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		advance(d)
		io.WriteString(w, "secret")
	})))
}

// K2, L3: an answer with a new token that is late overwrites no newer cookie
func TestALateAnswerWithANewTokenOverwritesNoLoginAndNoLogout(t *testing.T) {
	for name, overtake := range map[string]func(s *site, b *browser){
		"the same user":    func(_ *site, b *browser) { b.login("ada") },
		"another user":     func(_ *site, b *browser) { b.login("grace") },
		"a logout":         func(_ *site, b *browser) { b.Post("/logout") },
		"an administrator": func(s *site, _ *browser) { require.NoError(s.T, s.guard.EndUser(s.T.Context(), "ada")) },
	} {
		t.Run(name, func(t *testing.T) {
			onBothRemembered(t, func(s *site, _ *failingBackend) {
				s.slow(5 * time.Second)
				b := s.browse()
				b.login("ada")
				advance(idle)
				done := make(chan response)
				go func() { done <- b.Get("/slow") }()
				advance(time.Second)
				overtake(s, b)
				want := b.Cookies()
				late := <-done
				require.Nil(s.T, sessionCookieOf(late))
				require.NotEqual(s.T, "secret", late.Body)
				require.Equal(s.T, want, b.Cookies())
				require.Equal(s.T, strings.Contains(name, "user"), b.loggedIn())
				advance(31 * time.Second)
				b.loggedIn()
				require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
			})
		})
	}
}

// K2: nor does one that is anybody's, and goes out.
func TestALatePageForAnybodyOverwritesNoCookieEither(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
			s.guard.User(r)
			advance(5 * time.Second)
			io.WriteString(w, "for anybody")
		})
		b := s.browse()
		b.login("ada")
		advance(idle)
		done := make(chan response)
		go func() { done <- b.Get("/slow") }()
		advance(time.Second)
		b.login("grace")
		late := <-done
		require.Equal(s.T, "for anybody", late.Body)
		require.Nil(s.T, sessionCookieOf(late))
		require.True(s.T, b.loggedIn())
	})
}

// A password is worth more than a cookie: who gives it needs no revival, and has a
// session of its own, without what the last one was told to remember.
func TestALoginInPlaceOfARevivalIsANewSession(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.on("POST /enter", func(w http.ResponseWriter, r *http.Request) error { // not the login page
			ada := testUsers["ada"]
			return s.guard.Login(w, r, &ada)
		})
		b := s.browse()
		b.login("ada")
		id := statusOf(b).Session
		advance(idle)
		s.events.take()
		require.Zero(s.T, sessionCookieOf(b.Post("/enter")).MaxAge)
		require.NotEqual(s.T, id, statusOf(b).Session)
		events := s.events.take()
		require.Len(s.T, events, 2)
		require.Equal(s.T, sessionguard.EventEnded, events[0].Name)
		require.Equal(s.T, store.ReasonReplaced, events[0].Reason)
		require.Equal(s.T, sessionguard.EventLogin, events[1].Name)
	})
}

// The answer with the new token may never come. As long as nobody has used it, the
// one from before is no thief's.
func TestALostAnswerIsNoTheft(t *testing.T) {
	for name, lose := range map[string]func(s *site, b *browser){
		"the handler panics": func(s *site, b *browser) {
			s.mux.Handle("GET /boom", s.guard.RequireLogin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("bug") })))
			_, err := b.Client.Do(b.Request("GET", "/boom"))
			require.Error(s.T, err)
		},
		"the answer takes long": func(s *site, b *browser) {
			s.slow(10 * time.Minute)
			waiting := s.copyOf(b)
			go waiting.Client.Do(waiting.Request("GET", "/slow").WithContext(s.T.Context()))
		},
		"the client hangs up": func(s *site, b *browser) {
			s.slow(time.Second)
			ctx, hangUp := context.WithTimeout(s.T.Context(), time.Millisecond)
			defer hangUp()
			_, err := b.Client.Do(b.Request("GET", "/slow").WithContext(ctx))
			require.Error(s.T, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBothRemembered(t, func(s *site, _ *failingBackend) {
				b := s.browse()
				b.login("ada")
				before := b.Cookies()
				advance(idle)
				lose(s, b)
				require.Equal(s.T, before, b.Cookies())
				for range 2 {
					advance(time.Minute)
					b.SetCookies(before)
					require.Equal(s.T, "secret of ada", b.Get("/home").Body)
				}
				require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
				after := b.Cookies()
				require.NotEqual(s.T, before, after)
				require.Equal(s.T, "secret of ada", b.Get("/home").Body) // and now it has come back
				b.SetCookies(before)
				require.NotEqual(s.T, "secret of ada", b.Get("/home").Body)
				require.Len(s.T, s.events.take(sessionguard.EventTheftSuspected), 1)
			})
		})
	}
}

// Who never uses the new token cannot keep the old one for ever.
func TestATokenThatIsNeverUsedIsNoExcuseOnceItHasIdledOut(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		owner, thief := s.browse(), s.browse()
		owner.SetCookies(b.Cookies())
		thief.SetCookies(b.Cookies())
		advance(idle)
		require.Equal(s.T, "secret of ada", thief.Get("/home").Body)
		advance(idle)
		require.Equal(s.T, "/login?next=%2Fhome&reason=theft_suspected", owner.Get("/home").Header.Get("Location"))
	})
}

// L5: a theft that cannot be ended is a 503 until it can
func TestATheftThatCannotBeEndedIsUnavailable(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := rememberingSite(t, backend)
		b := s.browse()
		b.login("ada")
		thief := s.copyOf(b)
		advance(idle)
		b.Get("/home")
		advance(time.Minute)
		b.Get("/home")
		backend.failOn("Delete")
		require.Equal(t, http.StatusServiceUnavailable, thief.Get("/home").StatusCode)
		require.Len(t, s.events.take(sessionguard.EventTheftSuspected), 1, "it is told of all the same")
		backend.failOn()
		require.NotContains(t, thief.Get("/home").Body, "secret")
		require.False(t, b.loggedIn())
	})
}

// Nobody makes us follow a long chain: of moves by logins little is left, and what
// is left is found by its owner.
func TestALongHistoryCostsLittle(t *testing.T) {
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
		before := backend.callCounts()
		require.Equal(t, http.StatusSeeOther, old.Post("/logout").StatusCode)
		asked := writerSince(backend, before)
		require.LessOrEqual(t, asked["Load"]+asked["Delete"]+asked["ByOwner"], 20)
		require.False(t, b.loggedIn(), "it was found")
	})
}

// The login page is where a page that was left alone ends up, and looks at who comes.
func TestTheLoginPageRevivesNobody(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.reasons()
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

func TestWhatEndsASessionForgetsIt(t *testing.T) {
	for name, end := range map[string]func(*site, *browser){
		"logout":        func(_ *site, b *browser) { b.Post("/logout") },
		"EndUser":       func(s *site, _ *browser) { require.NoError(s.T, s.guard.EndUser(s.T.Context(), "ada")) },
		"another stamp": func(s *site, _ *browser) { s.users.change("ada", func(u *user) { u.Stamp = "new" }) },
		"inactive":      func(s *site, _ *browser) { s.users.change("ada", func(u *user) { u.Inactive = true }) },
		"gone":          func(s *site, _ *browser) { delete(s.users.users, "ada") },
		"EndSession": func(s *site, _ *browser) {
			list, err := s.guard.Sessions(s.T.Context(), "ada")
			require.NoError(s.T, err)
			require.NoError(s.T, s.guard.EndSession(s.T.Context(), "ada", list[0].ID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, first := range []string{"ended, then idle", "idle, then ended"} {
				onBothRemembered(t, func(s *site, _ *failingBackend) {
					b := s.browse()
					b.login("ada")
					copied := s.copyOf(b)
					if first == "ended, then idle" {
						end(s, b)
						advance(idle)
					} else {
						advance(idle)
						end(s, b)
					}
					for range 3 {
						a := copied.Get("/home")
						require.NotContains(s.T, a.Body, "secret", first)
						require.Nil(s.T, sessionCookieOf(a), first)
						require.Empty(s.T, s.events.take(sessionguard.EventRevived), first)
						require.NotContains(s.T, b.Get("/home").Body, "secret", first)
						advance(time.Hour)
					}
					s.users.change("ada", func(u *user) { *u = testUsers["ada"] })
					require.NotContains(s.T, copied.Get("/home").Body, "secret", first)
				})
			}
		})
	}
}

// Logging out with a token that has been replaced still logs out.
func TestLogoutWithARotatedOutTokenEndsTheSession(t *testing.T) {
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

// What no person asked for brings nobody back, and ends nothing either.
func TestPassiveRequestsReviveNothing(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.mux.Handle("GET /ws", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})))
		b := s.browse()
		b.login("ada")
		advance(idle)
		require.Equal(s.T, "/login?next=%2Fpoll&reason=remembered", b.Get("/poll").Header.Get("Location"))
		status := b.Get("/status")
		require.Nil(s.T, sessionCookieOf(status))
		require.JSONEq(s.T, `{"authenticated":false,"idle_seconds":0,"absolute_seconds":0,"reason":"remembered"}`, status.Body)
		upgrade := b.Get("/ws", "Upgrade", "websocket", "Connection", "Upgrade", "Sec-Fetch-Site", "same-origin")
		require.Equal(s.T, "/login?next=%2Fws&reason=remembered", upgrade.Header.Get("Location"))
		require.Nil(s.T, sessionCookieOf(upgrade))
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		require.True(s.T, b.loggedIn())
	})
}

// L5
func TestABackendThatIsDownForgetsNobody(t *testing.T) {
	for _, method := range []string{"Load", "Replace"} {
		withFakeClock(t, func(t *testing.T) {
			backend := newFailingBackend()
			s := rememberingSite(t, backend)
			b := s.browse()
			b.login("ada")
			advance(idle)
			backend.failOn(method)
			a := b.Get("/home")
			require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
			require.Nil(t, sessionCookieOf(a))
			backend.failOn()
			require.Equal(t, "secret of ada", b.Get("/home").Body)
		})
	}
}

// The cookie comes with any answer, also one that refuses.
func TestARevivalThatIsRefusedForItsRoleIsOneAllTheSame(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		advance(idle)
		a := b.Get("/admin")
		require.Equal(s.T, "/", a.Header.Get("Location"))
		require.NotNil(s.T, sessionCookieOf(a))
		advance(time.Minute)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
	})
}

// A cookie that is kept must not outlive its session in another's name.
func TestTheKeptCookieOfOneUserIsReplacedByAnothers(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		s.loginOptions = nil
		require.Zero(s.T, sessionCookieOf(b.login("grace")).MaxAge)
		advance(idle)
		require.Equal(s.T, "/login?next=%2Fhome&reason=idle", b.Get("/home").Header.Get("Location"))
		require.Len(s.T, strings.Split(b.Get("/").Body, "nobody"), 2)
	})
}
