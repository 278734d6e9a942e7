package acceptance

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// I2, ASVS 8.3.2: a role that is granted or removed counts from the next request.
func TestRolesAreReadOnEveryRequest(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		require.NotEqual(s.T, "secret of ada", b.Get("/admin").Body)
		s.users.change("ada", func(u *user) { u.Roles = []string{"Admin"} })
		require.Equal(s.T, "secret of ada", b.Get("/admin").Body)
		s.users.change("ada", func(u *user) { u.Roles = nil })
		require.NotEqual(s.T, "secret of ada", b.Get("/admin").Body)
		require.True(s.T, b.loggedIn(), "a refusal for the role logs nobody out")
	})
}

// I2, ASVS 7.4.2: the session ends for good, even if the user comes back.
func TestSessionEndsWithItsUser(t *testing.T) {
	for name, change := range map[string]struct{ end, revert func(*userDatabase) }{
		"deactivated": {
			func(d *userDatabase) { d.change("ada", func(u *user) { u.Inactive = true }) },
			func(d *userDatabase) { d.change("ada", func(u *user) { u.Inactive = false }) },
		},
		"another stamp": {
			func(d *userDatabase) { d.change("ada", func(u *user) { u.Stamp = "2" }) },
			func(d *userDatabase) { d.change("ada", func(u *user) { u.Stamp = "" }) },
		},
		"deleted (ErrNoUser wrapped)": {
			func(d *userDatabase) { d.mu.Lock(); defer d.mu.Unlock(); delete(d.users, "ada") },
			func(d *userDatabase) { d.change("ada", func(u *user) { u.ID = "ada" }) },
		},
		"ErrNoUser": {
			func(d *userDatabase) { d.mu.Lock(); defer d.mu.Unlock(); d.err = sessionguard.ErrNoUser },
			func(d *userDatabase) { d.mu.Lock(); defer d.mu.Unlock(); d.err = nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, backend *failingBackend) {
				b, other := s.browse(), s.browse()
				b.login("ada")
				other.login("ada")
				change.end(s.users)
				require.NotEqual(s.T, "secret of ada", b.Get("/home").Body)
				require.Equal(s.T, "welcome nobody []", other.Get("/").Body)
				change.revert(s.users)
				require.False(s.T, b.loggedIn())
				require.False(s.T, other.loggedIn())
				if backend != nil {
					require.Empty(s.T, sessionsOf(s.T, backend, "ada"))
				}
			})
		})
	}
}

// I2: a nil user without an error counts as ErrNoUser.
func TestNilUserEndsTheSession(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = backend
			c.FindUser = func(context.Context, string) (*user, error) { return nil, nil }
		})
		b := s.browse()
		b.login("ada")
		require.Equal(t, "/login?next=%2Fhome&reason=no_user", b.Get("/home").Header.Get("Location"))
		require.Empty(t, sessionsOf(t, backend, "ada"))
	})
}

// I2, L5: a failed FindUser ends no session.
func TestFailedFindUserIsA503AndKeepsTheSession(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		before := b.Cookies()
		findReturns := func(err error, id string) {
			s.users.mu.Lock()
			defer s.users.mu.Unlock()
			s.users.err = err
			s.users.users["ada"] = user{ID: id, Roles: []string{"Engineer", "Admin"}}
		}
		for name, test := range map[string]struct {
			err error
			id  string
		}{
			"database down": {errBackendDown, "ada"}, "another user": {nil, "grace"}, "another case": {nil, "Ada"}, "no ID": {nil, ""},
		} {
			findReturns(test.err, test.id)
			for _, path := range []string{"/home", "/", "/status", "/value?k=a", "/fresh"} {
				resp := b.Get(path)
				require.Equal(s.T, http.StatusServiceUnavailable, resp.StatusCode, "%s %s", name, path)
				require.NotContains(s.T, resp.Body, "secret")
				require.NotEmpty(s.T, resp.Header.Get("Retry-After"))
				require.Empty(s.T, resp.Cookies())
				requireNoStore(s.T, resp.Header)
			}
		}
		findReturns(nil, "ada")
		require.Equal(s.T, before, b.Cookies())
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
	})
}

// I2: FindUser is called at most once per request, and not at all without the session.
func TestFindUserIsCalledOncePerRequest(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		g := s.guard
		s.mux.Handle("GET /nested", g.RequireLogin(g.RequireRole("Engineer")(g.RequireFresh(time.Hour)(g.RequireFunc(
			func(u *user, r *http.Request) bool { v, ok := g.User(r); return ok && v == u })(
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				g.User(r)
				g.Get(r, "a")
				g.Get(r, "b")
				g.User(r.WithContext(r.Context()))
			}))))))
		b := s.browse()
		b.login("ada")
		lookups := func(path string) int {
			s.users.mu.Lock()
			before := s.users.lookups
			s.users.mu.Unlock()
			require.Equal(s.T, http.StatusOK, b.Get(path).StatusCode)
			s.users.mu.Lock()
			defer s.users.mu.Unlock()
			return s.users.lookups - before
		}
		require.Equal(s.T, 1, lookups("/nested"))
		require.Equal(s.T, 1, lookups("/status"))
		require.Zero(s.T, lookups("/static"))

		s.users.mu.Lock()
		s.users.err = errBackendDown
		before := s.users.lookups
		s.users.mu.Unlock()
		require.Equal(s.T, http.StatusServiceUnavailable, b.Get("/nested").StatusCode)
		s.users.mu.Lock()
		defer s.users.mu.Unlock()
		require.Equal(s.T, before+1, s.users.lookups, "a failure is not tried again")
	})
}

// I2: a changed stamp ends all sessions but the one that logs in again in the same request.
func TestChangedStampEndsTheOtherSessions(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		change := func(w http.ResponseWriter, r *http.Request) error {
			s.guard.User(r)
			s.users.change("ada", func(u *user) { u.Stamp += "+" })
			u, _ := s.users.Find(r.Context(), "ada")
			return s.guard.Login(w, r, u)
		}
		s.on("POST /password", change)
		b, other := s.browse(), s.browse()
		b.login("ada")
		other.login("ada")
		b.Post("/value?k=k&v=kept")
		id := statusOf(b).Session
		b.Post("/password")
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		require.Equal(s.T, "kept <nil>", b.Get("/value?k=k").Body)
		require.Equal(s.T, id, statusOf(b).Session)
		require.False(s.T, other.loggedIn())

		// A session with the old stamp has ended, so its values do not move to the new one.
		stale := s.browse()
		stale.login("ada")
		stale.Post("/value?k=k&v=stolen")
		s.users.change("ada", func(u *user) { u.Stamp += "+" })
		stale.login("ada")
		require.Equal(s.T, "<nil> <nil>", stale.Get("/value?k=k").Body)
	})
}

// I4: a public ID reveals neither the cookie nor the key.
func TestPublicIDIsRandom(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		seen := map[string]bool{}
		for range 20 {
			b := s.browse()
			b.login("ada")
			id := statusOf(b).Session
			require.GreaterOrEqual(t, len(id), 26, "128 bits in base 32")
			require.False(t, seen[id])
			seen[id] = true
			require.NotContains(t, b.Cookies()[sessionCookie], id)
		}
		for _, r := range sessionsOf(t, backend, "ada") {
			require.True(t, seen[r.ID])
			require.NotContains(t, hex.EncodeToString(r.Key[:]), strings.ToLower(r.ID))
			require.NotContains(t, string(r.Key[:]), r.ID)
		}
		b := s.browse()
		b.SetCookies(map[string]string{sessionCookie: sessionsOf(t, backend, "ada")[0].ID})
		require.False(t, b.loggedIn())
	})
}

// I4, ASVS 7.2.4, 7.4.1
func TestReauthenticationGivesTheSameSessionANewToken(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		b, thief := s.browse(), s.browse()
		b.login("ada")
		b.Post("/value?k=k&v=kept")
		thief.SetCookies(b.Cookies())
		id, old := statusOf(b).Session, b.Cookies()
		advance(20 * time.Minute)
		b.login("ada")
		require.NotEqual(s.T, old[sessionCookie], b.Cookies()[sessionCookie])
		require.Equal(s.T, "kept <nil>", b.Get("/value?k=k").Body)
		require.Equal(s.T, statusResponse{true, id, 1800, 43200}, statusOf(b))
		require.False(s.T, thief.loggedIn(), "the old token is dead")
		if backend != nil {
			r := sessionsOf(s.T, backend, "ada")
			require.Len(s.T, r, 1)
			require.Equal(s.T, 20*time.Minute, r[0].Authenticated.Sub(r[0].Created), "the time of the first login is kept")
		}

		b.Post("/logout")
		b.login("ada")
		require.NotEqual(s.T, id, statusOf(b).Session, "a new session has a new ID")
	})
}

// L4, I4: a value that is saved while Replace moves the session is kept.
func TestReauthenticationKeepsValuesSavedMeanwhile(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b, tab := s.browse(), s.browse()
		b.login("ada")
		tab.SetCookies(b.Cookies())
		saves := 0
		backend.beforeCall("Replace", func() {
			if saves++; saves <= 3 {
				tab.Client.Do(tab.Request("POST", fmt.Sprintf("/value?k=%d&v=saved", saves)))
			}
		})
		b.login("ada")
		require.Equal(t, 4, saves)
		for k := 1; k <= 3; k++ {
			require.Equal(t, "saved <nil>", b.Get(fmt.Sprintf("/value?k=%d", k)).Body)
		}
	})
}

// L3, I4: if the session is ended meanwhile, the login creates a new one.
func TestReauthenticationOfAnEndedSessionIsANewLogin(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.on("POST /again", func(w http.ResponseWriter, r *http.Request) error {
			session, _ := s.guard.Get(r, "app")
			err := s.guard.Login(w, r, &user{ID: "ada"})
			fmt.Fprint(w, session.Values)
			return err
		})
		b := s.browse()
		b.login("ada")
		b.Post("/value?k=k&v=old")
		id, old := statusOf(b).Session, b.Cookies()
		backend.beforeCall("Replace", func() { _ = s.guard.EndUser(t.Context(), "ada") })
		require.Equal(t, "map[]", b.Post("/again").Body)
		require.True(t, b.loggedIn())
		require.NotEqual(t, id, statusOf(b).Session)
		require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body)
		require.Len(t, sessionsOf(t, backend, "ada"), 1)
		b.SetCookies(old)
		require.False(t, b.loggedIn())
	})
}

// I4
func TestEndSessionRequiresTheUserID(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		ada, phone, grace := s.browse(), s.browse(), s.browse()
		ada.login("ada")
		phone.login("ada")
		grace.login("grace")
		ctx := s.T.Context()
		for _, wrong := range [][2]string{{"grace", statusOf(ada).Session}, {"", statusOf(ada).Session}, {"ada", ""}, {"ada", statusOf(grace).Session}, {"nobody", "x"}} {
			require.ErrorIs(s.T, s.guard.EndSession(ctx, wrong[0], wrong[1]), sessionguard.ErrNoSession)
		}
		require.NoError(s.T, s.guard.EndSession(ctx, "ada", statusOf(phone).Session))
		require.False(s.T, phone.loggedIn())
		require.True(s.T, ada.loggedIn())
		require.True(s.T, grace.loggedIn())
	})
}

// I4: EndUser also ends a session that moves to a new key meanwhile.
func TestEndUserEndsASessionBeingReauthenticated(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		moved := false
		var failed error
		backend.beforeCall("DeleteByID", func() {
			if !moved {
				moved = true
				resp, err := b.Client.Do(b.Request("POST", "/login?user=ada"))
				if err == nil && resp.StatusCode != http.StatusSeeOther {
					err = errors.New(resp.Status)
				}
				failed = err
			}
		})
		require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
		require.NoError(t, failed)
		require.True(t, moved)
		require.False(t, b.loggedIn())
		require.Empty(t, sessionsOf(t, backend, "ada"))
	})
}

// I2: whom the application has just logged in is who asks, also if FindUser does not see the
// user yet, whom a transaction that is still open has created.
func TestUserAfterLoginIsTheOneWhoLoggedIn(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /register", func(w http.ResponseWriter, r *http.Request) error {
			registered := &user{ID: "new"}
			err := s.guard.Login(w, r, registered)
			got, _ := s.guard.User(r)
			require.Same(s.T, registered, got)
			return err
		})
		require.Equal(s.T, http.StatusOK, s.browse().Post("/register").StatusCode)
		require.Equal(s.T, 1, s.users.lookups)
	})
}

// I2: under an ID that FindUser spells in another way, every page would be a 503. Login says
// so, and nobody is logged in or out.
func TestLoginWithAnIDThatFindUserSpellsInAnotherWayIsRefused(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.users.change("ADA", func(u *user) { u.ID = "ada" }) // a case-insensitive database
		var refused error
		s.on("POST /enter", func(w http.ResponseWriter, r *http.Request) error {
			refused = s.guard.Login(w, r, &user{ID: "ADA"})
			return nil
		})
		stranger, grace := s.browse(), s.browse()
		grace.login("grace")
		for _, b := range []*browser{stranger, grace} {
			require.Equal(s.T, http.StatusOK, b.Post("/enter").StatusCode)
			require.ErrorContains(s.T, refused, `"ada" for "ADA"`)
			require.NotErrorIs(s.T, refused, sessionguard.ErrUnavailable)
		}
		require.Empty(s.T, stranger.Cookies())
		require.True(s.T, grace.loggedIn())
		require.Len(s.T, s.events.take(), 1, "the login of grace")
	})
}

// I2, L5: Login fails if FindUser does, as every later request would.
func TestLoginFailsIfFindUserFails(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /enter", func(w http.ResponseWriter, r *http.Request) error {
			s.users.err = errors.New("sql: connection refused")
			defer func() { s.users.err = nil }()
			return s.guard.Login(w, r, &user{ID: "ada"})
		})
		b := s.browse()
		require.Equal(s.T, http.StatusServiceUnavailable, b.Post("/enter").StatusCode)
		require.Empty(s.T, b.Cookies())
	})
}
