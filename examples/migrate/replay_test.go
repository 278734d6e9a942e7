package migrate_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard/examples/migrate"
	"github.com/stretchr/testify/require"
)

const (
	toLogin = "/login?next=%2Fhome"
	base64  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// The old application has made a new cookie with each response, and each was as good.
func TestLogoutEndsEveryCookieThatTheOldApplicationMade(t *testing.T) {
	s := newSite(t, ofCookies())
	user := s.logIn("ada")
	phone, stolen, other := s.logIn("ada"), user.Copy(), s.logIn("bob")
	user.Get("/home").Expect(http.StatusOK, "")
	require.NotEqual(t, stolen.Cookies(), user.Cookies())
	s.update()
	user.Get("/home").Expect(http.StatusOK, "")
	user.Post("/logout").Expect(http.StatusSeeOther, "/")
	stolen.Get("/home").Expect(http.StatusSeeOther, toLogin)
	phone.Get("/home").Expect(http.StatusSeeOther, toLogin) // which nothing tells from a copy
	require.Zero(t, s.sessions("ada"))
	other.Get("/home").Expect(http.StatusOK, "")
}

func TestEndUserEndsOldSessions(t *testing.T) {
	forEach(t, func(t *testing.T, old oldApp) {
		s := newSite(t, old)
		ada := s.logIn("ada")
		s.update()
		require.NoError(t, s.migration.EndUser(t.Context(), "ada"))
		require.NoError(t, s.migration.EndUser(t.Context(), "ada"))
		ada.Get("/home").Expect(http.StatusSeeOther, toLogin)
		require.NotContains(t, ada.Cookies(), old.cookie)
	})
}

// Base64 can spell the same cookie in several ways.
func TestOtherSpellingOfAnOldCookieIsTheSame(t *testing.T) {
	for length := range 6 {
		s := newSite(t, ofCookies())
		name := "ada" + strings.Repeat("a", length)
		s.users.users[name] = &User{Name: name}
		user := s.logIn(name)
		cookie := user.Cookies()["session"]
		trimmed := strings.TrimRight(cookie, "=")
		if trimmed == cookie {
			continue
		}
		last := strings.IndexByte(base64, trimmed[len(trimmed)-1])
		respelled := trimmed[:len(trimmed)-1] + base64[last+1:last+2] + cookie[len(trimmed):]
		other := s.browse()
		other.SetCookies(map[string]string{"session": respelled})
		other.Get("/home").Expect(http.StatusOK, "") // the old application accepts it
		other.SetCookies(map[string]string{"session": respelled})
		s.update()
		user.Get("/home").Expect(http.StatusOK, "")
		other.Get("/home").Lacks("Hello")
		require.Equal(t, 1, s.sessions(name))
		return
	}
	t.Fatal("no cookie has spare bits")
}

// A CookieStore that is asked to delete its cookie signs the values once more.
func TestResponseHasNoNewOldCookie(t *testing.T) {
	s := newSite(t, ofCookies())
	s.migration.UserOf = func(old *migrate.Old) string { return fmt.Sprint(old.Values["session"]["user"]) }
	user := s.logIn("ada")
	s.update()
	before := len(user.Received())
	user.Get("/home").Expect(http.StatusOK, "")
	deleted := 0
	for _, c := range user.Received()[before:] {
		if c.Name != "session" {
			continue
		}
		deleted++
		require.Negative(t, c.MaxAge)
		other := s.browse()
		other.SetCookies(map[string]string{"session": c.Value})
		other.Get("/home").Lacks("Hello")
	}
	require.Equal(t, 1, deleted)
	require.Equal(t, 1, s.sessions("ada"))
}

// A request that the old application still serves saves the session once it has been moved.
func TestOldSessionThatIsSavedLateIsStillDead(t *testing.T) {
	manager := scs.New()
	old := ofSCS(manager)
	s := newSite(t, old)
	user := s.logIn("ada")
	copied := user.Copy()
	late, err := manager.Load(context.Background(), user.Cookies()["session"])
	require.NoError(t, err)
	s.update()
	user.Get("/home").Expect(http.StatusOK, "")
	user.Post("/logout").Expect(http.StatusSeeOther, "/")
	_, _, err = manager.Commit(late)
	require.NoError(t, err)
	copied.Get("/home").Lacks("Hello")
	require.Zero(t, s.sessions("ada"))
}

// The first request after the update is the logout of a page that the old application made.
func TestLogoutWithAnOldSessionEndsIt(t *testing.T) {
	forEach(t, func(t *testing.T, old oldApp) {
		s := newSite(t, old)
		user := s.logIn("ada")
		copied := user.Copy()
		s.update()
		user.Post("/logout").Expect(http.StatusSeeOther, "/")
		user.Get("/home").Expect(http.StatusSeeOther, toLogin)
		copied.Get("/home").Lacks("Hello")
		require.Zero(t, s.sessions("ada"))
	})
}

// So it is if that request moves no session: a script's, in a browser of old.
func TestLogoutEndsAnOldSessionThatItDoesNotMove(t *testing.T) {
	for _, earlier := range []bool{false, true} {
		s := newSite(t, ofCookies())
		user := s.logIn("ada")
		stolen := user.Copy()
		if earlier {
			user.Get("/home").Expect(http.StatusOK, "") // a new cookie
		}
		s.update()
		user.Header = http.Header{"Accept": {"*/*"}}
		user.Post("/logout").Expect(http.StatusNoContent, "")
		require.NotContains(t, user.Cookies(), "session")
		stolen.Get("/home").Lacks("Hello")
		require.Zero(t, s.sessions("ada"))
	}
}

// A browser that has a session of the guard, or had one, has no use for an old one.
func TestNewSessionIsNotReplacedByAnOldOne(t *testing.T) {
	for _, ended := range []bool{false, true} {
		t.Run(fmt.Sprintf("the new session has ended: %v", ended), func(t *testing.T) {
			s := newSite(t, ofCookies())
			old := s.logIn("ada")
			s.update()
			b := s.logIn("bob")
			cookies := b.Cookies()
			cookies["session"] = old.Cookies()["session"]
			b.SetCookies(cookies)
			if ended {
				require.NoError(t, s.migration.Guard.EndUser(t.Context(), "bob"))
				b.Get("/home").Expect(http.StatusSeeOther, toLogin+"&reason=ended")
			} else {
				b.Get("/home").Expect(http.StatusOK, "").Contains("Hello, bob")
			}
			require.NotContains(t, b.Cookies(), "session")
			old.Get("/home").Lacks("Hello")
			require.Zero(t, s.sessions("ada"))
		})
	}
}

func TestPlantedCookiesGetNobodyIn(t *testing.T) {
	s := newSite(t, ofCookies())
	ada, bob := s.logIn("ada"), s.logIn("bob")
	s.update()
	r := s.browse().Request("GET", "/home")
	for _, value := range []string{bob.Cookies()["session"], ada.Cookies()["session"]} {
		r.AddCookie(&http.Cookie{Name: "session", Value: value})
	}
	ada.Client.Jar = nil
	ada.Do(r).Expect(http.StatusSeeOther, toLogin)
	require.Zero(t, s.sessions("ada")+s.sessions("bob"))
}

// Whatever cookie of the guard's name a browser brings, it gets a new one.
func TestPlantedTokenIsNotKept(t *testing.T) {
	s := newSite(t, ofCookies())
	user := s.logIn("ada")
	s.update()
	var name string
	for n := range s.logIn("bob").Cookies() {
		if strings.HasPrefix(n, "__Host-") && !strings.HasSuffix(n, "-anonymous") {
			name = n
		}
	}
	require.NotEmpty(t, name)
	token := strings.Repeat("evil", 20)
	cookies := user.Cookies()
	cookies[name] = token
	user.SetCookies(cookies)
	user.Get("/home").Expect(http.StatusOK, "").Contains("Hello, ada")
	require.NotEqual(t, token, user.Cookies()[name])
}

func TestStrangersCookiesAreIgnored(t *testing.T) {
	for _, value := range []string{"x", "MTIzfHx8", strings.Repeat("A", 4000)} {
		forEach(t, func(t *testing.T, old oldApp) {
			s := newSite(t, old)
			s.update()
			b := s.browse()
			b.SetCookies(map[string]string{"session": value})
			b.Get("/home").Expect(http.StatusSeeOther, toLogin)
		})
	}
	stranger := newSite(t, ofGorilla(sessions.NewCookieStore([]byte(strings.Repeat("s", 32)))))
	s := newSite(t, ofCookies())
	s.update()
	b := s.browse()
	b.SetCookies(stranger.logIn("ada").Cookies())
	b.Get("/home").Expect(http.StatusSeeOther, toLogin)
}
