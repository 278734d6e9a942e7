package cookie

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard/internal/mac"
)

// New returns a Codec whose cookies have the given attributes, as completed by
// the secure defaults. The secrets are those of Config.Keys, newest first. The
// visitor cookie expires after idle, rounded up to a second. Errors name the field
// of Config that is wrong.
func New(secrets [][]byte, idle time.Duration, attributes http.Cookie) (Codec, error) {
	attributes = completeAttributes(attributes)
	if err := checkAttributes(attributes); err != nil {
		return Codec{}, err
	}
	if err := checkSecrets(secrets); err != nil {
		return Codec{}, err
	}
	c := Codec{Session: attributes, Visitor: attributes}
	c.Visitor.Name += visitorSuffix
	c.boundName = boundName(c.Session.Name)
	c.sessionSuffix = strings.TrimPrefix(c.Session.String(), c.Session.Name+"=")
	for _, secret := range secrets {
		c.tokenKeys = append(c.tokenKeys, mac.NewKey(deriveKey(secret, "session "+c.Session.Name)))
		c.visitorCodecs = append(c.visitorCodecs,
			newCodec(deriveKey(secret, "visitor signature"), deriveKey(secret, "visitor encryption"), idle, maxCookie-len(c.Visitor.Name)))
		c.successorKeys = append(c.successorKeys, deriveKey(secret, "successor"))
		c.secretKeys = append(c.secretKeys, deriveKey(secret, "one-time secret"))
	}
	c.MaxVisitorBytes = c.maxVisitorBytes()
	return c, nil
}

// DeriveKeys returns a key of 32 bytes for one use of each secret.
func DeriveKeys(secrets [][]byte, use string) (keys [][]byte) {
	for _, secret := range secrets {
		keys = append(keys, deriveKey(secret, use))
	}
	return keys
}

// deriveKey returns a key of 32 bytes for one use of a secret (RFC 5869), so that no use
// reveals anything about another.
func deriveKey(secret []byte, use string) []byte {
	key, err := hkdf.Key(sha256.New, secret, nil, "sessionguard "+use, 32)
	if err != nil {
		panic(err) // 32 bytes are not too many
	}
	return key
}

// newCodec returns a securecookie that signs and encrypts.
func newCodec(signature, encryption []byte, maxAge time.Duration, maxLength int) securecookie.Codec {
	seconds := maxAge / time.Second
	if maxAge%time.Second > 0 {
		seconds++
	}
	return securecookie.New(signature, encryption).
		MaxAge(int(min(seconds, math.MaxInt32))).
		MaxLength(maxLength).
		SetSerializer(securecookie.NopEncoder{})
}

// completeAttributes sets what the application left open: a name with the
// strictest prefix that browsers accept, and SameSite=Lax. Path=/ and HttpOnly
// are not the application's to choose.
//
// A browser that does not know __Host-Http- (draft-ietf-httpbis-layered-cookies) treats it
// as __Host-. With a Domain there is no such name: where __Http- is unknown, it protects less
// than __Secure-.
func completeAttributes(cookie http.Cookie) http.Cookie {
	if cookie.Name == "" {
		switch {
		case !cookie.Secure:
			cookie.Name = "session"
		case cookie.Domain != "":
			cookie.Name = "__Secure-session"
		default:
			cookie.Name = "__Host-Http-session"
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
	if cookie.Partitioned && (!cookie.Secure || cookie.SameSite != http.SameSiteNoneMode) {
		return errors.New("sessionguard: Config.Partitioned: browsers send such a cookie to a frame of another site only over https and with SameSite None: set Config.SameSite to http.SameSiteNoneMode, without InsecureHTTP")
	}
	if err := cookie.Valid(); err != nil {
		return fmt.Errorf("sessionguard: Config.CookieName %q or CookieDomain %q (a host name, no URL): %w", cookie.Name, cookie.Domain, err)
	}
	// Browsers compare the prefixes without regard to case (RFC 6265bis). What __Http- and
	// __Host-Http- require besides, HttpOnly, all our cookies have. A session cookie named
	// __Host has a visitor cookie with the prefix.
	name := strings.ToLower(cookie.Name + visitorSuffix)
	host := strings.HasPrefix(name, "__host-") // or __host-http-
	secure := host || strings.HasPrefix(name, "__secure-") || strings.HasPrefix(name, "__http-")
	switch {
	case len(cookie.Name) > maxCookieName:
		return fmt.Errorf("sessionguard: Config.CookieName %q is longer than %d bytes", cookie.Name, maxCookieName)
	case strings.HasSuffix(cookie.Name, visitorSuffix):
		return fmt.Errorf("sessionguard: Config.CookieName %q: the suffix %s is reserved for the visitor cookie: choose another name", cookie.Name, visitorSuffix)
	case strings.Contains(cookie.Name, secretInfix):
		return fmt.Errorf("sessionguard: Config.CookieName %q: %q is reserved for the cookies of one-time secrets: choose another name", cookie.Name, secretInfix)
	case strings.HasPrefix(name, "__host-http_"): // see boundName
		return fmt.Errorf("sessionguard: Config.CookieName %q: the prefix __Host-Http_ is reserved for the cookies of sessions that are bound to a device: choose another name", cookie.Name)
	case strings.Contains(cookie.Name, boundInfix):
		return fmt.Errorf("sessionguard: Config.CookieName %q: %q is reserved for the cookies of sessions that are bound to a device: choose another name", cookie.Name, boundInfix)
	case host && cookie.Domain != "":
		return fmt.Errorf("sessionguard: Config.CookieName %q: browsers refuse the prefixes __Host- and __Host-Http- together with a CookieDomain: choose __Secure-, or no CookieDomain", cookie.Name)
	case secure && !cookie.Secure:
		return fmt.Errorf("sessionguard: Config.CookieName %q: browsers refuse the prefix over plain http: choose a name without it, or https without InsecureHTTP", cookie.Name)
	case cookie.SameSite == http.SameSiteNoneMode && !cookie.Secure:
		return errors.New("sessionguard: Config.SameSite: browsers refuse None over plain http: choose Lax or Strict, or https without InsecureHTTP")
	}
	return nil
}

// checkSecrets returns an error if a secret is short, or holds only zeros, as one does
// that was never filled. It never prints a secret.
func checkSecrets(secrets [][]byte) error {
	if len(secrets) == 0 {
		return errors.New("sessionguard: Config.Keys is empty: make a key with openssl rand -hex 32, and decode it")
	}
	for i, secret := range secrets {
		switch n := len(secret); {
		case n < 32:
			return fmt.Errorf("sessionguard: Config.Keys[%d] has %d bytes, fewer than 32: make it with openssl rand -hex 32, and decode it", i, n)
		case bytes.Count(secret, []byte{0}) == n:
			return fmt.Errorf("sessionguard: Config.Keys[%d] holds only zeros: make it with openssl rand -hex 32, and decode it", i)
		}
	}
	return nil
}
