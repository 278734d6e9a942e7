package cookie

import (
	"crypto/rand"
	"net/http"
	"sort"

	"github.com/gorilla/securecookie"
)

// EncodeVisitor returns a new value for the visitor cookie. It includes a nonce,
// so that every call changes the cookie: Chromium evicts earlier pages from its
// back/forward cache when a cookie changes. It returns an error for more than
// MaxVisitorBytes, which browsers would drop.
func (c *Codec) EncodeVisitor(values []byte) (string, error) {
	payload := make([]byte, nonceSize, nonceSize+len(values))
	_, _ = rand.Read(payload) // never fails: it crashes the program instead
	return securecookie.EncodeMulti(c.Visitor.Name, append(payload, values...), c.visitorCodecs...)
}

// DecodeVisitor returns the values in the visitor cookie of a request's header.
// It returns nil if there is no such cookie or more than one, or if the cookie
// does not verify or is older than the idle timeout.
func (c *Codec) DecodeVisitor(h http.Header) []byte {
	value, _ := Unique(h, c.Visitor.Name)
	if value == "" {
		return nil
	}
	var payload []byte
	err := securecookie.DecodeMulti(c.Visitor.Name, value, &payload, c.visitorCodecs...)
	if err != nil || len(payload) < nonceSize {
		return nil
	}
	return payload[nonceSize:]
}

// maxVisitorBytes finds MaxVisitorBytes by trying, since the envelope is
// securecookie's: sort.Search returns the smallest length that does not fit.
func (c *Codec) maxVisitorBytes() int {
	return sort.Search(maxCookie, func(n int) bool {
		_, err := c.EncodeVisitor(make([]byte, n))
		return err != nil
	}) - 1
}
