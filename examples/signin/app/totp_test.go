package app

import (
	"bytes"
	"encoding/base32"
	"image/png"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
)

func TestAPasswordIsEnoughForWhoeverHasNothingElse(t *testing.T) {
	s := newSite(t)
	b := s.as("ada")
	b.Get("/home").Expect(http.StatusOK, "").Contains("<dt>Password</dt>").Lacks("<dt>Code of").NoStore()
	apptest.Login(s.browse(), "eve").Expect(http.StatusUnprocessableEntity, "").Contains("Wrong name or password.")
	s.browse().PostForm("/login", "username", "ada", "password", "wrong").Expect(http.StatusUnprocessableEntity, "")
}

func TestWithAnAuthenticatorAppThePasswordAloneOpensNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		secret := enrol(s.as("ada"))
		time.Sleep(totpPeriod)

		b := s.browse()
		b.PostForm("/login", "username", "ada", "password", apptest.Passwords["ada"], "next", "/vault").
			Expect(http.StatusSeeOther, "/factor?next=%2Fvault")
		for _, path := range []string{"/home", "/account", "/reauth", "/vault", "/account/totp", "/account/totp.png"} {
			if a := b.Get(path); a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), "/factor?") {
				t.Errorf("%s: got %d to %q", path, a.StatusCode, a.Header.Get("Location"))
			}
		}
		b.PostForm("/account/totp/remove").Expect(http.StatusSeeOther, "/factor")
		b.Get("/session").Lacks(`"authenticated":true`)
		b.Get("/").Contains(`href="/login"`).Lacks("Ada")

		b.Get("/factor?next=/home").Expect(http.StatusOK, "").Contains("One more step", `name="next" value="/home"`).
			Lacks("Use a passkey").Lacks("Ada").NoStore()
		b.PostForm("/factor", "code", "000000", "next", "/home").Expect(http.StatusUnprocessableEntity, "").Contains("That code is wrong", `value="/home"`)
		b.PostForm("/factor", "code", code(t, secret, 0), "next", "/home").Expect(http.StatusSeeOther, "/home")
		b.Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace", "<dt>Password</dt>", "<dt>Code of an authenticator app</dt>")
	})
}

func TestHalfALoginLastsFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		secret := enrol(s.as("ada"))
		b := s.halfway("ada")
		time.Sleep(5 * time.Minute)
		b.PostForm("/factor", "code", code(t, secret, 0), "next", "/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")
		isOut(b)
	})
}

func TestACodeIsGoodOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		first := s.as("ada")
		secret := enrol(first)
		s.halfway("ada").PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusUnprocessableEntity, "") // that of the enrolment
		time.Sleep(2 * totpPeriod)
		s.halfway("ada").PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusSeeOther, "/home")
		s.halfway("ada").PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusUnprocessableEntity, "").Contains("has been used")
		s.halfway("ada").PostForm("/factor", "code", code(t, secret, -1)).Expect(http.StatusUnprocessableEntity, "") // an older one, either
		time.Sleep(totpPeriod)
		spaced := code(t, secret, 0)
		s.halfway("ada").PostForm("/factor", "code", spaced[:3]+" "+spaced[3:]).Expect(http.StatusSeeOther, "/home")
	})
}

func TestGuessingCodesTakesForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		secret := enrol(s.as("ada"))
		time.Sleep(totpPeriod)
		for range maxFailures { // each in a session of its own
			s.halfway("ada").PostForm("/factor", "code", "000000").Expect(http.StatusUnprocessableEntity, "")
		}
		b := s.halfway("ada")
		b.PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusTooManyRequests, "").Contains("Too many wrong codes.")
		time.Sleep(firstWait)
		b.PostForm("/factor", "code", "000000").Expect(http.StatusUnprocessableEntity, "")
		time.Sleep(firstWait)
		b.PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusTooManyRequests, "") // twice as long now
		time.Sleep(firstWait)
		b.PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusSeeOther, "/home")
		s.halfway("ada").PostForm("/factor", "code", "000000").Expect(http.StatusUnprocessableEntity, "") // counted anew
	})
}

func TestTheWaitForAnotherGuessHasAnEnd(t *testing.T) {
	app, now := authenticator{secret: "AAAAAAAAAAAAAAAA"}, time.Now()
	for range 100 {
		app, _ = app.check("wrong", now)
		if app.blockedUntil.After(now) {
			now = app.blockedUntil
		}
	}
	app, _ = app.check("wrong", now)
	if wait := app.blockedUntil.Sub(now); wait != longestWait {
		t.Errorf("the wait is %v", wait)
	}
}

func TestTheOtherSessionsHaveToProveTheNewFactor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		here, there := s.as("ada"), s.as("ada")
		secret := enrol(here)
		isIn(here, "Ada Lovelace")
		there.Get("/home").Expect(http.StatusSeeOther, "/factor?next=%2Fhome")
		time.Sleep(totpPeriod)
		there.PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusSeeOther, "/home")
		isIn(there, "Ada Lovelace")

		here.PostForm("/account/totp/remove").Expect(http.StatusSeeOther, "/account")
		here.Get("/account").Contains("Your authenticator app is removed. You are logged out everywhere else.", "Set up an app")
		isOut(there)
		s.as("ada")
	})
}

func TestTheImageIsThatOfTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b := s.as("ada")
		b.Get("/account/totp.png").Expect(http.StatusNotFound, "")
		page := b.Get("/account/totp").Expect(http.StatusOK, "").NoStore().Contains(`src="/account/totp.png"`)
		b.Get("/account/totp").Contains(page.Body[strings.Index(page.Body, `<code`):]) // the same after a reload
		secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(shownSecret(page))
		if err != nil {
			t.Fatal(err)
		}
		got, err := png.Decode(strings.NewReader(b.Get("/account/totp.png").Expect(http.StatusOK, "").NoStore().Has("Content-Type", "image/png").Body))
		if err != nil {
			t.Fatal(err)
		}
		key, err := totp.Generate(totp.GenerateOpts{Issuer: name, AccountName: "ada", Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		want, err := key.Image(imageSize, imageSize)
		if err != nil {
			t.Fatal(err)
		}
		var gotPNG, wantPNG bytes.Buffer
		if png.Encode(&gotPNG, got) != nil || png.Encode(&wantPNG, want) != nil || !bytes.Equal(gotPNG.Bytes(), wantPNG.Bytes()) {
			t.Error("the image is not that of the key")
		}
		b.PostForm("/account/totp", "code", "000000").Expect(http.StatusUnprocessableEntity, "").Contains("That code is wrong.")
		isIn(b, "Ada Lovelace") // nothing is set up yet
	})
}

func TestASecondFactorIsSetUpRightAfterALoginOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b := s.as("ada")
		time.Sleep(freshFor)
		for _, path := range []string{"/account", "/account/totp", "/account/totp.png"} {
			b.Get(path).Expect(http.StatusSeeOther, "/reauth?next="+strings.ReplaceAll(path, "/", "%2F"))
		}
		for _, path := range []string{
			"/account/totp", "/account/totp/remove", "/account/passkeys", "/account/passkeys/options", "/account/passkeys/remove",
		} {
			b.Post(path).Expect(http.StatusSeeOther, "/reauth")
		}
		b.PostForm("/reauth", "password", "wrong").Expect(http.StatusUnprocessableEntity, "")
		b.PostForm("/reauth", "password", apptest.Passwords["ada"], "next", "/account/totp").Expect(http.StatusSeeOther, "/account/totp")
		enrol(b)
	})
}

func TestASecondFactorIsReplacedByWhoeverHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b := s.as("ada")
		secret := enrol(b)
		time.Sleep(freshFor)
		b.PostForm("/reauth", "password", apptest.Passwords["ada"], "next", "/account").Expect(http.StatusSeeOther, "/account")
		b.Get("/account/totp").Expect(http.StatusSeeOther, "/reauth?next=%2Faccount%2Ftotp&factor=mfa")
		b.PostForm("/account/totp/remove").Expect(http.StatusSeeOther, "/reauth?factor=mfa")
		b.PostForm("/factor", "code", "000000", "next", "/account", "factor", "mfa").
			Expect(http.StatusUnprocessableEntity, "").Contains("That code is wrong", "prove again", `name="factor" value="mfa"`)
		b.PostForm("/factor", "code", code(t, secret, 0), "next", "/account", "factor", "mfa").Expect(http.StatusSeeOther, "/account")
		b.PostForm("/account/totp/remove").Expect(http.StatusSeeOther, "/account")
		s.as("ada")
	})
}
