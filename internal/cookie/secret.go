package cookie

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	secretInfix = "-secret-"
	// MaxSecretBytes is the longest value of a secret. With a long Domain, its Set-Cookie
	// line still has at most maxVisitorLine bytes.
	MaxSecretBytes = 2048
	// maxSecrets and maxSecretsSize bound how many secret cookies a browser has, and the
	// bytes of their names and values: together with those of the other two cookies, the
	// Cookie header is shorter than the 8 KiB that nginx and Apache allow for a line.
	maxSecrets     = 4
	maxSecretsSize = 4096
	// maxSecretsRead is how many of a request's secret cookies are opened to find the
	// oldest, and MaxPresented how many of them PutSecret deletes at most. A browser has
	// more only if somebody plants them, or if it gets many at once.
	maxSecretsRead = 32
)

// A Secret is what a secret cookie holds, encrypted with a key of its own that is derived
// from ours and Nonce.
type Secret struct {
	Nonce         [16]byte // random; set by PutSecret
	Made, Expires store.Time
	Holder        string // at most 255 bytes
	Value         []byte
}

// A SecretChange is what a response does to one secret cookie.
type SecretChange struct {
	Change
	Name   string // the cookie's
	MaxAge time.Duration
}

// SecretChanges are those of a response, in their order: one at most for each name.
type SecretChanges []SecretChange

// with returns s with a change that takes the place of another of the same cookie.
func (s SecretChanges) with(change SecretChange) SecretChanges {
	return append(s.without(change.Name), change)
}

// without returns s without a change of the cookie of that name.
func (s SecretChanges) without(name string) SecretChanges {
	return slices.DeleteFunc(s, func(change SecretChange) bool { return change.Name == name })
}

// deleting returns s with a change that deletes a cookie, if the browser has sent it. One
// that only this response would set is not set: a handler may put any number, and a response
// that deleted them all would have a header of any length.
func (s SecretChanges) deleting(name string, cookies *string) SecretChanges {
	if _, sent := Unique(cookies, name); sent == 0 {
		return s.without(name)
	}
	return s.with(SecretChange{Change: Change{Kind: Delete}, Name: name})
}

func (s SecretChanges) find(name string) *SecretChange {
	if i := slices.IndexFunc(s, func(c SecretChange) bool { return c.Name == name }); i >= 0 {
		return &s[i]
	}
	return nil
}

// Write adds the Set-Cookie headers to w. It removes those that it replaces.
func (s SecretChanges) Write(w http.ResponseWriter, before *string, attributes http.Cookie) {
	for _, change := range s {
		Remove(w.Header(), change.Name)
		attributes.Name = change.Name
		change.Change.Write(w, before, attributes, change.MaxAge)
	}
}

// secretHash is in the alphabet of secretName.
var secretHash = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

const secretHashLength = 26 // of 128 bits

// secretName returns the name of the cookie of a secret, which may have any name.
func (c *Codec) secretName(name string) string {
	sum := sha256.Sum256([]byte(name))
	return c.Session.Name + secretInfix + secretHash.EncodeToString(sum[:16])
}

// isSecret reports whether secretName may have returned name.
func (c *Codec) isSecret(name string) bool { return isSecretOf(c.Session.Name, name) }

func isSecretOf(session, name string) bool {
	rest, ok := strings.CutPrefix(name, session)
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, secretInfix)
	if !ok || len(rest) != secretHashLength {
		return false
	}
	for i := range len(rest) {
		if b := rest[i]; (b < 'a' || b > 'z') && (b < '2' || b > '7') {
			return false
		}
	}
	return true
}

// has reports whether c makes cookies of that name.
func (c *Codec) has(name string) bool {
	return name == c.Session.Name || name == c.Visitor.Name || c.isSecret(name) || isBoundOf(c.boundName, name)
}

// PutSecret returns changes with one that sets the cookie of a secret. The oldest go where
// the browser, which sent cookies, would have too many.
func (c *Codec) PutSecret(cookies *string, changes SecretChanges, name string, s Secret) SecretChanges {
	_, _ = rand.Read(s.Nonce[:]) // never fails: it crashes the program instead
	cookieName := c.secretName(name)
	value := c.sealSecret(cookieName, s)
	others := slices.DeleteFunc(c.heldSecrets(cookies, changes, s.Made), func(h heldSecret) bool { return h.name == cookieName })
	size := len(cookieName) + len(value)
	for _, other := range others {
		size += other.size
	}
	for deleted := 0; deleted < len(others) && deleted < MaxPresented &&
		(len(others)-deleted >= maxSecrets || size > maxSecretsSize); deleted++ {
		size -= others[deleted].size
		changes = changes.deleting(others[deleted].name, cookies)
	}
	// Browsers count whole seconds.
	maxAge := (s.Expires.Sub(s.Made) + time.Second - 1).Truncate(time.Second)
	return changes.with(SecretChange{Change{Set, value}, cookieName, maxAge})
}

type heldSecret struct {
	name string
	size int
	made store.Time
}

// heldSecrets returns the secrets that the browser has after changes, the oldest first. Before
// these come the cookies that are no secrets of ours any more, such as those of a key that
// was dropped: the browser sends them too.
func (c *Codec) heldSecrets(cookies *string, changes SecretChanges, now store.Time) (held []heldSecret) {
	add := func(name, value string) {
		s, ok := c.openSecret(name, value)
		if !ok || now >= s.Expires {
			s.Made = 0
		}
		held = append(held, heldSecret{name, len(name) + len(value), s.Made})
	}
	r, read := reader{name: c.Session.Name, of: isSecretOf}, 0
	if cookies != nil {
		r.line = *cookies
	}
	for name, value, ok := r.next(); ok && read < maxSecretsRead; name, value, ok = r.next() {
		if changes.find(name) == nil {
			read++
			add(name, value)
		}
	}
	for _, change := range changes {
		if change.Kind == Set {
			add(change.Name, change.Value)
		}
	}
	slices.SortStableFunc(held, func(a, b heldSecret) int { return cmp.Compare(a.made, b.made) })
	return held
}

// FindSecret returns the secret of that name: of changes, or else in the cookies of what
// Header has returned. If there are several, one may have been planted, and it returns none.
func (c *Codec) FindSecret(cookies *string, changes SecretChanges, name string) (found Secret, ok bool) {
	cookieName := c.secretName(name)
	if change := changes.find(cookieName); change != nil {
		return c.openSecret(cookieName, change.Value)
	}
	values, err := distinct(cookies, cookieName, 1, maxCookie)
	if err != nil {
		return Secret{}, false
	}
	for _, value := range values {
		switch s, opens := c.openSecret(cookieName, value); {
		case opens && ok:
			return Secret{}, false
		case opens:
			found, ok = s, true
		}
	}
	return found, ok
}

// DeleteSecret returns changes after which the browser, which sent cookies, has no cookie
// of that secret.
func (c *Codec) DeleteSecret(cookies *string, changes SecretChanges, name string) SecretChanges {
	return changes.deleting(c.secretName(name), cookies)
}

// RemoveSecrets removes all secret cookies from the header of a response.
func (c *Codec) RemoveSecrets(h http.Header) { removeFunc(h, c.isSecret) }

// sealSecret returns the value of the cookie with that name.
func (c *Codec) sealSecret(cookieName string, s Secret) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(s.Made))
	plain = binary.BigEndian.AppendUint64(plain, uint64(s.Expires))
	plain = append(plain, byte(len(s.Holder)))
	plain = append(append(plain, s.Holder...), s.Value...)
	sealed := secretCipher(c.secretKeys[0], s.Nonce).Seal(s.Nonce[:], nil, plain, []byte(cookieName))
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// openSecret returns what sealSecret has sealed for a cookie of that name.
func (c *Codec) openSecret(cookieName, value string) (s Secret, ok bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(sealed) < len(s.Nonce) {
		return Secret{}, false
	}
	copy(s.Nonce[:], sealed)
	for _, key := range c.secretKeys {
		plain, err := secretCipher(key, s.Nonce).Open(nil, nil, sealed[len(s.Nonce):], []byte(cookieName))
		if err == nil {
			s.Made = store.Time(binary.BigEndian.Uint64(plain))
			s.Expires = store.Time(binary.BigEndian.Uint64(plain[8:]))
			s.Holder = string(plain[17 : 17+int(plain[16])])
			s.Value = plain[17+len(s.Holder):]
			return s, true
		}
	}
	return Secret{}, false
}

// secretCipher derives its key from one of ours and the nonce: visitors make secrets without
// a limit, and a key of AES-GCM is good for 2^32 of them (NIST SP 800-38D section 8.3).
func secretCipher(key []byte, nonce [16]byte) cipher.AEAD {
	mac := hmac.New(sha256.New, key)
	mac.Write(nonce[:])
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // 32 bytes are a valid key
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}
