package cookie

import (
	"net/http"
	"slices"
	"strings"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	boundInfix = "-bound-"
	// boundIDLength is how much of a session's public ID is in the name of its bound cookie.
	boundIDLength = 8
	// boundLength is the length of what follows boundInfix.
	boundLength = boundIDLength + 3
	// MaxBound is how many bound cookies of one session are looked at. A browser has one, and
	// while it gets the next one two.
	MaxBound = 4
)

// Bound returns the bound cookie for a proof that was made at a time, of the session with that
// public ID, with all attributes and without a value. Each session has cookies of its own
// names: a browser that has lost the cookie of a session still proves that session's device
// while it lives, and must not overwrite the bound cookie of the next. And each proof has,
// with few exceptions: the response to a request with an older one deletes only that.
func (c *Codec) Bound(id string, proven store.Time) http.Cookie {
	cookie := c.Session
	mixed := uint64(proven) * 0x9e3779b97f4a7c15 // Fibonacci hashing: the highest bits depend on all
	cookie.Name = c.boundName + boundInfix + boundPart(id) + string([]byte{proofLetters[mixed>>59], proofLetters[mixed>>54&31], proofLetters[mixed>>49&31]})
	return cookie
}

const proofLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// BoundValues returns the values of those cookies, of what Header has returned, and how many
// there are: the last MaxBound, since ours are among the last. It allocates nothing.
func (c *Codec) BoundValues(cookies *string, id string) (values [MaxBound]string, count int) {
	r := reader{name: c.boundName, of: isBoundOf}
	if cookies != nil {
		r.line = *cookies
	}
	for name, value, ok := r.next(); ok; name, value, ok = r.next() {
		if !IsBoundTo(name, id) || slices.Contains(values[:count], value) {
			continue
		}
		if count == MaxBound {
			copy(values[:], values[1:])
			count--
		}
		values[count] = value
		count++
	}
	return values, count
}

// IsBoundTo reports whether the name of a bound cookie is that of the session with a public ID.
func IsBoundTo(name, id string) bool {
	return name[len(name)-boundLength:len(name)-boundLength+boundIDLength] == boundPart(id)
}

// BoundNames returns the names of the bound cookies, of any session, of what Header has
// returned: the last MaxPresented of them, since ours are among the last.
func (c *Codec) BoundNames(cookies *string) (names []string) {
	r := reader{name: c.boundName, of: isBoundOf}
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

// boundName returns what the names of bound cookies begin with: the name of the session
// cookie, but __Host-Http_x for __Host-Http-x, so that the prefix is __Host-. With the longer
// one, Chromium 156 refuses the registration on a host that has a name and not only an
// address (InvalidCredentialsCookie).
func boundName(session string) string {
	const prefix = "__host-http-" // browsers compare without regard to case
	if len(session) > len(prefix) && strings.EqualFold(session[:len(prefix)], prefix) {
		return session[:len(prefix)-1] + "_" + session[len(prefix):]
	}
	return session
}

// isBoundOf reports whether name, of which boundName has returned the beginning, is that of a
// bound cookie of a session with a public ID, which is of the alphabet of crypto/rand.Text.
func isBoundOf(beginning, name string) bool {
	rest, ok := strings.CutPrefix(name, beginning)
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, boundInfix)
	if !ok || len(rest) != boundLength {
		return false
	}
	for i := range len(rest) {
		if b := rest[i]; (b < 'A' || b > 'Z') && (b < '2' || b > '7') {
			return false
		}
	}
	return true
}
