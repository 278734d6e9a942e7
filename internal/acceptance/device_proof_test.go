package acceptance

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// D8: a proof is one of the registered key, of a challenge of this session, in time.
func TestOnlyTheKeyOfTheSessionProvesItsDevice(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b, key, id := s.bySelf("ada")
		other, otherKey, otherID := s.bySelf("grace")
		advance(time.Minute)
		own := testbrowser.NewKey()
		set := func(name string, value any) func(map[string]any) {
			return func(header map[string]any) { header[name] = value }
		}
		header := func(value map[string]any) func(map[string]any) { return set("jwk", value) }
		for name, test := range map[string]struct {
			proof  func(challenge string) string
			status int
			code   string
		}{
			"another key":                      {func(c string) string { return own.Proof(c) }, 400, "wrong_key"},
			"another key, which it shows":      {func(c string) string { return own.Registration(c) }, 400, "wrong_key"},
			"another key, and shows this one":  {func(c string) string { return own.Proof(c, header(key.JWK())) }, 400, "wrong_key"},
			"a key of another kind":            {func(c string) string { return testbrowser.RSAKey().Proof(c) }, 400, "wrong_key"},
			"another user's key":               {func(c string) string { return otherKey.Proof(c) }, 400, "wrong_key"},
			"alg none":                         {func(c string) string { return key.Proof(c, set("alg", "none")) }, 400, "wrong_key"},
			"no signature":                     {func(c string) string { return key.Proof(c)[:strings.LastIndex(key.Proof(c), ".")+1] }, 400, "wrong_key"},
			"alg RS256 of an EC key":           {func(c string) string { return key.Proof(c, set("alg", "RS256")) }, 400, "wrong_key"},
			"alg HS256":                        {func(c string) string { return key.Proof(c, set("alg", "HS256")) }, 400, "wrong_key"},
			"typ of another use":               {func(c string) string { return key.Proof(c, set("typ", "jwt")) }, 400, "wrong_key"},
			"a critical extension":             {func(c string) string { return key.Proof(c, set("crit", []string{"b64"})) }, 400, "wrong_key"},
			"no JWS":                           {func(string) string { return "x" }, 400, "wrong_key"},
			"too long":                         {func(c string) string { return key.Proof(c, set("kid", strings.Repeat("a", 9000))) }, 400, "wrong_key"},
			"no challenge of ours":             {func(string) string { return key.Proof("AAAA") }, 403, ""},
			"another session's challenge":      {func(string) string { return key.Proof(other.challenge(otherID)) }, 403, ""},
			"the bound cookie for a challenge": {func(string) string { return key.Proof(only(t, b.boundCookies())) }, 403, ""},
			"the identifier for a challenge":   {func(string) string { return key.Proof(id) }, 403, ""},
		} {
			advance(time.Second)
			s.events.take()
			resp := b.sendProof(id, test.proof(b.challenge(id)))
			require.Equal(t, test.status, resp.StatusCode, name)
			require.Empty(t, resp.Cookies(), name)
			require.Equal(t, test.status == 403, resp.Header.Get("Secure-Session-Challenge") != "", name)
			if tried := s.events.take(sessionguard.EventDeviceUnproven); test.code != "" {
				require.Len(t, tried, 1, name)
				require.Equal(t, test.code, tried[0].Code, name)
				require.Equal(t, "ada", tried[0].UserID, name)
			} else {
				require.Empty(t, tried, name)
			}
		}
		require.True(t, b.loggedIn(), "none of it ends the session")
		require.Equal(t, http.StatusOK, b.proveDevice(key, id).StatusCode)
		jwk := key.Proof(b.challenge(id), header(own.JWK()))
		require.Equal(t, http.StatusOK, b.sendProof(id, jwk).StatusCode, "a key that a proof shows does not count")
	})
}

func only(t *testing.T, cookies map[string]string) string {
	t.Helper()
	require.Len(t, cookies, 1)
	for _, value := range cookies {
		return value
	}
	return ""
}

// D8: whoever has recorded a proof has a minute, and gains no time: what it brings runs out
// when the proof does.
func TestARecordedProofIsUselessAfterAMinute(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b, key, id := s.bySelf("ada")
		advance(time.Minute)
		proof := key.Proof(b.challenge(id))
		thief := s.thiefOf(b)
		advance(time.Minute - time.Millisecond)
		resp := thief.sendProof(id, proof)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, 9*60, resp.Cookies()[0].MaxAge)
		advance(time.Millisecond)
		late := thief.sendProof(id, proof)
		require.Equal(t, http.StatusForbidden, late.StatusCode)
		require.Empty(t, late.Cookies())
		require.NotEmpty(t, late.Header.Get("Secure-Session-Challenge"))

		value := resp.Cookies()[0]
		thief.addCookies(map[string]string{value.Name: value.Value})
		require.True(t, thief.loggedIn())
		advance(deviceProof + deviceSlack - time.Minute - time.Millisecond)
		require.True(t, thief.loggedIn())
		advance(time.Millisecond)
		thief.requireUnproven()
	})
}

// D8: a cookie and a challenge are for one session and one use, also where one key is used for
// two sessions.
func TestProofsAreForOneSessionAndOneUse(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		key := testbrowser.NewKey()
		bind := func(name string) (*browser, string) {
			b := s.browse()
			_, id := b.register(key.Registration(offerOf(t, b.login(name))))
			require.Equal(t, http.StatusOK, b.proveDevice(key, id).StatusCode)
			return b, id
		}
		ada, id := bind("ada")
		grace, _ := bind("grace")
		again, _ := bind("ada")
		advance(time.Minute)
		require.Equal(t, "bound", ada.Get("/bound").Body)
		for name := range ada.boundCookies() {
			for _, value := range []string{only(t, grace.boundCookies()), only(t, again.boundCookies()), ada.challenge(id), id, "", ada.Cookies()[sessionCookie]} {
				thief := s.thiefOf(ada)
				thief.addCookies(map[string]string{name: value})
				thief.requireUnproven()
			}
			mixed := s.thiefOf(ada)
			mixed.addCookies(grace.boundCookies())
			mixed.requireUnproven()
		}
	})
}

// D4: where another site has led here, a proof comes without cookies.
func TestAProofNeedsNoCookie(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b, key, id := s.bySelf("ada")
		sessions := b.boundSessions()
		advance(12 * time.Minute)
		none := s.browse()
		require.Equal(t, http.StatusOK, none.proveDevice(key, id).StatusCode)
		require.Equal(t, sessions, none.boundSessions())
		require.Len(t, none.Cookies(), 1)
		require.False(t, none.loggedIn(), "it is no capability")
		b.addCookies(none.Cookies())
		require.Equal(t, "bound", b.Get("/bound").Body)
	})
}

// The draft has structured strings, and Chromium 156 sends neither quoted.
func TestIdentifiersAndProofsMayBeQuoted(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		for _, quoted := range []bool{false, true} {
			for _, key := range []func() *testbrowser.Key{testbrowser.NewKey, testbrowser.RSAKey} {
				b := s.browse()
				b.Device = testbrowser.NewDevice()
				b.Device.Quoted, b.Device.NewKey = quoted, key
				b.login("ada")
				b.Get("/static")
				require.Equal(t, "bound", b.Get("/bound").Body)
				advance(deviceProof + deviceSlack)
				require.Equal(t, "bound", b.Get("/bound").Body)
				require.Equal(t, []string{"registered", "proven", "proven"}, b.Device.History())
			}
		}
	})
}

// D5 (the design's): a browser that was closed has lost the session cookie and not the key. The
// login after that is bound by a cookie of another name.
func TestABrowserThatLostItsSessionCookieBindsTheNextLogin(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		first := b.boundCookies()
		id := b.Device.Identifiers()[0]
		b.SetCookies(first)
		b.login("ada")
		b.Get("/static")
		require.Equal(t, "bound", b.Get("/bound").Body)
		require.Len(t, b.boundCookies(), 2)
		require.Len(t, b.Device.Identifiers(), 2)
		require.Len(t, s.sessionsOf("ada"), 2)

		advance(deviceProof) // another site leads here: neither proof has cookies
		require.Equal(t, "secret of ada", b.Get("/home", fromAnotherSite...).Body)
		require.Len(t, b.boundSessions(), 2, "neither touches the other's cookie")
		require.Equal(t, "bound", b.Get("/bound").Body)
		advance(deviceProof)
		require.Equal(t, "bound", b.Get("/bound").Body)
		require.NotContains(t, b.Device.Identifiers(), id, "a proof that comes with another session's cookie")
		later := b.boundCookies()
		for name := range first { // SetCookies has kept no time at which it expires
			delete(later, name)
		}
		require.Len(t, later, 1)
	})
}

// D10 (the design's): the rows of its table of errors
func TestBindAndProveRefuseAsTheBrowserNeedsIt(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b, key, id := s.bySelf("ada")
		for _, path := range []string{bindPath, provePath} {
			require.Equal(t, http.StatusMethodNotAllowed, b.Get(path).StatusCode)
			require.Equal(t, http.StatusMethodNotAllowed, b.Do(b.Request("DELETE", path)).StatusCode)
			require.Equal(t, http.StatusForbidden, b.Post(path, "Sec-Fetch-Site", "cross-site").StatusCode)
		}
		unbound := s.browse()
		offer := offerOf(t, unbound.login("grace"))
		without := func(header map[string]any) { delete(header, "jwk") }
		weak := func(header map[string]any) { header["jwk"] = map[string]any{"kty": "RSA", "n": "AQAB", "e": "AQAB"} }
		others := func(header map[string]any) { header["jwk"] = testbrowser.NewKey().JWK() }
		for name, test := range map[string]struct {
			jws    string
			status int
		}{
			"none":            {"", 400},
			"no JWS":          {"x.y.z", 400},
			"no key":          {key.Registration(offer, without), 400},
			"a weak key":      {key.Registration(offer, weak), 400},
			"not its own key": {key.Registration(offer, others), 403},
			"no offer":        {key.Registration("x"), 403},
			"a challenge":     {key.Registration(b.challenge(id)), 403},
			"the identifier":  {key.Registration(id), 403},
		} {
			resp, got := unbound.register(test.jws)
			require.Equal(t, test.status, resp.StatusCode, name)
			require.Empty(t, got, name)
			require.Empty(t, resp.Cookies(), name)
			requireNoStore(t, resp.Header)
		}
		resp, _ := unbound.register(key.Registration(offer))
		require.Equal(t, http.StatusOK, resp.StatusCode, "none of that takes the offer")
		requireNoStore(t, resp.Header)

		changed := "A" + id[1:]
		if changed == id {
			changed = "B" + id[1:]
		}
		for name, identifier := range map[string]string{
			"none": "", "unknown": "AAAA", "an offer": offer, "cut": id[:len(id)-1], "changed": changed, "long": strings.Repeat("A", 5000),
		} {
			resp := b.Post(provePath, "Sec-Secure-Session-Id", identifier)
			require.Equal(t, http.StatusOK, resp.StatusCode, name)
			require.Equal(t, forget, resp.Body, name)
			requireNoStore(t, resp.Header)
		}
		require.Equal(t, "bound", b.Get("/bound").Body)
	})
}

// Bind and prove are no activity: they keep no session alive.
func TestProofsAreNoActivity(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b, key, id := s.bySelf("ada")
		for range 2 {
			advance(10 * time.Minute)
			require.Equal(t, http.StatusOK, b.proveDevice(key, id).StatusCode)
		}
		advance(idle - 20*time.Minute - time.Millisecond)
		require.True(t, b.loggedIn())
		require.Equal(t, http.StatusOK, b.proveDevice(key, id).StatusCode)
		advance(time.Millisecond)
		require.Equal(t, forget, b.Post(provePath, "Sec-Secure-Session-Id", id).Body)
		require.False(t, b.loggedIn())
	})
}
