package values

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/gorilla/sessions"
)

var (
	// ErrUnsaveable is returned for values that cannot be stored: a mistake of the application.
	ErrUnsaveable = errors.New("sessionguard: values cannot be saved")
	// ErrTooLarge is returned for values that take more bytes than there may be. It is an
	// ErrUnsaveable.
	ErrTooLarge = fmt.Errorf("%w: they are too large", ErrUnsaveable)
	// ErrUndecodable is returned for stored values that cannot be decoded, such as those of
	// a type that has changed. Save replaces them.
	ErrUndecodable = errors.New("sessionguard: stored values cannot be decoded")
)

// OpenSessions are the named sessions that the handlers of one request have opened. The
// zero value is ready to use. It is not safe for concurrent use.
type OpenSessions struct {
	all  []*OpenSession
	room [1]*OpenSession // for the one that most requests open
}

// An OpenSession is one of gorilla's named sessions. It is decoded when it is opened, and
// compared with what is stored when it is saved.
type OpenSession struct {
	Session *sessions.Session
	Err     error // why it could not be opened; it is then not saved

	encoder  encoder
	own      sessions.Session // what Session points to, unless a handler has made another
	name     string
	stored   Entries
	replaces bool    // all that is stored, of which nothing can be decoded
	entries  Entries // of the last Save
	saved    bool    // Save was called
	deleted  bool    // by a Save with Options.MaxAge < 0
	given    []<-chan struct{}
}

// NewOpenSession returns an empty session that store saves. Add adds it to the others once
// it has been filled.
func NewOpenSession(store sessions.Store, name string) *OpenSession {
	s := &OpenSession{name: name, own: *sessions.NewSession(store, name)}
	s.Session, s.own.IsNew = &s.own, true
	return s
}

// Fill decodes what is stored under the session's name.
func (s *OpenSession) Fill(bag Bag) error {
	s.stored = bag[s.name]
	if len(s.stored) == 0 {
		return nil
	}
	m, err := s.stored.Decode()
	if err != nil {
		return fmt.Errorf("%w: session %q: %w", ErrUndecodable, s.name, err)
	}
	s.Session.Values, s.Session.IsNew = m, false
	return nil
}

// FillFailed is Fill where nothing that is stored can be decoded, whatever the name.
func (s *OpenSession) FillFailed(err error) error {
	s.replaces = true
	return fmt.Errorf("%w: %w", ErrUndecodable, err)
}

// Save notes that the handler wants session stored in place of s. gorilla lets anyone make
// a session of the same name with NewSession, so it need not be the one that was opened.
// If s could not be decoded, session replaces what is stored. If check returns an error,
// Save returns it, and of an abandoned handler only what it saved before counts.
func (s *OpenSession) Save(session *sessions.Session, check func() error) error {
	if s.Err != nil && !errors.Is(s.Err, ErrUndecodable) {
		return s.Err
	}
	s.Session, s.Err = session, nil
	s.deleted = session.Options != nil && session.Options.MaxAge < 0
	entries, err := s.encode()
	if err != nil {
		return err
	}
	before, saved := s.entries, s.saved
	s.entries, s.saved = entries, true
	if err := check(); err != nil {
		s.entries, s.saved = before, saved
		return err
	}
	return nil
}

func (s *OpenSession) encode() (Entries, error) {
	if s.deleted {
		return nil, nil
	}
	entries, err := s.encoder.encode(s.Session.Values, s.stored)
	if err != nil {
		return nil, fmt.Errorf("%w: session %q: %w", ErrUnsaveable, s.name, err)
	}
	return entries, nil
}

// RecordContext records the Done channel of a context with which a handler was given the
// session. If that context ends before the session is saved, the handler was abandoned,
// as http.TimeoutHandler does, and may still write to the session's map. After one that has
// ended no other matters: a stream may use the session with thousands.
func (s *OpenSession) RecordContext(done <-chan struct{}) {
	if done != nil && !slices.Contains(s.given, done) && !s.mayStillRun() {
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
func (o *OpenSessions) Add(s *OpenSession) {
	if o.all == nil {
		o.all = o.room[:0]
	}
	o.all = append(o.all, s)
}

// Forget removes all sessions: nothing of them is saved any more.
func (o *OpenSessions) Forget() { o.all = nil }

// Clear empties all sessions in place, because handlers hold pointers to them. Those that an
// abandoned handler may still write to (all if abandoned) are left to it, and replaced.
func (o *OpenSessions) Clear(abandoned bool) {
	for _, s := range o.all {
		if abandoned || s.mayStillRun() {
			s.Session = sessions.NewSession(s.Session.Store(), s.name)
		} else {
			clear(s.Session.Values)
		}
		s.Session.IsNew = true
		s.stored, s.entries, s.saved, s.deleted, s.replaces = nil, nil, false, false, false
		if errors.Is(s.Err, ErrUndecodable) {
			s.Err = nil
		}
	}
}

// Changes are the sessions that differ from what is stored of them.
type Changes []change

// A change never changes itself, so that another request may store it.
type change struct {
	session  *OpenSession
	stored   Entries // of the session
	entries  Entries
	replaces bool // what cannot be decoded
}

// Changes returns what is to be stored. Of sessions that an abandoned handler may still
// write to (of all if onlySaved) only what Save was called for counts.
func (o *OpenSessions) Changes(onlySaved bool) (Changes, error) {
	var changes Changes
	for _, s := range o.all {
		if s.Err != nil {
			continue
		}
		entries := s.entries
		if !onlySaved && !s.mayStillRun() {
			var err error
			if entries, err = s.encode(); err != nil {
				return nil, err
			}
			s.entries = entries // what an earlier Save was called for is out of date
		} else if !s.saved {
			continue
		}
		if s.replaces || !entries.Equal(s.stored) {
			changes = append(changes, change{s, s.stored, entries, s.replaces})
		}
	}
	return changes, nil
}

// Merge returns the stored bytes of a bag with the changes. Other requests may have changed
// it since the sessions were opened. If there are more than limit bytes, Merge removes the
// oldest flashes, as [Bag.MarshalWithin] does. If they are still more, and more than were
// stored under a higher limit, it returns [ErrTooLarge].
func (c Changes) Merge(stored []byte, limit int) ([]byte, error) {
	bag, err := Bag{}, error(nil) // on the stack, if nothing is stored yet
	if len(stored) > 0 {
		bag, err = Unmarshal(stored)
	}
	if err != nil && !slices.ContainsFunc(c, func(change change) bool { return change.replaces }) {
		return nil, fmt.Errorf("%w: stored values: %w", ErrUnsaveable, err)
	} else if err != nil {
		bag = Bag{}
	}
	for _, change := range c {
		name := change.session.name
		bag[name] = Merge(change.stored, change.entries, bag[name])
	}
	merged, fits := bag.MarshalWithin(limit)
	if !fits {
		merged = bag.Marshal()
	}
	if len(merged) > max(limit, len(stored)) {
		return nil, fmt.Errorf("%w: %d bytes, and Config.MaxValuesBytes is %d", ErrTooLarge, len(merged), limit)
	}
	return merged, nil
}

// Fit returns the error of Merge. Unless the changes may be too large, it does not merge
// them to find out that there is none.
func (c Changes) Fit(stored []byte, limit int) error {
	const lengths = 2 * binary.MaxVarintLen64
	most := len(stored) + 1 // the version
	for _, change := range c {
		most += len(change.session.name) + lengths
		for _, e := range change.entries {
			most += len(e.Key) + len(e.Value) + lengths
		}
	}
	if most <= limit {
		return nil
	}
	_, err := c.Merge(stored, limit)
	return err
}

// ReplaceIn returns bag with the changes. Nobody else changes bag.
func (c Changes) ReplaceIn(bag Bag) Bag {
	bag = maps.Clone(bag)
	for _, change := range c {
		bag[change.session.name] = change.entries
	}
	return bag
}

// Stored notes that the changes have been stored.
func (c Changes) Stored() {
	for _, change := range c {
		change.session.stored, change.session.replaces = change.entries, false
	}
}
