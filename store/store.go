// Package store is what sessionguard keeps on the server: one [Session] per
// login, in a [Backend].
//
// [Memory] is the backend of a single process. Write another by implementing
// [Backend] and running [storetest.Run] against it. The guard makes every
// decision about a session; a backend only has to be atomic.
//
// [storetest.Run]: https://pkg.go.dev/github.com/sessionguard-go/sessionguard/store/storetest#Run
package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// A Key is where a session is stored: the SHA-256 of the cookie's name, a zero
// byte and the cookie's value. A stolen backend therefore holds nothing that
// can be sent back as a cookie, and a cookie of one guard never opens a
// session of another on the same backend.
//
// A guard makes its keys so that all sessions of one owner have the same
// [Key.Group], unless the backend is a [Memory]: one that is spread over several
// machines can keep them together, and do in one place what has to be atomic.
type Key [32]byte

// Groups is how many groups of owners there are.
const Groups = 64

// Group is the group of the session's owner.
func (k Key) Group() int { return int(k[31] % Groups) }

// GroupOf is the group of an owner's sessions, the same in every process.
func GroupOf(owner string) int {
	sum := sha256.Sum256([]byte(owner))
	return Key(sum).Group()
}

// A Time is a moment in Unix milliseconds: exact in every database, without
// location or monotonic reading, and a third of the size of a [time.Time].
type Time int64

// TimeOf is t, cut down to the millisecond.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

// Time is t as a [time.Time] in UTC.
func (t Time) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Add is t moved by d, cut down to the millisecond.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Milliseconds()) }

// Sub is the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Millisecond }

// A Session is the part of a login that requests share without a lock: nobody
// writes to a Session once it is in a backend, nor to its Values and Details.
// Saving values makes a new one.
type Session struct {
	Key           Key
	ID            string        // public: random, not the key, the same after re-authentication
	Owner         string        // the guard's cookie name, "=", and the user's ID
	Stamp         string        // the user's SessionStamp at login, if it has one
	Authenticated Time          // last real authentication
	Expires       Time          // absolute end
	IdleTimeout   time.Duration // how long after LastSeen the session ends
	Version       uint64        // one more with every Save
	Values        []byte        // opaque to backends
	Details       *Details      // nil: none, which a backend need not tell from zero ones
}

// Details are the part of a [Session] that few requests need. They stand apart so
// that a session without them stays small.
type Details struct {
	Created        Time   // first login under this ID
	UserAgent      string // what logged in, in short
	Address        string // and from where
	RememberUntil  Time   // until when Replace may revive the session after its idle end; not after Expires; 0: never
	Rotated        Time   // last Replace; later than Authenticated if only a cookie has revived it since; 0: none
	SuccessorToken []byte // for who still has the key from before that; opaque to backends
}

// Detail returns the session's details, zero if it has none.
func (s *Session) Detail() Details {
	if s.Details == nil {
		return Details{}
	}
	return *s.Details
}

// A Record is a session and when it was last active. The two stand apart
// because activity changes with every request and the rest hardly ever.
type Record struct {
	*Session
	LastSeen Time
}

// Grace is how long past [Record.GoneAt] a backend keeps a session at the least. A
// request that was accepted in time may run longer than the session had left,
// and its Touch must still find it.
const Grace = time.Minute

// TombstoneLifetime is how long a backend keeps the [Reason] of a session that Delete or
// the limit of Create has ended, at the least.
const TombstoneLifetime = time.Hour

// End is when the session ends unless it is active again: the earlier of the
// idle and the absolute end. A guard accepts no request from that moment on,
// whether or not a backend still holds the session.
func (r Record) Deadline() Time { return min(r.LastSeen.Add(r.IdleTimeout), r.Expires) }

// Until is the moment from which nothing brings the session back: its End, or
// Details.RememberUntil if that is later.
func (r Record) GoneAt() Time {
	if r.Details == nil {
		return r.Deadline()
	}
	return max(r.Deadline(), r.Details.RememberUntil)
}

// Revived says that the session has changed its key since its person last logged in:
// only a cookie has spoken for the person since.
func (r Record) Revived() bool { return r.Detail().Rotated > r.Authenticated }

// A Limit caps how many live sessions an owner may have. The zero Limit is none.
type Limit struct {
	Max    int  // live sessions after Create; 0 means any number
	Refuse bool // at the limit: refuse with ErrLimit, instead of ending the least recently seen
}

// A Reason says why a session was ended. The strings are what applications see.
type Reason string

// The reasons for which a guard ends a session.
const (
	ReasonLoggedOut          Reason = "logged_out"           // by the person, here
	ReasonReplaced           Reason = "replaced"             // by another login in the same browser
	ReasonLoginIncomplete    Reason = "login_incomplete"     // the response of the login could not be sent
	ReasonIdle               Reason = "idle"                 // idle timeout
	ReasonAbsolute           Reason = "absolute"             // absolute timeout
	ReasonLoggedOutElsewhere Reason = "logged_out_elsewhere" // by the same user, from another session
	ReasonEnded              Reason = "ended"                // by somebody else: an administrator
	ReasonTooManySessions    Reason = "too_many_sessions"    // by a newer login of the same owner
	ReasonNoUser             Reason = "no_user"              // the user is gone
	ReasonDeactivated        Reason = "deactivated"          // the user may no longer log in
	ReasonCredentialsChanged Reason = "credentials_changed"  // the user's SessionStamp changed
	ReasonTheftSuspected     Reason = "theft_suspected"      // a token that had been replaced came back

	// These are a guard's own and never given to Delete.
	ReasonExpired    Reason = "expired"    // nobody knows any more, most likely a timeout
	ReasonRemembered Reason = "remembered" // none: idle for too long, but the next request of a person revives it
)

// Kept says whether a backend keeps the reason, so that the next page can tell the
// person. The first three are of no use to anyone: the browser has been told.
func (r Reason) Retained() bool {
	return r != "" && r != ReasonLoggedOut && r != ReasonReplaced && r != ReasonLoginIncomplete
}

var (
	// ErrNotFound says that there is no such session, or no longer.
	ErrNotFound = errors.New("store: no such session")
	// ErrConflict says that the session has been saved since it was loaded.
	ErrConflict = errors.New("store: the session has changed")
	// ErrLimit says that the owner has as many sessions as Limit.Max allows.
	ErrLimit = errors.New("store: too many sessions")
)

// A MovedError is what Load, Delete and Replace return for the key of a session
// that Replace has moved: a logout with the cookie from before must still find it,
// since the answer with the new one may be on its way. It is an [ErrNotFound] as
// well.
type MovedError struct {
	To        Key    // where it moved then; it may have moved on since
	Owner, ID string // of the session, by which ByOwner finds it wherever it is
	Revived   bool   // by that move
}

func (e *MovedError) Error() string { return "store: the session has moved to another key" }

func (e *MovedError) Unwrap() error { return ErrNotFound }

// An EndedError is what Load returns for a session that has been ended, as long as
// the backend knows why. It is an [ErrNotFound] as well.
type EndedError struct{ Reason Reason }

func (e *EndedError) Error() string { return "store: the session has ended: " + string(e.Reason) }

func (e *EndedError) Unwrap() error { return ErrNotFound }

// A Backend keeps sessions. Every method is safe for concurrent use and atomic:
// on every node, it has happened wholly or not at all. Any error other than those
// of this package means that the backend could not tell, which a guard
// answers with 503 and never takes for "logged out".
//
// No method brings a session back: once Delete has returned, every later Load,
// Touch, Save and Replace of that key is ErrNotFound.
type Backend interface {
	// Create stores a new session under r.Key, which the caller has made from
	// fresh randomness, in the group of r.Owner. Ending others of the same owner
	// to stay within limit is part of the same atomic step, with TooMany as the
	// reason; those are returned. Sessions from their Until on do not count and
	// are not among them; a Create within a limit drops them, so that no Touch that
	// is heard of late makes them one too many.
	Create(ctx context.Context, r Record, limit Limit) (ended []Record, err error)

	// Replace moves a session to a new key: it stores r and deletes old in one
	// step, provided that old is still there (else ErrNotFound, or a MovedError)
	// and at version (else ErrConflict). Like Load it works past the End and
	// the Until: what may still be done is the guard's to decide. For Grace, or
	// if r.Revived until r.Expires, at the least, old is a MovedError.
	Replace(ctx context.Context, old Key, version uint64, r Record) error

	// Load returns the session as it is, also past its End, and does not count
	// as activity. ErrNotFound if it is gone: a MovedError or an EndedError
	// where the backend knows more.
	Load(ctx context.Context, key Key) (Record, error)

	// Touch moves LastSeen forward to seen, never back. ErrNotFound if the
	// session is gone, or if seen is not before its End: activity counts from
	// when it was accepted, however late the backend hears of it.
	Touch(ctx context.Context, key Key, seen Time) error

	// Save stores values and raises Version by one, provided that the session
	// is there (else ErrNotFound) and at version (else ErrConflict). The
	// backend keeps values; the caller no longer writes to it.
	Save(ctx context.Context, key Key, version uint64, values []byte) error

	// Delete ends a session and returns it as it was, Values aside: to exactly
	// one of several callers. Deleting what is not there is no error and
	// returns no session, except where Replace has moved it: then nothing is
	// deleted, and a MovedError tells where it is. If it ended a session and
	// reason.Retained, Load of the key is an EndedError for TombstoneLifetime at the least.
	Delete(ctx context.Context, key Key, reason Reason) (ended Record, err error)

	// ByOwner lists an owner's sessions in no particular order: every one that
	// Touch or Replace can find, also past its End, so that all can be ended.
	ByOwner(ctx context.Context, owner string) ([]Record, error)
}

// A Cacher is a [Backend] that may know a session without asking anyone. Then a guard
// need not look at a cookie's signature first, which only keeps from a server what
// nobody has signed.
type Cacher interface {
	// Cached returns a session that Load would return now from this process's
	// memory, and otherwise says no, at once.
	Cached(key Key) (Record, bool)
}

// An Ending is what a [Watcher] is told of a session. One without an ID says that
// some may have been missed.
type Ending struct {
	ID     string // the Session's
	Reason Reason
}

// A Watcher is a [Backend] that tells of endings as they happen, on every node, so
// that [Guard.CancelOnEnd] need not ask.
//
// [Guard.CancelOnEnd]: https://pkg.go.dev/github.com/sessionguard-go/sessionguard#Guard.CancelOnEnd
type Watcher interface {
	// Watch calls ended for each session that Delete, or the limit of Create,
	// has ended after Watch has returned, until ctx is done: a session that just
	// expires, or that Replace moves, is not one. ended must return quickly and
	// may be called from several goroutines. Where the connection to a server
	// was lost, it is called with an empty Ending once it is there again. Watch
	// itself waits no longer than a request can, and heeds ctx.
	Watch(ctx context.Context, ended func(Ending)) error
}
