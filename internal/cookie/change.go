package cookie

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Change is what a response does to a cookie. The zero value leaves it alone.
type Change struct {
	Kind  ChangeKind
	Value string // of Set and Rotate
}

// A ChangeKind is the kind of a Change.
type ChangeKind uint8

const (
	Keep   ChangeKind = iota
	Set               // of a new session or new values; undone if the response cannot be sent
	Rotate            // a new token for a session that goes on
	Delete
)

// Write adds the Set-Cookie header of c to w, if it changes anything. It has every
// attribute, also for a deletion, since browsers ignore one that does not match. maxAge is
// how long the browser keeps the cookie; with 0, until it is closed. Browsers keep none for
// longer than 400 days (RFC 6265bis section 5.5).
//
// With a Domain, the cookie that the host had before it got a Domain may still be there, to
// the browser another one: if before, the request's cookies, have one of this name, Write
// first deletes it. Not for a Rotate, which may be taken back until the response is sent.
func (c Change) Write(w http.ResponseWriter, before *string, attributes http.Cookie, maxAge time.Duration) {
	for _, line := range c.lines(before, attributes, maxAge) {
		w.Header().Add("Set-Cookie", line)
	}
}

// WriteSession is change.Write for the session cookie, of which a new value is one of
// [Codec.NewToken]. It makes the line that most logins need from parts that never change.
func (c *Codec) WriteSession(w http.ResponseWriter, before *string, change Change, maxAge time.Duration) {
	if (change.Kind == Set || change.Kind == Rotate) && maxAge == 0 && c.Session.Domain == "" {
		h := w.Header()
		h["Set-Cookie"] = append(h["Set-Cookie"], c.Session.Name+"="+change.Value+c.sessionSuffix)
		return
	}
	change.Write(w, before, c.Session, maxAge)
}

func (c Change) lines(before *string, attributes http.Cookie, maxAge time.Duration) (lines []string) {
	if _, sent := Unique(before, attributes.Name); sent > 0 && attributes.Domain != "" && (c.Kind == Set || c.Kind == Delete) {
		hostOnly := attributes
		hostOnly.Domain, hostOnly.MaxAge = "", -1
		lines = append(lines, hostOnly.String())
	}
	switch c.Kind {
	case Set, Rotate:
		attributes.Value, attributes.MaxAge = c.Value, int(min(maxAge, 400*24*time.Hour)/time.Second)
	case Delete:
		attributes.MaxAge = -1
	default:
		return nil
	}
	return append(lines, attributes.String())
}

// Remove removes a cookie from the header of a response, and returns the values that it
// was set to.
func Remove(h http.Header, name string) (values []string) {
	return removeFunc(h, func(other string) bool { return other == name })
}

// removeFunc is Remove for all cookies whose names match.
func removeFunc(h http.Header, match func(name string) bool) (values []string) {
	if len(h["Set-Cookie"]) == 0 {
		return nil
	}
	h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool {
		pair, _, _ := strings.Cut(line, ";")
		other, value, _ := strings.Cut(pair, "=")
		if strings.TrimSpace(other) == "" { // browsers send back a cookie without a name as its value
			other, value, _ = strings.Cut(value, "=")
		}
		if !match(strings.TrimSpace(other)) {
			return false
		}
		if value = strings.TrimSpace(value); value != "" {
			values = append(values, value)
		}
		return true
	})
	return values
}
