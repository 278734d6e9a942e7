package dbsc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// plainToken is a token by the definition, without anything that is used again.
func plainToken(key []byte, p Purpose, at store.Time, id string, registered store.Time) string {
	h := hmac.New(sha256.New, key)
	time := binary.BigEndian.AppendUint64(nil, uint64(at))
	h.Write([]byte{byte(p)})
	h.Write(time)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(registered)))
	h.Write([]byte(id))
	return encode(append(time, h.Sum(nil)[:24]...))
}

func TestATokenIsATimeAndAnHMAC(t *testing.T) {
	c := newTestCodec()
	for _, p := range []Purpose{Cookie, Challenge} {
		for _, at := range []store.Time{0, 1, -1, 1_800_000_000_000, math.MaxInt64, math.MinInt64} {
			for _, registered := range []store.Time{0, 7, -7, math.MaxInt64} {
				for _, id := range []string{"A", testID, strings.Repeat("Z", maxID)} {
					token := c.Token(p, at, id, registered)
					require.Equal(t, plainToken(keyOf("a"), p, at, id, registered), token)
					require.Len(t, token, 43)
					got, ok := c.TokenTime(p, token, id, registered)
					require.True(t, ok)
					require.Equal(t, at, got)
				}
			}
		}
	}
}

func TestATokenIsForOnePurposeSessionDeviceAndGuard(t *testing.T) {
	c := newTestCodec()
	token := c.Token(Cookie, 5, testID, 3)
	refused := func(name string, p Purpose, token, id string, registered store.Time) {
		t.Helper()
		at, ok := c.TokenTime(p, token, id, registered)
		require.False(t, ok, name)
		require.Zero(t, at, name)
	}
	refused("another purpose", Challenge, token, testID, 3)
	refused("another session", Cookie, token, testID[1:]+"A", 3)
	refused("a shorter ID", Cookie, token, testID[:25], 3)
	refused("another device", Cookie, token, testID, 4)
	refused("another guard", Cookie, plainToken(keyOf("x"), Cookie, 5, testID, 3), testID, 3)
	raw, err := decode(token)
	require.NoError(t, err)
	raw[7]++
	refused("another time", Cookie, encode(raw), testID, 3)

	refused("none", Cookie, "", testID, 3)
	refused("too short", Cookie, token[:42], testID, 3)
	refused("too long", Cookie, token+"A", testID, 3)
	refused("padded", Cookie, token+"=", testID, 3)
	refused("a line break", Cookie, token[:42]+"\n", testID, 3)
	refused("a line break more", Cookie, token[:20]+"\r"+token[20:], testID, 3)
	refused("the other alphabet", Cookie, strings.Repeat("+", 43), testID, 3)
	refused("very long", Cookie, strings.Repeat("A", 1<<20), testID, 3)

	// A zero at the end would also be what is left of the buffer.
	for at := store.Time(0); ; at++ {
		raw, err := decode(c.Token(Cookie, at, testID, 3))
		require.NoError(t, err)
		if raw[31] == 0 {
			refused("a line break for a zero", Cookie, c.Token(Cookie, at, testID, 3)[:42]+"\n", testID, 3)
			break
		}
	}

	// The last character has two bits that stand for nothing.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	same := 0
	for _, last := range alphabet {
		if _, ok := c.TokenTime(Cookie, token[:42]+string(last), testID, 3); ok {
			same++
		}
	}
	require.Equal(t, 1, same)
	for i := range token {
		changed := []byte(token)
		changed[i] = alphabet[(strings.IndexByte(alphabet, changed[i])+4)%64]
		refused("changed", Cookie, string(changed), testID, 3)
	}
}

func TestNoTokenIsForAnIDThatNoSessionHas(t *testing.T) {
	c := newTestCodec()
	for _, id := range []string{"", strings.Repeat("A", maxID+1), strings.Repeat("A", 1<<20)} {
		require.Empty(t, c.Token(Cookie, 5, id, 3))
		_, ok := c.TokenTime(Cookie, plainToken(keyOf("a"), Cookie, 5, id, 3), id, 3)
		require.False(t, ok)
	}
}

func TestEveryKeyReadsItsTokensAndTheNewestMakesThem(t *testing.T) {
	c := newTestCodec()
	for i, key := range []string{"a", "b"} {
		single := New([][]byte{keyOf(key)}, [][]byte{keyOf("c")})
		at, ok := c.TokenTime(Challenge, single.Token(Challenge, 5, testID, 3), testID, 3)
		require.True(t, ok, key)
		require.EqualValues(t, 5, at)
		_, ok = single.TokenTime(Challenge, c.Token(Challenge, 5, testID, 3), testID, 3)
		require.Equal(t, i == 0, ok, key)
	}
}

func TestTokensAreReadWithoutAllocations(t *testing.T) {
	c := newTestCodec()
	token := plainToken(keyOf("b"), Cookie, 5, testID, 3)
	allocs := testing.AllocsPerRun(1000, func() { c.TokenTime(Cookie, token, testID, 3) })
	if !raceDetector { // under which a sync.Pool drops some of what it is given
		require.Zero(t, allocs)
	}
}

func TestTokensAreMadeAndReadInParallel(t *testing.T) {
	c := newTestCodec()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			id := testID + strings.Repeat("A", i)
			for at := range store.Time(500) {
				got, ok := c.TokenTime(Cookie, c.Token(Cookie, at, id, store.Time(i)), id, store.Time(i))
				if !ok || got != at {
					t.Errorf("%d: %v %v", i, got, ok)
					return
				}
			}
		})
	}
	all.Wait()
}

// Nothing passes but what was made, for what it was made, and nothing panics.
func FuzzTokenTime(f *testing.F) {
	c := newTestCodec()
	made := plainToken(keyOf("b"), Cookie, 5, testID, 3)
	for _, token := range []string{
		"", made, made[:42], made + "A", made[1:] + "A", made[:42] + "_", made[:42] + "\n", strings.Repeat("A", 43), strings.Repeat("=", 43),
		plainToken(keyOf("x"), Cookie, 5, testID, 3), plainToken(keyOf("a"), Challenge, 5, testID, 3),
	} {
		f.Add(byte(Cookie), token, testID, int64(3))
	}
	f.Add(byte(Challenge), made, testID, int64(3))
	f.Add(byte(Cookie), made, testID[:25], int64(3))
	f.Add(byte(Cookie), made, strings.Repeat("A", maxID+1), int64(3))
	f.Add(byte(Cookie), made, testID, int64(-3))
	f.Fuzz(func(t *testing.T, purpose byte, token, id string, registered int64) {
		p, device := Purpose(purpose), store.Time(registered)
		at, ok := c.TokenTime(p, token, id, device)
		genuine := id != "" && len(id) <= maxID && (token == plainToken(keyOf("a"), p, at, id, device) || token == plainToken(keyOf("b"), p, at, id, device))
		if ok != genuine {
			t.Fatalf("%q: %v %v", token, at, ok)
		}
		if again := c.Token(p, at, id, device); again != "" {
			if got, ok := c.TokenTime(p, again, id, device); !ok || got != at {
				t.Fatalf("%q does not come back", again)
			}
		}
	})
}

func BenchmarkTokenTime(b *testing.B) {
	c := New([][]byte{keyOf("a")}, nil)
	token := c.Token(Cookie, 5, testID, 3)
	b.Run("kept", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.TokenTime(Cookie, token, testID, 3)
		}
	})
	b.Run("anew", func(b *testing.B) { // what it would cost to make an HMAC each time
		b.ReportAllocs()
		for b.Loop() {
			plainToken(keyOf("a"), Cookie, 5, testID, 3)
		}
	})
}
