package cookie

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// K1, RFC 6265bis section 4.1.3
func TestWhichCookiesBrowsersWouldKeep(t *testing.T) {
	ok := func(c http.Cookie) http.Cookie { c.Path = "/"; return c }
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

		{http.Cookie{Name: "__Host-session", Secure: true, Domain: "example.com"}, "CookieDomain"},
		{http.Cookie{Name: "__HOST-session", Secure: true, Domain: "example.com"}, "CookieDomain"},
		{http.Cookie{Name: "__Host-Http-session", Secure: true, Domain: "example.com"}, "CookieDomain"},
		{http.Cookie{Name: "__Host-session"}, "InsecureHTTP"},
		{http.Cookie{Name: "__secure-session"}, "InsecureHTTP"},
		{http.Cookie{Name: "__HTTP-session"}, "InsecureHTTP"},
		{http.Cookie{Name: "session", SameSite: http.SameSiteNoneMode}, "SameSite"},
		{http.Cookie{Name: strings.Repeat("a", maxCookieName+1)}, "longer"},
		{http.Cookie{Name: "x-anonymous"}, "visitors"},
		{http.Cookie{Name: ""}, "CookieName"},
		{http.Cookie{Name: "a b"}, "CookieName"},
		{http.Cookie{Name: "a=b"}, "CookieName"},
		{http.Cookie{Name: "a;b"}, "CookieName"},
		{http.Cookie{Name: "a\r\nSet-Cookie: b"}, "CookieName"},
		{http.Cookie{Name: "séance"}, "CookieName"},
		{http.Cookie{Name: "session", Domain: "exam ple.com"}, "CookieDomain"},
		{http.Cookie{Name: "session", Domain: "example.com; Secure"}, "CookieDomain"},
	} {
		err := checkCookie(ok(c.cookie))
		if c.wrong == "" {
			require.NoError(t, err, "%+v", c.cookie)
		} else {
			require.ErrorContains(t, err, c.wrong, "%+v", c.cookie)
		}
	}
}

// K2, RFC 6265bis section 5.6
func TestWhichCookiesAreCalledByAName(t *testing.T) {
	for _, c := range []struct {
		headers []string
		all     []string
		only    string
	}{
		{nil, nil, ""},
		{[]string{""}, nil, ""},
		{[]string{"s=1"}, []string{"1"}, "1"},
		{[]string{"a=b; s=1; c=d"}, []string{"1"}, "1"},
		{[]string{"a=b;s=1;c=d"}, []string{"1"}, "1"},
		{[]string{" \ts\t=\t1 \t"}, []string{"1"}, "1"},
		{[]string{"a=b", "s=1"}, []string{"1"}, "1"},
		{[]string{"s=1=2"}, []string{"1=2"}, "1=2"},
		{[]string{`s="1"`}, []string{`"1"`}, `"1"`},
		{[]string{"s=1 2"}, []string{"1 2"}, "1 2"},
		{[]string{"s=1,s=2"}, []string{"1,s=2"}, "1,s=2"},
		{[]string{"s=1; S=2; s\u00a0=3; \u2003s=4; \vs=5; ss=6; s s=7"}, []string{"1"}, "1"},
		{[]string{"s"}, nil, ""},
		{[]string{"=s"}, nil, ""},
		{[]string{"=s=1"}, nil, ""},
		{[]string{"s="}, []string{""}, ""},
		{[]string{"s=; s=1"}, []string{"", "1"}, ""},
		{[]string{"s=1; s="}, []string{"1", ""}, ""},
		{[]string{"s=1; s=1"}, []string{"1", "1"}, ""},
		{[]string{"s=1", "s=1"}, []string{"1", "1"}, ""},
		{[]string{"s=1;;;", ";s=2"}, []string{"1", "2"}, ""},
		{[]string{"s=1; s; t=2"}, []string{"1"}, "1"},
	} {
		h := http.Header{"Cookie": c.headers, "cookie": {"s=9"}}
		require.Equal(t, c.all, slices.Collect(All(h, "s")), "%q", c.headers)
		require.Equal(t, c.only, only(h, "s"), "%q", c.headers)
		for range All(h, "s") {
			break // and may be stopped
		}
	}
}

// K2: no work for what cannot be ours.
func TestWhatMayBeASessionCookie(t *testing.T) {
	for n, want := range map[int]bool{0: false, 1: false, minTokenCookie - 1: false, minTokenCookie: true, 144: true, maxTokenCookie: true, maxTokenCookie + 1: false, 8192: false} {
		require.Equal(t, want, Plausible(strings.Repeat("A", n)), n)
	}
}

// K2: what has been verified is remembered, and nothing that is like it.
func TestACookieIsVerifiedByAllOfIt(t *testing.T) {
	c, err := New([][]byte{bytes.Repeat([]byte("a"), 32)}, time.Minute, http.Cookie{Secure: true})
	require.NoError(t, err)
	value, _, err := c.NewToken()
	require.NoError(t, err)
	for range 2 {
		require.True(t, c.Verify(value))
		for i := range value {
			for _, other := range []string{value[:i], value[:i] + "A" + value[i+1:], value[:i] + "B" + value[i+1:], value + "A"} {
				// Base64 ignores the last bits of the last character before "==".
				if other != value && i < len(value)-3 {
					require.False(t, c.Verify(other), "%d of %d", i, len(value))
				}
			}
		}
	}
	require.Less(t, testing.AllocsPerRun(100, func() { c.Verify(value) }), 1.0, "it is remembered")
	for i := range c.verified { // and forgotten for another
		c.verified[i].Store(1)
	}
	require.False(t, c.Verify(value[:40]+"AAAA"+value[44:]))
	require.True(t, c.Verify(value))
}

// K2: of a shorter hash, somebody would find another value by trying.
func TestACookieIsRememberedByAllOfItsHash(t *testing.T) {
	c, err := New([][]byte{bytes.Repeat([]byte("a"), 32)}, time.Minute, http.Cookie{Secure: true})
	require.NoError(t, err)
	value, _, err := c.NewToken()
	require.NoError(t, err)
	mark := maphash.String(c.seed, value)
	place := &c.verified[mark%uint64(len(c.verified))]
	for bit := range 64 {
		place.Store(mark ^ 1<<bit)
		require.True(t, c.Verify(value))
		require.Equal(t, mark, place.Load(), "bit %d was not looked at", bit)
	}
}

// K1: the limits hold for every key and name that New takes.
func TestEveryMintedCookieIsPlausibleAndReadable(t *testing.T) {
	key := func(n int, of string) []byte { return bytes.Repeat([]byte(of), n) }
	for _, name := range []string{"s", "__Host-session", strings.Repeat("n", maxCookieName)} {
		for _, auth := range []int{32, 33, 64, 200} {
			for _, enc := range []int{-1, 0, 16, 24, 32} {
				t.Run(fmt.Sprintf("%d bytes, %d, %d", len(name), auth, enc), func(t *testing.T) {
					keys := [][]byte{key(auth, "a")}
					if enc >= 0 {
						keys = append(keys, key(enc, "e"))
					}
					c, err := New(keys, time.Minute, http.Cookie{Name: name, Secure: true})
					require.NoError(t, err)
					value, stored, err := c.NewToken()
					require.NoError(t, err)
					other, elsewhere, err := c.NewToken()
					require.NoError(t, err)
					require.NotEqual(t, value, other)
					require.NotEqual(t, stored, elsewhere)
					require.True(t, Plausible(value), len(value))
					require.True(t, c.Verify(value))
					require.Equal(t, stored, c.Key(value))
					require.NoError(t, (&http.Cookie{Name: name, Value: value}).Valid())

					h := http.Header{"Cookie": {c.Visitor.Name + "=" + value}}
					require.Nil(t, c.DecodeVisitor(h), "one is not the other")
					for _, values := range [][]byte{nil, []byte("v"), bytes.Repeat([]byte("v"), 1500)} {
						value, err := c.EncodeVisitor(values)
						require.NoError(t, err)
						require.LessOrEqual(t, len(c.Visitor.Name)+len(value), maxCookie)
						require.False(t, c.Verify(value))
						h.Set("Cookie", c.Visitor.Name+"="+value)
						require.Equal(t, string(values), string(c.DecodeVisitor(h)))
						again, err := c.EncodeVisitor(values)
						require.NoError(t, err)
						require.NotEqual(t, value, again, "the nonce")
					}
					_, err = c.EncodeVisitor(make([]byte, maxCookie))
					require.Error(t, err, "browsers would drop it")
				})
			}
		}
	}
}

// K2: the name is a part of the store's key, so a cookie of one guard opens
// nothing of another on the same backend.
func TestTheStoreKeyDependsOnTheCookiesName(t *testing.T) {
	one, two := Codec{Session: http.Cookie{Name: "a"}}, Codec{Session: http.Cookie{Name: "b"}}
	require.NotEqual(t, one.Key("v"), two.Key("v"))
	longer := Codec{Session: http.Cookie{Name: "ab"}}
	require.NotEqual(t, one.Key("bv"), longer.Key("v"))
	long := strings.Repeat("v", 10_000) // beyond the space on the stack
	require.NotEqual(t, one.Key(long), one.Key(long+"v"))
}

// K2
func TestWhichKeysAreTaken(t *testing.T) {
	key := func(n int) []byte { return []byte(strings.Repeat("k", n)) }
	for _, c := range []struct {
		keys  [][]byte
		wrong string
	}{
		{[][]byte{make([]byte, 32)}, "Keys[0]: a key of zeros"},
		{[][]byte{key(32), make([]byte, 32)}, "Keys[1]: a key of zeros"},
		{[][]byte{key(32)}, ""},
		{[][]byte{key(64), nil}, ""},
		{[][]byte{key(64), {}, key(32), key(16)}, ""},
		{[][]byte{key(64), key(24), key(32)}, ""},
		{[][]byte{nil}, "Keys[0]"},
		{[][]byte{key(31)}, "Keys[0]"},
		{[][]byte{key(32), key(15)}, "Keys[1]"},
		{[][]byte{key(32), key(64)}, "Keys[1]"},
		{[][]byte{key(32), key(32), key(16), key(32)}, "Keys[2]"},
		{[][]byte{key(32), key(32), key(32), key(1)}, "Keys[3]"},
	} {
		got, err := New(c.keys, time.Minute, http.Cookie{Secure: true})
		if c.wrong != "" {
			require.ErrorContains(t, err, c.wrong)
			continue
		}
		require.NoError(t, err)
		value, _, err := got.NewToken()
		require.NoError(t, err)
		require.True(t, got.Verify(value))
		for i := 0; i < len(c.keys); i += 2 { // each pair reads its own
			pair, err := New(c.keys[i:min(i+2, len(c.keys))], time.Minute, http.Cookie{Secure: true})
			require.NoError(t, err)
			value, _, err := pair.NewToken()
			require.NoError(t, err)
			require.True(t, got.Verify(value), "pair %d", i/2)
		}
	}
}
