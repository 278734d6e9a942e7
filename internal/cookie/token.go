package cookie

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/maphash"
	"sync/atomic"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard/store"
)

// NewToken returns the value of a new session cookie, and the key under which
// its session is stored.
func (c *Codec) NewToken() (value string, key store.Key, err error) {
	token := make([]byte, tokenSize)
	_, _ = rand.Read(token) // never fails: it crashes the program instead
	value, err = securecookie.EncodeMulti(c.Session.Name, token, c.sessionCodecs...)
	return value, c.Key(value), err
}

// Key returns the key under which the session of a cookie is stored: the SHA-256
// of the session cookie's name, a zero byte and the value. No name contains a
// zero byte, so different cookies never hash the same bytes.
func (c *Codec) Key(value string) store.Key {
	var buf [maxCookieName + 1 + maxTokenCookie]byte // on the stack
	b := append(buf[:0], c.Session.Name...)
	b = append(b, 0)
	return sha256.Sum256(append(b, value...))
}

// Plausible reports, without cryptography, whether value may be that of a
// session cookie.
func Plausible(value string) bool {
	return len(value) >= minTokenCookie && len(value) <= maxTokenCookie
}

// Verify reports whether value is that of a session cookie signed with one of
// our keys. It remembers the value if so.
func (c *Codec) Verify(value string) bool {
	slot, hash := c.verified.slot(value)
	if slot.Load() == hash {
		return true
	}
	var token []byte
	if securecookie.DecodeMulti(c.Session.Name, value, &token, c.sessionCodecs...) != nil {
		return false
	}
	slot.Store(hash)
	return true
}

// verifiedCookies remembers by their hashes which cookies Verify found genuine,
// one in each slot. Verify proves nothing by it: of 2^49 forged cookies one passes,
// and the backend then finds no session under its key. Without it, a protected
// request with Redis takes a sixth to a quarter longer, as long as fewer than
// some ten thousand cookies are in use.
type verifiedCookies struct {
	seed   maphash.Seed
	hashes [1 << 15]atomic.Uint64
}

func newVerifiedCookies() *verifiedCookies {
	return &verifiedCookies{seed: maphash.MakeSeed()}
}

// slot returns the hash of value and the slot that holds it if value is remembered.
func (v *verifiedCookies) slot(value string) (slot *atomic.Uint64, hash uint64) {
	hash = maphash.String(v.seed, value)
	return &v.hashes[hash%uint64(len(v.hashes))], hash
}
