// Package cookie makes and reads the two cookies of a guard.
package cookie

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"math"
	"net/http"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard/store"
)

const (
	// tokenSize is what OWASP ASVS 7.2.3 asks for, twice over: 256 bits.
	tokenSize = 32
	// Every session cookie's value is between these lengths, signed (120
	// bytes) or encrypted as well (144): others are not worth a look.
	minTokenCookie = 100
	maxTokenCookie = 200
	maxCookieName  = 64
	// maxCookie is what browsers keep of a name and its value (OWASP ASVS
	// 3.3.5; RFC 6265bis section 5.6).
	maxCookie = 4096
	nonceSize = 16

	anonymousSuffix = "-anonymous"
)

// cookies makes and reads the guard's two cookies. The session cookie holds a
// token and nothing else. The anonymous one holds the values of a visitor who
// is not logged in.
type Codec struct {
	Session, Visitor               http.Cookie // with every attribute, without value
	sessionCodecs, anonymousCodecs []securecookie.Codec
	VisitorRoom                    int // bytes of values that fit into the anonymous cookie
	secrets                        [][]byte

	// verified remembers by a hash what verify has found to be good. It is no proof of
	// anything: a forged cookie that passes, one of 2^49, is asked for and not found.
	// While fewer than some ten thousand are in use, a protected request with Redis
	// takes a sixth to a quarter longer without.
	verified *[1 << 15]atomic.Uint64
	seed     maphash.Seed
}

// New completes and checks like, the session cookie's attributes.
func New(keys [][]byte, idle time.Duration, like http.Cookie) (Codec, error) {
	if like.Name == "" {
		switch {
		case !like.Secure:
			like.Name = "session"
		case like.Domain != "":
			like.Name = "__Secure-session"
		default:
			like.Name = "__Host-session"
		}
	}
	if like.SameSite == 0 {
		like.SameSite = http.SameSiteLaxMode
	}
	like.Path, like.HttpOnly = "/", true
	if err := checkCookie(like); err != nil {
		return Codec{}, err
	}
	for i, key := range keys {
		if n := len(key); i%2 == 0 && n < 32 {
			return Codec{}, fmt.Errorf("sessionguard: Config.Keys[%d]: an authentication key of %d bytes, shorter than 32", i, n)
		} else if n > 0 && bytes.Count(key, []byte{0}) == n {
			return Codec{}, fmt.Errorf("sessionguard: Config.Keys[%d]: a key of zeros: make it with securecookie.GenerateRandomKey", i)
		} else if i%2 == 1 && n != 0 && n != 16 && n != 24 && n != 32 {
			return Codec{}, fmt.Errorf("sessionguard: Config.Keys[%d]: an encryption key of %d bytes, not 16, 24 or 32", i, n)
		}
	}
	c := Codec{Session: like, Visitor: like, verified: new([1 << 15]atomic.Uint64), seed: maphash.MakeSeed()}
	for i := 0; i < len(keys); i += 2 {
		c.secrets = append(c.secrets, keys[i])
	}
	c.Visitor.Name += anonymousSuffix
	c.sessionCodecs = codecs(keys, 0, maxTokenCookie) // the limits are in the record
	c.anonymousCodecs = codecs(keys, idle, maxCookie-len(c.Visitor.Name))
	// One more than fits, found by trying: the envelope is securecookie's.
	c.VisitorRoom = sort.Search(maxCookie, func(n int) bool {
		_, err := c.EncodeVisitor(make([]byte, n))
		return err != nil
	}) - 1
	return c, nil
}

func checkCookie(cookie http.Cookie) error {
	if err := cookie.Valid(); err != nil {
		return fmt.Errorf("sessionguard: Config.CookieName %q or CookieDomain %q (a host name, no URL): %w", cookie.Name, cookie.Domain, err)
	}
	// Browsers compare the prefixes without regard to case (RFC 6265bis).
	prefix := strings.ToLower(cookie.Name)
	host := strings.HasPrefix(prefix, "__host-")
	secure := host || strings.HasPrefix(prefix, "__secure-") || strings.HasPrefix(prefix, "__http-")
	switch {
	case len(cookie.Name) > maxCookieName:
		return fmt.Errorf("sessionguard: Config.CookieName is longer than %d bytes", maxCookieName)
	case strings.HasSuffix(cookie.Name, anonymousSuffix):
		return fmt.Errorf("sessionguard: Config.CookieName %q: the suffix is that of the visitors' cookie", cookie.Name)
	case host && cookie.Domain != "":
		return fmt.Errorf("sessionguard: Config.CookieName %q: browsers refuse the prefix __Host- together with a CookieDomain", cookie.Name)
	case secure && !cookie.Secure:
		return fmt.Errorf("sessionguard: Config.CookieName %q: browsers refuse the prefix over plain http (InsecureHTTP)", cookie.Name)
	case cookie.SameSite == http.SameSiteNoneMode && !cookie.Secure:
		return errors.New("sessionguard: Config.SameSite: browsers refuse None over plain http (InsecureHTTP)")
	}
	return nil
}

func codecs(keys [][]byte, maxAge time.Duration, maxLength int) []securecookie.Codec {
	pairs := securecookie.CodecsFromPairs(keys...)
	seconds := maxAge / time.Second
	if maxAge%time.Second > 0 {
		seconds++
	}
	for i, codec := range pairs {
		if i*2+1 < len(keys) && len(keys[i*2+1]) == 0 {
			codec = securecookie.New(keys[i*2], nil) // an empty key is none, as a nil one
		}
		pairs[i] = codec.(*securecookie.SecureCookie).
			MaxAge(int(min(seconds, math.MaxInt32))).
			MaxLength(maxLength).
			SetSerializer(securecookie.NopEncoder{})
	}
	return pairs
}

// NewToken makes a new session cookie's value and the key its session is found under.
func (c *Codec) NewToken() (value string, key store.Key, err error) {
	token := make([]byte, tokenSize)
	_, _ = rand.Read(token) // never fails: it ends the process instead
	value, err = securecookie.EncodeMulti(c.Session.Name, token, c.sessionCodecs...)
	return value, c.Key(value), err
}

// key is where the session of a cookie is stored.
func (c *Codec) Key(value string) store.Key {
	var space [maxCookieName + 1 + maxTokenCookie]byte
	b := append(space[:0], c.Session.Name...)
	b = append(b, 0)
	return sha256.Sum256(append(b, value...))
}

// Plausible says without cryptography whether value may be a session cookie's.
func Plausible(value string) bool {
	return len(value) >= minTokenCookie && len(value) <= maxTokenCookie
}

// verify says whether one of our keys signed a session cookie's value.
func (c *Codec) Verify(value string) bool {
	mark := maphash.String(c.seed, value)
	place := &c.verified[mark%uint64(len(c.verified))]
	if place.Load() == mark {
		return true
	}
	var token []byte
	if securecookie.DecodeMulti(c.Session.Name, value, &token, c.sessionCodecs...) != nil {
		return false
	}
	place.Store(mark)
	return true
}

// DecodeVisitor reads the anonymous cookie, without its nonce. One that does
// not verify, or is older than the idle timeout, is none.
func (c *Codec) DecodeVisitor(h http.Header) []byte {
	value := only(h, c.Visitor.Name)
	if value == "" {
		return nil
	}
	var payload []byte
	if securecookie.DecodeMulti(c.Visitor.Name, value, &payload, c.anonymousCodecs...) != nil || len(payload) < nonceSize {
		return nil
	}
	return payload[nonceSize:]
}

// EncodeVisitor makes a value that no other has: a cookie that changes takes
// the pages before it out of Chromium's back/forward cache.
func (c *Codec) EncodeVisitor(values []byte) (string, error) {
	payload := make([]byte, nonceSize, nonceSize+len(values))
	_, _ = rand.Read(payload)
	return securecookie.EncodeMulti(c.Visitor.Name, append(payload, values...), c.anonymousCodecs...)
}

// All yields the values of every cookie called name. Names are compared byte
// for byte and only spaces and tabs are cut off (RFC 6265bis section 5.6), so
// that no look-alike of a __Host- name passes for it.
func All(h http.Header, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h["Cookie"] {
			for line != "" {
				var pair string
				pair, line, _ = strings.Cut(line, ";")
				key, value, ok := strings.Cut(pair, "=")
				if ok && strings.Trim(key, " \t") == name && !yield(strings.Trim(value, " \t")) {
					return
				}
			}
		}
	}
}

// Single is the value of the cookie called name, and how many there are.
func Single(h http.Header, name string) (value string, n int) {
	for v := range All(h, name) {
		value = v
		n++
	}
	return value, n
}

// only is the value of the one cookie called name, or "".
func only(h http.Header, name string) string {
	if value, n := Single(h, name); n == 1 {
		return value
	}
	return ""
}

// SealSuccessor hides a cookie's value from everyone but who has both the one from before and
// our keys.
func (c *Codec) SealSuccessor(before, value string) []byte {
	return handoverCipher(c.secrets[0], before).Seal(nil, nil, []byte(value), nil)
}

func (c *Codec) OpenSuccessor(before string, sealed []byte) (value string, ok bool) {
	for _, secret := range c.secrets {
		if b, err := handoverCipher(secret, before).Open(nil, nil, sealed, nil); err == nil {
			return string(b), true
		}
	}
	return "", false
}

func handoverCipher(secret []byte, before string) cipher.AEAD {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("sessionguard handover\x00" + before))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // a key of 32 bytes is one
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}
