package store

import (
	"context"
	"errors"
	"iter"
)

var (
	// ErrNotFound is returned when there is no session under a key (any more).
	ErrNotFound = errors.New("store: no such session")
	// ErrConflict is returned when the session has been saved since it was loaded.
	ErrConflict = errors.New("store: the session has changed")
	// ErrLimit is returned by Create when the owner has [Limit.Max] sessions and
	// [Limit.Refuse] is set.
	ErrLimit = errors.New("store: too many sessions")
)

// A MovedError is returned by Load, Delete and Replace for a key whose session Replace has
// moved to another key. It unwraps to [ErrNotFound]. A logout with the superseded cookie
// must still find the session, because the response with the new cookie may be on its way.
type MovedError struct {
	To        Key    // the key that the session moved to; it may have moved on since
	Owner, ID string // the session's, by which LoadByID finds it wherever it is now
	Revived   bool   // r.Revived() of the record that this Replace stored
}

func (e *MovedError) Error() string { return "store: the session has moved to another key" }

func (e *MovedError) Unwrap() error { return ErrNotFound }

// An EndedError is returned by Load for a session that has been ended, as long as the
// backend keeps the reason. It unwraps to [ErrNotFound], in place of which Touch, Save and
// Replace may return it too.
type EndedError struct{ Reason Reason }

func (e *EndedError) Error() string { return "store: the session has ended: " + string(e.Reason) }

func (e *EndedError) Unwrap() error { return ErrNotFound }

// A Limit caps how many sessions an owner may have. The zero Limit is no limit.
type Limit struct {
	Max    int  // sessions after Create, those that can be revived included; 0: any number
	Refuse bool // at the limit, return ErrLimit instead of ending the least recently seen sessions
}

// A Backend stores sessions. It does what each method says and makes no decisions: the
// guard decides whether a session is still valid. The following rules hold for every
// method. [storetest.Run] checks whatever can be checked without a failure or a wait.
//
// Atomic: methods are safe for concurrent use, and other calls, on any node, see all of a
// method's effect or none. A condition and the change that depends on it are one step,
// such as a transaction, a script or a conditional statement. A read followed by a write
// is not one step: a logout may happen in between.
//
// No resurrection: once Delete of a key has returned, every later Load, Touch, Save and
// Replace of that key returns [ErrNotFound]. The same holds for a session that DeleteByID
// or the limit of Create has ended. So Touch and Save must not be upserts.
//
// Durable: once a method has returned, a crash does not undo what it has changed, above all
// not a Delete. A backend whose sessions end with the process, or that may lose a change,
// says so.
//
// Failure is not absence: [ErrNotFound], [ErrConflict], [ErrLimit], [*MovedError] and
// [*EndedError] are results. Any other error means that the backend could not find out.
// The guard then responds with 503, and never treats the user as logged out. A server
// that is slow or unreachable, and a record that cannot be read, must not become
// ErrNotFound. The guard treats a panic as such an error, unless it is in a goroutine of
// the backend's own.
//
// IDs: the caller makes a session's ID from fresh randomness, and Replace keeps it. So no
// two sessions of an owner have the same ID. An ID has 1 to 255 bytes, and no zero byte.
//
// Deadlines belong to the guard: only Create and Touch use them, as described there.
// Every other method works on a session past its [Record.Deadline] and its
// [Record.GoneAt] too, as long as the backend holds it: at least until [Grace] after
// GoneAt. Replace and Delete say what else a backend has to hold, and for how long. The
// error for what it no longer holds is ErrNotFound.
//
// Shared memory: neither the caller nor the backend writes to a Session, its Details or
// its Values after one has given them to the other.
//
// [storetest.Run]:
// https://pkg.go.dev/github.com/sessionguard-go/sessionguard/store/storetest#Run
type Backend interface {
	// Create stores a new session under r.Key. The caller has made that key from fresh
	// randomness, in the group of r.Owner.
	//
	// If limit.Max is positive, the owner has at most that many sessions afterwards. If
	// there would be more, Create ends the least recently seen of the others, with
	// ReasonTooManySessions. It returns them as they were; Values may be missing. If
	// limit.Refuse is set, Create ends and stores nothing, and returns ErrLimit instead.
	//
	// From their GoneAt on, by the backend's clock, sessions do not count for the limit and
	// are not returned. A Create with a limit deletes them, so that a delayed Touch cannot
	// bring one back and exceed the limit. All of this is one atomic step.
	Create(ctx context.Context, r Record, limit Limit) (ended []Record, err error)

	// Replace moves a session to a new key: in one atomic step it removes the session at
	// old and stores r as it is. That has the same ID and owner, and a key of the same group.
	// Its Version may be any, such as that of the session at old.
	//
	// If there is no session at old, Replace changes nothing and returns ErrNotFound, or a
	// *MovedError if a Replace has moved the session. If the Version of the session at old
	// is not version, it changes nothing and returns ErrConflict.
	//
	// Afterwards Load, Delete and Replace of old return a *MovedError: for at least
	// Grace, and if r.Revived() also until r.Expires. Touch and Save return ErrNotFound,
	// which a *MovedError is too.
	Replace(ctx context.Context, old Key, version uint64, r Record) error

	// Load returns the session as it is, also past its Deadline. Loading is not
	// activity. If there is no session it returns ErrNotFound. If the backend still
	// knows what became of it, that is a *MovedError or an *EndedError: see Replace and
	// Delete.
	Load(ctx context.Context, key Key) (Record, error)

	// Touch sets LastSeen to seen if that is later, and changes nothing else. It
	// returns ErrNotFound if there is no session, or if seen is not before its Deadline.
	// The current time does not matter: a request that was accepted in time is
	// activity, however late its Touch arrives.
	Touch(ctx context.Context, key Key, seen Time) error

	// Save stores r.Values, r.Details and r.Version in the session under r.Key, and changes
	// nothing else. r.Version is the new version: if that of the stored session is not
	// r.Version - 1, Save changes nothing and returns ErrConflict. If there is no session it
	// returns ErrNotFound.
	//
	// In all other fields r.Session is the same as the stored session, and so is
	// Details.RememberUntil. So a backend may store r.Session as a whole. But r.LastSeen may
	// differ, and is not stored.
	Save(ctx context.Context, r Record) error

	// Delete ends a session and returns it as it was; Values may be missing. Of several
	// concurrent calls exactly one gets the session, and its reason is the one that
	// counts. If reason.Retained(), Load of the key then returns an *EndedError with
	// that reason for at least TombstoneLifetime. Other reasons need not be kept.
	//
	// If there is no session, Delete changes nothing and returns a zero Record, whose
	// Session is nil, and no error. If a Replace has moved the session, Delete also changes
	// nothing, but returns a *MovedError: the session may be alive under its new key.
	Delete(ctx context.Context, key Key, reason Reason) (ended Record, err error)

	// LoadByID is Load for an owner's session by its ID, wherever Replace has moved it. If
	// there is none it returns ErrNotFound.
	LoadByID(ctx context.Context, owner, id string) (Record, error)

	// ByOwner returns a page of an owner's sessions, as they are, also past their Deadline.
	// The page has the first max sessions, in the order of their IDs, whose ID is greater
	// than after. It has fewer only if there are no more. max is 1 to MaxPage. Values may be
	// missing. With an error, ByOwner may return some sessions too, so that the guard can end
	// at least these.
	//
	// Owners and IDs are compared byte by byte, and Replace keeps the ID. So a caller that
	// goes on after the last ID of each page gets every session that exists all the while
	// once, however often it moves.
	ByOwner(ctx context.Context, owner, after string, max int) ([]Record, error)

	// DeleteByID is Delete for several sessions, at most MaxPage, wherever Replace has
	// moved them. Each end is one atomic step; all of them together need not be one.
	//
	// It returns one Record for each of ends, in the same order: the session as it was if
	// this call has ended it, and otherwise a zero Record. With an error, it returns the
	// same for the sessions that it has certainly ended, or nil.
	DeleteByID(ctx context.Context, ends []End) (ended []Record, err error)
}

// MaxPage is the maximum number of sessions in one call of [Backend.ByOwner] or
// [Backend.DeleteByID]. It bounds how long the call can occupy a server.
const MaxPage = 256

// An End names a session for [Backend.DeleteByID], and says why it ends.
type End struct {
	Owner, ID string
	Reason    Reason
}

// A Cacher is a [Backend] with a cache in the local process. On a hit the guard does not
// check the cookie's signature. The only purpose of that check is to keep unsigned
// cookies away from a remote server.
type Cacher interface {
	// Cached returns a session that Load would return now, if it is in this process's
	// memory. Otherwise it returns false. It never waits for a server.
	Cached(key Key) (Record, bool)
}

// An Ending reports to the callback of a [Watcher] that a session has ended. An Ending
// without an ID reports that endings may have been missed.
type Ending struct {
	ID     string // the Session's ID
	Reason Reason
}

// A Watcher is a [Backend] that reports endings as they happen, on every node.
// [Guard.CancelOnEnd] then does not have to poll.
//
// [Guard.CancelOnEnd]: https://pkg.go.dev/github.com/sessionguard-go/sessionguard#Guard.CancelOnEnd
type Watcher interface {
	// Watch returns once it is watching. From then until ctx is done, ended is called
	// once for each session that Delete, DeleteByID or the limit of Create has ended,
	// after it has ended. A session that expires, or that Replace moves, is not an ending.
	//
	// ended returns quickly, and may be called from several goroutines at once. After a
	// lost connection it is called with an empty Ending as soon as there is a connection
	// again. Watch itself waits no longer than a request may take, and respects ctx.
	Watch(ctx context.Context, ended func(Ending)) error
}

// A Lister is a [Backend] that lists the sessions of all owners of a realm: see [RealmOf].
type Lister interface {
	// All yields the sessions of a realm as they are, also past their Deadline. Values may
	// be missing. It yields every session that exists all the while once, however often
	// Replace moves it, and every other one at most once. If there is an error, it is the
	// last that All yields.
	//
	// Between two sessions it holds no lock, connection or transaction, and it occupies a
	// server no longer at a time than ByOwner does.
	All(ctx context.Context, realm string) iter.Seq2[Record, error]

	// Count returns how many sessions a realm has. A session that exists all the while
	// counts once, however often Replace moves it. A session past its GoneAt does not
	// count, or counts for at most Grace longer.
	Count(ctx context.Context, realm string) (int, error)
}
