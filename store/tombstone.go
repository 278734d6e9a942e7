package store

import "time"

// A tombstone or a move marker is stored at the key of a session that is no longer there.
// Its Session has no Owner, which every real session has; lookupErr lists what the other
// fields hold. It may be forgotten like a session without Details: Grace after its
// Deadline.

// newMoveMarker returns what Replace leaves at the old key.
func newMoveMarker(old Key, to Record) Record {
	forgetAt := TimeOf(time.Now()).Add(Grace)
	if to.Revived() {
		forgetAt = max(forgetAt, to.Expires)
	}
	key := to.Key // a copy: a slice of to.Key would keep all of the session in memory
	marker := &Session{Key: old, Expires: forgetAt.Add(-Grace), Stamp: to.Owner, ID: to.ID, Values: key[:]}
	if to.Revived() {
		marker.Version = 1
	}
	return Record{marker, forgetAt}
}

// newTombstone returns the record of why the session at key has ended.
func newTombstone(key Key, reason Reason) Record {
	forgetAt := TimeOf(time.Now()).Add(TombstoneLifetime)
	return Record{&Session{Key: key, Expires: forgetAt.Add(-Grace), ID: string(reason)}, forgetAt}
}

// lookupErr returns nil if s is a session, and otherwise what a lookup of its key returns.
// s may be nil.
func lookupErr(s *Session) error {
	switch {
	case s == nil:
		return ErrNotFound
	case s.Owner != "":
		return nil
	case s.Values != nil:
		return &MovedError{To: Key(s.Values), Owner: s.Stamp, ID: s.ID, Revived: s.Version == 1}
	default:
		return &EndedError{Reason(s.ID)}
	}
}
