// Package cookie makes and reads the two cookies of a guard.
//
// The session cookie holds a random token of 256 bits and nothing else. The
// visitor cookie holds the values of a visitor, somebody who is not logged in,
// behind a random nonce. It is named after the session cookie, with the suffix
// "-anonymous".
//
// Both are envelopes of gorilla/securecookie. The signature covers the cookie's
// name, the time of signing and the content, which is encrypted too if there is
// an encryption key. So neither cookie passes for the other, nor for one of a
// guard with another cookie name. The session cookie's signature never expires,
// since a session's limits are in its record. The visitor cookie expires with
// the idle timeout.
//
// A session is stored under a hash of its cookie's name and whole value, see
// [Codec.Key]. The name is included because guards with different cookie names
// may share a backend and keys: in a trial without it, a customer's cookie opened
// the staff's pages. A session that a backend in this process finds under that
// key proves its cookie genuine. Otherwise [Codec.Verify] checks the signature
// first, to bother no remote backend with cookies that we did not sign. It
// remembers the cookies that it found genuine by their hashes, in a table of fixed
// size.
package cookie

import (
	"math"
	"net/http"
	"time"

	"github.com/gorilla/securecookie"
)

const (
	// tokenSize is twice the 128 bits that OWASP ASVS 7.2.3 requires.
	tokenSize = 32
	// nonceSize is the length of the visitor cookie's nonce.
	nonceSize = 16
	// minTokenCookie and maxTokenCookie bound the length of a session cookie's
	// value, which has 120 bytes if signed, and 144 if encrypted as well.
	minTokenCookie = 100
	maxTokenCookie = 200
	maxCookieName  = 64
	// maxCookie is the longest name and value that browsers store (OWASP ASVS
	// 3.3.5; RFC 6265bis section 5.6).
	maxCookie = 4096

	visitorSuffix = "-anonymous"
)

// A Codec makes and reads the two cookies. It is safe for concurrent use, and
// its copies share what they remember.
type Codec struct {
	Session, Visitor http.Cookie // with all attributes, without a value
	// MaxVisitorBytes is how many bytes of values fit into the visitor cookie.
	MaxVisitorBytes int

	sessionCodecs, visitorCodecs []securecookie.Codec // newest key first
	authKeys                     [][]byte             // newest first
	verified                     *verifiedCookies
}

// New returns a Codec whose cookies have the given attributes, as completed by
// the secure defaults. The keys are pairs as in Config.Keys, newest first: an
// authentication key, then an encryption key, which may be nil. The visitor
// cookie expires after idle, rounded up to a second. Errors name the field of
// Config that is wrong.
func New(keys [][]byte, idle time.Duration, attributes http.Cookie) (Codec, error) {
	attributes = completeAttributes(attributes)
	if err := checkAttributes(attributes); err != nil {
		return Codec{}, err
	}
	if err := checkKeys(keys); err != nil {
		return Codec{}, err
	}
	c := Codec{Session: attributes, Visitor: attributes, verified: newVerifiedCookies()}
	c.Visitor.Name += visitorSuffix
	for i := 0; i < len(keys); i += 2 {
		c.authKeys = append(c.authKeys, keys[i])
	}
	c.sessionCodecs = newCodecs(keys, 0, maxTokenCookie)
	c.visitorCodecs = newCodecs(keys, idle, maxCookie-len(c.Visitor.Name))
	c.MaxVisitorBytes = c.maxVisitorBytes()
	return c, nil
}

// newCodecs returns one codec for each pair of keys. A maxAge of 0 means that
// signatures do not expire.
func newCodecs(keys [][]byte, maxAge time.Duration, maxLength int) []securecookie.Codec {
	codecs := securecookie.CodecsFromPairs(keys...)
	seconds := maxAge / time.Second
	if maxAge%time.Second > 0 {
		seconds++
	}
	for i, codec := range codecs {
		if i*2+1 < len(keys) && len(keys[i*2+1]) == 0 {
			codec = securecookie.New(keys[i*2], nil) // securecookie takes nil, but no empty key, for none
		}
		codecs[i] = codec.(*securecookie.SecureCookie).
			MaxAge(int(min(seconds, math.MaxInt32))).
			MaxLength(maxLength).
			SetSerializer(securecookie.NopEncoder{})
	}
	return codecs
}
