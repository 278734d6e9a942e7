package app

import (
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	checkbox = `name="remember" type="checkbox"`
	day      = 24 * time.Hour
)

func TestADeviceThatIsRememberedComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.loggedIn("ada", "remember", "on")
		for range 13 {
			b.Wait(day)
			b.Get("/account").HasStatus(http.StatusOK).Contains("Ada Lovelace")
		}
		b.Wait(day)
		s.ended(b, "/account", store.ReasonAbsolute)
	})
}

func TestADeviceIsRememberedOnlyIfTheBoxIsTicked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		s.client().Get("/login").Contains(checkbox, "Remember me on this device", "for 2 weeks,").Lacks("checked")
		for _, fields := range [][]string{nil, {"remember", ""}} {
			b := s.client()
			if got := sessionMaxAge(b.PostForm("/login", credentials("ada", fields...))); got != 0 {
				t.Errorf("got a cookie with MaxAge %d, want one without", got)
			}
			b.Wait(30 * time.Minute)
			s.ended(b, "/home", store.ReasonIdle)
		}
	})
}

func TestWithoutRememberThereIsNoBoxAndNoWayAroundIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := testOptions()
		o.Idle, o.Remember = time.Minute, 0
		s := newSite(t, o)
		s.client().Get("/login").HasStatus(http.StatusOK).Lacks("remember").Lacks("Remember")
		b := s.loggedIn("ada", "remember", "on")
		b.Wait(time.Minute)
		s.ended(b, "/home", store.ReasonIdle)
		b.Get("/login").Lacks("without your password")
	})
}

func TestAWrongPasswordKeepsTheTick(t *testing.T) {
	b := newSite(t, testOptions()).client()
	b.PostForm("/login", url.Values{"username": {"ada"}, "password": {"wrong"}, "remember": {"on"}}).Contains("checked")
	b.PostForm("/login", url.Values{"username": {"ada"}, "password": {"wrong"}}).Lacks("checked")
}

func TestTheLoginPageRevivesNothingAndLeadsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.loggedIn("ada", "remember", "on")
		b.Wait(30 * time.Minute)
		// What a page left alone does, and somebody who guesses at the form.
		b.Get("/sessionguard/resume?next=/account&reason=idle").RedirectsTo("/login?next=%2Faccount&reason=remembered")
		for range 2 {
			b.Get("/login?next=%2Faccount&reason=remembered").HasStatus(http.StatusOK).
				Contains(endings[store.ReasonRemembered], `href="/account">Continue without your password</a>`).Lacks("Ada Lovelace")
			b.PostForm("/login", url.Values{"username": {"ada"}, "password": {"wrong"}}).HasStatus(http.StatusUnprocessableEntity).Lacks("Ada Lovelace")
		}
		b.Get("/session").Contains(`"authenticated":false`)
		b.Get("/account").HasStatus(http.StatusOK).Contains("Ada Lovelace")
		b.Get("/session").Contains(`"authenticated":true`)

		// Without a remembered session nothing leads on.
		b = s.loggedIn("ada")
		b.Wait(30 * time.Minute)
		b.Get("/login").Lacks("without your password")
		s.ended(b, "/home", store.ReasonIdle)
		s.client().Get("/login?reason=remembered").Contains(endings[store.ReasonRemembered]).Lacks("without your password")
	})
}

func TestLoggingInByTheFormDecidesAnewWhatIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.loggedIn("ada", "remember", "on")
		b.Wait(time.Hour)
		b.PostForm("/login", credentials("ada")).RedirectsTo("/home")
		b.Wait(time.Hour)
		s.ended(b, "/home", store.ReasonIdle)
	})
}

func TestWhoIsRememberedIsAskedForThePasswordAndStaysRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		b := s.loggedIn("ada", "remember", "on")
		b.Wait(4 * day)
		b.Get("/home").HasStatus(http.StatusOK)
		b.Get("/account/sessions").RedirectsTo("/reauth?next=%2Faccount%2Fsessions")
		b.PostForm("/account/password", url.Values{"current": {"analytical-engine"}, "password": {"a new analytical engine"}}).
			RedirectsTo("/reauth")

		left := int((10*day + time.Hour).Seconds()) // and an hour to be told of the end
		a := b.PostForm("/reauth", url.Values{"password": {"analytical-engine"}}).RedirectsTo("/account")
		if got := sessionMaxAge(a); got != left {
			t.Errorf("after logging in again got MaxAge %d, want %d", got, left)
		}
		a = b.PostForm("/account/password", url.Values{"current": {"analytical-engine"}, "password": {"a new analytical engine"}}).
			RedirectsTo("/account")
		if got := sessionMaxAge(a); got != left {
			t.Errorf("after the change of password got MaxAge %d, want %d", got, left)
		}
		b.Wait(10*day - time.Second)
		b.Get("/home").HasStatus(http.StatusOK)
		b.Wait(time.Second)
		s.ended(b, "/home", store.ReasonAbsolute)
	})
}

func TestAnAdminWhoIsRememberedChangesNobodyWithoutThePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, testOptions())
		ada, grace := s.loggedIn("ada"), s.loggedIn("grace", "remember", "on")
		grace.Wait(20 * time.Minute)
		grace.Get("/admin").HasStatus(http.StatusOK)
		for _, path := range []string{"deactivate", "activate", "sessions/end", "sessions/" + s.sessionOf("ada") + "/end"} {
			grace.PostForm("/admin/users/ada/"+path, nil).RedirectsTo("/reauth")
		}
		ada.Get("/home").HasStatus(http.StatusOK)
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
