// Package dbsc is the protocol of Device Bound Session Credentials, without any state: it
// makes and reads what a guard and a browser send each other (the W3C's editor's draft,
// https://w3c.github.io/webappsec-dbsc/, of 2026-02-17, and what Chromium 156 does).
//
// A guard offers to bind a session in the response to a login ([Codec.SealOffer],
// [Registration]). The browser makes a key and brings it ([ParseProof]). The guard tells it
// which cookie proves that it has the key ([Instructions]), and sets that cookie, whose
// value is a token ([Codec.Token]). When the cookie has expired, the browser asks for
// another. It gets a challenge ([ChallengeFor]), which is a token too, and signs it.
//
// The guard's keys make all of this genuine, so that nothing of it is stored but the
// public key.
package dbsc

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/sessionguard-go/sessionguard/internal/mac"
)

// maxID bounds the public ID of a session, which is of rand.Text and has 26 characters.
const maxID = 64

// A Codec makes tokens, offers and identifiers, and reads them. It is safe for concurrent use.
type Codec struct {
	macs  []*mac.Key // newest key first
	seals []cipher.AEAD
}

// New takes keys of 32 bytes, newest first, derived for this use: for MACs, and for sealing.
func New(macKeys, sealKeys [][]byte) *Codec {
	c := new(Codec)
	for _, key := range macKeys {
		c.macs = append(c.macs, mac.NewKey(key))
	}
	for _, key := range sealKeys {
		c.seals = append(c.seals, newSeal(key))
	}
	return c
}

func newSeal(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // 32 bytes are a valid key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

var errEncoding = errors.New("not base64url without padding")

var base64url = base64.RawURLEncoding.Strict()

// decode returns what text encodes. No other text encodes the same: the decoder by itself
// skips line breaks.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errEncoding
	}
	return base64url.DecodeString(text)
}
