package cookie

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
	value, _ = c.NewToken(nil)
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
				value, key := c.NewToken(nil)
				other, otherKey := c.NewToken(nil)
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
		all, err := base64.URLEncoding.DecodeString(newTestToken(t, c))
		require.NoError(t, err)
		require.Len(t, all, 48)
		token := all[:32]
		require.False(t, seen[string(token)])
		seen[string(token)] = true
		for i, b := range token {
			union[i] |= b
		}
	}
	require.Equal(t, bytes.Repeat([]byte{0xff}, 32), union[:], "every bit changes")
}

// A token is retried until its key is accepted, and each time is another.
func TestNewTokenTriesUntilTheKeyIsAccepted(t *testing.T) {
	c := newTestCodec(t)
	seen := map[store.Key]bool{}
	value, key := c.NewToken(func(key store.Key) bool {
		seen[key] = true
		return len(seen) == 5
	})
	require.Len(t, seen, 5)
	require.Equal(t, key, c.Key(value))
	require.True(t, c.Verify(value))
}

// K2: no work for what cannot be ours.
func TestPlausibleReadsOnlyTheLength(t *testing.T) {
	for n, want := range map[int]bool{0: false, 1: false, 63: false, 64: true, 65: false, 120: false, 8192: false} {
		require.Equal(t, want, Plausible(strings.Repeat("!", n)), n)
	}
}

// K2: a session cookie has one spelling: each change of each character makes another, which we
// did not make.
func TestVerifyReadsEveryBit(t *testing.T) {
	c := newTestCodec(t)
	value := newTestToken(t, c)
	require.True(t, c.Verify(value))
	for i := range value {
		require.False(t, c.Verify(value[:i]))
		for b := range 256 {
			if other := value[:i] + string([]byte{byte(b)}) + value[i+1:]; other != value {
				require.False(t, c.Verify(other), "%d of %d: %#x", i, len(value), b)
			}
		}
	}
	for _, other := range []string{value + "A", value + "=", "A" + value, value[1:] + "=", value + value, "\n" + value[:63], value[:63] + "\r"} {
		require.False(t, c.Verify(other), "%q", other)
	}
	standard := strings.NewReplacer("-", "+", "_", "/")
	for range 20 { // most have a character that differs between the alphabets
		if value := newTestToken(t, c); standard.Replace(value) != value {
			require.False(t, c.Verify(standard.Replace(value)))
		}
	}
}

// K2: the MAC is of the token, with a key of this name and this use only.
func TestTheMACIsThatOfTheToken(t *testing.T) {
	c := newTestCodec(t)
	all, err := base64.URLEncoding.DecodeString(newTestToken(t, c))
	require.NoError(t, err)
	derived, err := hkdf.Key(sha256.New, testKey, nil, "sessionguard session __Host-Http-session", 32)
	require.NoError(t, err)
	reference := hmac.New(sha256.New, derived)
	reference.Write(all[:32])
	require.Equal(t, reference.Sum(nil)[:16], all[32:])
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
	visitor, err := c.EncodeVisitor(nil)
	require.NoError(t, err)
	require.False(t, c.Verify(visitor), "the visitor cookie")
	require.False(t, c.Verify(visitor[:64]), "a part of it")
	for _, value := range []string{"", "A", strings.Repeat("A", 64), strings.Repeat("A", 8192), "é", "\x00"} {
		require.False(t, c.Verify(value), "%.20q", value)
	}
}

// The limits of a session are in its record: its cookie may be older than any timeout.
func TestASessionCookieNeverExpiresByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		value := newTestToken(t, newTestCodec(t))
		time.Sleep(50 * 365 * 24 * time.Hour)
		c := newTestCodec(t)
		require.True(t, c.Verify(value))
	})
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
		for _, n := range []int{0, 1, 64, 120, 10_000} {
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
	value := strings.Repeat("v", tokenLength)
	var key store.Key
	require.Zero(t, testing.AllocsPerRun(100, func() { key = c.Key(value) }))
	require.NotZero(t, key)
}

func BenchmarkVerify(b *testing.B) {
	c, err := New([][]byte{testKey}, time.Minute, http.Cookie{Secure: true})
	require.NoError(b, err)
	genuine, _ := c.NewToken(nil)
	for name, value := range map[string]string{"genuine": genuine, "forged": withOtherCharacter(genuine, 40)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Verify(value)
			}
		})
	}
}

// A remote backend's keys belong to the group of their owner, one of 64.
func BenchmarkNewToken(b *testing.B) {
	c, err := New([][]byte{testKey}, time.Minute, http.Cookie{Secure: true})
	require.NoError(b, err)
	for name, accepts := range map[string]func(store.Key) bool{"any": nil, "group": func(key store.Key) bool { return key.Group() == 7 }} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.NewToken(accepts)
			}
		})
	}
}
