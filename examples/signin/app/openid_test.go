package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

func TestALoginWithTheProvider(t *testing.T) {
	s := newSite(t)
	b := s.browse()
	callback := s.provider.issue(s.toProvider(b, "next", "/account"), nil)
	b.Get(callback).Expect(http.StatusSeeOther, "/account").NoStore()
	b.Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace", "<dt>Login with Example ID</dt>", "<dt>Password</dt>")
	for changed, message := range map[string]string{
		"person-eve":  "Your account is not active.",
		"person-none": "Nobody here belongs to that account",
		"ada":         "Nobody here belongs to that account", // a name is no subject
	} {
		b := s.browse()
		b.Get(s.provider.issue(s.toProvider(b), claims{"sub": changed})).Expect(http.StatusForbidden, "").Contains(message)
		isOut(b)
	}
	s.browse().Get("/openid/login").Expect(http.StatusMethodNotAllowed, "")
}

func TestSeveralLoginsWithTheProviderMayBeUnderWay(t *testing.T) {
	s := newSite(t)
	b := s.browse()
	first, second := s.toProvider(b, "next", "/account"), s.toProvider(b)
	b.Get(s.provider.issue(first, nil)).Expect(http.StatusSeeOther, "/account")
	// The other one began before anybody was logged in.
	b.Get(s.provider.issue(second, nil)).Expect(http.StatusForbidden, "")
	isIn(b, "Ada Lovelace")
}

func TestALoginThatWasBegunElsewhereIsRefused(t *testing.T) {
	s := newSite(t)
	const refused = "That login was begun in another browser"

	b := s.browse()
	callback := s.provider.issue(s.toProvider(b), nil)
	victim := s.browse()
	victim.Get(callback).Expect(http.StatusForbidden, "").Contains(refused)
	isOut(victim)
	s.toProvider(victim)
	victim.Get(callback).Expect(http.StatusForbidden, "").Contains(refused) // one of its own does not help
	isOut(victim)

	for _, state := range []string{"", "forged"} {
		b := s.browse()
		to, _ := url.Parse(s.provider.issue(s.toProvider(b), nil))
		query := to.Query()
		query.Set("state", state)
		b.Get(CallbackPath+"?"+query.Encode()).Expect(http.StatusForbidden, "").Contains(refused)
		isOut(b)
	}

	before := b.Copy()
	b.Get(callback).Expect(http.StatusSeeOther, "/home")
	b.Get(callback).Expect(http.StatusForbidden, "").Contains(refused)
	before.Get(callback).Expect(http.StatusForbidden, "").Contains(refused) // a copy of the cookie does not bring it back
	isOut(before)
	isIn(b, "Ada Lovelace")
}

func TestALoginAtTheProviderMayTakeTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		quick, slow := s.browse(), s.browse()
		quickTo, slowTo := s.toProvider(quick), s.toProvider(slow)
		time.Sleep(flowTime - time.Second)
		quick.Get(s.provider.issue(quickTo, nil)).Expect(http.StatusSeeOther, "/home")
		time.Sleep(time.Second)
		slow.Get(s.provider.issue(slowTo, nil)).Expect(http.StatusForbidden, "").Contains("took too long")
	})
}

func TestAnIDTokenThatIsNotForThisLoginIsRefused(t *testing.T) {
	s := newSite(t)
	for what, changes := range map[string]claims{
		"another nonce":    {"nonce": "another"},
		"no nonce":         {"nonce": nil},
		"another client":   {"aud": "other"},
		"another provider": {"iss": "https://other.example"},
		"expired":          {"exp": time.Now().Add(-time.Hour).Unix()},
		"no session":       {"sid": nil},
	} {
		b := s.browse()
		b.Get(s.provider.issue(s.toProvider(b), changes)).Expect(http.StatusForbidden, "").Contains("Example ID could not log you in.")
		if isOut(b); t.Failed() {
			t.Fatal(what)
		}
	}
	t.Run("signed by somebody else", func(t *testing.T) {
		b, right := s.browse(), s.provider.key
		s.provider.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		callback := s.provider.issue(s.toProvider(b), nil)
		s.provider.key = right
		b.Get(callback).Expect(http.StatusForbidden, "")
		isOut(b)
	})
	t.Run("a code of another login", func(t *testing.T) {
		b := s.browse()
		stolen, _ := url.Parse(s.provider.issue(s.toProvider(s.browse()), nil))
		own, _ := url.Parse(s.provider.issue(s.toProvider(b), nil))
		query := own.Query()
		query.Set("code", stolen.Query().Get("code"))
		b.Get(CallbackPath+"?"+query.Encode()).Expect(http.StatusForbidden, "") // by PKCE, at the provider
		isOut(b)
	})
	t.Run("the provider says no", func(t *testing.T) {
		b := s.browse()
		state := s.toProvider(b).Query().Get("state")
		b.Get(CallbackPath+"?error=access_denied&state="+state).Expect(http.StatusForbidden, "").Lacks("access_denied")
	})
}

func TestTheProviderDoesNotReplaceTheSecondFactor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		secret := enrol(s.as("ada"))
		time.Sleep(totpPeriod)
		b := s.browse()
		b.Get(s.provider.issue(s.toProvider(b, "next", "/account"), nil)).Expect(http.StatusSeeOther, "/factor?next=%2Faccount")
		b.Get("/home").Expect(http.StatusSeeOther, "/factor?next=%2Fhome")
		b.PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusSeeOther, "/home")
		isIn(b, "Ada Lovelace")

		// Unless it says that it has asked for two.
		b = s.openID(claims{"amr": []string{"pwd", "otp", "mfa", "unknown"}})
		isIn(b, "Ada Lovelace")
	})
}
