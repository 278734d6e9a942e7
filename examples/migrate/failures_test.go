package migrate_test

import (
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/redis/rueidis"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/redisstore"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
	"github.com/stretchr/testify/require"
)

// A failure logs nobody out: the old session is still there when it is over.
func TestFailureEndsNoOldSession(t *testing.T) {
	for name, set := range map[string]func(*site, error){
		"the old store cannot read":     func(s *site, err error) { s.source.read = err },
		"the old store cannot delete":   func(s *site, err error) { s.source.end = err },
		"the backend cannot log in":     func(s *site, err error) { s.backend.logins = err },
		"the backend cannot do a thing": func(s *site, err error) { s.backend.all = err },
		"the backend does not answer":   func(s *site, err error) { s.backend.answers = err },
		"the user cannot be found":      func(s *site, err error) { s.users.fail(err) },
	} {
		for where, old := range map[string]oldApp{"in a cookie": ofCookies(), "on the server": ofSCS(scs.New())} {
			t.Run(name+", the session is "+where, func(t *testing.T) { requireNothingEnds(t, old, set) })
		}
	}
}

func requireNothingEnds(t *testing.T, old oldApp, set func(*site, error)) {
	s := newSite(t, old)
	user := s.logIn("ada")
	s.update()
	set(s, errDown)
	for range 2 {
		user.Get("/home").Expect(http.StatusServiceUnavailable, "").NoStore()
	}
	require.Contains(t, user.Cookies(), "session")
	set(s, nil)
	require.Zero(t, s.sessions("ada"))
	user.Get("/home").Expect(http.StatusOK, "").Contains("Hello, ada, theme dark", "Welcome back.")
	require.Equal(t, 1, s.sessions("ada"))
}

// Whoever is logged in under the guard does not need the old store.
func TestNewSessionGoesOnWhileTheOldStoreFails(t *testing.T) {
	s := newSite(t, ofCookies())
	old := s.logIn("ada")
	s.update()
	user := s.logIn("ada")
	cookies := user.Cookies()
	cookies["session"] = old.Cookies()["session"]
	user.SetCookies(cookies)
	for _, set := range []func(error){func(err error) { s.source.read = err }, func(err error) { s.source.end = err }} {
		set(errDown)
		user.Get("/home").Expect(http.StatusOK, "")
		set(nil)
	}
}

// While the marks cannot be made, a logout says that it is not final.
func TestLogoutThatCannotBeFinalSaysSo(t *testing.T) {
	s := newSite(t, ofCookies())
	user := s.logIn("ada")
	s.update()
	user.Get("/home").Expect(http.StatusOK, "")
	s.backend.all = errDown
	user.Post("/logout").Expect(http.StatusServiceUnavailable, "")
	s.backend.all = nil
	user.Get("/home").Expect(http.StatusSeeOther, toLogin)
}

func TestUserWhoMayNotLogInIsNotLoggedIn(t *testing.T) {
	for _, name := range []string{"eve", "nobody"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, ofCookies())
			user := s.logIn(name)
			copied := user.Copy()
			s.update()
			user.Get("/home").Expect(http.StatusSeeOther, toLogin)
			require.NotContains(t, user.Cookies(), "session")
			s.users.users[name] = &User{Name: name} // again, or for the first time
			copied.Get("/home").Lacks("Hello")
		})
	}
}

func TestLimitHoldsForMovedSessions(t *testing.T) {
	s := newSite(t, ofCookies())
	s.config.MaxSessions = func(*User) store.Limit { return store.Limit{Max: 1, Refuse: true} }
	first, second := s.logIn("ada"), s.logIn("ada")
	s.update()
	first.Get("/home").Expect(http.StatusOK, "")
	second.Get("/home").Expect(http.StatusSeeOther, toLogin)
	first.Get("/home").Expect(http.StatusOK, "")
}

// A user who needs a second factor has not proven it by an old session.
func TestMovedSessionHasNoFactor(t *testing.T) {
	s := newSite(t, ofCookies())
	s.config.Factors, s.config.FactorPath = func(*User) []string { return []string{"otp"} }, "/code"
	user := s.logIn("ada")
	s.update()
	user.Get("/home").Expect(http.StatusSeeOther, "/code?next=%2Fhome")
	user.Get("/home").Expect(http.StatusSeeOther, "/code?next=%2Fhome")
	require.NotContains(t, user.Cookies(), "session")
	require.Zero(t, s.sessions("ada"))
}

// Values that do not fit are lost, also if they would fit without the mark that the login was
// none in person.
func TestValuesThatAreTooLargeLogNobodyOut(t *testing.T) {
	manager := scs.New()
	old := ofSCS(manager)
	app, size := old.handler, 0
	old.handler = manager.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		manager.Put(r.Context(), "much", strings.Repeat("x", size))
		app.ServeHTTP(w, r)
	}))
	lost, kept := 0, 0
	for size = 3700; size < 4200; size += 20 {
		s := newSite(t, old)
		s.config.MaxValuesBytes = 4096
		user := s.logIn("ada")
		s.update()
		resp := user.Get("/home").Expect(http.StatusOK, "").Contains("Hello, ada")
		if strings.Contains(resp.Body, "theme dark") {
			kept++
		} else {
			lost++
		}
		user.Get("/money").Expect(http.StatusSeeOther, "/again?next=%2Fmoney")
	}
	require.Positive(t, lost)
	require.Positive(t, kept)
}

// Of requests with the same old session that come at once, one moves it. The others ask again,
// and are then logged in, if they are of the same browser.
func TestConcurrentRequestsMakeOneSession(t *testing.T) {
	for name, open := range map[string]func(*testing.T) store.Backend{
		"Memory": func(*testing.T) store.Backend { return store.NewMemory() },
		"Redis": func(t *testing.T) store.Backend {
			b, err := redisstore.New(rueidis.ClientOption{InitAddress: []string{sharedRedis(t).Addr}}, redisstore.Config{Prefix: t.Name()})
			require.NoError(t, err)
			t.Cleanup(b.Close)
			return b
		},
		"PostgreSQL": func(t *testing.T) store.Backend {
			b, err := sqlstore.New(openPG(t), sqlstore.PostgreSQL, sqlstore.Config{InsecureDurability: true}) // of a server for tests
			require.NoError(t, err)
			require.NoError(t, b.EnsureSchema(t.Context()))
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			forEach(t, func(t *testing.T, old oldApp) {
				s := newSite(t, old)
				s.backend.Backend = open(t)
				user := "ada of " + rand.Text() // sessions of other tests are in the backend
				s.users.users[user] = &User{Name: user}
				b := s.logIn(user)
				copied := b.Copy()
				s.update()
				var answers int
				var mu sync.Mutex
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						resp, err := b.Send(b.Request("GET", "/home"))
						mu.Lock()
						defer mu.Unlock()
						if err == nil && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusServiceUnavailable) {
							answers++
						}
					})
				}
				all.Wait()
				require.Equal(t, 8, answers)
				require.Equal(t, 1, s.sessions(user))
				b.Get("/home").Expect(http.StatusOK, "")
				copied.Get("/home").Lacks("Hello")
				require.Equal(t, 1, s.sessions(user))
			})
		})
	}
}
