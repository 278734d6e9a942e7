package migrate_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/require"
)

func TestOldSessionsDoNotCountAfterTheCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := prepare(t, ofCookies())
		s.migration.Until = time.Now().Add(time.Hour)
		before, after := s.logIn("ada"), s.logIn("bob")
		s.update()
		time.Sleep(time.Hour - time.Millisecond)
		before.Get("/home").Expect(http.StatusOK, "")
		copied := before.Copy()
		time.Sleep(time.Millisecond)
		before.Get("/home").Expect(http.StatusOK, "")
		after.Get("/home").Expect(http.StatusSeeOther, toLogin)
		require.Contains(t, after.Cookies(), "session") // which nobody reads any more
		copied.Get("/home").Expect(http.StatusOK, "")
	})
}

// A copy that comes later than another tab would is no reason to wait. It gets nobody in until
// the cut-off, and after that none does.
func TestOldCookieIsDeadUntilTheCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := prepare(t, ofCookies())
		user := s.logIn("ada")
		cookies := user.Cookies()
		s.update()
		user.Get("/home").Expect(http.StatusOK, "")
		time.Sleep(9 * time.Second)
		tab := s.browse() // restored with the first
		tab.SetCookies(cookies)
		tab.Get("/home").Expect(http.StatusServiceUnavailable, "").Has("Retry-After", "1").Has("Refresh", "1")
		tab.SetCookies(user.Cookies())
		tab.Get("/home").Expect(http.StatusOK, "")
		time.Sleep(time.Second)
		for range 15 * 24 {
			time.Sleep(time.Hour)
			copied := s.browse()
			copied.SetCookies(cookies)
			copied.Get("/home").Expect(http.StatusSeeOther, toLogin)
		}
	})
}

// Deadlines of the old session hold, before and after it is moved.
func TestOldDeadlinesHold(t *testing.T) {
	cookies := sessions.NewCookieStore(keys...)
	cookies.Options.MaxAge = 3600 // which the codecs do not know
	manager := scs.New()
	manager.Store, manager.Lifetime = memstore.NewWithCleanupInterval(0), time.Hour
	manager.Cookie.Secure = true
	for name, old := range map[string]oldApp{"gorilla": ofGorilla(cookies), "scs": ofSCS(manager)} {
		for moved, minutes := range map[string]int{"at the end": 59, "in the middle": 35, "early": 5} {
			t.Run(name+", moved "+moved, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := prepare(t, old)
					user := s.logIn("ada")
					s.update()
					time.Sleep(time.Duration(minutes) * time.Minute)
					for range 60 - minutes {
						user.Get("/home").Expect(http.StatusOK, "")
						time.Sleep(time.Minute)
					}
					user.Get("/home").Expect(http.StatusSeeOther, toLogin+"&reason=absolute")
				})
			})
		}
		t.Run(name+", over", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := prepare(t, old)
				user := s.logIn("ada")
				cookies := user.Cookies()
				s.update()
				time.Sleep(time.Hour)
				late := s.browse() // whose cookies no browser has deleted
				late.SetCookies(cookies)
				late.Get("/home").Expect(http.StatusSeeOther, toLogin)
			})
		})
	}
}

func TestOldIdleTimeoutHolds(t *testing.T) {
	manager := scs.New()
	manager.Store, manager.IdleTimeout = memstore.NewWithCleanupInterval(0), 20*time.Minute
	old := ofSCS(manager)
	synctest.Test(t, func(t *testing.T) {
		s := prepare(t, old)
		user, late := s.logIn("ada"), s.logIn("bob")
		cookies := late.Cookies()
		s.update()
		time.Sleep(20*time.Minute - time.Second)
		user.Get("/home").Expect(http.StatusOK, "")
		time.Sleep(2 * time.Second)
		late.SetCookies(cookies)
		late.Get("/home").Expect(http.StatusSeeOther, toLogin)
	})
}

func TestMovedSessionIsNotFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := prepare(t, ofCookies())
		user := s.logIn("ada")
		s.update()
		for range 2 {
			user.Get("/money").Expect(http.StatusSeeOther, "/again?next=%2Fmoney")
		}
		time.Sleep(time.Second)
		user.PostForm("/login", "user", "ada").Expect(http.StatusOK, "")
		user.Get("/money").Expect(http.StatusOK, "").Contains("your money")
		user.Get("/home").Contains("theme dark")
		s.browse().Get("/money").Expect(http.StatusSeeOther, "/login?next=%2Fmoney")
		time.Sleep(5 * time.Minute)
		user.Get("/money").Expect(http.StatusSeeOther, "/again?next=%2Fmoney")
	})
}
