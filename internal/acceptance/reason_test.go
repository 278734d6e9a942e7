package acceptance

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// requireReason checks every place that gives the reason why b's session ended. An empty
// reason means that none is given.
func requireReason(t *testing.T, s *site, b *browser, reason store.Reason) {
	t.Helper()
	query := ""
	if reason != "" {
		query = "&reason=" + string(reason)
	}
	for range 2 { // the reason is given again, until the next login
		require.Equal(t, "/login?next=%2Fhome"+query, b.Get("/home").Header.Get("Location"))
	}
	require.Equal(t, strings.Replace("/login"+query, "&", "?", 1), b.Post("/reason/post").Header.Get("Location"))
	var problem, status struct {
		Error, Reason string
		Authenticated bool
	}
	resp := b.Get("/home", "Accept", "application/json")
	require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
	require.NoError(t, json.Unmarshal([]byte(resp.Body), &problem))
	require.Equal(t, "login_required", problem.Error)
	require.EqualValues(t, reason, problem.Reason)
	require.NoError(t, json.Unmarshal([]byte(b.Get("/status").Body), &status))
	require.False(t, status.Authenticated)
	require.EqualValues(t, reason, status.Reason)
	require.Equal(t, string(reason), b.Get("/reason").Body)
	if reason != "" {
		require.Equal(t, "/login?next=%2Fhome&reason="+string(reason),
			b.Get("/sessionguard/resume?next=/home").Header.Get("Location"))
		if reason != store.ReasonExpired {
			require.Equal(t, "/login?next=%2Fhome&reason="+string(reason),
				b.Get("/sessionguard/resume?next=/home&reason=absolute").Header.Get("Location"), "the reason that the server knows takes precedence")
		}
	}
}

// addReasonRoutes adds routes that give the reason why a session ended, and routes that
// end sessions.
func (s *site) addReasonRoutes() {
	s.mux.HandleFunc("GET /reason", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(s.guard.EndReason(r)))
	})
	s.mux.Handle("POST /reason/post", s.guard.RequireLogin(http.NotFoundHandler()))
	s.mux.Handle("/sessionguard/", s.guard.Script())
	s.on("POST /others", func(w http.ResponseWriter, r *http.Request) error { return s.guard.EndOthers(r) })
	s.on("POST /everywhere", func(w http.ResponseWriter, r *http.Request) error {
		s.guard.User(r)
		return s.guard.EndUser(r.Context(), r.FormValue("user"))
	})
	s.on("POST /everyone", func(w http.ResponseWriter, r *http.Request) error {
		s.guard.User(r)
		return s.guard.EndAll(r.Context())
	})
	s.on("POST /device", func(w http.ResponseWriter, r *http.Request) error {
		s.guard.User(r)
		return s.guard.EndSession(r.Context(), r.FormValue("user"), r.FormValue("id"))
	})
	s.on("POST /password", func(w http.ResponseWriter, r *http.Request) error {
		u, _ := s.guard.User(r)
		s.users.change(u.ID, func(u *user) { u.Stamp += "." })
		u, _ = s.users.Find(r.Context(), u.ID)
		return s.guard.Login(w, r, u)
	})
}

// endCases are the ways in which ada's session in browser b may end, with the reason that
// the next page gives. She is logged in to browser other as well.
var endCases = map[string]struct {
	end    func(s *site, b, other *browser)
	reason store.Reason
}{
	"idle": {func(*site, *browser, *browser) { advance(idle) }, store.ReasonIdle},
	"absolute": {func(_ *site, b, _ *browser) {
		for range 25 {
			advance(idle - time.Minute)
			b.Get("/home")
		}
	}, store.ReasonAbsolute},
	"by the same user, from elsewhere": {func(s *site, b, other *browser) {
		require.Equal(s.T, http.StatusOK, other.Post("/device?user=ada&id="+statusOf(b).Session).StatusCode)
	}, store.ReasonLoggedOutElsewhere},
	"by the same user, everywhere else": {func(s *site, _, other *browser) {
		require.Equal(s.T, http.StatusOK, other.Post("/others").StatusCode)
	}, store.ReasonLoggedOutElsewhere},
	"by the same user, everywhere": {func(s *site, _, other *browser) {
		require.Equal(s.T, http.StatusOK, other.Post("/everywhere?user=ada").StatusCode)
		requireReason(s.T, s, other, store.ReasonExpired) // its own session was logged out, which leaves no reason
	}, store.ReasonLoggedOutElsewhere},
	"by an administrator": {func(s *site, b, _ *browser) {
		admin := s.browse()
		admin.login("grace")
		require.Equal(s.T, http.StatusOK, admin.Post("/device?user=ada&id="+statusOf(b).Session).StatusCode)
	}, store.ReasonEnded},
	"all by an administrator": {func(s *site, b, _ *browser) {
		admin := s.browse()
		admin.login("grace")
		require.Equal(s.T, http.StatusOK, admin.Post("/everywhere?user=ada").StatusCode)
	}, store.ReasonEnded},
	"with everybody, by an administrator": {func(s *site, b, _ *browser) {
		admin := s.browse()
		admin.login("grace")
		require.Equal(s.T, http.StatusOK, admin.Post("/everyone").StatusCode)
		requireReason(s.T, s, admin, store.ReasonEnded) // to whom it is news as well
	}, store.ReasonEnded},
	"outside a request": {func(s *site, _, _ *browser) {
		require.NoError(s.T, s.guard.EndUser(s.T.Context(), "ada"))
	}, store.ReasonEnded},
	"deactivated": {func(s *site, _, _ *browser) {
		s.users.change("ada", func(u *user) { u.Inactive = true })
	}, store.ReasonDeactivated},
	"deactivated and ended": {func(s *site, _, _ *browser) {
		s.users.change("ada", func(u *user) { u.Inactive = true })
		require.NoError(s.T, s.guard.EndUser(s.T.Context(), "ada"))
		s.users.change("ada", func(u *user) { u.Inactive = false })
	}, store.ReasonDeactivated},
	"deleted": {func(s *site, _, _ *browser) { delete(s.users.users, "ada") }, store.ReasonNoUser},
	"password changed": {func(s *site, _, other *browser) {
		require.Equal(s.T, http.StatusOK, other.Post("/password").StatusCode)
		require.Equal(s.T, "secret of ada", other.Get("/home").Body)
	}, store.ReasonCredentialsChanged},
	"password changed and others ended": {func(s *site, _, other *browser) {
		require.Equal(s.T, http.StatusOK, other.Post("/password").StatusCode)
		require.Equal(s.T, http.StatusOK, other.Post("/others").StatusCode)
	}, store.ReasonCredentialsChanged},
}

func TestNextPageGivesReasonWhySessionEnded(t *testing.T) {
	for name, test := range endCases {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				s.addReasonRoutes()
				b, other, visitor := s.browse(), s.browse(), s.browse()
				b.login("ada")
				other.login("ada")
				test.end(s, b, other)
				requireReason(s.T, s, b, test.reason)
				requireReason(s.T, s, visitor, "") // without the cookie there is no reason

				// After the next login and logout there is no reason any more.
				s.users.users["ada"] = user{ID: "ada", Roles: []string{"Engineer"}}
				b.login("ada")
				require.Empty(s.T, b.Get("/reason").Body)
				b.Post("/logout")
				requireReason(s.T, s, b, "")
			})
		})
	}
}

// A tombstone with the reason is kept for an hour. After that, and for a session that
// expired unnoticed, the guard knows only that it has signed the cookie.
func TestReasonIsExpiredOnceTombstoneIsGone(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := store.NewMemory()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		s.addReasonRoutes()
		b, unseen := s.browse(), s.browse()
		b.login("ada")
		unseen.login("grace")
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		advance(time.Hour - time.Millisecond)
		purge(t, backend)
		requireReason(t, s, b, store.ReasonEnded)
		requireReason(t, s, unseen, store.ReasonExpired)
		advance(time.Millisecond)
		purge(t, backend)
		requireReason(t, s, b, store.ReasonExpired)
	})
}

// purge makes a backend in memory delete everything that it no longer has to keep.
func purge(t *testing.T, memory *store.Memory) {
	t.Helper()
	for range 5000 { // each Create deletes a few records
		r := store.Record{Session: &store.Session{Owner: "x", Expires: store.TimeOf(time.Now())}}
		rand.Read(r.Session.Key[:])
		_, err := memory.Create(t.Context(), r, store.Limit{})
		require.NoError(t, err)
	}
}

// A cookie that the guard did not sign never belonged to a session, so there is no
// reason.
func TestForgedCookieHasNoReason(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.addReasonRoutes()
		b := s.browse()
		b.login("ada")
		cookies := b.Cookies()
		value := []byte(cookies[sessionCookie])
		value[50] ^= 1
		cookies[sessionCookie] = string(value)
		b.SetCookies(cookies)
		requireReason(s.T, s, b, "")
	})
}

// R3, L3: a request that is running when its session ends gets the reason, too
func TestRequestInFlightGivesReasonWhySessionEnded(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.mux.Handle("GET /slow", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = "v"
			if err := s.guard.EndUser(s.T.Context(), "ada"); err != nil {
				s.T.Error(err)
			}
			w.Write([]byte("secret"))
		})))
		b := s.browse()
		b.login("ada")
		require.Equal(s.T, "/login?next=%2Fslow&reason=ended", b.Get("/slow").Header.Get("Location"))
	})
}

// After a login or a logout, the same request has no reason any more.
func TestLoginAndLogoutClearReasonInSameRequest(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /change", func(w http.ResponseWriter, r *http.Request) error {
			if reason := s.guard.EndReason(r); reason != store.ReasonIdle {
				t.Errorf("the reason is %q before", reason)
			}
			if r.FormValue("end") != "" {
				if err := s.guard.End(w, r); err != nil {
					return err
				}
			} else {
				ada := testUsers["ada"]
				if err := s.guard.Login(w, r, &ada); err != nil {
					return err
				}
			}
			if reason := s.guard.EndReason(r); reason != "" {
				t.Errorf("the reason is still %q after", reason)
			}
			return nil
		})
		b := s.browse()
		for _, path := range []string{"/change", "/change?end=1"} {
			b.login("ada")
			advance(idle)
			require.Equal(s.T, http.StatusOK, b.Post(path).StatusCode)
		}
	})
}

// A handler of Config.Refusals can call EndReason.
func TestCustomRefusalMayCallEndReason(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		var guard *sessionguard.Guard[*user]
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Refusals.Login = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, string(guard.EndReason(r)), http.StatusUnauthorized)
			})
		})
		guard = s.guard
		b := s.browse()
		b.login("ada")
		advance(idle)
		require.Equal(t, "idle\n", b.Get("/home").Body)
		require.Equal(t, "\n", s.browse().Get("/home").Body)
	})
}
