// Package cookie makes and reads the cookies of a guard.
//
// The session cookie holds a random token of 256 bits and its MAC, and nothing else: 64
// characters. The visitor cookie holds the values of a visitor, somebody who is not logged in,
// behind a random nonce. It is named after the session cookie, with the suffix
// "-anonymous". A one-time secret has a cookie of its own: see [Secret]. So has the proof
// that a session is used on its device: see [Codec.Bound].
//
// The key of the MAC is derived for the cookie's name, so that no cookie of a guard with
// another name passes for ours. The MAC never expires, since a session's limits are in its
// record. The visitor cookie is an envelope of gorilla/securecookie, whose signature covers the
// cookie's name, the time of signing and the content, which is encrypted too. It expires with
// the idle timeout, and is made again while it is used.
//
// A session is stored under a hash of its cookie's name and whole value, see
// [Codec.Key]. The name is included because guards with different cookie names
// may share a backend and keys: in a trial without it, a customer's cookie opened
// the staff's pages. A session that a backend in this process finds under that
// key proves its cookie genuine. Otherwise [Codec.Verify] checks the MAC
// first, to bother no remote backend with cookies that we did not make.
package cookie

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"iter"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard/internal/mac"
)

const (
	// nonceSize is the length of the visitor cookie's nonce.
	nonceSize     = 16
	maxCookieName = 64
	// maxCookie is the longest name and value that browsers store (OWASP ASVS
	// 3.3.5; RFC 6265bis section 5.6).
	maxCookie = 4096
	// maxVisitorLine is the longest Set-Cookie line of a visitor cookie, with the line that
	// deletes the host's own if there is a Domain. By default, nginx responds with 502 if all
	// headers of a response take more than 4096 bytes (proxy_buffer_size).
	maxVisitorLine = 3500

	visitorSuffix = "-anonymous"
)

// A Codec makes and reads the cookies. It is safe for concurrent use.
type Codec struct {
	Session, Visitor http.Cookie // with all attributes, without a value
	// MaxVisitorBytes is how many bytes of values fit into the visitor cookie.
	MaxVisitorBytes int

	boundName     string // what the names of bound cookies begin with
	sessionSuffix string // what follows the value in the line that sets the session cookie until the browser is closed

	tokenKeys                 []*mac.Key // newest first, as are all
	visitorCodecs             []securecookie.Codec
	successorKeys, secretKeys [][]byte
}

// Values yields the value of every cookie with that name, of what Header has returned.
// Names are compared byte for byte, and only spaces and tabs are trimmed (RFC
// 6265bis section 5.6), so that no look-alike of a __Host- name passes for it. Quotes
// around a value are removed, as net/http does.
func Values(cookies *string, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if cookies == nil {
			return
		}
		r := reader{name: name, line: *cookies}
		for _, value, ok := r.next(); ok && yield(value); {
			_, value, ok = r.next()
		}
	}
}

// Last returns the values of the last n cookies with that name.
func Last(cookies *string, name string, n int) []string {
	var last []string
	for value := range Values(cookies, name) {
		if len(last) == n {
			last = last[:copy(last, last[1:])]
		}
		last = append(last, value)
	}
	return last
}

// A reader finds the values that Values yields.
type reader struct {
	name  string
	of    func(session, name string) bool // unless nil, it finds such cookies of the session cookie of that name instead
	lines []string
	line  string // what is left of the line before lines
}

func (r *reader) next() (name, value string, found bool) {
	for r.line != "" || len(r.lines) > 0 {
		if r.line == "" {
			r.line, r.lines = r.lines[0], r.lines[1:]
		}
		var pair string
		pair, r.line, _ = strings.Cut(r.line, ";")
		key, value, ok := strings.Cut(pair, "=")
		if key = trim(key); ok && r.matches(key) {
			return key, unquote(trim(value)), true
		}
	}
	return "", "", false
}

func (r *reader) matches(name string) bool {
	if r.of != nil {
		return r.of(r.name, name)
	}
	return name == r.name
}

// trim is strings.Trim(s, " \t"), without making a set of two characters each time.
func trim(s string) string {
	isBlank := func(c byte) bool { return c == ' ' || c == '\t' }
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	for s != "" && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func unquote(value string) string {
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		return value[1 : n-1]
	}
	return value
}

// Unique returns the value of the cookies with that name, and how many different values
// they have: 2 also for more. It returns no value then, since cookies may have been planted.
func Unique(cookies *string, name string) (value string, count int) {
	for v := range Values(cookies, name) {
		switch {
		case count == 0:
			value, count = v, 1
		case v != value:
			return "", 2
		}
	}
	return value, count
}

// EncodeVisitor returns a new value for the visitor cookie. It includes a nonce,
// so that every call changes the cookie: Chromium evicts earlier pages from its
// back/forward cache when a cookie changes. It returns an error for more than
// MaxVisitorBytes.
func (c *Codec) EncodeVisitor(values []byte) (string, error) {
	if len(values) > c.MaxVisitorBytes {
		return "", fmt.Errorf("%d bytes are more than the %d that fit into the cookie", len(values), c.MaxVisitorBytes)
	}
	return c.encodeVisitor(values)
}

func (c *Codec) encodeVisitor(values []byte) (string, error) {
	payload := make([]byte, nonceSize, nonceSize+len(values))
	_, _ = rand.Read(payload) // never fails: it crashes the program instead
	return securecookie.EncodeMulti(c.Visitor.Name, append(payload, values...), c.visitorCodecs...)
}

// DecodeVisitor returns the values in the visitor cookie of what Header has returned, and
// how long ago it was made. It returns nil if there is no such cookie, or none that
// verifies and is younger than the idle timeout, or two.
func (c *Codec) DecodeVisitor(cookies *string) (values []byte, age time.Duration) {
	all, err := distinct(cookies, c.Visitor.Name, 1, maxCookie)
	if err != nil {
		return nil, 0
	}
	for _, value := range all {
		var payload []byte
		err := securecookie.DecodeMulti(c.Visitor.Name, value, &payload, c.visitorCodecs...)
		if err != nil || len(payload) < nonceSize {
			continue
		}
		if values != nil {
			return nil, 0
		}
		values, age = payload[nonceSize:], time.Since(signedAt(value))
	}
	return values, age
}

// signedAt returns when a cookie that has been verified was made: securecookie's envelope is
// the base64 of the seconds since 1970, "|" and the rest.
func signedAt(value string) time.Time {
	envelope, _ := base64.URLEncoding.DecodeString(value)
	seconds, _, _ := bytes.Cut(envelope, []byte("|"))
	n, _ := strconv.ParseInt(string(seconds), 10, 64)
	return time.Unix(n, 0)
}

// maxVisitorBytes finds MaxVisitorBytes by trying, since the envelope is
// securecookie's: sort.Search returns the smallest length that does not fit.
func (c *Codec) maxVisitorBytes() int {
	sent := c.Visitor.Name + "="
	return sort.Search(maxCookie, func(n int) bool {
		value, err := c.encodeVisitor(make([]byte, n))
		size := 0
		for _, line := range (Change{Set, value}).lines(&sent, c.Visitor, 0) {
			size += len("Set-Cookie: ") + len(line)
		}
		return err != nil || size > maxVisitorLine
	}) - 1
}
