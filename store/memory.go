package store

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
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
// Beyond the errors of this package, Memory returns an error for a session without an
// owner, for a key that is in use, and for a Replace that changes the owner.
type Memory struct {
	// A session is in exactly one shard, and exists if it is there. The owners' lists
	// hold the same sessions, for Create and by ID.
	//
	// Lock order: an owner's list first, then shards by rising index. A session is added
	// and removed under both locks, so with the list locked it can be neither added
	// nor removed. Load, Touch and Save need only the shard.
	shards   [256]shard // by the first byte of the key, which is as random as SHA-256
	owners   owners
	watchers watchers
}

type shard struct {
	sync.Mutex
	table
	_ [16]byte // pads to a cache line, so that no two shards share one
}

// An entry is a session in Memory, or what remains of one: see tombstone.go. Its shard's
// lock guards its record, except that the session's key, ID and owner, which never change,
// may be read without it.
type entry struct {
	session  atomic.Pointer[Session]
	lastSeen Time

	hash       uint64 // of the key, which is in another cache line
	chained    *entry // in the shard's table, guarded by the shard's lock
	prev, next *entry // in the owner's list, guarded by the list's lock
}

// sweepPerLogin is the number of a shard's chains, each about one session long, that a
// login searches for expired sessions. A round through a shard with n sessions thus takes
// n/8 logins, during which about n/8 more sessions may expire.
const sweepPerLogin = 8

var (
	errKeyTaken     = errors.New("store: a session has this key already; make keys from fresh randomness")
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

	e := s.find(key)
	if err := e.lookupErr(); err != nil {
		return Record{}, err
	}
	return e.record(), nil
}

// Touch implements [Backend]. It allocates nothing.
func (m *Memory) Touch(_ context.Context, key Key, seen Time) error {
	s := m.shard(key)
	s.Lock()
	defer s.Unlock()

	e := s.find(key)
	if e.lookupErr() != nil || seen >= e.record().Deadline() {
		return ErrNotFound
	}
	e.lastSeen = max(e.lastSeen, seen)
	return nil
}

// Save implements [Backend].
func (m *Memory) Save(_ context.Context, r Record) error {
	s := m.shard(r.Key)
	s.Lock()
	defer s.Unlock()

	e := s.find(r.Key)
	if e.lookupErr() != nil {
		return ErrNotFound
	}
	saved := *e.session.Load() // a copy, because others may be reading the original
	if saved.Version != r.Version {
		return ErrConflict
	}
	saved.Version++
	saved.Values, saved.Details = r.Values, r.Details
	e.session.Store(&saved)
	return nil
}

// Create implements [Backend].
func (m *Memory) Create(_ context.Context, r Record, limit Limit) (ended []Record, err error) {
	if r.Owner == "" {
		return nil, errNoOwner
	}
	m.sweep(r.Key)

	defer func() { m.watchers.notify(ended, ReasonTooManySessions) }() // after the lock is released

	list := m.owners.lock(r.Owner)
	defer list.Unlock()

	var others []Record
	if limit.Max > 0 {
		others = m.prune(list)
		if limit.Refuse && len(others) >= limit.Max {
			return nil, ErrLimit
		}
	}

	e := newEntry(r)
	s := m.shard(r.Key)
	s.Lock()
	taken := s.find(r.Key) != nil
	if !taken {
		s.add(e)
	}
	s.Unlock()
	if taken {
		return nil, errKeyTaken
	}

	// The list is locked and gets the new session last, so that ByOwner never returns
	// more sessions than the limit.
	for limit.Max > 0 && len(others) >= limit.Max {
		oldest := others[0]
		untouched := func(now Record) bool { return now.LastSeen == oldest.LastSeen }
		if r, ok := m.removeIf(list, oldest.Key, ReasonTooManySessions, untouched); ok {
			ended = append(ended, r)
			others = others[1:]
		} else {
			others = m.prune(list) // it was touched, so another may be the oldest now
		}
	}
	list.add(e)
	return ended, nil
}

// Replace implements [Backend].
func (m *Memory) Replace(_ context.Context, old Key, version uint64, r Record) error {
	m.sweep(r.Key)

	list := m.owners.lock(r.Owner)
	defer list.Unlock()
	from, to := m.shard(old), m.shard(r.Key)
	defer m.lockBoth(old, r.Key)()

	e := from.find(old)
	if err := e.lookupErr(); err != nil {
		return err
	}
	switch s := e.session.Load(); {
	case s.Version != version:
		return ErrConflict
	case s.Owner != r.Owner:
		return errOwnerChanged
	case to.find(r.Key) != nil:
		return errKeyTaken
	}
	from.remove(e)
	list.remove(e)
	from.add(newMoveMarker(old, r))
	e = newEntry(r)
	to.add(e)
	list.add(e)
	return nil
}

// Delete implements [Backend].
func (m *Memory) Delete(ctx context.Context, key Key, reason Reason) (ended Record, err error) {
	s := m.shard(key)
	s.Lock()
	e := s.find(key)
	err = e.lookupErr()
	s.Unlock()
	var moved *MovedError
	switch {
	case errors.As(err, &moved):
		return Record{}, err
	case err != nil:
		return Record{}, nil
	}

	list := m.owners.lock(e.session.Load().Owner)
	ended, ok := m.removeIf(list, key, reason, func(Record) bool { return true })
	list.Unlock()
	if !ok {
		return m.Delete(ctx, key, reason) // it was removed or moved before the list was locked
	}
	m.watchers.notify([]Record{ended}, reason)
	return ended, nil
}

// LoadByID implements [Backend].
func (m *Memory) LoadByID(_ context.Context, owner, id string) (Record, error) {
	list := m.owners.lock(owner)
	defer list.Unlock()
	for e := range list.entries() {
		if e.session.Load().ID == id {
			return m.recordOf(e), nil
		}
	}
	return Record{}, ErrNotFound
}

// ByOwner implements [Backend].
func (m *Memory) ByOwner(_ context.Context, owner, after string, max int) ([]Record, error) {
	list := m.owners.lock(owner)
	defer list.Unlock()
	var page []Record
	for _, e := range list.page(after, max) {
		page = append(page, m.recordOf(e))
	}
	return page, nil
}

// DeleteByID implements [Backend].
func (m *Memory) DeleteByID(_ context.Context, ends []End) ([]Record, error) {
	byOwner := map[string]map[string]int{} // indexes of ends, by owner and ID
	for i, end := range ends {
		if byOwner[end.Owner] == nil {
			byOwner[end.Owner] = map[string]int{}
		}
		byOwner[end.Owner][end.ID] = i
	}
	ended := make([]Record, len(ends))
	for owner, byID := range byOwner {
		list := m.owners.lock(owner)
		for e := range list.entries() {
			s := e.session.Load()
			if i, ok := byID[s.ID]; ok {
				ended[i], _ = m.removeIf(list, s.Key, ends[i].Reason, func(Record) bool { return true })
			}
		}
		list.Unlock()
	}
	for i, r := range ended {
		if r.Session != nil {
			m.watchers.notify([]Record{r}, ends[i].Reason)
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

// removeIf removes the entry at key if it belongs to the list's owner and condition holds
// for it. It leaves a tombstone if the reason is retained.
func (m *Memory) removeIf(list ownerList, key Key, reason Reason, condition func(Record) bool) (Record, bool) {
	s := m.shard(key)
	s.Lock()
	defer s.Unlock()

	e := s.find(key)
	if e == nil || e.session.Load().Owner != list.owner || !condition(e.record()) {
		return Record{}, false
	}
	s.remove(e)
	if list.owner != "" { // tombstones and move markers are in no list
		list.remove(e)
		if reason.Retained() {
			s.add(newTombstone(key, reason))
		}
	}
	return e.record(), true
}

// sweep removes the entries that may be forgotten from the next few chains of key's shard.
// The caller holds no lock: an entry's owner is known only after its shard has been read,
// but the owner's list has to be locked before the shard.
func (m *Memory) sweep(key Key) {
	var buffer [2 * sweepPerLogin]*Session
	found := buffer[:0]
	now := TimeOf(time.Now())
	forgettable := func(r Record) bool { return r.GoneAt().Add(Grace) <= now }

	s := m.shard(key)
	s.Lock()
	for range min(sweepPerLogin, len(s.chains)) {
		for e := s.nextChain(); e != nil; e = e.chained {
			if forgettable(e.record()) {
				found = append(found, e.session.Load())
			}
		}
	}
	s.Unlock()

	for _, session := range found {
		list := m.owners.lock(session.Owner)
		m.removeIf(list, session.Key, "", forgettable) // it may have been touched meanwhile
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

func newEntry(r Record) *entry {
	e := &entry{lastSeen: r.LastSeen, hash: hashOf(r.Key)}
	e.session.Store(r.Session)
	return e
}

func (e *entry) record() Record { return Record{e.session.Load(), e.lastSeen} }

func isGone(r Record) bool { return r.GoneAt() <= TimeOf(time.Now()) }
