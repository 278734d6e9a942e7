package store

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"
)

// Memory is the [Backend] of a single process. It is also a [Watcher]. Its sessions are
// lost when the process ends and are not shared with other processes: behind a load
// balancer, every node would have its own logins. Memory does not limit the total number of
// sessions; [Limit] limits them for each owner.
//
// By this machine's clock, a session past [Record.GoneAt] does not count for a limit. After
// [Grace], later Creates and Replaces free its memory, a few sessions each, without a
// goroutine, a timer or a pause. In a steady stream of logins, about one in ten of the
// sessions held has expired; when logins stop, expired sessions stay until they resume.
//
// What remains of a session that was ended or moved, where a [Backend] has to keep it, takes
// about as much memory as a session without values.
//
// Sessions are together in memory, about ten at a time. Whoever keeps a Record or a string of
// one therefore keeps the memory of its neighbors too: [strings.Clone] what outlives a request.
//
// Beyond the errors of this package, Memory returns an error for a session without an
// owner, for a key that is in use, and for a Replace that changes the owner.
type Memory struct {
	// A session is in exactly one shard, and exists if it is there. The owners' lists
	// name the same sessions, for Create and by ID.
	//
	// Lock order: an owner's list first, then shards by rising index. A session is added
	// and removed with the list locked, so whoever has locked it knows that the slots that
	// it names hold the owner's sessions. Load, Touch and Save need only the shard.
	shards   [256]shard // by the first byte of the key, which is as random as SHA-256
	owners   owners
	watchers watchers
}

type shard struct {
	sync.Mutex
	table
	_ [56]byte // pads to a whole number of cache lines, so that no two shards share one
}

// sweepPerLogin is the number of a shard's chains, each about one session long, that a
// login searches for expired sessions. A round through a shard with n sessions thus takes
// n/8 logins, during which about n/8 more sessions may expire.
const sweepPerLogin = 8

var (
	errKeyTaken     = errors.New("store: a session has this key already; make keys from fresh randomness")
	errFull         = errors.New("store: Memory holds as many sessions as it can")
	errNoOwner      = errors.New("store: a session needs an owner")
	errOwnerChanged = errors.New("store: a session cannot be replaced by one of another owner; create a new one")
)

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	m := &Memory{owners: owners{seed: maphash.MakeSeed()}}
	for i := range m.shards {
		m.shards[i].table = newTable()
	}
	return m
}

// Load implements [Backend]. It allocates nothing.
func (m *Memory) Load(_ context.Context, key Key) (Record, error) {
	s := m.shard(key)
	s.Lock()
	defer s.Unlock()

	r := s.record(s.find(key))
	if err := lookupErr(r.Session); err != nil {
		return Record{}, err
	}
	return r, nil
}

// Touch implements [Backend]. It allocates nothing.
func (m *Memory) Touch(_ context.Context, key Key, seen Time) error {
	s := m.shard(key)
	s.Lock()
	defer s.Unlock()

	slot := s.find(key)
	if r := s.record(slot); lookupErr(r.Session) != nil || seen >= r.Deadline() {
		return ErrNotFound
	}
	slot.lastSeen = max(slot.lastSeen, seen)
	return nil
}

// Save implements [Backend].
func (m *Memory) Save(_ context.Context, r Record) error {
	s := m.shard(r.Key)
	s.Lock()
	defer s.Unlock()

	slot := s.find(r.Key)
	if lookupErr(s.record(slot).Session) != nil {
		return ErrNotFound
	}
	if s.session(slot).Version != r.Version-1 {
		return ErrConflict
	}
	s.replace(slot, r.Session)
	return nil
}

// Create implements [Backend].
func (m *Memory) Create(_ context.Context, r Record, limit Limit) (ended []Record, err error) {
	if r.Owner == "" {
		return nil, errNoOwner
	}
	m.sweep(r.Key)

	defer func() { m.watchers.notify(ended, ReasonTooManySessions) }() // after the lock is released

	list := m.lockOwner(r.Owner)
	defer list.Unlock()

	var others []Record
	if limit.Max > 0 {
		others = m.prune(list)
		if limit.Refuse && len(others) >= limit.Max {
			return nil, ErrLimit
		}
	}

	ref, err := m.addNew(r)
	if err != nil {
		return nil, err
	}

	// The list is locked and gets the new session last, so that ByOwner never returns
	// more sessions than the limit.
	for limit.Max > 0 && len(others) >= limit.Max {
		oldest := others[0]
		untouched := func(now Record) bool { return now.LastSeen == oldest.LastSeen }
		if r, ok := m.removeIf(list, oldest.Session, ReasonTooManySessions, untouched); ok {
			ended = append(ended, r)
			others = others[1:]
		} else {
			others = m.prune(list) // it was touched, so another may be the oldest now
		}
	}
	list.add(r.Session, ref)
	return ended, nil
}

// Replace implements [Backend].
func (m *Memory) Replace(ctx context.Context, old Key, version uint64, r Record) error {
	m.sweep(r.Key)

	list := m.lockOwner(r.Owner)
	defer list.Unlock()
	current, err := m.Load(ctx, old)
	switch {
	case err != nil:
		return err
	case current.Version != version:
		return ErrConflict
	case current.Owner != r.Owner:
		return errOwnerChanged
	}
	position, _ := list.find(current.Session) // found, because the list has been locked since before Load
	ref, err := m.move(current, r)
	if err != nil {
		return err
	}
	list.removeAt(position)
	list.add(r.Session, ref)
	return nil
}

// move removes the session of a locked list from its shard, and adds r instead.
func (m *Memory) move(old, r Record) (ref, error) {
	from, to := m.shard(old.Key), m.shard(r.Key)
	defer m.lockBoth(old.Key, r.Key)()
	if from.record(from.find(old.Key)).Version != old.Version {
		return 0, ErrConflict // saved meanwhile
	}
	if err := to.mayAdd(r.Key); err != nil {
		return 0, err
	}
	from.remove(old.Key)
	from.add(newMoveMarker(old.Key, r))
	return refTo(r.Key, to.add(r)), nil
}

// Delete implements [Backend].
func (m *Memory) Delete(ctx context.Context, key Key, reason Reason) (ended Record, err error) {
	r, err := m.Load(ctx, key)
	if err != nil {
		if _, moved := errors.AsType[*MovedError](err); moved {
			return Record{}, err
		}
		return Record{}, nil
	}

	list := m.lockOwner(r.Owner)
	ended, ok := m.removeIf(list, r.Session, reason, func(Record) bool { return true })
	list.Unlock()
	if !ok {
		return m.Delete(ctx, key, reason) // it was removed or moved before the list was locked
	}
	m.watchers.notify([]Record{ended}, reason)
	return ended, nil
}

// LoadByID implements [Backend].
func (m *Memory) LoadByID(_ context.Context, owner, id string) (Record, error) {
	list := m.lockOwner(owner)
	defer list.Unlock()
	if found := list.from(id, 1); len(found) == 1 && found[0].ID == id {
		return found[0], nil
	}
	return Record{}, ErrNotFound
}

// ByOwner implements [Backend].
func (m *Memory) ByOwner(_ context.Context, owner, after string, max int) ([]Record, error) {
	list := m.lockOwner(owner)
	defer list.Unlock()
	return list.from(after+"\x00", max), nil // no ID has a zero byte
}

// DeleteByID implements [Backend].
func (m *Memory) DeleteByID(_ context.Context, ends []End) ([]Record, error) {
	ended := make([]Record, len(ends))
	for i, end := range ends {
		list := m.lockOwner(end.Owner)
		if found := list.from(end.ID, 1); len(found) == 1 && found[0].ID == end.ID {
			ended[i], _ = m.removeIf(list, found[0].Session, end.Reason, func(Record) bool { return true })
		}
		list.Unlock()
		if ended[i].Session != nil {
			m.watchers.notify(ended[i:i+1], end.Reason)
		}
	}
	return ended, nil
}

// Watch implements [Watcher]. Its callback runs in the goroutine of the Delete or Create
// that ended the session, and may call m.
func (m *Memory) Watch(ctx context.Context, ended func(Ending)) error {
	m.watchers.add(ctx, ended)
	return nil
}

// addNew adds a session to its shard.
func (m *Memory) addNew(r Record) (ref, error) {
	s := m.shard(r.Key)
	s.Lock()
	defer s.Unlock()
	if err := s.mayAdd(r.Key); err != nil {
		return 0, err
	}
	return refTo(r.Key, s.add(r)), nil
}

// mayAdd returns an error if the table cannot hold a session with this key.
func (t *table) mayAdd(key Key) error {
	switch {
	case t.find(key) != nil:
		return errKeyTaken
	case t.full():
		return errFull
	}
	return nil
}

// removeIf removes a session if it belongs to the list's owner, still has its key, and
// condition holds for it. It leaves a tombstone if the reason is retained.
func (m *Memory) removeIf(list ownerList, session *Session, reason Reason, condition func(Record) bool) (Record, bool) {
	var at position
	listed := list.owner != "" // tombstones and move markers are in no list
	if listed {
		var found bool
		if at, found = list.find(session); !found {
			return Record{}, false
		}
	}
	removed, ok := m.removeFromShard(session.Key, func(r Record) bool { return r.Owner == list.owner && condition(r) }, reason)
	if ok && listed {
		list.removeAt(at)
	}
	return removed, ok
}

func (m *Memory) removeFromShard(key Key, condition func(Record) bool, reason Reason) (Record, bool) {
	s := m.shard(key)
	s.Lock()
	defer s.Unlock()

	r := s.record(s.find(key))
	if r.Session == nil || !condition(r) {
		return Record{}, false
	}
	s.remove(key)
	if r.Owner != "" && reason.Retained() {
		s.add(newTombstone(key, reason))
	}
	return r, true
}

// sweep removes what may be forgotten from the next few chains of key's shard.
// The caller holds no lock: a session's owner is known only after its shard has been read,
// but the owner's list has to be locked before the shard.
func (m *Memory) sweep(key Key) {
	var buffer [2 * sweepPerLogin]*Session
	found := buffer[:0]
	now := TimeOf(time.Now())
	forgettable := func(r Record) bool { return forgetAt(r) <= now }

	s := m.shard(key)
	s.Lock()
	for range min(sweepPerLogin, len(s.chains)) {
		for i := s.nextChain(); i != 0; i = s.slots[i].chained {
			if s.mayForget(&s.slots[i], now) {
				found = append(found, s.session(&s.slots[i]))
			}
		}
	}
	s.Unlock()

	for _, session := range found {
		list := m.lockOwner(session.Owner)
		m.removeIf(list, session, "", forgettable) // it may have been touched meanwhile
		list.Unlock()
	}
}

func (m *Memory) shard(key Key) *shard { return &m.shards[key[0]] }

// lockBoth locks the shards of two keys in order, or the one they share, and returns a
// function that unlocks them.
func (m *Memory) lockBoth(a, b Key) (unlock func()) {
	low, high := &m.shards[min(a[0], b[0])], &m.shards[max(a[0], b[0])]
	low.Lock()
	if low == high {
		return low.Unlock
	}
	high.Lock()
	return func() { high.Unlock(); low.Unlock() }
}

// forgetAt returns when a session that nobody touches any more may be forgotten.
func forgetAt(r Record) Time { return r.GoneAt().Add(Grace) }

func isGone(r Record) bool { return r.GoneAt() <= TimeOf(time.Now()) }
