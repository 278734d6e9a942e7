package storetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// A mapBackend is a simple Backend of maps behind one mutex. It makes one mistake, or none if
// mistake is empty.
type mapBackend struct {
	mistake string
	*sharedState
	watchers *[]watcher
}

// sharedState is the data that several nodes share.
type sharedState struct {
	mu       sync.Mutex
	sessions map[store.Key]store.Record
	moved    map[store.Key]store.MovedError
	reasons  map[store.Key]store.Reason
	created  []store.Record // every session that Create has stored, for mistakes
	loops    int            // over All, for mistakes
}

type watcher struct {
	ctx   context.Context
	ended func(store.Ending)
}

// A mapWatcher is a mapBackend that is also a store.Watcher.
type mapWatcher struct{ *mapBackend }

func newMapBackend(mistake string) *mapWatcher {
	return &mapWatcher{&mapBackend{mistake, &sharedState{
		sessions: map[store.Key]store.Record{},
		moved:    map[store.Key]store.MovedError{},
		reasons:  map[store.Key]store.Reason{},
	}, &[]watcher{}}}
}

// anotherNode returns another node on the same data.
func (b *mapBackend) anotherNode() *mapBackend {
	return &mapBackend{b.mistake, b.sharedState, b.watchers}
}

func (b *mapBackend) makes(mistake string) bool { return b.mistake == mistake }

// pauseIf pauses between the two steps of a call that makes the mistake of not being atomic.
// In a synctest bubble, time passes only when every other call has returned or waits too.
func (b *mapBackend) pauseIf(mistake string) {
	if b.makes(mistake) {
		b.mu.Unlock()
		time.Sleep(time.Millisecond)
		b.mu.Lock()
	}
}

func (b *mapBackend) Load(_ context.Context, key store.Key) (store.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	to, moved := b.moved[b.key(key)]
	if moved && b.makes("load: follows moves") {
		key = to.To
	}
	r, ok := b.sessions[b.key(key)]
	switch {
	case !ok && moved && b.makes("load: returns no MovedError"):
		return r, store.ErrNotFound
	case !ok:
		return r, b.lookupErr(key)
	case b.makes("load: moves LastSeen"):
		r.LastSeen++
		b.sessions[key] = r
	case b.makes("load: forgets sessions at GoneAt") && hasPassed(r.GoneAt()),
		b.makes("load: forgets remembered sessions") && hasPassed(r.Deadline().Add(store.Grace)):
		return r, store.ErrNotFound
	case b.makes("load: fails past the deadline") && hasPassed(r.Deadline()):
		return r, errors.New("expired")
	}
	return r, nil
}

func (b *mapBackend) Touch(_ context.Context, key store.Key, seen store.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.sessions[b.key(key)]
	if !ok && b.makes("touch: creates a missing session") {
		r.Session = &store.Session{Key: key}
	} else if !ok {
		return store.ErrNotFound
	}
	deadline := r.Deadline()
	if b.makes("touch: extends remembered sessions") {
		deadline = r.GoneAt()
	}
	if seen >= deadline && !b.makes("touch: ignores the deadline") && !b.makes("touch: creates a missing session") ||
		b.makes("touch: compares the deadline with the clock") && hasPassed(deadline) {
		return store.ErrNotFound
	}
	if b.makes("watch: reports a Touch") {
		b.notify(r, store.ReasonIdle)
	}
	if b.makes("touch: loses the address") {
		s := *r.Session
		s.Address = ""
		r.Session = &s
	}
	if b.makes("touch: increments the version") {
		s := *r.Session
		s.Version++
		r.Session = &s
	}
	b.pauseIf("touch: checks and acts in two steps")
	if seen > r.LastSeen || b.makes("touch: moves LastSeen back") {
		r.LastSeen = seen
	}
	b.sessions[b.key(key)] = r
	return nil
}

func (b *mapBackend) Save(_ context.Context, r store.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, ok := b.sessions[b.key(r.Key)]
	if !ok && b.makes("save: creates a missing session") {
		now.Session = &store.Session{Key: r.Key, Version: r.Version - 1}
	} else if !ok {
		return store.ErrNotFound
	}
	was := r.Version - 1
	if b.makes("save: takes the new version for the old one") {
		was++
	}
	if now.Version != was && !b.makes("save: ignores the version") {
		return store.ErrConflict
	}
	if b.makes("save: refuses past the deadline") && hasPassed(now.Deadline()) {
		return store.ErrNotFound
	}
	b.pauseIf("save: checks and acts in two steps")
	s := *now.Session
	s.Version++
	s.Values, s.Details = r.Values, r.Details
	switch {
	case b.makes("save: loses the details"):
		s.Details = nil
	case b.makes("save: keeps the old details"):
		s.Details = now.Details
	case b.makes("save: keeps the old values"):
		s.Values = now.Values
	case b.makes("save: writes to the loaded session"):
		defer func() { *now.Session = s }()
	case b.makes("save: loses a touch"):
		now.LastSeen = b.asCreated(r.Key).LastSeen
	case b.makes("save: moves LastSeen"):
		now.LastSeen = max(now.LastSeen, r.LastSeen)
	}
	b.sessions[b.key(r.Key)] = store.Record{Session: &s, LastSeen: now.LastSeen}
	return nil
}

// lookupErr returns the error for a key that has no session.
func (b *mapBackend) lookupErr(key store.Key) error {
	if to, moved := b.moved[b.key(key)]; moved {
		return &to
	}
	if reason, ended := b.reasons[b.key(key)]; ended && !b.makes("load: returns no EndedError") {
		return &store.EndedError{Reason: reason}
	}
	return store.ErrNotFound
}

// key returns the key of the maps for a session's key.
func (b *mapBackend) key(key store.Key) store.Key {
	if b.makes("create: ignores the last byte of the key") {
		key[31] = 0
	}
	return key
}

// owned returns an owner's sessions. prefixMistake is the mistake of matching the owner as a
// prefix.
func (b *mapBackend) owned(owner, prefixMistake string) (owned []store.Record) {
	candidates := b.created
	if !b.makes("delete: leaves the session in the owner's index") &&
		!b.makes("by owner: returns stale records") && !b.makes("limit: ends the first created") {
		candidates = nil
		for _, r := range b.sessions {
			candidates = append(candidates, r)
		}
	}
	for _, r := range candidates {
		now, ok := b.sessions[b.key(r.Key)]
		if !ok && !b.makes("delete: leaves the session in the owner's index") {
			continue
		}
		if ok && !b.makes("by owner: returns stale records") {
			r = now
		}
		if r.Owner == owner ||
			b.makes(prefixMistake) && strings.HasPrefix(r.Owner, owner) ||
			b.makes("by owner: ignores case") && strings.EqualFold(r.Owner, owner) ||
			b.makes("by owner: ignores trailing space") && strings.TrimRight(r.Owner, " ") == strings.TrimRight(owner, " ") {
			owned = append(owned, r)
		}
	}
	return owned
}

// asCreated returns a session as Create has stored it.
func (b *mapBackend) asCreated(key store.Key) store.Record {
	i := slices.IndexFunc(b.created, func(r store.Record) bool { return r.Key == key })
	if i < 0 {
		return store.Record{Session: &store.Session{Key: key}}
	}
	return b.created[i]
}

// detailsWith returns a changed copy of r's details.
func detailsWith(r store.Record, change func(*store.Details)) *store.Details {
	d := r.Detail()
	change(&d)
	return &d
}

func hasPassed(t store.Time) bool { return t <= store.TimeOf(time.Now()) }
