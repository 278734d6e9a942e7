package acceptance

import (
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// onBoth runs a test on the fake clock, on a site with the in-process backend and on one
// with a backend that the guard treats as remote. backend is nil on the first.
func onBoth(t *testing.T, test func(s *site, backend *failingBackend)) {
	t.Helper()
	t.Run("in process", func(t *testing.T) {
		withFakeClock(t, func(t *testing.T) { test(newSite(t, nil), nil) })
	})
	t.Run("remote", func(t *testing.T) {
		withFakeClock(t, func(t *testing.T) {
			s, backend := remoteSite(t)
			test(s, backend)
		})
	})
}

func remoteSite(t *testing.T) (*site, *failingBackend) {
	t.Helper()
	backend := newFailingBackend()
	return newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend }), backend
}

// L1, ASVS 7.3.1, WSTG-SESS-07
func TestInactivityLogsOutAtTheDeadline(t *testing.T) {
	for after, want := range map[time.Duration]bool{
		idle - time.Second: true, idle - time.Millisecond: true, idle: false, idle + time.Second: false,
	} {
		t.Run(after.String(), func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				b := s.browse()
				b.login("ada")
				advance(after)
				require.Equal(t, want, b.Get("/home").Body == "secret of ada")
			})
		})
	}
}

// L1
func TestActivityExtendsTheIdleDeadline(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		for range 5 {
			advance(idle - time.Second)
			require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		}
		advance(idle)
		require.NotEqual(s.T, "secret of ada", b.Get("/home").Body)
		advance(time.Second)
		require.False(s.T, b.loggedIn(), "the session stays ended")
	})
}

// L1: passive and refused requests do not extend the idle deadline.
func TestOnlyAcceptedActiveRequestsExtendTheIdleDeadline(t *testing.T) {
	for name, send := range map[string]func(*browser) response{
		"passive":        func(b *browser) response { return b.Get("/poll") },
		"status":         func(b *browser) response { return b.Get("/status") },
		"a refused role": func(b *browser) response { return b.Get("/admin") },
		"a refused role, inside a gate that passed": func(b *browser) response { return b.Get("/nested") },
		"refused by RequireFunc":                    func(b *browser) response { return b.Get("/own") },
		"not fresh":                                 func(b *browser) response { return b.Get("/fresh") },
		"cross-origin":                              func(b *browser) response { return b.Post("/value?k=a&v=b", "Sec-Fetch-Site", "cross-site") },
		"without the session":                       func(b *browser) response { return b.Get("/static") },
		"GET of the logout":                         func(b *browser) response { return b.Get("/logout") },
		"POST of the status":                        func(b *browser) response { return b.Post("/status") },
		"a panic":                                   func(b *browser) response { return b.Get("/panic") },
		"Passive inside a gate":                     func(b *browser) response { return b.Get("/passive-inside") },
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				g := s.guard
				secret := func(w http.ResponseWriter, r *http.Request) { g.User(r) }
				s.mux.Handle("GET /nested", g.RequireLogin(g.RequireRole("Admin")(http.HandlerFunc(secret))))
				s.mux.Handle("GET /own", g.RequireFunc(func(*user, *http.Request) bool { return false })(http.HandlerFunc(secret)))
				s.mux.Handle("GET /passive-inside", g.RequireLogin(g.Passive(http.HandlerFunc(secret))))
				s.mux.HandleFunc("GET /panic", func(w http.ResponseWriter, r *http.Request) {
					g.User(r)
					panic(http.ErrAbortHandler)
				})
				b := s.browse()
				b.login("ada")
				advance(idle - time.Second)
				if name == "a panic" {
					_, err := b.Client.Do(b.Request("GET", "/panic"))
					require.Error(s.T, err)
				} else {
					send(b)
				}
				require.Equal(s.T, 1, statusOf(b).Idle)
				advance(time.Second)
				require.NotEqual(s.T, "secret of ada", b.Get("/home").Body)
			})
		})
	}
}

// L1: a remote backend is touched at most once per 1/30 of the idle timeout.
func TestRemoteTouchesAreThrottled(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		for range 120 { // an hour with a request every 30 s; every second touch is due
			advance(30 * time.Second)
			require.Equal(t, http.StatusOK, b.Get("/home").StatusCode)
		}
		require.Equal(t, 60, backend.callCounts()["Touch"])

		advance(59 * time.Second)
		b.Get("/home") // accepted, but not recorded: the session may end this much early
		require.Equal(t, 60, backend.callCounts()["Touch"])
		require.Equal(t, int((idle - 59*time.Second).Seconds()), statusOf(b).Idle, "the recorded deadline")
		advance(idle - 60*time.Second)
		require.True(t, b.loggedIn())
		advance(time.Second)
		require.False(t, b.loggedIn(), "the session ends early by less than 1/30, never late")
	})
}

// L1
func TestInProcessTouchesAreNotThrottled(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		b := s.browse()
		b.login("ada")
		advance(time.Second)
		b.Get("/home")
		advance(idle - time.Millisecond)
		require.True(t, b.loggedIn())
		advance(time.Millisecond)
		require.False(t, b.loggedIn())
	})
}

// L1: when the response begins, the touch has the time of the request's acceptance, and when
// it ends, that of its end.
func TestTouchHasTheTimeOfAcceptanceAndThatOfTheEnd(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		advance(5 * time.Minute)
		h := hold(s, b, "GET", s.guard.RequireLogin, func(w http.ResponseWriter, r *http.Request, wait func()) {
			advance(10 * time.Minute)
			w.Write([]byte("slow"))
			http.NewResponseController(w).Flush()
			wait()
		})
		require.Equal(s.T, int((idle - 10*time.Minute).Seconds()), statusOf(b).Idle)
		advance(15 * time.Minute)
		require.Equal(s.T, "slow", h.finish(s.T).Body)
		require.Equal(s.T, int(idle.Seconds()), statusOf(b).Idle)
		advance(idle - time.Second)
		require.True(s.T, b.loggedIn())
		advance(time.Second)
		require.False(s.T, b.loggedIn())
	})
}

// L1: a user whose request came in time is not logged out because the server is slow.
func TestRequestAcceptedInTimeCountsHoweverSlowItIs(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		b, slow := s.browse(), s.browse()
		b.login("ada")
		slow.SetCookies(b.Cookies())
		advance(idle - time.Second)
		h := hold(s, slow, "GET", s.guard.RequireLogin, func(w http.ResponseWriter, r *http.Request, wait func()) {
			wait()
			w.Write([]byte("slow"))
		})
		advance(10 * time.Second)
		require.Equal(s.T, "slow", h.finish(s.T).Body)
		unrecorded := 0
		if backend != nil {
			unrecorded = 10 // since it was accepted, less than 1/30 of the idle timeout has passed
		}
		require.Equal(s.T, int(idle.Seconds())-unrecorded, statusOf(b).Idle)
	})
}

// L1: if another request finds the session expired meanwhile, it stays ended.
func TestSlowRequestDoesNotResurrectAnExpiredSession(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b, slow := s.browse(), s.browse()
		b.login("ada")
		slow.SetCookies(b.Cookies())
		advance(idle - time.Second)
		h := hold(s, slow, "GET", s.guard.RequireLogin, func(w http.ResponseWriter, r *http.Request, wait func()) {
			wait()
			w.Write([]byte("secret"))
		})
		advance(time.Second)
		require.False(s.T, b.loggedIn())
		resp := h.finish(s.T)
		require.Equal(s.T, http.StatusSeeOther, resp.StatusCode)
		require.NotContains(s.T, resp.Body, "secret")
		requireNoStore(s.T, resp.Header)
		require.False(s.T, slow.loggedIn())
	})
}

// L1: a handler that is silent for longer than the idle timeout loses its session, although its
// response is sent if nobody has noticed. One that calls Active keeps it.
func TestSilentHandlerLosesItsSession(t *testing.T) {
	for name, speaks := range map[string]bool{"silent": false, "calls Active": true} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				s.mux.Handle("GET /slow", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					for range 2 {
						advance(20 * time.Minute)
						if speaks {
							require.NoError(s.T, s.guard.Active(r))
						}
					}
					w.Write([]byte("slow"))
				})))
				b := s.browse()
				b.login("ada")
				require.Equal(s.T, "slow", b.Get("/slow").Body)
				require.Equal(s.T, speaks, b.loggedIn())
			})
		})
	}
}

// L2: a request that was accepted in time does not move the absolute timeout.
func TestSlowRequestDoesNotMoveTheAbsoluteTimeout(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.loginOptions = func(string) []sessionguard.LoginOption {
			return []sessionguard.LoginOption{sessionguard.AbsoluteTimeout(idle)}
		}
		b := s.browse()
		b.login("ada")
		advance(idle - time.Second)
		h := hold(s, b, "GET", s.guard.RequireLogin, func(w http.ResponseWriter, r *http.Request, wait func()) { wait() })
		advance(time.Second)
		h.finish(s.T)
		require.False(s.T, b.loggedIn())
	})
}

// L2, ASVS 7.3.2
func TestActivityDoesNotMoveTheAbsoluteTimeout(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		start := time.Now()
		for time.Since(start) < absolute-20*time.Minute {
			advance(20 * time.Minute)
			require.Equal(s.T, http.StatusOK, b.Get("/home").StatusCode)
			b.Post("/value?k=at&v=" + time.Now().Format("150405"))
		}
		advance(absolute - time.Since(start) - time.Second)
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		require.Equal(s.T, 1, statusOf(b).Idle, "the nearer deadline")
		advance(time.Second)
		require.NotEqual(s.T, "secret of ada", b.Get("/home").Body)
	})
}

// L2: only a new login moves the absolute timeout.
func TestNewLoginRestartsBothTimeouts(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		for range 24 {
			advance(29 * time.Minute)
			b.Get("/home")
		}
		before := statusOf(b)
		require.Equal(s.T, 43200-24*29*60, before.Absolute)
		b.login("ada")
		after := statusOf(b)
		require.Equal(s.T, statusResponse{true, before.Session, 1800, 43200}, after)
	})
}

// L1, L2: administrators, for example, may get shorter timeouts.
func TestLoginMayHaveItsOwnTimeouts(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.loginOptions = func(name string) []sessionguard.LoginOption {
			if name != "grace" {
				return nil
			}
			return []sessionguard.LoginOption{sessionguard.IdleTimeout(10 * time.Minute), sessionguard.AbsoluteTimeout(time.Hour)}
		}
		admin, engineer := s.browse(), s.browse()
		admin.login("grace")
		engineer.login("ada")
		require.Equal(s.T, 600, statusOf(admin).Idle)
		require.Equal(s.T, 3600, statusOf(admin).Absolute)
		require.Equal(s.T, 1800, statusOf(engineer).Idle)
		require.Equal(s.T, 43200, statusOf(engineer).Absolute)
		for range 6 {
			advance(10*time.Minute - time.Second)
			require.Equal(s.T, "secret of grace", admin.Get("/home").Body)
		}
		advance(6 * time.Second)
		require.False(s.T, admin.loggedIn(), "an hour after the login")
		admin.login("grace")
		advance(10 * time.Minute)
		require.False(s.T, admin.loggedIn())
	})
}

// L2: if the application omits the options at re-authentication, an administrator's ten
// minutes must not become thirty. The second step of a login gives longer ones explicitly.
func TestReauthenticationNeverLengthensTheTimeouts(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		var options []sessionguard.LoginOption
		s.loginOptions = func(string) []sessionguard.LoginOption { return options }
		b := s.browse()
		for _, step := range []struct {
			give           []sessionguard.LoginOption
			idle, absolute int
		}{
			{[]sessionguard.LoginOption{sessionguard.IdleTimeout(10 * time.Minute), sessionguard.AbsoluteTimeout(time.Hour)}, 600, 3600},
			{nil, 600, 3600},
			{[]sessionguard.LoginOption{sessionguard.AbsoluteTimeout(2 * time.Hour)}, 600, 7200},
			{[]sessionguard.LoginOption{sessionguard.IdleTimeout(time.Hour), sessionguard.AbsoluteTimeout(24 * time.Hour)}, 3600, 86400},
			{nil, 1800, 43200},
		} {
			options = step.give
			b.login("grace")
			require.Equal(s.T, step.idle, statusOf(b).Idle)
			require.Equal(s.T, step.absolute, statusOf(b).Absolute)
			advance(5 * time.Minute)
		}
		options = nil
		b.login("ada") // another user starts with the guard's timeouts
		require.Equal(s.T, 1800, statusOf(b).Idle)
	})
}

func TestLoginWithInvalidTimeoutsIsRefused(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		var options []sessionguard.LoginOption
		s, backend := remoteSite(t)
		s.loginOptions = func(string) []sessionguard.LoginOption { return options }
		for _, bad := range [][]sessionguard.LoginOption{
			{sessionguard.IdleTimeout(0)}, {sessionguard.IdleTimeout(-time.Hour)}, {sessionguard.IdleTimeout(time.Second - 1)},
			{sessionguard.IdleTimeout(absolute + 1)}, {sessionguard.AbsoluteTimeout(0)}, {sessionguard.AbsoluteTimeout(-1)},
			{sessionguard.AbsoluteTimeout(idle - 1)},
		} {
			options = bad
			b := s.browse()
			resp := b.Post("/login?user=ada")
			require.Equal(t, http.StatusForbidden, resp.StatusCode)
			require.Regexp(t, "imeout", resp.Body)
			require.Empty(t, resp.Cookies())
		}
		require.Zero(t, backend.callCounts()["Create"])
	})
}

// A revival is recorded as such: of its request, nothing more is when it ends.
func TestRevivalIsRecordedOnce(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := rememberingSite(t, backend)
		b := s.browse()
		b.login("ada")
		advance(idle)
		before := backend.callCounts()
		require.NotNil(t, b.Get("/home").Cookie(sessionCookie))
		require.Equal(t, map[string]int{"Load": 3, "Replace": 1}, callsSince(backend, before))
	})
}
