package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// mistakes stand with the promises that have to find them.
var mistakes = []struct {
	promises []check
	made     []string
}{
	{recordChecks, []string{
		"create: loses the stamp", "create: loses the handover", "create: loses the details of a short session",
		"create: cuts values at 64 KB", "create: ends values at a zero byte", "create: ends the handover at a zero byte",
		"create: cuts the time to seconds", "create: refuses an owner that is not ASCII", "create: refuses empty values",
		"create: starts at version 1", "create: keys by 31 bytes",
		"load: touches", "load: fails past the end", "load: forgets at the end", "load: forgets the remembered",
		"touch: revives", "touch: revives the remembered", "touch: looks at the clock", "touch: upserts",
		"touch: moves back", "touch: raises the version", "touch: loses the address",
		"save: upserts", "save: ignores the version", "save: writes to what was loaded", "save: loses a touch",
		"save: loses the details", "save: refuses past the end",
		"replace: creates what is not there", "replace: stores before it checks",
		"delete: keeps the reason for what is not there",
	}},
	{moveChecks, []string{
		"replace: ignores the version", "replace: keeps the old", "replace: refuses past the end",
		"replace: keeps the details", "replace: touches", "replace: does not tell where to",
		"replace: forgets where it moved", "replace: tells where to if revived", "replace: does not tell whose it is",
		"replace: does not tell of a revival",
		"replace: is checked, then done", "replace: is done in two steps",
		"load: does not tell where to", "load: follows", "load: does not tell why", "save: is checked, then done",
		"delete: forgets where to", "delete: follows", "delete: returns what moved", "delete: takes what moved for ended",
	}},
	{endingChecks, []string{
		"delete: is soft", "delete: fails twice", "delete: returns nothing", "delete: returns it again",
		"delete: returns what was created", "delete: keeps no reason", "delete: keeps the last reason",
		"delete: keeps the reasons it knows", "delete: keeps a logout as an end",
		"delete: is checked, then done", "touch: is checked, then done", "replace: is checked, then done",
		"limit: is checked, then done", "limit: keeps no reason",
	}},
	{ownerChecks, []string{
		"by owner: ignores case", "by owner: ignores trailing space", "by owner: matches a prefix",
		"by owner: fails on strangers", "by owner: has stale records", "by owner: forgets at the end",
		"create: ends the sessions of an owner of the same prefix", "delete: leaves the index",
		"limit: is one too high", "limit: is one too low", "limit: counts the dead", "limit: keeps the dead", "limit: counts the deleted",
		"limit: forgets the remembered", "limit: ends the newest", "limit: ends the first created",
		"limit: returns nothing", "limit: ends one at most", "limit: stores before it refuses",
		"limit: ends without refusing", "limit: keeps no reason",
	}},
	{raceChecks, []string{
		"limit: is checked, then done", "touch: is checked, then done", "save: is checked, then done",
		"touch: moves back",
	}},
	{watcherChecks, []string{
		"watch: tells nothing", "watch: tells twice", "watch: tells one watcher", "watch: never stops",
		"watch: forgets the reason", "watch: tells before it happens", "watch: tells only of what is kept",
		"watch: does not tell of a limit", "watch: tells of a limit that refuses", "watch: tells of the dead",
		"watch: tells of a move", "watch: tells of a touch", "watch: tells of what is not there",
		"delete: is checked, then done",
	}},
}

// plain is the shortest Backend, with room for one mistake.
type mapBackend struct {
	mistake string
	*sharedState
	watchers *[]watcher
}

// shared is what nodes have in common.
type sharedState struct {
	mu       sync.Mutex
	sessions map[store.Key]store.Record
	moved    map[store.Key]store.MovedError
	reasons  map[store.Key]store.Reason
	created  []store.Record // all there ever were, for mistakes
}

type watcher struct {
	ctx   context.Context
	ended func(store.Ending)
}

// watched is a plain that is a store.Watcher.
type mapWatcher struct{ *mapBackend }

func newMapBackend(mistake string) *mapWatcher {
	return &mapWatcher{&mapBackend{mistake, &sharedState{
		sessions: map[store.Key]store.Record{},
		moved:    map[store.Key]store.MovedError{},
		reasons:  map[store.Key]store.Reason{},
	}, &[]watcher{}}}
}

// another returns another node.
func (b *mapBackend) anotherNode() *mapBackend {
	return &mapBackend{b.mistake, b.sharedState, b.watchers}
}

func (b *mapWatcher) Watch(ctx context.Context, ended func(store.Ending)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	*b.watchers = append(*b.watchers, watcher{ctx, ended})
	return nil
}

func (b *mapBackend) notify(r store.Record, reason store.Reason) {
	if b.makes("watch: tells only of what is kept") && !reason.Retained() {
		return
	}
	if b.makes("watch: forgets the reason") {
		reason = store.ReasonEnded
	}
	for _, w := range *b.watchers {
		if w.ctx.Err() != nil && !b.makes("watch: never stops") || b.makes("watch: tells nothing") {
			continue
		}
		w.ended(store.Ending{ID: r.ID, Reason: reason})
		if b.makes("watch: tells twice") {
			w.ended(store.Ending{ID: r.ID, Reason: reason})
		}
		if b.makes("watch: tells one watcher") {
			return
		}
	}
}

func (b *mapBackend) makes(mistake string) bool { return b.mistake == mistake }

// gap lets the others in between a check and what it was for: all of them, since in
// the bubble no time passes before they wait as well.
func (b *mapBackend) pauseIf(mistake string) {
	if b.makes(mistake) {
		b.mu.Unlock()
		time.Sleep(time.Millisecond)
		b.mu.Lock()
	}
}

func (b *mapBackend) key(key store.Key) store.Key {
	if b.makes("create: keys by 31 bytes") {
		key[31] = 0
	}
	return key
}

// end takes out a session for a reason.
func (b *mapBackend) end(r store.Record, reason store.Reason) {
	if b.makes("watch: tells before it happens") {
		b.notify(r, reason)
		b.pauseIf("watch: tells before it happens")
	}
	if !b.makes("delete: is soft") {
		delete(b.sessions, b.key(r.Key))
	}
	if reason.Retained() {
		b.reasons[b.key(r.Key)] = reason
	} else if b.makes("delete: keeps a logout as an end") {
		b.reasons[b.key(r.Key)] = store.ReasonEnded
	}
	if b.makes("delete: keeps the reasons it knows") && reason == unknownReason {
		b.reasons[b.key(r.Key)] = store.ReasonEnded
	}
	if reason == store.ReasonTooManySessions && b.makes("watch: does not tell of a limit") || b.makes("watch: tells before it happens") {
		return
	}
	b.notify(r, reason)
}

// gone says what is known of a key without a session.
func (b *mapBackend) lookupErr(key store.Key) error {
	if to, moved := b.moved[b.key(key)]; moved {
		return &to
	}
	if reason, ended := b.reasons[b.key(key)]; ended && !b.makes("load: does not tell why") {
		return &store.EndedError{Reason: reason}
	}
	return store.ErrNotFound
}

func (b *mapBackend) Create(_ context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Key.Group() != store.GroupOf(r.Owner) {
		return nil, errors.New("the key is not of its owner's group")
	}
	s := *r.Session
	switch i := strings.IndexByte(string(s.Values), 0); {
	case b.makes("create: loses the stamp"):
		s.Stamp = ""
	case b.makes("create: loses the handover"):
		s.Details = b.detailsWith(r, func(d *store.Details) { d.SuccessorToken = nil })
	case b.makes("create: ends the handover at a zero byte"):
		s.Details = b.detailsWith(r, func(d *store.Details) { d.SuccessorToken, _, _ = bytes.Cut(d.SuccessorToken, []byte{0}) })
	case b.makes("create: loses the details of a short session") && s.ID == "":
		s.Details = nil
	case b.makes("create: cuts values at 64 KB"):
		s.Values = s.Values[:min(len(s.Values), 64<<10)]
	case b.makes("create: ends values at a zero byte") && i >= 0:
		s.Values = s.Values[:i]
	case b.makes("create: cuts the time to seconds"):
		r.LastSeen -= r.LastSeen % 1000
	case b.makes("create: starts at version 1"):
		s.Version = 1
	case b.makes("create: refuses an owner that is not ASCII") && strings.ContainsFunc(s.Owner, func(r rune) bool { return r > 127 }),
		b.makes("create: refuses empty values") && len(s.Values) == 0:
		return nil, fmt.Errorf("refused")
	}
	r.Session = &s
	if b.makes("limit: stores before it refuses") {
		b.sessions[r.Key] = r
	}
	live := slices.DeleteFunc(b.owned(s.Owner, "create: ends the sessions of an owner of the same prefix"), func(r store.Record) bool {
		dead := hasPassed(r.GoneAt()) || hasPassed(r.Deadline()) && b.makes("limit: forgets the remembered")
		if dead && b.makes("watch: tells of the dead") {
			b.notify(r, store.ReasonIdle)
		}
		if dead && limit.Max > 0 && !b.makes("limit: keeps the dead") {
			delete(b.sessions, b.key(r.Key))
		}
		return dead && !b.makes("limit: counts the dead") || r.Key == s.Key
	})
	if b.makes("limit: counts the deleted") {
		live = slices.DeleteFunc(slices.Clone(b.created), func(r store.Record) bool { return r.Owner != s.Owner })
	}
	if !b.makes("limit: ends the first created") {
		slices.SortFunc(live, func(x, y store.Record) int { return int(x.LastSeen - y.LastSeen) })
	}
	if b.makes("limit: ends the newest") {
		slices.Reverse(live)
	}
	if b.makes("limit: is one too high") {
		limit.Max++
	}
	if b.makes("limit: is one too low") {
		limit.Max = max(1, limit.Max-1)
	}
	b.pauseIf("limit: is checked, then done")
	if excess := len(live) + 1 - limit.Max; limit.Max > 0 && excess > 0 {
		if limit.Refuse && !b.makes("limit: ends without refusing") {
			if b.makes("watch: tells of a limit that refuses") {
				b.notify(live[0], store.ReasonTooManySessions)
			}
			return nil, store.ErrLimit
		}
		if b.makes("limit: ends one at most") {
			excess = 1
		}
		for _, r := range live[:excess] {
			b.end(r, store.ReasonTooManySessions)
			ended = append(ended, r)
			if b.makes("limit: keeps no reason") {
				delete(b.reasons, r.Key)
			}
		}
		if b.makes("limit: returns nothing") {
			ended = nil
		}
	}
	b.sessions[b.key(r.Key)] = r
	b.created = append(b.created, r)
	return ended, nil
}

func (b *mapBackend) Replace(_ context.Context, old store.Key, version uint64, r store.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.makes("replace: stores before it checks") {
		b.sessions[r.Key] = r
	}
	was, ok := b.sessions[b.key(old)]
	if !ok && !b.makes("replace: creates what is not there") {
		if b.makes("replace: forgets where it moved") {
			return store.ErrNotFound
		}
		return b.lookupErr(old)
	}
	if ok && was.Version != version && !b.makes("replace: ignores the version") {
		return store.ErrConflict
	}
	if ok && hasPassed(was.Deadline()) && b.makes("replace: refuses past the end") {
		return store.ErrNotFound
	}
	if r.Key.Group() != old.Group() {
		return errors.New("the keys are not of the same group")
	}
	b.pauseIf("replace: is checked, then done")
	switch s := *r.Session; {
	case ok && b.makes("replace: keeps the details"):
		s.Details = was.Details
		r.Session = &s
	case b.makes("replace: touches"):
		r.LastSeen++
	case b.makes("watch: tells of a move"):
		b.notify(was, store.ReasonReplaced)
	}
	if !b.makes("replace: keeps the old") {
		delete(b.sessions, b.key(old))
	}
	b.pauseIf("replace: is done in two steps")
	b.sessions[b.key(r.Key)] = r
	if !b.makes("replace: does not tell where to") &&
		(!b.makes("replace: tells where to if revived") || r.Revived()) {
		moved := store.MovedError{To: r.Key, Owner: r.Owner, ID: r.ID, Revived: r.Revived()}
		if b.makes("replace: does not tell whose it is") {
			moved.Owner, moved.ID = "", ""
		}
		if b.makes("replace: does not tell of a revival") {
			moved.Revived = false
		}
		b.moved[b.key(old)] = moved
	}
	return nil
}

func (b *mapBackend) Load(_ context.Context, key store.Key) (store.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	to, moved := b.moved[b.key(key)]
	if moved && b.makes("load: follows") {
		key = to.To
	}
	r, ok := b.sessions[b.key(key)]
	switch {
	case !ok && moved && b.makes("load: does not tell where to"):
		return r, store.ErrNotFound
	case !ok:
		return r, b.lookupErr(key)
	case b.makes("load: touches"):
		r.LastSeen++
		b.sessions[key] = r
	case b.makes("load: forgets at the end") && hasPassed(r.GoneAt()),
		b.makes("load: forgets the remembered") && hasPassed(r.Deadline().Add(store.Grace)):
		return r, store.ErrNotFound
	case b.makes("load: fails past the end") && hasPassed(r.Deadline()):
		return r, fmt.Errorf("expired")
	}
	return r, nil
}

func (b *mapBackend) Touch(_ context.Context, key store.Key, seen store.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.sessions[b.key(key)]
	if !ok && b.makes("touch: upserts") {
		r.Session = &store.Session{Key: key}
	} else if !ok {
		return store.ErrNotFound
	}
	end := r.Deadline()
	if b.makes("touch: revives the remembered") {
		end = r.GoneAt()
	}
	if seen >= end && !b.makes("touch: revives") && !b.makes("touch: upserts") ||
		b.makes("touch: looks at the clock") && hasPassed(end) {
		return store.ErrNotFound
	}
	if b.makes("watch: tells of a touch") {
		b.notify(r, store.ReasonIdle)
	}
	if b.makes("touch: loses the address") {
		s := *r.Session
		s.Details = b.detailsWith(r, func(d *store.Details) { d.Address = "" })
		r.Session = &s
	}
	if b.makes("touch: raises the version") {
		s := *r.Session
		s.Version++
		r.Session = &s
	}
	b.pauseIf("touch: is checked, then done")
	if seen > r.LastSeen || b.makes("touch: moves back") {
		r.LastSeen = seen
	}
	b.sessions[b.key(key)] = r
	return nil
}

func (b *mapBackend) Save(_ context.Context, key store.Key, version uint64, values []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.sessions[b.key(key)]
	if !ok && b.makes("save: upserts") {
		r.Session = &store.Session{Key: key, Version: version}
	} else if !ok {
		return store.ErrNotFound
	}
	if r.Version != version && !b.makes("save: ignores the version") {
		return store.ErrConflict
	}
	if b.makes("save: refuses past the end") && hasPassed(r.Deadline()) {
		return store.ErrNotFound
	}
	b.pauseIf("save: is checked, then done")
	s := *r.Session
	if b.makes("save: loses the details") {
		s.Details = nil
	}
	if b.makes("save: writes to what was loaded") {
		defer func() { *r.Session = s }()
	}
	if b.makes("save: loses a touch") {
		r.LastSeen = b.asCreated(key).LastSeen
	}
	s.Version++
	s.Values = values
	b.sessions[b.key(key)] = store.Record{Session: &s, LastSeen: r.LastSeen}
	return nil
}

func (b *mapBackend) Delete(_ context.Context, key store.Key, reason store.Reason) (ended store.Record, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if to, moved := b.moved[b.key(key)]; moved {
		switch {
		case b.makes("delete: forgets where to"):
			delete(b.moved, b.key(key))
		case b.makes("delete: follows"):
			delete(b.sessions, b.key(to.To))
		case b.makes("delete: returns what moved"):
			ended = b.sessions[b.key(to.To)]
		case b.makes("delete: takes what moved for ended"):
			delete(b.moved, b.key(key))
			b.reasons[b.key(key)] = reason
		}
		return ended, &to
	}
	r, ok := b.sessions[b.key(key)]
	if !ok {
		_, was := b.reasons[b.key(key)]
		switch {
		case b.makes("delete: fails twice"):
			return ended, store.ErrNotFound
		case b.makes("delete: keeps the last reason") && was,
			b.makes("delete: keeps the reason for what is not there") && !was:
			b.reasons[b.key(key)] = reason
		case b.makes("delete: returns it again"):
			ended = b.asCreated(key)
		case b.makes("watch: tells of what is not there"):
			b.notify(b.asCreated(key), reason)
		}
		return ended, nil
	}
	b.pauseIf("delete: is checked, then done")
	b.end(r, reason)
	switch {
	case b.makes("delete: keeps no reason"):
		delete(b.reasons, b.key(key))
	case b.makes("delete: returns nothing"):
		return ended, nil
	case b.makes("delete: returns what was created"):
		return b.asCreated(key), nil
	}
	return r, nil
}

func (b *mapBackend) ByOwner(_ context.Context, owner string) ([]store.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	owned := b.owned(owner, "by owner: matches a prefix")
	if b.makes("by owner: forgets at the end") {
		owned = slices.DeleteFunc(owned, func(r store.Record) bool { return hasPassed(r.Deadline()) })
	}
	if b.makes("by owner: fails on strangers") && len(owned) == 0 {
		return nil, store.ErrNotFound
	}
	return owned, nil
}

func (b *mapBackend) owned(owner, prefixes string) (owned []store.Record) {
	candidates := b.created
	if !b.makes("delete: leaves the index") && !b.makes("by owner: has stale records") && !b.makes("limit: ends the first created") {
		candidates = nil
		for _, r := range b.sessions {
			candidates = append(candidates, r)
		}
	}
	for _, r := range candidates {
		now, ok := b.sessions[b.key(r.Key)]
		if !ok && !b.makes("delete: leaves the index") {
			continue
		}
		if ok && !b.makes("by owner: has stale records") {
			r = now
		}
		if r.Owner == owner ||
			b.makes(prefixes) && strings.HasPrefix(r.Owner, owner) ||
			b.makes("by owner: ignores case") && strings.EqualFold(r.Owner, owner) ||
			b.makes("by owner: ignores trailing space") && strings.TrimRight(r.Owner, " ") == strings.TrimRight(owner, " ") {
			owned = append(owned, r)
		}
	}
	return owned
}

func (b *mapBackend) asCreated(key store.Key) store.Record {
	i := slices.IndexFunc(b.created, func(r store.Record) bool { return r.Key == key })
	if i < 0 {
		return store.Record{Session: &store.Session{Key: key}}
	}
	return b.created[i]
}

func (b *mapBackend) detailsWith(r store.Record, change func(*store.Details)) *store.Details {
	d := r.Detail()
	change(&d)
	return &d
}

func hasPassed(t store.Time) bool { return t <= store.TimeOf(time.Now()) }
