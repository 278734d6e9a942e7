package cookie

import (
	"net/http"
	"slices"
	"strings"
)

const (
	boundInfix = "-bound-"
	// boundIDLength is how much of a session's public ID is in the name of its bound cookie.
	boundIDLength = 8
)

// Bound returns the bound cookie of the session with that public ID, with all attributes
// and without a value. Each session has one of its own name: a browser that has lost the
// cookie of a session still proves that session's device while it lives, and must not
// overwrite the bound cookie of the next.
func (c *Codec) Bound(id string) http.Cookie {
	cookie := c.Session
	cookie.Name += boundInfix + boundPart(id)
	return cookie
}

// BoundValue returns the value of that cookie, of what Header has returned, and how many
// different values there are, as [Unique] does. It allocates nothing.
func (c *Codec) BoundValue(cookies *string, id string) (value string, count int) {
	r := reader{name: c.Session.Name, of: isBoundOf}
	if cookies != nil {
		r.line = *cookies
	}
	for name, v, ok := r.next(); ok; name, v, ok = r.next() {
		switch {
		case name[len(name)-boundIDLength:] != boundPart(id):
		case count == 0:
			value, count = v, 1
		case v != value:
			return "", 2
		}
	}
	return value, count
}

// BoundNames returns the names of the bound cookies, of any session, of what Header has
// returned: the last MaxPresented of them, since ours are among the last.
func (c *Codec) BoundNames(cookies *string) (names []string) {
	r := reader{name: c.Session.Name, of: isBoundOf}
	if cookies != nil {
		r.line = *cookies
	}
	for name, _, ok := r.next(); ok; name, _, ok = r.next() {
		if i := slices.Index(names, name); i >= 0 {
			names = slices.Delete(names, i, i+1)
		} else if len(names) == MaxPresented {
			names = slices.Delete(names, 0, 1)
		}
		names = append(names, name)
	}
	return names
}

func boundPart(id string) string { return id[:min(len(id), boundIDLength)] }

// isBoundOf reports whether name is that of a bound cookie of a session with a public ID,
// which is of the alphabet of crypto/rand.Text.
func isBoundOf(session, name string) bool {
	rest, ok := strings.CutPrefix(name, session)
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, boundInfix)
	if !ok || len(rest) != boundIDLength {
		return false
	}
	for i := range len(rest) {
		if b := rest[i]; (b < 'A' || b > 'Z') && (b < '2' || b > '7') {
			return false
		}
	}
	return true
}
