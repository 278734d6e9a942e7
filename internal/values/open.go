package values

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gorilla/sessions"
)

// ErrUnsaveable is returned for values that cannot be stored: a mistake of the application.
var ErrUnsaveable = errors.New("sessionguard: values cannot be saved")

// OpenSessions are the named sessions that the handlers of one request have opened. The
// zero value is ready to use. It is not safe for concurrent use.
type OpenSessions struct{ all []*OpenSession }

// An OpenSession is one of gorilla's named sessions. It is decoded when it is opened, and
// compared with what is stored when it is saved.
type OpenSession struct {
	Session *sessions.Session
	Err     error // why it could not be opened; it is then never saved

	name    string
	stored  Entries
	entries Entries // of the last Save
	saved   bool    // Save was called
	deleted bool    // by a Save with Options.MaxAge < 0
	given   []<-chan struct{}
}

// NewOpenSession returns an empty session that store saves. Add adds it to the others once
// it has been filled.
func NewOpenSession(store sessions.Store, name string) *OpenSession {
	s := &OpenSession{Session: sessions.NewSession(store, name), name: name}
	s.Session.IsNew = true
	return s
}

// Fill decodes what is stored under the session's name.
func (s *OpenSession) Fill(bag Bag) error {
	entries := bag[s.name]
	if len(entries) == 0 {
		return nil
	}
	m, err := entries.Decode()
	if err != nil {
		return fmt.Errorf("sessionguard: session %q: %w", s.name, err)
	}
	s.stored, s.Session.Values, s.Session.IsNew = entries, m, false
	return nil
}

// Save notes that the handler wants session stored in place of s. gorilla lets anyone make
// a session of the same name with NewSession, so it need not be the one that was opened.
func (s *OpenSession) Save(session *sessions.Session) error {
	s.Session = session
	s.deleted = session.Options != nil && session.Options.MaxAge < 0
	entries, err := s.encode()
	if err != nil {
		return err
	}
	s.entries, s.saved = entries, true
	return nil
}

func (s *OpenSession) encode() (Entries, error) {
	if s.deleted {
		return nil, nil
	}
	entries, err := Encode(s.Session.Values, s.stored)
	if err != nil {
		return nil, fmt.Errorf("%w: session %q: %w", ErrUnsaveable, s.name, err)
	}
	return entries, nil
}

// RecordContext records the Done channel of a context with which a handler was given the
// session. If that context ends before the session is saved, the handler was abandoned,
// as http.TimeoutHandler does, and may still write to the session's map.
func (s *OpenSession) RecordContext(done <-chan struct{}) {
	if done != nil && !slices.Contains(s.given, done) {
		s.given = append(s.given, done)
	}
}

// mayStillRun reports whether a handler that was abandoned may still use the session.
func (s *OpenSession) mayStillRun() bool {
	return slices.ContainsFunc(s.given, func(done <-chan struct{}) bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

// Get returns the session that was opened under name, or nil.
func (o *OpenSessions) Get(name string) *OpenSession {
	for _, s := range o.all {
		if s.name == name {
			return s
		}
	}
	return nil
}

// Empty reports whether no session is open.
func (o *OpenSessions) Empty() bool { return len(o.all) == 0 }

// Add adds a session.
func (o *OpenSessions) Add(s *OpenSession) { o.all = append(o.all, s) }

// Forget removes all sessions: nothing of them is saved any more.
func (o *OpenSessions) Forget() { o.all = nil }

// Clear empties all sessions in place, because handlers hold pointers to them.
func (o *OpenSessions) Clear() {
	for _, s := range o.all {
		clear(s.Session.Values)
		s.Session.IsNew = true
		s.stored, s.entries, s.saved, s.deleted = nil, nil, false, false
	}
}

// Changes are the sessions that differ from what is stored of them.
type Changes []change

type change struct {
	session *OpenSession
	entries Entries
}

// Changes returns what is to be stored. Of sessions that an abandoned handler may still
// write to (of all if timedOut) only what Save was called for counts.
func (o *OpenSessions) Changes(timedOut bool) (Changes, error) {
	var changes Changes
	for _, s := range o.all {
		if s.Err != nil {
			continue
		}
		entries := s.entries
		if !timedOut && !s.mayStillRun() {
			var err error
			if entries, err = s.encode(); err != nil {
				return nil, err
			}
			s.entries = entries // what an earlier Save was called for is out of date
		} else if !s.saved {
			continue
		}
		if !entries.Equal(s.stored) {
			changes = append(changes, change{s, entries})
		}
	}
	return changes, nil
}

// MergeInto makes the changes in bag, which other requests may have changed meanwhile.
func (c Changes) MergeInto(bag Bag) {
	for _, change := range c {
		name := change.session.name
		bag[name] = Merge(change.session.stored, change.entries, bag[name])
	}
}

// ReplaceIn makes the changes in bag, which nobody else changes.
func (c Changes) ReplaceIn(bag Bag) {
	for _, change := range c {
		bag[change.session.name] = change.entries
	}
}

// Stored notes that the changes have been stored.
func (c Changes) Stored() {
	for _, change := range c {
		change.session.stored = change.entries
	}
}
