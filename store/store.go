// Package store defines what sessionguard keeps on the server: one [Session] for each
// login, in a [Backend].
//
// [Memory] is the backend of a single process. To write another, implement [Backend] and
// run [storetest.Run] against it. The guard makes every decision about a session; a
// backend only has to be atomic.
//
// [storetest.Run]: https://pkg.go.dev/github.com/sessionguard-go/sessionguard/store/storetest#Run
package store

import (
	"crypto/sha256"
	"math"
	"strings"
	"time"
)

// A Key identifies a stored session. It is the SHA-256 of the cookie's name, a zero byte
// and the cookie's value. A stolen backend therefore holds nothing that can be sent back
// as a cookie, and a cookie of one guard never opens a session of another guard on the
// same backend.
//
// Unless the backend is a [Memory], a guard chooses keys so that all sessions of one owner
// have the same [Key.Group]. A backend that is spread over several machines can then keep
// them together, and perform on one machine what has to be atomic.
type Key [32]byte

// Groups is the number of groups that [Key.Group] divides owners into.
const Groups = 64

// Group returns the group of the session's owner, from 0 to [Groups]-1.
func (k Key) Group() int { return int(k[31] % Groups) }

// GroupOf returns the group of an owner's sessions. It is the same in every process.
func GroupOf(owner string) int {
	sum := sha256.Sum256([]byte(owner))
	return Key(sum).Group()
}

// RealmOf returns the realm of an owner: the beginning of its name, up to and including the
// first '=', ':' or '/', or the whole name if it has none of them. A guard's owners are in realms
// that no other guard has.
func RealmOf(owner string) string {
	if i := strings.IndexAny(owner, "=:/"); i >= 0 {
		return owner[:i+1]
	}
	return owner
}

// A Time is a moment in Unix milliseconds. Unlike a [time.Time] it is exact in every
// database, has no location and no monotonic reading, and takes a third of the space.
type Time int64

// TimeOf returns t, truncated to the millisecond.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

// Time returns t as a [time.Time] in UTC.
func (t Time) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Add returns t+d, with d truncated to the millisecond.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Milliseconds()) }

// Sub returns the duration t-u, or the longest duration there is if that is shorter.
func (t Time) Sub(u Time) time.Duration {
	return time.Duration(min(t-u, Time(math.MaxInt64/time.Millisecond))) * time.Millisecond
}

// A Session is the part of a login that requests share without a lock. A Session that has
// been in a backend is never written to, nor are its Values and Details: to save values, the
// guard makes a new Session.
type Session struct {
	Key           Key
	ID            string        // public and random; not the key; survives re-authentication
	Owner         string        // the guard's cookie name, a character, and the user's ID
	Stamp         string        // the user's SessionStamp at login; empty if the user has none
	Authenticated Time          // the last login, which a revival is not
	Created       Time          // first login under this ID: a re-authentication and a revival keep it
	Expires       Time          // end of the absolute timeout
	IdleTimeout   time.Duration // how long after LastSeen the session ends
	Version       uint64        // one more after every Save
	Client        string        // the client that logged in or revived the session, in short
	Address       string        // the address of that client
	Values        []byte        // opaque to backends, which need not tell nil from empty
	Details       *Details      // may be nil, which backends need not tell from zero Details
}

// Details are the part of a [Session] that most sessions do not have. They are separate so
// that a session without them stays small.
type Details struct {
	// What a person calls the device: a login or SetLabel sets it.
	Label string
	// How the user has proven who they are, by the logins of this session.
	Factors []Factor
	// Who acts for the user in this session; nil: the user.
	Actor *Actor
	// The device that a browser has registered since the last login; nil: none.
	Device *Device
	// Until when Replace may revive the session after its idle timeout; at most Expires; 0:
	// never. A login with Remember sets it, and only another login changes it.
	RememberUntil Time
	// The time of the last re-authentication or revival; 0: none yet. After a revival it is
	// later than Authenticated, and LastSeen is just before it. The end of acting also moves
	// a session, and does not change this.
	Rotated Time
	// The current token, which a revival encrypts for a client that has the previous one.
	// Opaque to backends.
	SuccessorToken []byte
}

// A Factor is one way in which a user has proven who they are.
type Factor struct {
	Name string // as in RFC 8176: "pwd", "otp", "hwk", …
	At   Time   // when it was last proven
}

// An Actor is the session of somebody who acts for another user.
type Actor struct {
	Owner, ID string
	Key       Key // that the session had when this one began
}

// A Device is what a session is bound to: a key that a browser keeps and that does not leave
// the device (Device Bound Session Credentials).
type Device struct {
	PublicKey  []byte // a SubjectPublicKeyInfo in DER (RFC 5280)
	Registered Time   // when the browser sent the key; no two devices of a session have the same
	Proven     Time   // when it first proved that it has the private key; 0: not yet, and no proof is required
}

// Detail returns the session's details. They are zero if s.Details is nil.
func (s *Session) Detail() Details {
	if s.Details == nil {
		return Details{}
	}
	return *s.Details
}

// A Record is a session with the time of its last activity. The two are separate because
// activity changes with every request, and the session hardly ever.
type Record struct {
	*Session
	LastSeen Time
}

// Grace is the minimum time for which a backend keeps a session after [Record.GoneAt]. A
// request that was accepted just before may still be running, and its Touch must find the
// session.
const Grace = time.Minute

// TombstoneLifetime is the minimum time for which a backend keeps the reason, if it is
// [Reason.Retained], of a session that [Backend.Delete] or the limit of [Backend.Create]
// has ended.
const TombstoneLifetime = time.Hour

// Deadline returns when the session ends unless there is activity before: the end of the
// idle timeout or of the absolute timeout, whichever is earlier. From that moment on a
// guard accepts no request, whether or not the backend still holds the session.
func (r Record) Deadline() Time { return min(r.LastSeen.Add(r.IdleTimeout), r.Expires) }

// GoneAt returns when the session is gone for good: its Deadline, or
// [Details.RememberUntil] if that is later. From that moment on nothing revives it.
func (r Record) GoneAt() Time {
	if r.Details == nil {
		return r.Deadline()
	}
	return max(r.Deadline(), r.Details.RememberUntil)
}

// Revived reports whether the session has been revived since its user last logged in. Its
// only authentication since then is a cookie.
func (r Record) Revived() bool { return r.Detail().Rotated > r.Authenticated }

// A Reason says why a session has ended. Applications see these strings.
type Reason string

// The reasons for which a guard ends a session.
const (
	ReasonLoggedOut          Reason = "logged_out"           // the user logged out of this session
	ReasonReplaced           Reason = "replaced"             // another login in the same browser
	ReasonLoginIncomplete    Reason = "login_incomplete"     // the response to the login could not be sent
	ReasonIdle               Reason = "idle"                 // idle timeout
	ReasonAbsolute           Reason = "absolute"             // absolute timeout
	ReasonLoggedOutElsewhere Reason = "logged_out_elsewhere" // ended by the same user, in another session
	ReasonEnded              Reason = "ended"                // ended by somebody else, such as an administrator
	ReasonTooManySessions    Reason = "too_many_sessions"    // a newer login of the same owner, at the limit
	ReasonNoUser             Reason = "no_user"              // the user no longer exists
	ReasonDeactivated        Reason = "deactivated"          // the user may no longer log in
	ReasonCredentialsChanged Reason = "credentials_changed"  // the user's SessionStamp changed
	ReasonTheftSuspected     Reason = "theft_suspected"      // a superseded token was used again
	ReasonActorEnded         Reason = "actor_ended"          // the user who acted is logged out, or may not act any more

	// A guard uses these itself and never passes them to Delete.
	ReasonExpired    Reason = "expired"    // the reason is no longer known; most likely a timeout
	ReasonRemembered Reason = "remembered" // idle for too long, but not ended: the user's next request can revive it
	// The session goes on, but it is bound to a device, and the request came without a proof of it.
	ReasonDeviceUnproven Reason = "device_unproven"
)

// Retained reports whether a backend keeps the reason, so that the next page can tell the
// user. It is false for [ReasonLoggedOut], [ReasonReplaced] and [ReasonLoginIncomplete],
// which the browser already knows about.
func (r Reason) Retained() bool {
	return r != "" && r != ReasonLoggedOut && r != ReasonReplaced && r != ReasonLoginIncomplete
}
