package app

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

func TestAPasskeyIsALogin(t *testing.T) {
	s := newSite(t)
	k := newKey(t)
	s.register(s.as("ada"), k)
	s.register(s.as("grace"), newKey(t))

	b := s.browse()
	s.use(b, k, "next", "/account").Expect(http.StatusSeeOther, "/account")
	b.Get("/account").Expect(http.StatusOK, "").Contains("Stays on its device")
	b.Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace", "<dt>Passkey that stays on its device</dt>").Lacks("<dt>Password</dt>")
	b.Get("/vault").Expect(http.StatusOK, "")
}

func TestAPasskeyIsASecondFactor(t *testing.T) {
	s := newSite(t)
	k := newKey(t)
	s.register(s.as("ada"), k)
	b := s.halfway("ada")
	b.Get("/factor?next=/home").Expect(http.StatusOK, "").Contains("Use a passkey").Lacks("authenticator app")
	s.use(b, k, "next", "/home").Expect(http.StatusSeeOther, "/home")
	b.Get("/home").Expect(http.StatusOK, "").Contains("<dt>Password</dt>", "<dt>Passkey that stays on its device</dt>")
}

func TestAPasskeyIsAStepUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		secret, k := enrol(s.as("ada")), newKey(t)
		time.Sleep(totpPeriod)
		b := s.halfway("ada")
		b.PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusSeeOther, "/home")
		b.Get("/vault").Expect(http.StatusSeeOther, "/factor?next=%2Fvault&factor=hwk")
		b.Get("/factor?factor=hwk&next=/vault").Expect(http.StatusOK, "").
			Contains("needs a passkey that stays on its device", `href="/account"`).Lacks("Use a passkey").Lacks(`name="code"`)
		b.Post("/passkey/options").Expect(http.StatusConflict, "")

		elsewhere := s.halfway("ada") // registers it
		time.Sleep(totpPeriod)
		elsewhere.PostForm("/factor", "code", code(t, secret, 0))
		s.register(elsewhere, k)

		b.Get("/vault").Expect(http.StatusSeeOther, "/factor?next=%2Fvault&factor=hwk")
		s.use(b, k, "factor", "hwk", "next", "/vault").Expect(http.StatusSeeOther, "/vault")
		b.Get("/vault").Expect(http.StatusOK, "").Contains("Town Clock")
		b.Get("/home").Contains("<dt>Password</dt>", "<dt>Code of an authenticator app</dt>", "<dt>Passkey that stays on its device</dt>")
	})
}

func TestASyncedPasskeyIsALoginAndOpensNoVault(t *testing.T) {
	s := newSite(t)
	k := newKey(t)
	k.synced = true
	s.register(s.as("ada"), k)
	b := s.browse()
	s.use(b, k).Expect(http.StatusSeeOther, "/home")
	b.Get("/home").Contains("<dt>Passkey that is copied between devices</dt>")
	b.Get("/vault").Expect(http.StatusSeeOther, "/factor?next=%2Fvault&factor=hwk")
	s.use(b, k, "factor", "hwk", "next", "/vault").Expect(http.StatusSeeOther, "/vault")
	b.Get("/vault").Expect(http.StatusSeeOther, "/factor?next=%2Fvault&factor=hwk")
	b.Get("/factor?factor=hwk").Contains("That passkey is copied between devices.")
}

func TestAPasskeyFreshensALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b, k := s.as("ada"), newKey(t)
		s.register(b, k)
		time.Sleep(freshFor)
		b.Get("/account").Expect(http.StatusSeeOther, "/reauth?next=%2Faccount&factor=mfa")
		b.Get("/reauth?next=%2Faccount&factor=mfa").Expect(http.StatusSeeOther, "/factor?next=%2Faccount&factor=mfa")
		b.Get("/factor?next=%2Faccount&factor=mfa").Expect(http.StatusOK, "").Contains("Use a passkey")
		b.Get("/reauth?next=/home").Expect(http.StatusOK, "").Contains("Password of Ada Lovelace", "Use a passkey")
		s.use(b, k, "next", "/account").Expect(http.StatusSeeOther, "/account")
		b.Get("/account").Expect(http.StatusOK, "")
	})
}

// A refused answer leaves everybody where they were.
func TestAnAnswerIsGoodOnceAndWhereItWasAskedFor(t *testing.T) {
	s := newSite(t)
	ada, grace := newKey(t), newKey(t)
	s.register(s.as("ada"), ada)
	s.register(s.as("grace"), grace)
	ask := func(b *testbrowser.Browser) options {
		return parseOptions(t, b.Post("/passkey/options").Expect(http.StatusOK, "").Body)
	}
	refused := func(b *testbrowser.Browser, credential string) testbrowser.Response {
		t.Helper()
		return b.PostForm("/passkey", "credential", credential).Expect(http.StatusUnprocessableEntity, "")
	}

	t.Run("replayed", func(t *testing.T) {
		b := s.browse()
		answer := ada.logIn(ask(b))
		before := b.Copy() // with the cookie of the challenge
		b.PostForm("/passkey", "credential", answer).Expect(http.StatusSeeOther, "/home")
		b.PostForm("/logout").Expect(http.StatusSeeOther, "/")
		refused(b, answer)
		refused(before, answer).Contains("was sent twice")
		isOut(before)
	})
	t.Run("of another browser", func(t *testing.T) {
		b := s.browse()
		refused(b, ada.logIn(ask(s.browse())))
		isOut(b)
	})
	t.Run("to no challenge of ours", func(t *testing.T) {
		b := s.browse()
		ask(b)
		o := options{}
		o.PublicKey.Challenge = encode(random(32))
		refused(b, ada.logIn(o))
		refused(b, "")
		refused(b, "{}")
		isOut(b)
	})
	t.Run("to a challenge for a registration", func(t *testing.T) {
		b := s.browse()
		s.use(b, ada).Expect(http.StatusSeeOther, "/home")
		o := parseOptions(t, b.Post("/account/passkeys/options").Expect(http.StatusOK, "").Body)
		refused(b, ada.logIn(o))
	})
	t.Run("to a challenge from before the login", func(t *testing.T) {
		b := s.browse()
		o := ask(b)
		s.use(b, grace).Expect(http.StatusSeeOther, "/home")
		refused(b, ada.logIn(o))
		isIn(b, "Grace Hopper")
	})
	t.Run("for another site", func(t *testing.T) {
		b, phished := s.browse(), *ada
		phished.origin = "http://localhost.example:8080"
		refused(b, phished.logIn(ask(b)))
		isOut(b)
	})
	t.Run("by somebody else's passkey as the second factor", func(t *testing.T) {
		b := s.halfway("ada")
		refused(b, grace.logIn(ask(b)))
		b.Get("/home").Expect(http.StatusSeeOther, "/factor?next=%2Fhome")
	})
	t.Run("by another key with the passkey's ID", func(t *testing.T) {
		b, forged := s.browse(), newKey(t)
		forged.id, forged.handle = ada.id, ada.handle
		refused(b, forged.logIn(ask(b)))
		isOut(b)
	})
	t.Run("by a copy of the key", func(t *testing.T) {
		b, copied := s.browse(), *ada
		s.use(s.browse(), ada).Expect(http.StatusSeeOther, "/home")
		copied.counter--
		refused(b, copied.logIn(ask(b)))
		isOut(b)
	})
}

func TestARegistrationIsGoodOnce(t *testing.T) {
	s := newSite(t)
	b, k := s.as("ada"), newKey(t)
	o := parseOptions(t, b.Post("/account/passkeys/options").Expect(http.StatusOK, "").Body)
	answer := k.register(o)
	other := s.as("grace")
	other.PostForm("/account/passkeys", "credential", answer).Expect(http.StatusUnprocessableEntity, "")
	b.PostForm("/account/passkeys", "credential", answer).Expect(http.StatusSeeOther, "/account")
	b.PostForm("/account/passkeys", "credential", answer).Expect(http.StatusUnprocessableEntity, "").Contains("was sent twice")

	o = parseOptions(t, other.Post("/account/passkeys/options").Expect(http.StatusOK, "").Body)
	other.PostForm("/account/passkeys", "credential", k.register(o)).Expect(http.StatusUnprocessableEntity, "").Contains("registered already")
}

func TestARemovedPasskeyIsNoLogin(t *testing.T) {
	s := newSite(t)
	b, k := s.as("ada"), newKey(t)
	s.register(b, k)
	stolen := s.browse()
	s.use(stolen, k).Expect(http.StatusSeeOther, "/home")
	b.PostForm("/account/passkeys/remove", "id", encode(k.id)).Expect(http.StatusSeeOther, "/account")
	b.Get("/account").Expect(http.StatusOK, "").Contains("Your passkey is removed.").Lacks("Stays on its device")
	isOut(stolen)
	s.use(stolen, k).Expect(http.StatusUnprocessableEntity, "").Contains("That passkey was not accepted.")
	s.as("ada") // the password is enough again
}

func TestAUserHasTenPasskeys(t *testing.T) {
	s := newSite(t)
	b := s.as("ada")
	keys := make([]*key, maxPasskeys)
	for i := range keys {
		keys[i] = newKey(t)
		keys[i].id = random(64)
		s.register(b, keys[i])
	}
	o := parseOptions(t, b.Post("/account/passkeys/options").Expect(http.StatusOK, "").Body)
	b.PostForm("/account/passkeys", "credential", newKey(t).register(o)).Expect(http.StatusUnprocessableEntity, "").Contains("too many passkeys")
	half := s.halfway("ada") // whose options name them all
	s.use(half, keys[9]).Expect(http.StatusSeeOther, "/home")
}
