package cookie

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAttributesDefaultToTheStrictestThatBrowsersAccept(t *testing.T) {
	for _, c := range []struct{ given, want http.Cookie }{
		{
			http.Cookie{Secure: true},
			http.Cookie{Name: "__Host-Http-session", Secure: true, HttpOnly: true, Path: "/", SameSite: http.SameSiteLaxMode},
		},
		{
			http.Cookie{Secure: true, Domain: "app.example"},
			http.Cookie{Name: "__Secure-session", Domain: "app.example", Secure: true, HttpOnly: true, Path: "/", SameSite: http.SameSiteLaxMode},
		},
		{
			http.Cookie{},
			http.Cookie{Name: "session", HttpOnly: true, Path: "/", SameSite: http.SameSiteLaxMode},
		},
		{
			http.Cookie{Domain: "app.example"},
			http.Cookie{Name: "session", Domain: "app.example", HttpOnly: true, Path: "/", SameSite: http.SameSiteLaxMode},
		},
		{
			http.Cookie{Name: "staff", Secure: true, SameSite: http.SameSiteStrictMode},
			http.Cookie{Name: "staff", Secure: true, HttpOnly: true, Path: "/", SameSite: http.SameSiteStrictMode},
		},
		{
			http.Cookie{Name: "staff", Secure: true, SameSite: http.SameSiteNoneMode, Path: "/deep"},
			http.Cookie{Name: "staff", Secure: true, HttpOnly: true, Path: "/", SameSite: http.SameSiteNoneMode},
		},
		{
			http.Cookie{Secure: true, SameSite: http.SameSiteNoneMode, Partitioned: true},
			http.Cookie{Name: "__Host-Http-session", Secure: true, HttpOnly: true, Path: "/", SameSite: http.SameSiteNoneMode, Partitioned: true},
		},
	} {
		got, err := New([][]byte{testKey}, time.Minute, c.given)
		require.NoError(t, err)
		require.Equal(t, c.want, got.Session)
		c.want.Name += "-anonymous"
		require.Equal(t, c.want, got.Visitor)
	}
}

// K1, RFC 6265bis section 4.1.3
func TestCookiesThatBrowsersRefuseAreErrors(t *testing.T) {
	for _, c := range []struct {
		cookie http.Cookie
		wrong  string // part of the error, or none
	}{
		{http.Cookie{Name: "__Host-Http-session", Secure: true}, ""},
		{http.Cookie{Name: "__host-http-session", Secure: true}, ""},
		{http.Cookie{Name: "__Secure-session", Secure: true, Domain: "example.com"}, ""},
		{http.Cookie{Name: "__Http-session", Secure: true}, ""},
		{http.Cookie{Name: "session"}, ""},
		{http.Cookie{Name: "session", Domain: "example.com"}, ""},
		{http.Cookie{Name: "session", Secure: true, SameSite: http.SameSiteNoneMode}, ""},
		{http.Cookie{Name: strings.Repeat("a", maxCookieName)}, ""},
		{http.Cookie{Name: "anonymous"}, ""},

		{http.Cookie{Name: "__Host-Http-session", Secure: true, Domain: "example.com"}, "CookieDomain"},
		{http.Cookie{Name: "__HOST-session", Secure: true, Domain: "example.com"}, "CookieDomain"},
		{http.Cookie{Name: "__Host-Http-session", Secure: true, Domain: "example.com"}, "CookieDomain"},
		{http.Cookie{Name: "__Host-Http-session"}, "InsecureHTTP"},
		{http.Cookie{Name: "__secure-session"}, "InsecureHTTP"},
		{http.Cookie{Name: "__HTTP-session"}, "InsecureHTTP"},
		{http.Cookie{Name: "session", SameSite: http.SameSiteNoneMode}, "SameSite"},
		{http.Cookie{Name: "session", Secure: true, SameSite: http.SameSiteNoneMode, Partitioned: true}, ""},
		{http.Cookie{Name: "session", Secure: true, SameSite: http.SameSiteLaxMode, Partitioned: true}, "Config.Partitioned"},
		{http.Cookie{Name: "session", Secure: true, SameSite: http.SameSiteStrictMode, Partitioned: true}, "Config.Partitioned"},
		{http.Cookie{Name: "session", Secure: true, SameSite: http.SameSiteDefaultMode, Partitioned: true}, "Config.Partitioned"},
		{http.Cookie{Name: "session", Secure: true, Partitioned: true}, "Config.Partitioned"},
		{http.Cookie{Name: "session", SameSite: http.SameSiteNoneMode, Partitioned: true}, "Config.Partitioned"},
		{http.Cookie{Name: strings.Repeat("a", maxCookieName+1)}, "longer"},
		{http.Cookie{Name: "x-anonymous"}, "visitor cookie"},
		{http.Cookie{Name: ""}, "CookieName"},
		{http.Cookie{Name: "a b"}, "CookieName"},
		{http.Cookie{Name: "a=b"}, "CookieName"},
		{http.Cookie{Name: "a;b"}, "CookieName"},
		{http.Cookie{Name: "a\x00b"}, "CookieName"},
		{http.Cookie{Name: "a\r\nSet-Cookie: b"}, "CookieName"},
		{http.Cookie{Name: "séance"}, "CookieName"},
		{http.Cookie{Name: "session", Domain: "exam ple.com"}, "CookieDomain"},
		{http.Cookie{Name: "session", Domain: "example.com; Secure"}, "CookieDomain"},
		{http.Cookie{Name: "session", Domain: "https://example.com"}, "CookieDomain"},
	} {
		c.cookie.Path = "/"
		err := checkAttributes(c.cookie)
		if c.wrong == "" {
			require.NoError(t, err, "%+v", c.cookie)
		} else {
			require.ErrorContains(t, err, "sessionguard: Config.", "%+v", c.cookie)
			require.ErrorContains(t, err, c.wrong, "%+v", c.cookie)
		}
		if c.wrong == "" || c.cookie.Name == "" { // New gives a name to a cookie without one
			continue
		}
		_, err = New([][]byte{testKey}, time.Minute, c.cookie)
		require.ErrorContains(t, err, c.wrong, "New: %+v", c.cookie)
	}
}

// browserAccepts has the rules for prefixes (draft-ietf-httpbis-layered-cookies section 5.4.3):
// the longest prefix has those of all that it includes.
func browserAccepts(cookie http.Cookie) bool {
	has := func(prefix string) bool {
		return len(cookie.Name) >= len(prefix) && strings.EqualFold(cookie.Name[:len(prefix)], prefix)
	}
	switch hostOnly := cookie.Domain == "" && cookie.Path == "/"; {
	case has("__Host-Http-"):
		return cookie.Secure && cookie.HttpOnly && hostOnly
	case has("__Host-"):
		return cookie.Secure && hostOnly
	case has("__Http-"):
		return cookie.Secure && cookie.HttpOnly
	case has("__Secure-"):
		return cookie.Secure
	}
	return true
}

// K1: New accepts a name exactly if browsers accept all three cookies that get it.
func TestPrefixesAreCheckedAsBrowsersCheckThem(t *testing.T) {
	accepted := 0
	for _, name := range []string{"__Host-Http-s", "__Host-s", "__Http-s", "__Secure-s", "__Host-Http", "__Host-HttpX-s", "__Http", "__Secure-Http-s", "__Http-Host-s", "_Host-Http-s", "x__Host-Http-s", "s"} {
		for _, name := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.Replace(strings.ToLower(name), "h", "H", 2)} {
			for _, like := range []http.Cookie{{}, {Secure: true}, {Domain: "app.example"}, {Secure: true, Domain: "app.example"}} {
				like.Name = name
				got, err := New([][]byte{testKey}, time.Minute, like)
				like.Path, like.HttpOnly = "/", true
				want := true
				for _, suffix := range []string{"", visitorSuffix, secretInfix, boundInfix} {
					like.Name = name + suffix
					want = want && browserAccepts(like)
				}
				require.Equal(t, want, err == nil, "%+v: %v", like, err)
				if err != nil {
					continue
				}
				accepted++
				secret := got.Session
				secret.Name = got.secretName("state")
				for _, cookie := range []http.Cookie{got.Session, got.Visitor, secret, got.Bound(boundID, 1)} {
					require.True(t, browserAccepts(cookie), "%+v", cookie)
				}
			}
		}
	}
	require.Equal(t, 104, accepted)
}

// K2
func TestWeakKeysAreErrors(t *testing.T) {
	key := func(n int) []byte { return []byte(strings.Repeat("k", n)) }
	for _, c := range []struct {
		keys  [][]byte
		wrong string
	}{
		{nil, "Keys is empty"},
		{[][]byte{}, "Keys is empty"},
		{[][]byte{make([]byte, 32)}, "Keys[0] holds only zeros"},
		{[][]byte{key(32), make([]byte, 64)}, "Keys[1] holds only zeros"},
		{[][]byte{nil}, "Keys[0] has 0 bytes"},
		{[][]byte{key(31)}, "Keys[0] has 31 bytes"},
		{[][]byte{key(32), nil}, "Keys[1] has 0 bytes"},
		{[][]byte{key(32), key(64), key(16)}, "Keys[2] has 16 bytes"},
	} {
		_, err := New(c.keys, time.Minute, http.Cookie{Secure: true})
		require.ErrorContains(t, err, "sessionguard: Config."+c.wrong)
		require.ErrorContains(t, err, "openssl rand -hex 32")
		require.NotContains(t, err.Error(), "kk", "a key must not reach a log")
	}
}

// K2: an old key's cookie is read, and a new one is made with the newest.
func TestEveryKeyReadsItsOwnCookies(t *testing.T) {
	keys := [][]byte{bytes.Repeat([]byte("a"), 32), bytes.Repeat([]byte("b"), 64), append(make([]byte, 31), 1)}
	got := codecWithKeys(t, keys...)
	value := newTestToken(t, got)
	require.True(t, got.Verify(value))
	for i, key := range keys {
		single := codecWithKeys(t, key)
		require.Equal(t, i == 0, single.Verify(value), "the newest key signs: key %d", i)
		require.True(t, got.Verify(newTestToken(t, single)), "key %d", i)
		visitor := encodeTestVisitor(t, single, "values")
		require.Equal(t, "values", string(visitorValues(got, visitorHeader(visitor))), "key %d", i)
		require.Equal(t, i == 0, string(visitorValues(single, visitorHeader(encodeTestVisitor(t, got, "values")))) == "values", "key %d", i)
	}
}

// Whoever learns one derived key learns none of the others, and not the secret.
func TestEveryUseOfAKeyHasItsOwn(t *testing.T) {
	seen := map[string]bool{string(testKey): true}
	for _, secret := range [][]byte{testKey, bytes.Repeat([]byte("b"), 32)} {
		for _, use := range []string{"session signature", "visitor signature", "visitor encryption", "successor"} {
			key := deriveKey(secret, use)
			require.Len(t, key, 32)
			require.False(t, seen[string(key)], use)
			seen[string(key)] = true
		}
	}
}
