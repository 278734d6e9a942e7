package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

// tell sends a logout token, as a provider does: without cookies.
func (s *site) tell(token string) testbrowser.Response {
	s.Helper()
	b := s.browse()
	b.Header.Del("Accept")
	return b.PostForm(BackChannelLogoutPath, "logout_token", token).Has("Cache-Control", "no-store")
}

func TestALogoutAtTheProviderEndsExactlyTheSessionsFromThere(t *testing.T) {
	s := newSite(t)
	here, other, password := s.openID(nil), s.openID(claims{"sid": "sid-2"}), s.as("ada")
	grace := s.openID(claims{"sid": "sid-3", "sub": "person-grace"})
	again := s.browse() // a second session from the same one
	again.Get(s.provider.issue(s.toProvider(again), nil)).Expect(http.StatusSeeOther, "/home")

	s.tell(s.provider.logoutToken(nil)).Expect(http.StatusOK, "")
	isOut(again)
	here.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=ended")
	here.Get("/login").Contains("such as by a logout at Example ID")
	for b, name := range map[*testbrowser.Browser]string{other: "Ada Lovelace", password: "Ada Lovelace", grace: "Grace Hopper"} {
		isIn(b, name)
	}

	s.tell(s.provider.logoutToken(claims{"sub": nil, "sid": "sid-2"})).Expect(http.StatusOK, "")
	isOut(other)
	s.tell(s.provider.logoutToken(claims{"sid": "unknown"})).Expect(http.StatusOK, "")
	isIn(password, "Ada Lovelace")
	isIn(grace, "Grace Hopper")
}

func TestALogoutWithoutASIDEndsAllOfTheUserFromThere(t *testing.T) {
	s := newSite(t)
	first, second, password := s.openID(nil), s.openID(claims{"sid": "sid-2"}), s.as("ada")
	grace := s.openID(claims{"sid": "sid-3", "sub": "person-grace"})
	s.tell(s.provider.logoutToken(claims{"sid": nil})).Expect(http.StatusOK, "")
	isOut(first)
	isOut(second)
	isIn(password, "Ada Lovelace")
	isIn(grace, "Grace Hopper")
}

func TestALogoutTokenThatIsNotRightEndsNothing(t *testing.T) {
	s := newSite(t)
	b := s.openID(nil)
	now := time.Now()
	refused := func(what, token string) {
		t.Helper()
		if a := s.tell(token); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.Body, `"invalid_request"`) {
			t.Errorf("%s: got %d %s", what, a.StatusCode, a.Body)
		}
		isIn(b, "Ada Lovelace")
	}
	for what, changes := range map[string]claims{
		"another client":   {"aud": "other"},
		"another provider": {"iss": "https://other.example"},
		"a nonce":          {"nonce": "nonce"},
		"an empty nonce":   {"nonce": ""},
		"no event":         {"events": nil},
		"another event":    {"events": claims{"http://schemas.openid.net/event/other": claims{}}},
		"no jti":           {"jti": nil},
		"neither":          {"sub": nil, "sid": nil},
		"no iat":           {"iat": nil},
		"old":              {"iat": now.Add(-maxTokenAge - time.Second).Unix()},
		"from the future":  {"iat": now.Add(clockSkew + time.Minute).Unix(), "exp": now.Add(time.Hour).Unix()},
		"expired":          {"exp": now.Add(-time.Second).Unix()},
		"no exp":           {"exp": nil},
	} {
		refused(what, s.provider.logoutToken(changes))
	}
	refused("nothing", "")
	refused("no token", "a.b.c")
	token := s.provider.logoutToken(nil)
	refused("changed", token[:len(token)-8]+"AAAAAAAA")
	header, payload, _ := strings.Cut(token, ".")
	payload, _, _ = strings.Cut(payload, ".")
	refused("unsigned", encode([]byte(`{"alg":"none"}`))+"."+payload+".")
	refused("without its signature", header+"."+payload+".")

	right := s.provider.key
	s.provider.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	forged := s.provider.logoutToken(nil)
	s.provider.key = right
	refused("signed by somebody else", forged)

	// An ID token of this very session, which a client could have.
	to := s.toProvider(s.browse())
	callback, _ := url.Parse(s.provider.issue(to, nil))
	refused("an ID token", s.provider.issued[callback.Query().Get("code")].idToken)

	// A token that contradicts itself is no one's.
	s.tell(s.provider.logoutToken(claims{"sub": "person-grace"}))
	isIn(b, "Ada Lovelace")

	s.browse().Get(BackChannelLogoutPath).Expect(http.StatusMethodNotAllowed, "")
	s.tell(token).Expect(http.StatusOK, "") // the right one does it
	isOut(b)
}

func TestALogoutTokenIsGoodOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b := s.openID(nil)
		token := s.provider.logoutToken(claims{"sid": nil, "exp": time.Now().Add(time.Hour).Unix()})
		s.tell(token).Expect(http.StatusOK, "")
		isOut(b)

		b = s.openID(claims{"sid": "sid-2"})
		s.tell(token).Expect(http.StatusBadRequest, "")
		isIn(b, "Ada Lovelace")
		time.Sleep(maxTokenAge + clockSkew + time.Second) // the list of used ones is short
		s.tell(token).Expect(http.StatusBadRequest, "")
		isIn(b, "Ada Lovelace")
	})
}

func TestNoSessionComesFromOneThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		secret := enrol(s.as("ada"))
		time.Sleep(totpPeriod)

		half := s.browse() // whose second factor is missing
		half.Get(s.provider.issue(s.toProvider(half), nil)).Expect(http.StatusSeeOther, "/factor?next=%2Fhome")
		late := s.browse() // who has not come back yet
		callback := s.provider.issue(s.toProvider(late), claims{"sid": "sid-2"})
		s.tell(s.provider.logoutToken(nil)).Expect(http.StatusOK, "")
		s.tell(s.provider.logoutToken(claims{"sid": "sid-2"})).Expect(http.StatusOK, "")

		half.PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusForbidden, "").Contains("You have logged out at Example ID meanwhile.")
		isOut(half)
		late.Get(callback).Expect(http.StatusForbidden, "").Contains("You have logged out at Example ID meanwhile.")
		isOut(late)
	})
}

func TestAnOriginIsKeptUntilTheSecondFactor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		secret := enrol(s.as("ada"))
		time.Sleep(totpPeriod)
		b := s.browse()
		b.Get(s.provider.issue(s.toProvider(b), nil)).Expect(http.StatusSeeOther, "/factor?next=%2Fhome")
		b.PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusSeeOther, "/home")
		isIn(b, "Ada Lovelace")
		s.tell(s.provider.logoutToken(nil)).Expect(http.StatusOK, "")
		isOut(b)
	})
}

func TestNobodyHidesWhereASessionCameFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		secret := enrol(s.as("ada"))
		time.Sleep(totpPeriod)
		b := s.browse()
		b.Get(s.provider.issue(s.toProvider(b), nil)).Expect(http.StatusSeeOther, "/factor?next=%2Fhome")
		cookies := b.Cookies()
		maps.DeleteFunc(cookies, func(name, _ string) bool { return strings.Contains(name, "secret") })
		if len(cookies) == len(b.Cookies()) {
			t.Fatal("no secret in", cookies)
		}
		b.SetCookies(cookies)
		b.PostForm("/factor", "code", code(t, secret, 0)).Expect(http.StatusForbidden, "").Contains("Please start again at Example ID.")
		isOut(b)
	})
}

func TestASessionFromTheProviderMayLastForDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		b := s.openID(nil)
		for range 8 * 24 {
			time.Sleep(15 * time.Minute)
			b.PostForm("/reauth", "password", "analytical-engine").Expect(http.StatusSeeOther, "/home")
		}
		s.openID(claims{"sid": "sid-2"}) // which forgets what is not needed any more
		b.PostForm("/reauth", "password", "analytical-engine").Expect(http.StatusSeeOther, "/home")
		s.tell(s.provider.logoutToken(nil)).Expect(http.StatusOK, "")
		isOut(b)
	})
}

func TestALogoutHereLeadsToTheProvider(t *testing.T) {
	s := newSite(t)
	b := s.openID(nil)
	to, err := b.PostForm("/logout").Location()
	if err != nil {
		t.Fatal(err)
	}
	query := to.Query()
	if !strings.HasPrefix(to.String(), testIssuer+"/end?") || query.Get("post_logout_redirect_uri") != testOrigin+"/" ||
		strings.Count(query.Get("id_token_hint"), ".") != 2 {
		t.Errorf("sent to %v", to)
	}
	isOut(b) // before the provider knows
	b.Get("/").Contains("You have been logged out.")

	s.as("ada").PostForm("/logout").Expect(http.StatusSeeOther, "/") // has nothing to do with it
	s.browse().PostForm("/logout").Expect(http.StatusSeeOther, "/")
	s.browse().Get("/logout").Expect(http.StatusMethodNotAllowed, "")
}

func TestOriginsAreKeptAsLongAsTheyAreNeeded(t *testing.T) {
	o, now := newOrigins(), time.Now()
	from := origin{sid: "sid", subject: "subject", idToken: "token"}
	if err := o.add(from, "ada", "session", now); err != nil || o.idToken("session") != "token" || o.find("sid") != from {
		t.Fatalf("%v, and then %+v", err, o.find("sid"))
	}
	later := now.Add(keptFor + time.Second)
	if err := o.add(origin{sid: "other"}, "ada", "other", later); err != nil || o.idToken("session") != "" || len(o.bySID) != 1 {
		t.Errorf("%v, and then %v", err, o.bySID)
	}

	if !o.useToken("first", now) || o.useToken("first", now) {
		t.Error("the token was not good once")
	}
	o.unuseToken("first") // it could not be obeyed
	if !o.useToken("first", now) || !o.useToken("second", later) || len(o.tokens) != 1 {
		t.Errorf("the tokens are %v", o.tokens)
	}
}
