package cookie

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func codecWithKeys(t *testing.T, keys ...[]byte) Codec {
	t.Helper()
	c, err := New(keys, time.Minute, http.Cookie{Secure: true})
	require.NoError(t, err)
	return c
}

func TestASuccessorOpensWithThePreviousCookie(t *testing.T) {
	c := newTestCodec(t)
	previous, value := newTestToken(t, c), newTestToken(t, c)
	sealed := c.SealSuccessor(previous, value)
	got, ok := c.OpenSuccessor(previous, sealed)
	require.True(t, ok)
	require.Equal(t, value, got)
	for name, part := range map[string]string{"value": value, "previous cookie": previous, "part of the value": value[:40]} {
		require.NotContains(t, string(sealed), part, name)
	}
	require.NotEqual(t, sealed, c.SealSuccessor(previous, value), "each seal has its own nonce")
}

// A stolen backend has the sealed value, another client has another cookie.
func TestASuccessorOpensWithNothingElse(t *testing.T) {
	c := newTestCodec(t)
	previous, value := newTestToken(t, c), newTestToken(t, c)
	sealed := c.SealSuccessor(previous, value)
	for what, other := range map[string]string{
		"no cookie": "", "another cookie": newTestToken(t, c), "the successor itself": value,
		"truncated": previous[:len(previous)-1], "longer": previous + "A", "changed": withOtherCharacter(previous, 0),
	} {
		got, ok := c.OpenSuccessor(other, sealed)
		require.False(t, ok, what)
		require.Empty(t, got, what)
	}
	stranger := codecWithKeys(t, bytes.Repeat([]byte("b"), 32))
	got, ok := stranger.OpenSuccessor(previous, sealed)
	require.False(t, ok, "without our key")
	require.Empty(t, got)
}

// The cipher's key must be no signature that is made elsewhere: a visitor can choose part
// of what is signed.
func TestASuccessorIsNotSealedWithASignature(t *testing.T) {
	c := newTestCodec(t)
	sealed := c.SealSuccessor("previous", "value")
	for use, opens := range map[string]bool{"session signature": false, "visitor signature": false, "successor": true} {
		mac := hmac.New(sha256.New, deriveKey(testKey, use))
		mac.Write([]byte("previous"))
		block, err := aes.NewCipher(mac.Sum(nil))
		require.NoError(t, err)
		aead, err := cipher.NewGCMWithRandomNonce(block)
		require.NoError(t, err)
		_, err = aead.Open(nil, nil, sealed, nil)
		require.Equal(t, opens, err == nil, use)
	}
}

func TestAChangedSuccessorDoesNotOpen(t *testing.T) {
	c := newTestCodec(t)
	sealed := c.SealSuccessor("previous", "value")
	for i := range sealed {
		for bit := byte(1); bit != 0; bit <<= 1 {
			changed := bytes.Clone(sealed)
			changed[i] ^= bit
			_, ok := c.OpenSuccessor("previous", changed)
			require.False(t, ok, "byte %d, bit %d", i, bit)
		}
	}
	for n := range sealed {
		_, ok := c.OpenSuccessor("previous", sealed[:n])
		require.False(t, ok, "%d of %d bytes", n, len(sealed))
	}
	_, ok := c.OpenSuccessor("previous", nil)
	require.False(t, ok)
	_, ok = c.OpenSuccessor("previous", append(bytes.Clone(sealed), 0))
	require.False(t, ok, "longer")
}

// A successor that was sealed before a change of keys opens as long as its key is
// listed, and new ones are sealed with the newest.
func TestASuccessorSurvivesAChangeOfKeys(t *testing.T) {
	oldKey, newKey := bytes.Repeat([]byte("o"), 32), bytes.Repeat([]byte("n"), 32)
	before, during, after := codecWithKeys(t, oldKey), codecWithKeys(t, newKey, oldKey), codecWithKeys(t, newKey)
	opens := func(c Codec, sealed []byte) bool {
		value, ok := c.OpenSuccessor("previous", sealed)
		require.Equal(t, ok, value == "value")
		return ok
	}
	sealed := before.SealSuccessor("previous", "value")
	require.True(t, opens(during, sealed))
	require.False(t, opens(after, sealed))
	sealed = during.SealSuccessor("previous", "value")
	require.True(t, opens(after, sealed))
	require.False(t, opens(before, sealed))
}
