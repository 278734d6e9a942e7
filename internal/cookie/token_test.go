package cookie

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

var testKey = bytes.Repeat([]byte("a"), 32)

// newTestCodec returns a Codec with one authentication key and the default names.
func newTestCodec(t *testing.T) Codec {
	t.Helper()
	c, err := New([][]byte{testKey}, time.Minute, http.Cookie{Secure: true})
	require.NoError(t, err)
	return c
}

func newTestToken(t *testing.T, c Codec) (value string) {
	t.Helper()
	value, _, err := c.NewToken()
	require.NoError(t, err)
	return value
}

// withOtherCharacter returns value with another character of base64 at i.
func withOtherCharacter(value string, i int) string {
	other := "A"
	if value[i] == 'A' {
		other = "B"
	}
	return value[:i] + other + value[i+1:]
}

// K1: the limits hold for every key and name that New accepts.
func TestEveryNewTokenIsPlausibleAndVerifies(t *testing.T) {
	for _, name := range []string{"s", "__Host-Http-session", strings.Repeat("n", maxCookieName)} {
		for _, length := range []int{32, 33, 64, 200} {
			t.Run(fmt.Sprintf("name %d, key of %d bytes", len(name), length), func(t *testing.T) {
				c := codecWith(t, name, length)
				value, key, err := c.NewToken()
				require.NoError(t, err)
				other, otherKey, err := c.NewToken()
				require.NoError(t, err)
				require.NotEqual(t, value, other)
				require.NotEqual(t, key, otherKey)
				require.True(t, Plausible(value), len(value))
				require.True(t, c.Verify(value))
				require.Equal(t, key, c.Key(value))
				require.NoError(t, (&http.Cookie{Name: name, Value: value}).Valid())
			})
		}
	}
}

// codecWith returns a Codec with a key of this length.
func codecWith(t *testing.T, name string, length int) Codec {
	t.Helper()
	c, err := New([][]byte{bytes.Repeat([]byte("a"), length)}, time.Minute, http.Cookie{Name: name, Secure: true})
	require.NoError(t, err)
	return c
}

// ASVS 7.2.3
func TestATokenHas256RandomBits(t *testing.T) {
	c := newTestCodec(t)
	seen := map[string]bool{}
	var union [32]byte
	for range 200 {
		var token []byte
		require.NoError(t, securecookie.DecodeMulti(c.Session.Name, newTestToken(t, c), &token, c.sessionCodecs...))
		require.Len(t, token, 32)
		require.False(t, seen[string(token)])
		seen[string(token)] = true
		for i, b := range token {
			union[i] |= b
		}
	}
	require.Equal(t, bytes.Repeat([]byte{0xff}, 32), union[:], "every bit changes")
}

// K2: no work for what cannot be ours.
func TestPlausibleReadsOnlyTheLength(t *testing.T) {
	for n, want := range map[int]bool{0: false, 1: false, minTokenCookie - 1: false, minTokenCookie: true, 120: true, 144: true, maxTokenCookie: true, maxTokenCookie + 1: false, 8192: false} {
		require.Equal(t, want, Plausible(strings.Repeat("A", n)), n)
	}
}

// K2: what has been verified is remembered, and nothing that resembles it.
func TestVerifyReadsEveryCharacter(t *testing.T) {
	c := newTestCodec(t)
	value := newTestToken(t, c)
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
	for i := range c.verified.hashes { // and forgotten for another
		c.verified.hashes[i].Store(1)
	}
	require.False(t, c.Verify(withOtherCharacter(value, 40)))
	require.True(t, c.Verify(value))
}

// K2: a cookie of another name, another purpose or other keys is not ours, although
// the rest is the same.
func TestVerifyRefusesCookiesSignedForAnythingElse(t *testing.T) {
	c := newTestCodec(t)
	staff, err := New([][]byte{testKey}, time.Minute, http.Cookie{Name: "__Host-staff", Secure: true})
	require.NoError(t, err)
	require.False(t, c.Verify(newTestToken(t, staff)), "another guard")
	otherKeys, err := New([][]byte{bytes.Repeat([]byte("b"), 32)}, time.Minute, http.Cookie{Secure: true})
	require.NoError(t, err)
	require.False(t, c.Verify(newTestToken(t, otherKeys)), "other keys")
	visitor, err := c.EncodeVisitor(make([]byte, tokenSize-nonceSize))
	require.NoError(t, err)
	require.True(t, Plausible(visitor))
	require.False(t, c.Verify(visitor), "the visitor cookie")
	for _, value := range []string{"", "A", strings.Repeat("A", 120), strings.Repeat("A", 8192), "é", "\x00"} {
		require.False(t, c.Verify(value), "%.20q", value)
	}
}

// The limits of a session are in its record: its cookie may be older than any timeout.
func TestTheSignatureOfASessionCookieNeverExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		value := newTestToken(t, newTestCodec(t))
		time.Sleep(50 * 365 * 24 * time.Hour)
		c := newTestCodec(t) // remembers nothing
		require.True(t, c.Verify(value))
	})
}

// A verified cookie is not decoded again.
func TestVerifyRemembersWhatItFoundGenuine(t *testing.T) {
	c := newTestCodec(t)
	value, other := newTestToken(t, c), newTestToken(t, c)
	require.True(t, c.Verify(value))
	c.sessionCodecs = nil // decodes nothing
	require.True(t, c.Verify(value))
	require.False(t, c.Verify(other))
	copied := c
	require.True(t, copied.Verify(value), "copies share what they remember")
	require.Zero(t, testing.AllocsPerRun(100, func() { c.Verify(value) }))
}

// K2: of a shorter hash, an attacker would find another value by trying.
func TestVerifyComparesAllBitsOfTheHash(t *testing.T) {
	c := newTestCodec(t)
	value := newTestToken(t, c)
	slot, hash := c.verified.slot(value)
	for bit := range 64 {
		slot.Store(hash ^ 1<<bit)
		require.True(t, c.Verify(value))
		require.Equal(t, hash, slot.Load(), "bit %d was ignored", bit)
	}
}

// K2: an attacker who knows the hashes of one process does not know those of another.
func TestEveryCodecHashesWithItsOwnSeed(t *testing.T) {
	one, two := newTestCodec(t), newTestCodec(t)
	_, h1 := one.verified.slot("value")
	_, h2 := two.verified.slot("value")
	require.NotEqual(t, h1, h2)
}

// A guard remembers verified cookies in 256 KiB, however many it sees, and a
// forged one takes no place among them.
func TestVerifyRemembersInAFixedAmountOfMemory(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(verifiedCookies{}), uintptr(256<<10+16))
	c := newTestCodec(t)
	real := newTestToken(t, c)
	for i := range len(real) - 3 {
		require.False(t, c.Verify(withOtherCharacter(real, i)))
	}
	for i := range c.verified.hashes {
		require.Zero(t, c.verified.hashes[i].Load())
	}
}

func TestVerifyIsSafeForConcurrentUse(t *testing.T) {
	c := newTestCodec(t)
	var values [8]string
	for i := range values {
		values[i] = newTestToken(t, c)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, value := range values {
				if !c.Verify(value) || c.Verify(withOtherCharacter(value, 40)) {
					t.Error("a verdict is wrong")
				}
			}
		})
	}
	wg.Wait()
}

// Sessions are found again by another version of this package.
func TestTheStoreKeyIsTheHashOfNameZeroByteAndValue(t *testing.T) {
	for _, name := range []string{"s", "__Host-Http-session", strings.Repeat("n", maxCookieName)} {
		c := Codec{Session: http.Cookie{Name: name}}
		for _, n := range []int{0, 1, 120, 144, maxTokenCookie, 10_000} {
			value := strings.Repeat("v", n)
			require.Equal(t, store.Key(sha256.Sum256([]byte(name+"\x00"+value))), c.Key(value))
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

// Key runs on every request with a session cookie.
func TestKeyAllocatesNothing(t *testing.T) {
	c := Codec{Session: http.Cookie{Name: strings.Repeat("n", maxCookieName)}}
	value := strings.Repeat("v", maxTokenCookie)
	var key store.Key
	require.Zero(t, testing.AllocsPerRun(100, func() { key = c.Key(value) }))
	require.NotZero(t, key)
}
