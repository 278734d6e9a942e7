package acceptance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// sessionsOf lists what a user has in the backend, under the default name.
func sessionsOf(t *testing.T, backend store.Backend, id string) []store.Record {
	t.Helper()
	records, err := backend.ByOwner(context.Background(), sessionCookie+"="+id)
	require.NoError(t, err)
	return records
}

// on adds a route whose handler reports an error instead of failing the test
// from another goroutine.
func (s *site) on(pattern string, serve func(w http.ResponseWriter, r *http.Request) error) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
}

// I1, ASVS 7.2.4, WSTG-SESS-03
func TestLoginMintsANewTokenAndEndsTheSessionThatCameIn(t *testing.T) {
	onBoth(t, func(s *site, _ *flaky) {
		attacker, victim := s.browse(), s.browse()
		attacker.login("grace")
		attacker.post("/value?k=k&v=planted")
		planted := attacker.cookies()
		victim.sends(planted) // forced into the victim's browser
		a := victim.login("ada")
		requireNoStore(s.T, a.Header)

		require.NotEqual(s.T, planted[sessionCookie], victim.cookies()[sessionCookie])
		require.Equal(s.T, "secret of ada", victim.get("/home").body)
		require.Equal(s.T, "<nil> <nil>", victim.get("/value?k=k").body, "another user's values never move")
		require.False(s.T, attacker.loggedIn(), "the planted session is over")
	})
}

// I1: an unknown token is never adopted, whoever signed it
func TestAnUnknownTokenIsNeverAdopted(t *testing.T) {
	onBoth(t, func(s *site, backend *flaky) {
		old := s.browse()
		old.login("ada")
		signed := old.cookies()[sessionCookie]
		old.post("/logout")
		ours := []securecookie.Codec{securecookie.New(testKeys[0], testKeys[1]).MaxAge(0).SetSerializer(securecookie.NopEncoder{})}
		unknown, err := securecookie.EncodeMulti(sessionCookie, []byte(strings.Repeat("t", 32)), ours...)
		require.NoError(s.T, err)
		for name, value := range map[string]string{
			"ended": signed, "signed by us, never issued": unknown, "forged": signed[:len(signed)-4] + "AAAA",
			"chosen": strings.Repeat("A", 144), "short": "1", "empty": "",
		} {
			victim := s.browse()
			victim.sends(map[string]string{sessionCookie: value})
			require.False(s.T, victim.loggedIn(), name)
			a := victim.login("ada")
			require.Len(s.T, a.Cookies(), 1, name)
			require.NotEqual(s.T, value, victim.cookies()[sessionCookie], name)
			require.True(s.T, victim.loggedIn(), name)

			attacker := s.browse()
			attacker.sends(map[string]string{sessionCookie: value})
			require.False(s.T, attacker.loggedIn(), name)
		}
		require.False(s.T, old.loggedIn())
	})
}

// I1: of two cookies one was planted, and nobody can tell which
func TestLoginEndsEverySessionThatCameIn(t *testing.T) {
	onBoth(t, func(s *site, _ *flaky) {
		one, two, victim := s.browse(), s.browse(), s.browse()
		one.login("ada")
		two.login("grace")
		both := sessionCookie + "=" + one.cookies()[sessionCookie] + "; " + sessionCookie + "=" + two.cookies()[sessionCookie]
		a := victim.post("/login?user=ada", "Cookie", both)
		require.Equal(s.T, http.StatusSeeOther, a.StatusCode)
		require.True(s.T, victim.loggedIn())
		require.False(s.T, one.loggedIn())
		require.False(s.T, two.loggedIn())
	})
}

// I1
func TestAVisitorsValuesMoveIntoTheSession(t *testing.T) {
	onBoth(t, func(s *site, _ *flaky) {
		b := s.browse()
		b.post("/value?k=cart&v=book")
		visitor := b.cookies()[anonymousCookie]
		require.NotEmpty(s.T, visitor)
		b.login("ada")
		require.Equal(s.T, "book <nil>", b.get("/value?k=cart").body)
		require.NotContains(s.T, b.cookies(), anonymousCookie)

		b.sends(map[string]string{sessionCookie: b.cookies()[sessionCookie], anonymousCookie: visitor})
		b.post("/value?k=cart&v=two")
		require.Equal(s.T, "two <nil>", b.get("/value?k=cart").body, "beside a live session the visitor's cookie is ignored")
		require.Equal(s.T, visitor, b.cookies()[anonymousCookie])
		b.post("/logout")
		require.NotEqual(s.T, visitor, b.cookies()[anonymousCookie])
		require.Equal(s.T, "<nil> <nil>", b.get("/value?k=cart").body, "nothing of the session or of the visitor before it")
	})
}

// I1: views that were opened for another user are emptied by Login and by End
func TestOpenViewsOfAnotherUserAreEmptied(t *testing.T) {
	onBoth(t, func(s *site, _ *flaky) {
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
		b.post("/value?k=k&v=secret")
		b.post("/other")
		require.Equal(s.T, "secret true true map[new:ada's] map[] <nil>", b.post("/switch").body)
		for key, want := range map[string]string{"k": "<nil>", "changed": "<nil>", "new": "ada's"} {
			require.Equal(s.T, want+" <nil>", b.get("/value?k="+key).body)
		}
		require.Equal(s.T, "map[] map[] false <nil>", b.post("/end").body)
		require.Equal(s.T, "<nil> <nil>", b.get("/value?k=new").body)
	})
}

// I1
func TestLoginRefusesWhoIsNobody(t *testing.T) {
	inBubble(t, func(t *testing.T) {
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
			a := b.post(path)
			require.Equal(t, http.StatusOK, a.StatusCode, a.body)
			require.Empty(t, a.Cookies())

			b.login("ada")
			b.post(path)
			require.True(t, b.loggedIn(), "a login that is refused ends nothing")
		}
		require.Equal(t, http.StatusForbidden, s.browse().post("/login?user=eve").StatusCode)
		require.Equal(t, 3, backend.counted()["Create"])

		r, err := http.NewRequest("POST", "/", nil)
		require.NoError(t, err)
		require.ErrorIs(t, s.guard.Login(nil, r, &user{ID: "ada"}), sessionguard.ErrNotWrapped)
	})
}

// I1: too late for a cookie is too late for a session
func TestLoginAfterTheFirstByteIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.on("POST /late", func(w http.ResponseWriter, r *http.Request) error {
			s.guard.User(r)
			fmt.Fprint(w, "begun ")
			fmt.Fprint(w, errors.Is(s.guard.Login(w, r, &user{ID: "grace"}), sessionguard.ErrHeadersSent))
			return nil
		})
		b := s.browse()
		b.login("ada")
		a := b.post("/late")
		require.Equal(t, "begun true", a.body)
		require.Empty(t, a.Cookies())
		require.Equal(t, 1, backend.counted()["Create"])
		require.Equal(t, "secret of ada", b.get("/home").body)
	})
}

// I1: the last login of a request counts, and leaves nothing of the first
func TestTwoLoginsInOneRequest(t *testing.T) {
	for _, ids := range [][2]string{{"ada", "grace"}, {"ada", "ada"}} {
		inBubble(t, func(t *testing.T) {
			s, backend := remoteSite(t)
			s.on("POST /twice", func(w http.ResponseWriter, r *http.Request) error {
				one := s.guard.Login(w, r, &user{ID: ids[0], Roles: []string{"Admin"}})
				session, _ := s.guard.Get(r, "app")
				session.Values["k"] = "of " + ids[0]
				return errors.Join(one, s.guard.Login(w, r, &user{ID: ids[1]}))
			})
			b := s.browse()
			b.login("ada")
			old := b.cookies()
			a := b.post("/twice")
			require.Equal(t, http.StatusOK, a.StatusCode, a.body)
			require.Len(t, a.Cookies(), 1)
			require.Equal(t, "secret of "+ids[1], b.get("/home").body)
			want := map[bool]string{true: "of ada <nil>", false: "<nil> <nil>"}[ids[0] == ids[1]]
			require.Equal(t, want, b.get("/value?k=k").body)
			require.Len(t, append(sessionsOf(t, backend, "ada"), sessionsOf(t, backend, "grace")...), 1)
			b.sends(old)
			require.False(t, b.loggedIn())
		})
	}
}

// I1, L6: logout and login in one request
func TestLoginAfterEndInOneRequest(t *testing.T) {
	onBoth(t, func(s *site, _ *flaky) {
		s.on("POST /anew", func(w http.ResponseWriter, r *http.Request) error {
			return errors.Join(s.guard.End(w, r), s.guard.Login(w, r, &user{ID: "ada"}))
		})
		b := s.browse()
		b.login("ada")
		b.post("/value?k=k&v=old")
		id, old := statusOf(b).Session, b.cookies()
		require.Equal(s.T, http.StatusOK, b.post("/anew").StatusCode)
		require.True(s.T, b.loggedIn())
		require.Equal(s.T, "<nil> <nil>", b.get("/value?k=k").body)
		require.NotEqual(s.T, id, statusOf(b).Session)
		b.sends(old)
		require.False(s.T, b.loggedIn())
	})
}

// L6, I1: a login whose page is not sent has not happened
func TestALoginIsUndoneIfItsAnswerIsNotSent(t *testing.T) {
	for name, after := range map[string]func(*site, *flaky, http.ResponseWriter, *http.Request){
		"panic": func(*site, *flaky, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"panic after the first byte": func(_ *site, _ *flaky, w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("begun"))
			panic(http.ErrAbortHandler)
		},
		"failed commit": func(s *site, backend *flaky, w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = "v"
			backend.failing("Save")
		},
		"values that cannot be stored": func(s *site, _ *flaky, w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
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
				b.post("/value?k=cart&v=book")
				cart := b.cookies()
				resp, err := b.client.Do(b.request("POST", "/undone"))
				if err == nil {
					require.NotEqual(t, http.StatusForbidden, resp.StatusCode)
					resp.Body.Close()
				}
				backend.failing()
				require.Empty(t, sessionsOf(t, backend, "ada"))
				require.Equal(t, 1, backend.counted()["Create"])
				require.False(t, b.loggedIn())
				if name != "panic after the first byte" {
					require.Equal(t, cart, b.cookies(), "the visitor is who he was, with what he had")
				}
			})
		})
	}
}
