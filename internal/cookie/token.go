package cookie

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	// tokenSize is twice the 128 bits that OWASP ASVS 7.2.3 requires.
	tokenSize = 32
	// tokenMACSize is how much of the MAC is in the cookie: 128 bits (RFC 2104, section 5).
	tokenMACSize = 16
	// tokenLength is the length of a session cookie's value: token and MAC in base64url. It is
	// a multiple of 4, so that there is no padding, and no other text with the same meaning.
	tokenLength = (tokenSize + tokenMACSize) / 3 * 4
)

// NewToken returns the value of a new session cookie, and the key under which its session is
// stored. It tries until accepts accepts that key; nil accepts each.
func (c *Codec) NewToken(accepts func(store.Key) bool) (value string, key store.Key) {
	var token [tokenSize + tokenMACSize]byte
	var text [tokenLength]byte
	m := c.tokenKeys[0].Get()
	defer c.tokenKeys[0].Put(m)
	for {
		_, _ = rand.Read(token[:tokenSize]) // never fails: it crashes the program instead
		copy(token[tokenSize:], m.Sum(append(m.Message(), token[:tokenSize]...)))
		base64.URLEncoding.Encode(text[:], token[:])
		if key = hashOf(c.Session.Name, text[:]); accepts == nil || accepts(key) {
			return string(text[:]), key
		}
	}
}

// Key returns the key under which the session of a cookie is stored: the SHA-256
// of the session cookie's name, a zero byte and the value. No name contains a
// zero byte, so different cookies never hash the same bytes.
func (c *Codec) Key(value string) store.Key { return hashOf(c.Session.Name, value) }

func hashOf[S string | []byte](name string, value S) store.Key {
	var buf [maxCookieName + 1 + tokenLength]byte // on the stack
	b := append(buf[:0], name...)
	b = append(b, 0)
	return sha256.Sum256(append(b, value...))
}

// Plausible reports, without cryptography, whether value may be that of a
// session cookie.
func Plausible(value string) bool { return len(value) == tokenLength }

// Verify reports whether value is that of a session cookie signed with one of
// our keys. It allocates nothing.
func (c *Codec) Verify(value string) bool {
	if !Plausible(value) {
		return false
	}
	var text [tokenLength]byte
	copy(text[:], value)
	var token [tokenSize + tokenMACSize]byte
	// The decoder skips line breaks, and then finds fewer bytes.
	if n, err := base64.URLEncoding.Decode(token[:], text[:]); err != nil || n != len(token) {
		return false
	}
	genuine := 0
	for _, key := range c.tokenKeys {
		m := key.Get()
		sum := m.Sum(append(m.Message(), token[:tokenSize]...))
		genuine |= subtle.ConstantTimeCompare(sum[:tokenMACSize], token[tokenSize:])
		key.Put(m)
	}
	return genuine == 1
}
