package app

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/store"
)

const (
	checkbox = `name="remember" type="checkbox"`
	day      = 24 * time.Hour
)

func TestADeviceThatIsRememberedComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.remembering("ada")
		for range 13 {
			time.Sleep(day)
			b.Get("/account").Expect(http.StatusOK, "").Contains("Ada Lovelace")
		}
		time.Sleep(day)
		isOut(b, "/account", store.ReasonAbsolute)
	})
}

func TestADeviceIsRememberedOnlyIfTheBoxIsTicked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		s.browse().Get("/login").Contains(checkbox, "Remember me on this device", "for 2 weeks,").Lacks("checked")
		for _, fields := range [][]string{nil, {"remember", ""}} {
			b := s.browse()
			a := b.PostForm("/login", append(fields, "username", "ada", "password", "analytical-engine")...)
			if cookie := a.Cookie("session"); cookie == nil || cookie.MaxAge != 0 {
				t.Errorf("got the cookie %v, want one without MaxAge", cookie)
			}
			time.Sleep(30 * time.Minute)
			isOut(b, "/home", store.ReasonIdle)
		}
	})
}

func TestWithoutRememberThereIsNoBoxAndNoWayAroundIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.Idle, o.Remember = time.Minute, 0
		s := newSite(t, o)
		s.browse().Get("/login").Expect(http.StatusOK, "").Lacks("remember").Lacks("Remember")
		b := s.remembering("ada")
		time.Sleep(time.Minute)
		isOut(b, "/home", store.ReasonIdle)
		b.Get("/login").Lacks("without your password")
	})
}

func TestAWrongPasswordKeepsTheTick(t *testing.T) {
	b := serve(t).browse()
	b.PostForm("/login", "username", "ada", "password", "wrong", "remember", "on").Contains("checked")
	b.PostForm("/login", "username", "ada", "password", "wrong").Lacks("checked")
}

func TestTheLoginPageRevivesNothingAndLeadsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.remembering("ada")
		time.Sleep(30 * time.Minute)
		// What a page left alone does, and somebody who guesses at the form.
		b.Get("/sessionguard/resume?next=/account&reason=idle").Expect(http.StatusSeeOther, "/login?next=%2Faccount&reason=remembered")
		for range 2 {
			b.Get("/login?next=%2Faccount&reason=remembered").Expect(http.StatusOK, "").
				Contains(endings[store.ReasonRemembered], `href="/account">Continue without your password</a>`).Lacks("Ada Lovelace")
			b.PostForm("/login", "username", "ada", "password", "wrong").Expect(http.StatusUnprocessableEntity, "").Lacks("Ada Lovelace")
		}
		b.Get("/session").Contains(`"authenticated":false`)
		b.Get("/account").Expect(http.StatusOK, "").Contains("Ada Lovelace")
		b.Get("/session").Contains(`"authenticated":true`)

		// Without a remembered session nothing leads on.
		b = s.as("ada")
		time.Sleep(30 * time.Minute)
		b.Get("/login").Lacks("without your password")
		isOut(b, "/home", store.ReasonIdle)
		s.browse().Get("/login?reason=remembered").Contains(endings[store.ReasonRemembered]).Lacks("without your password")
	})
}

func TestLoggingInByTheFormDecidesAnewWhatIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.remembering("ada")
		time.Sleep(time.Hour)
		apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
		time.Sleep(time.Hour)
		isOut(b, "/home", store.ReasonIdle)
	})
}

func TestWhoIsRememberedIsAskedForThePasswordAndStaysRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.remembering("ada")
		time.Sleep(4 * day)
		b.Get("/home").Expect(http.StatusOK, "")
		b.Get("/account/sessions").Expect(http.StatusSeeOther, "/reauth?next=%2Faccount%2Fsessions")
		b.PostForm("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
			Expect(http.StatusSeeOther, "/reauth")

		left := int((10*day + time.Hour).Seconds()) // and an hour to be told of the end
		a := b.PostForm("/reauth", "password", "analytical-engine").Expect(http.StatusSeeOther, "/account")
		if cookie := a.Cookie("session"); cookie == nil || cookie.MaxAge != left {
			t.Errorf("after logging in again got the cookie %v, want MaxAge %d", cookie, left)
		}
		a = b.PostForm("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
			Expect(http.StatusSeeOther, "/account")
		if cookie := a.Cookie("session"); cookie == nil || cookie.MaxAge != left {
			t.Errorf("after the change of password got the cookie %v, want MaxAge %d", cookie, left)
		}
		time.Sleep(10*day - time.Second)
		b.Get("/home").Expect(http.StatusOK, "")
		time.Sleep(time.Second)
		isOut(b, "/home", store.ReasonAbsolute)
	})
}

func TestAnAdminWhoIsRememberedChangesNobodyWithoutThePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		ada, grace := s.as("ada"), s.remembering("grace")
		time.Sleep(20 * time.Minute)
		grace.Get("/admin").Expect(http.StatusOK, "")
		for _, path := range []string{"deactivate", "activate", "sessions/end", "sessions/" + apptest.Session(ada) + "/end"} {
			grace.PostForm("/admin/users/ada/"+path).Expect(http.StatusSeeOther, "/reauth")
		}
		ada.Get("/home").Expect(http.StatusOK, "")
	})
}

func TestATokenFromBeforeIsTakenForTheft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.remembering("ada")
		copied := b.Copy()
		time.Sleep(time.Hour)
		b.Get("/home").Expect(http.StatusOK, "")
		time.Sleep(time.Minute)
		b.Get("/home").Expect(http.StatusOK, "") // with its new token
		copied.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=theft_suspected")
		isOut(b, "/home", store.ReasonTheftSuspected)
		b.Get("/login").Contains("check your devices and change your password")
	})
}
