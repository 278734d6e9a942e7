// Package owner names the owners of sessions in a backend, which guards of several
// applications may share.
package owner

import "strings"

// A Kind is the character between the cookie's name and the user's ID. No cookie's name
// contains one of them, so the owners of two guards never have the same name.
type Kind byte

const (
	// Counted is for a user's logins, which count within a limit.
	Counted Kind = '='
	// Uncounted is for sessions that are no whole login of the user's own.
	Uncounted Kind = ':'
	// Taken is for the marks of secrets that were taken. They are no sessions, no user has
	// them, and no guard owns one.
	Taken Kind = '/'
)

// Kinds are all that a user may have sessions of.
var Kinds = [...]Kind{Counted, Uncounted}

// Names is the name of a guard's session cookie, which all names of its owners begin with.
type Names string

// Of returns the owner of a user's sessions of a kind, or of the mark of a secret.
func (n Names) Of(kind Kind, userID string) string {
	return n.Realm(kind) + userID
}

// Realm returns the realm of all owners of a kind: see [store.RealmOf].
func (n Names) Realm(kind Kind) string { return string(n) + string(rune(kind)) }

// Has reports whether an owner is a user of this guard.
func (n Names) Has(owner string) bool {
	rest, ok := strings.CutPrefix(owner, string(n))
	return ok && len(rest) > 1 && (rest[0] == byte(Counted) || rest[0] == byte(Uncounted))
}

// KindOf returns the kind of an owner that n has.
func (n Names) KindOf(owner string) Kind { return Kind(owner[len(n)]) }

// UserID returns the ID of the user that is the owner, which n has.
func (n Names) UserID(owner string) string { return owner[len(n)+1:] }
