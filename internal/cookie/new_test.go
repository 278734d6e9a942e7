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
			http.Cookie{Name: "__Host-session", Secure: true, HttpOnly: true, Path: "/", SameSite: http.SameSiteLaxMode},
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
		{http.Cookie{Name: "__Host-session", Secure: true}, ""},
		{http.Cookie{Name: "__host-session", Secure: true}, ""},
		{http.Cookie{Name: "__Secure-session", Secure: true, Domain: "example.com"}, ""},
		{http.Cookie{Name: "__Http-session", Secure: true}, ""},
		{http.Cookie{Name: "session"}, ""},
		{http.Cookie{Name: "session", Domain: "example.com"}, ""},
		{http.Cookie{Name: "session", Secure: true, SameSite: http.SameSiteNoneMode}, ""},
		{http.Cookie{Name: strings.Repeat("a", maxCookieName)}, ""},
		{http.Cookie{Name: "anonymous"}, ""},

		{http.Cookie{Name: "__Host-session", Secure: true, Domain: "example.com"}, "CookieDomain"},
		{http.Cookie{Name: "__HOST-session", Secure: true, Domain: "example.com"}, "CookieDomain"},
		{http.Cookie{Name: "__Host-Http-session", Secure: true, Domain: "example.com"}, "CookieDomain"},
		{http.Cookie{Name: "__Host-session"}, "InsecureHTTP"},
		{http.Cookie{Name: "__secure-session"}, "InsecureHTTP"},
		{http.Cookie{Name: "__HTTP-session"}, "InsecureHTTP"},
		{http.Cookie{Name: "session", SameSite: http.SameSiteNoneMode}, "SameSite"},
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

// K2
func TestWeakKeysAreErrors(t *testing.T) {
	key := func(n int) []byte { return []byte(strings.Repeat("k", n)) }
	for _, c := range []struct {
		keys  [][]byte
		wrong string
	}{
		{nil, "Keys is empty"},
		{[][]byte{}, "Keys is empty"},
		{[][]byte{make([]byte, 32)}, "Keys[0]: a key of zeros"},
		{[][]byte{key(32), make([]byte, 32)}, "Keys[1]: a key of zeros"},
		{[][]byte{key(32), nil, make([]byte, 64)}, "Keys[2]: a key of zeros"},
		{[][]byte{nil}, "Keys[0]"},
		{[][]byte{key(31)}, "Keys[0]: an authentication key of 31 bytes"},
		{[][]byte{key(32), key(15)}, "Keys[1]: an encryption key of 15 bytes"},
		{[][]byte{key(32), key(64)}, "Keys[1]"},
		{[][]byte{key(32), key(32), key(16), key(32)}, "Keys[2]"},
		{[][]byte{key(32), key(32), key(32), key(1)}, "Keys[3]"},
	} {
		_, err := New(c.keys, time.Minute, http.Cookie{Secure: true})
		require.ErrorContains(t, err, "sessionguard: Config."+c.wrong)
		require.ErrorContains(t, err, "securecookie.GenerateRandomKey")
		require.NotContains(t, err.Error(), "kk", "a key must not reach a log")
	}
}

// K2: "old key's cookie is read, new one is written"
func TestEveryPairOfKeysReadsItsOwnCookies(t *testing.T) {
	key := func(n int, c string) []byte { return bytes.Repeat([]byte(c), n) }
	for _, keys := range [][][]byte{
		{key(32, "a")},
		{key(64, "a"), nil},
		{key(64, "a"), {}, key(32, "b"), key(16, "c")},
		{key(64, "a"), key(24, "b"), key(32, "c")},
		{append(make([]byte, 31), 1), append(make([]byte, 15), 1)},
	} {
		got, err := New(keys, time.Minute, http.Cookie{Secure: true})
		require.NoError(t, err)
		value, _, err := got.NewToken()
		require.NoError(t, err)
		require.True(t, got.Verify(value))
		for i := 0; i < len(keys); i += 2 {
			pair, err := New(keys[i:min(i+2, len(keys))], time.Minute, http.Cookie{Secure: true})
			require.NoError(t, err)
			require.Equal(t, i == 0, pair.Verify(value), "the newest pair signs: pair %d", i/2)
			value, _, err := pair.NewToken()
			require.NoError(t, err)
			require.True(t, got.Verify(value), "pair %d", i/2)
			visitor, err := pair.EncodeVisitor([]byte("values"))
			require.NoError(t, err)
			require.Equal(t, "values", string(got.DecodeVisitor(visitorHeader(visitor))), "pair %d", i/2)
		}
	}
}
