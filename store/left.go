package store

import "time"

// What is left of a session is an entry without an owner, which no session is, and
// which ends when it may be forgotten.

// newMove is what Replace leaves at the old key.
func newMove(old Key, to Record) *entry {
	until := TimeOf(time.Now()).Add(Grace)
	if to.Revived() {
		until = max(until, to.Expires)
	}
	key := to.Key // a copy: a slice of the original would hold all of the session
	left := &Session{Key: old, Expires: until.Add(-Grace), Stamp: to.Owner, ID: to.ID, Values: key[:]}
	if to.Revived() {
		left.Version = 1
	}
	return newEntry(Record{left, until})
}

func newTombstone(key Key, reason Reason) *entry {
	until := TimeOf(time.Now()).Add(TombstoneLifetime)
	return newEntry(Record{&Session{Key: key, Expires: until.Add(-Grace), ID: string(reason)}, until})
}

// gone says why there is no session here, if so.
func (e *entry) gone() error {
	if e == nil {
		return ErrNotFound
	}
	switch s := e.session.Load(); {
	case s.Owner != "":
		return nil
	case s.Values != nil:
		return &MovedError{To: Key(s.Values), Owner: s.Stamp, ID: s.ID, Revived: s.Version == 1}
	default:
		return &EndedError{Reason(s.ID)}
	}
}
