package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// sessionsOf returns a user's records, for a guard with the default cookie name.
func sessionsOf(t *testing.T, backend store.Backend, id string) []store.Record {
	t.Helper()
	records, err := backend.ByOwner(context.Background(), sessionCookie+"="+id, "", store.MaxPage)
	require.NoError(t, err)
	return records
}

// on adds a route. An error of its handler becomes a 403, because only the goroutine of
// the test may fail it.
func (s *site) on(pattern string, serve func(w http.ResponseWriter, r *http.Request) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
}

// I1, ASVS 7.2.4, WSTG-SESS-03
func TestLoginCreatesANewTokenAndEndsTheSessionOfTheCookie(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		attacker, victim := s.browse(), s.browse()
		attacker.login("grace")
		attacker.Post("/value?k=k&v=planted")
		planted := attacker.Cookies()
		victim.SetCookies(planted) // forced into the victim's browser
		resp := victim.login("ada")
		requireNoStore(s.T, resp.Header)

		require.NotEqual(s.T, planted[sessionCookie], victim.Cookies()[sessionCookie])
		require.Equal(s.T, "secret of ada", victim.Get("/home").Body)
		require.Equal(s.T, "<nil> <nil>", victim.Get("/value?k=k").Body, "values never move to another user")
		require.False(s.T, attacker.loggedIn(), "the planted session has ended")
	})
}

// I1: an unknown token is never adopted, even with our signature.
func TestUnknownTokenIsNeverAdopted(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		old := s.browse()
		old.login("ada")
		signed := old.Cookies()[sessionCookie]
		old.Post("/logout")
		ours, err := cookie.New(testKeys, idle, http.Cookie{Secure: true})
		require.NoError(s.T, err)
		unknown, _ := ours.NewToken(nil)
		require.NoError(s.T, err)
		for name, value := range map[string]string{
			"ended": signed, "signed by us, never issued": unknown, "forged": signed[:len(signed)-4] + "AAAA",
			"chosen": strings.Repeat("A", 64), "short": "1", "empty": "",
		} {
			victim := s.browse()
			victim.SetCookies(map[string]string{sessionCookie: value})
			require.False(s.T, victim.loggedIn(), name)
			resp := victim.login("ada")
			require.Len(s.T, resp.Cookies(), 1, name)
			require.NotEqual(s.T, value, victim.Cookies()[sessionCookie], name)
			require.True(s.T, victim.loggedIn(), name)

			attacker := s.browse()
			attacker.SetCookies(map[string]string{sessionCookie: value})
			require.False(s.T, attacker.loggedIn(), name)
		}
		require.False(s.T, old.loggedIn())
	})
}

// I1: one of the two cookies was planted, and the guard cannot tell which.
func TestLoginEndsTheSessionOfEveryCookie(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		first, second, victim := s.browse(), s.browse(), s.browse()
		first.login("ada")
		second.login("grace")
		both := sessionCookie + "=" + first.Cookies()[sessionCookie] + "; " + sessionCookie + "=" + second.Cookies()[sessionCookie]
		resp := victim.Post("/login?user=ada", "Cookie", both)
		require.Equal(s.T, http.StatusSeeOther, resp.StatusCode)
		require.True(s.T, victim.loggedIn())
		require.False(s.T, first.loggedIn())
		require.False(s.T, second.loggedIn())
	})
}

// I1
func TestVisitorValuesMoveIntoTheSession(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.Post("/value?k=cart&v=book")
		visitor := b.Cookies()[visitorCookie]
		require.NotEmpty(s.T, visitor)
		b.login("ada")
		require.Equal(s.T, "book <nil>", b.Get("/value?k=cart").Body)
		require.NotContains(s.T, b.Cookies(), visitorCookie)

		b.SetCookies(map[string]string{sessionCookie: b.Cookies()[sessionCookie], visitorCookie: visitor})
		b.Post("/value?k=cart&v=two")
		require.Equal(s.T, "two <nil>", b.Get("/value?k=cart").Body, "beside a live session the visitor's cookie is ignored")
		require.Equal(s.T, visitor, b.Cookies()[visitorCookie])
		b.Post("/logout")
		require.NotEqual(s.T, visitor, b.Cookies()[visitorCookie])
		require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=cart").Body, "the values of the session and of the visitor before it are gone")
	})
}

// I1: Login as another user and End clear the sessions that the handler has open.
func TestOpenSessionsOfAnotherUserAreCleared(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /switch", func(w http.ResponseWriter, r *http.Request) error {
			before, _ := s.guard.Get(r, "app")
			found := fmt.Sprint(before.Values["k"])
			before.Values["changed"] = "by grace"
			if err := s.guard.Login(w, r, &user{ID: "ada"}); err != nil {
				return err
			}
			after, err := s.guard.Get(r, "app")
			before.Values["new"] = "ada's"
			other, _ := s.guard.Get(r, "other")
			fmt.Fprint(w, found, " ", after == before, after.IsNew, after.Values, other.Values, err)
			return nil
		})
		s.on("POST /end", func(w http.ResponseWriter, r *http.Request) error {
			before, _ := s.guard.Get(r, "app")
			err := s.guard.End(w, r)
			other, _ := s.guard.Get(r, "other")
			_, ok := s.guard.User(r)
			fmt.Fprint(w, before.Values, other.Values, ok, err)
			return nil
		})
		s.on("POST /other", func(w http.ResponseWriter, r *http.Request) error {
			session, err := s.guard.Get(r, "other")
			session.Values["k"] = "other secret"
			return err
		})
		b := s.browse()
		b.login("grace")
		b.Post("/value?k=k&v=secret")
		b.Post("/other")
		require.Equal(s.T, "secret true true map[new:ada's] map[] <nil>", b.Post("/switch").Body)
		for key, want := range map[string]string{"k": "<nil>", "changed": "<nil>", "new": "ada's"} {
			require.Equal(s.T, want+" <nil>", b.Get("/value?k="+key).Body)
		}
		require.Equal(s.T, "map[] map[] false <nil>", b.Post("/end").Body)
		require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=new").Body)
	})
}

// I1
func TestLoginRefusesMissingAndInactiveUsers(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		for path, test := range map[string]struct {
			user *user
			err  error
		}{
			"/nil": {nil, sessionguard.ErrNoUser}, "/empty": {&user{}, sessionguard.ErrNoUser},
			"/inactive": {&user{ID: "eve", Inactive: true}, sessionguard.ErrInactive},
		} {
			s.on("POST "+path, func(w http.ResponseWriter, r *http.Request) error {
				if err := s.guard.Login(w, r, test.user); !errors.Is(err, test.err) {
					return fmt.Errorf("got %w", err)
				}
				return nil
			})
			b := s.browse()
			resp := b.Post(path)
			require.Equal(t, http.StatusOK, resp.StatusCode, resp.Body)
			require.Empty(t, resp.Cookies())

			b.login("ada")
			b.Post(path)
			require.True(t, b.loggedIn(), "a login that is refused ends nothing")
		}
		require.Equal(t, http.StatusForbidden, s.browse().Post("/login?user=eve").StatusCode)
		require.Equal(t, 3, backend.callCounts()["Create"])

		r, err := http.NewRequest("POST", "/", nil)
		require.NoError(t, err)
		require.ErrorIs(t, s.guard.Login(nil, r, &user{ID: "ada"}), sessionguard.ErrNotWrapped)
	})
}

// I1: once the cookie cannot be set, no session is created.
func TestLoginAfterTheFirstByteIsRefused(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.on("POST /late", func(w http.ResponseWriter, r *http.Request) error {
			s.guard.User(r)
			fmt.Fprint(w, "begun ")
			fmt.Fprint(w, errors.Is(s.guard.Login(w, r, &user{ID: "grace"}), sessionguard.ErrHeadersSent))
			return nil
		})
		b := s.browse()
		b.login("ada")
		resp := b.Post("/late")
		require.Equal(t, "begun true", resp.Body)
		require.Empty(t, resp.Cookies())
		require.Equal(t, 1, backend.callCounts()["Create"])
		require.Equal(t, "secret of ada", b.Get("/home").Body)
	})
}

// I1: the last login of a request counts. The first leaves no session and no values.
func TestLastOfTwoLoginsInOneRequestCounts(t *testing.T) {
	for _, ids := range [][2]string{{"ada", "grace"}, {"ada", "ada"}} {
		withFakeClock(t, func(t *testing.T) {
			s, backend := remoteSite(t)
			s.on("POST /twice", func(w http.ResponseWriter, r *http.Request) error {
				firstErr := s.guard.Login(w, r, &user{ID: ids[0], Roles: []string{"Admin"}})
				session, _ := s.guard.Get(r, "app")
				session.Values["k"] = "of " + ids[0]
				return errors.Join(firstErr, s.guard.Login(w, r, &user{ID: ids[1]}))
			})
			b := s.browse()
			b.login("ada")
			old := b.Cookies()
			resp := b.Post("/twice")
			require.Equal(t, http.StatusOK, resp.StatusCode, resp.Body)
			require.Len(t, resp.Cookies(), 1)
			require.Equal(t, "secret of "+ids[1], b.Get("/home").Body)
			want := map[bool]string{true: "of ada <nil>", false: "<nil> <nil>"}[ids[0] == ids[1]]
			require.Equal(t, want, b.Get("/value?k=k").Body)
			require.Len(t, append(sessionsOf(t, backend, "ada"), sessionsOf(t, backend, "grace")...), 1)
			b.SetCookies(old)
			require.False(t, b.loggedIn())
		})
	}
}

// L4: what another request has saved meanwhile is there after re-authentication, although
// the handler had opened a session before.
func TestReauthenticationKeepsTheValuesAsTheyAreByThen(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		other := s.copyOf(b)
		s.on("POST /again", func(w http.ResponseWriter, r *http.Request) error {
			_, err := s.guard.Get(r, "flash")
			other.Post("/value?k=k&v=meanwhile")
			ada := testUsers["ada"]
			err = errors.Join(err, s.guard.Login(w, r, &ada))
			session, getErr := s.guard.Get(r, "app")
			fmt.Fprint(w, session.Values["k"])
			return errors.Join(err, getErr)
		})
		require.Equal(s.T, "meanwhile", b.Post("/again").Body)
		require.Equal(s.T, "meanwhile <nil>", b.Get("/value?k=k").Body)
	})
}

// I1, L6
func TestLoginAfterEndInOneRequest(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /anew", func(w http.ResponseWriter, r *http.Request) error {
			return errors.Join(s.guard.End(w, r), s.guard.Login(w, r, &user{ID: "ada"}))
		})
		b := s.browse()
		b.login("ada")
		b.Post("/value?k=k&v=old")
		id, old := statusOf(b).Session, b.Cookies()
		require.Equal(s.T, http.StatusOK, b.Post("/anew").StatusCode)
		require.True(s.T, b.loggedIn())
		require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=k").Body)
		require.NotEqual(s.T, id, statusOf(b).Session)
		b.SetCookies(old)
		require.False(s.T, b.loggedIn())
	})
}

// L6, I1
func TestLoginIsUndoneIfItsResponseIsNotSent(t *testing.T) {
	for name, after := range map[string]func(*site, *failingBackend, http.ResponseWriter, *http.Request){
		"panic": func(*site, *failingBackend, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"panic after the first byte": func(_ *site, _ *failingBackend, w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("begun"))
			panic(http.ErrAbortHandler)
		},
		"failed commit": func(s *site, backend *failingBackend, w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = "v"
			backend.failOn("Save")
		},
		"values that cannot be stored": func(s *site, _ *failingBackend, w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				s.on("POST /undone", func(w http.ResponseWriter, r *http.Request) error {
					if err := s.guard.Login(w, r, &user{ID: "ada"}); err != nil {
						return err
					}
					after(s, backend, w, r)
					w.Write([]byte("welcome ada"))
					return nil
				})
				b := s.browse()
				b.Post("/value?k=cart&v=book")
				visitor := b.Cookies()
				resp, err := b.Client.Do(b.Request("POST", "/undone"))
				if err == nil {
					require.NotEqual(t, http.StatusForbidden, resp.StatusCode)
					resp.Body.Close()
				}
				backend.failOn()
				require.Empty(t, sessionsOf(t, backend, "ada"))
				require.Equal(t, 1, backend.callCounts()["Create"])
				require.False(t, b.loggedIn())
				if name != "panic after the first byte" {
					require.Equal(t, visitor, b.Cookies(), "the visitor keeps the cookie with the cart")
				}
			})
		})
	}
}
