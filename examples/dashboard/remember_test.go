package main

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	checkbox = `name="remember" type="checkbox"`
	day      = 24 * time.Hour
)

// sessionCookie is what an answer says of the session's cookie.
func (a answer) sessionCookie() *http.Cookie {
	a.t.Helper()
	for _, cookie := range a.Cookies() {
		if cookie.Name == "session" {
			return cookie
		}
	}
	a.t.Fatalf("%s: no session cookie in %v", a.Request.URL.Path, a.Header)
	return nil
}

func TestADeviceThatIsRememberedComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.remembering("ada")
		for range 13 {
			time.Sleep(day)
			b.get("/account").expect(http.StatusOK, "").contains("Ada Lovelace")
		}
		time.Sleep(day)
		b.isOut("/account", store.Absolute)
	})
}

func TestADeviceIsRememberedOnlyIfTheBoxIsTicked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		s.browse().get("/login").contains(checkbox, "Remember me on this device", "for 2 weeks,").lacks("checked")
		for _, fields := range [][]string{nil, {"remember", ""}} {
			b := s.browse()
			a := b.post("/login", append(fields, "username", "ada", "password", "analytical-engine")...)
			if cookie := a.sessionCookie(); cookie.MaxAge != 0 {
				t.Errorf("the cookie is kept for %d seconds", cookie.MaxAge)
			}
			time.Sleep(30 * time.Minute)
			b.isOut("/home", store.Idle)
		}
	})
}

func TestWithoutRememberThereIsNoBoxAndNoWayAroundIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.idle, o.remember = time.Minute, 0
		s := newSite(t, o)
		s.browse().get("/login").expect(http.StatusOK, "").lacks("remember").lacks("Remember")
		b := s.remembering("ada")
		time.Sleep(time.Minute)
		b.isOut("/home", store.Idle)
		b.get("/login").lacks("without your password")
	})
}

func TestAWrongPasswordKeepsTheTick(t *testing.T) {
	b := serve(t).browse()
	b.post("/login", "username", "ada", "password", "wrong", "remember", "on").contains("checked")
	b.post("/login", "username", "ada", "password", "wrong").lacks("checked")
}

func TestTheLoginPageRevivesNothingAndLeadsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.remembering("ada")
		time.Sleep(30 * time.Minute)
		// What a page left alone does, and somebody who guesses at the form.
		b.get("/sessionguard/resume?next=/account&reason=idle").expect(http.StatusSeeOther, "/login?next=%2Faccount&reason=remembered")
		for range 2 {
			b.get("/login?next=%2Faccount&reason=remembered").expect(http.StatusOK, "").
				contains(endings[store.Remembered], `href="/account">Continue without your password</a>`).lacks("Ada Lovelace")
			b.post("/login", "username", "ada", "password", "wrong").expect(http.StatusUnprocessableEntity, "").lacks("Ada Lovelace")
		}
		b.get("/session").contains(`"authenticated":false`)
		b.get("/account").expect(http.StatusOK, "").contains("Ada Lovelace")
		b.get("/session").contains(`"authenticated":true`)

		// Without a remembered session nothing leads on.
		b = s.as("ada")
		time.Sleep(30 * time.Minute)
		b.get("/login").lacks("without your password")
		b.isOut("/home", store.Idle)
		s.browse().get("/login?reason=remembered").contains(endings[store.Remembered]).lacks("without your password")
	})
}

func TestLoggingInByTheFormDecidesAnewWhatIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.remembering("ada")
		time.Sleep(time.Hour)
		b.login("ada").expect(http.StatusSeeOther, "/home")
		time.Sleep(time.Hour)
		b.isOut("/home", store.Idle)
	})
}

func TestWhoIsRememberedIsAskedForThePasswordAndStaysRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.remembering("ada")
		time.Sleep(4 * day)
		b.get("/home").expect(http.StatusOK, "")
		b.get("/account/sessions").expect(http.StatusSeeOther, "/reauth?next=%2Faccount%2Fsessions")
		b.post("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
			expect(http.StatusSeeOther, "/reauth")

		left := int((10*day + time.Hour).Seconds()) // and an hour to be told of the end
		a := b.post("/reauth", "password", "analytical-engine").expect(http.StatusSeeOther, "/account")
		if cookie := a.sessionCookie(); cookie.MaxAge != left {
			t.Errorf("after logging in again the cookie is kept for %d seconds, not %d", cookie.MaxAge, left)
		}
		a = b.post("/account/password", "current", "analytical-engine", "password", "a new analytical engine").
			expect(http.StatusSeeOther, "/account")
		if cookie := a.sessionCookie(); cookie.MaxAge != left {
			t.Errorf("after the change of password the cookie is kept for %d seconds, not %d", cookie.MaxAge, left)
		}
		time.Sleep(10*day - time.Second)
		b.get("/home").expect(http.StatusOK, "")
		time.Sleep(time.Second)
		b.isOut("/home", store.Absolute)
	})
}

func TestAnAdminWhoIsRememberedChangesNobodyWithoutThePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		ada, grace := s.as("ada"), s.remembering("grace")
		time.Sleep(20 * time.Minute)
		grace.get("/admin").expect(http.StatusOK, "")
		for _, path := range []string{"deactivate", "activate", "sessions/end", "sessions/" + ada.session() + "/end"} {
			grace.post("/admin/users/ada/"+path).expect(http.StatusSeeOther, "/reauth")
		}
		ada.get("/home").expect(http.StatusOK, "")
	})
}

func TestATokenFromBeforeIsTakenForTheft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.remembering("ada")
		copied := b.copy()
		time.Sleep(time.Hour)
		b.get("/home").expect(http.StatusOK, "")
		time.Sleep(time.Minute)
		b.get("/home").expect(http.StatusOK, "") // with its new token
		copied.get("/home").expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=theft_suspected")
		b.isOut("/home", store.Theft)
		b.get("/login").contains("check your devices and change your password")
	})
}
