package cookie

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
)

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

// completeAttributes sets what the application left open: a name with the
// strictest prefix that browsers accept, and SameSite=Lax. Path=/ and HttpOnly
// are not the application's to choose.
func completeAttributes(cookie http.Cookie) http.Cookie {
	if cookie.Name == "" {
		switch {
		case !cookie.Secure:
			cookie.Name = "session"
		case cookie.Domain != "":
			cookie.Name = "__Secure-session"
		default:
			cookie.Name = "__Host-session"
		}
	}
	if cookie.SameSite == 0 {
		cookie.SameSite = http.SameSiteLaxMode
	}
	cookie.Path, cookie.HttpOnly = "/", true
	return cookie
}

// checkAttributes returns an error if browsers would refuse the cookie, or if
// its name does not suit the Codec.
func checkAttributes(cookie http.Cookie) error {
	if err := cookie.Valid(); err != nil {
		return fmt.Errorf("sessionguard: Config.CookieName %q or CookieDomain %q (a host name, no URL): %w", cookie.Name, cookie.Domain, err)
	}
	// Browsers compare the prefixes without regard to case (RFC 6265bis).
	name := strings.ToLower(cookie.Name)
	host := strings.HasPrefix(name, "__host-")
	secure := host || strings.HasPrefix(name, "__secure-") || strings.HasPrefix(name, "__http-")
	switch {
	case len(name) > maxCookieName:
		return fmt.Errorf("sessionguard: Config.CookieName %q is longer than %d bytes", cookie.Name, maxCookieName)
	case strings.HasSuffix(cookie.Name, visitorSuffix):
		return fmt.Errorf("sessionguard: Config.CookieName %q: the suffix %s is reserved for the visitor cookie: choose another name", cookie.Name, visitorSuffix)
	case host && cookie.Domain != "":
		return fmt.Errorf("sessionguard: Config.CookieName %q: browsers refuse the prefix __Host- together with a CookieDomain: choose __Secure-, or no CookieDomain", cookie.Name)
	case secure && !cookie.Secure:
		return fmt.Errorf("sessionguard: Config.CookieName %q: browsers refuse the prefix over plain http: choose a name without it, or https without InsecureHTTP", cookie.Name)
	case cookie.SameSite == http.SameSiteNoneMode && !cookie.Secure:
		return errors.New("sessionguard: Config.SameSite: browsers refuse None over plain http: choose Lax or Strict, or https without InsecureHTTP")
	}
	return nil
}

// checkKeys returns an error if a key has the wrong length or holds only zeros,
// as one does that was never filled. It never prints a key.
func checkKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("sessionguard: Config.Keys is empty: make a key with securecookie.GenerateRandomKey(32)")
	}
	for i, key := range keys {
		encryption := i%2 == 1
		switch n := len(key); {
		case !encryption && n < 32:
			return fmt.Errorf("sessionguard: Config.Keys[%d]: an authentication key of %d bytes, shorter than 32: make it with securecookie.GenerateRandomKey", i, n)
		case n > 0 && bytes.Count(key, []byte{0}) == n:
			return fmt.Errorf("sessionguard: Config.Keys[%d]: a key of zeros: make it with securecookie.GenerateRandomKey", i)
		case encryption && !slices.Contains([]int{0, 16, 24, 32}, n):
			return fmt.Errorf("sessionguard: Config.Keys[%d]: an encryption key of %d bytes, not 16, 24 or 32: make it with securecookie.GenerateRandomKey", i, n)
		}
	}
	return nil
}
