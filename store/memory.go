package store

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Memory is the [Backend] of a single process. Its sessions are lost when the
// process ends and are not shared with any other: behind a load balancer, every
// node would have logins of its own. It does not bound how many sessions there
// are; [Limit] does that for each owner.
//
// A session past [Record.GoneAt], by this machine's clock, does not count for a
// limit. After [Grace] its memory is given back by later Creates and Replaces, a
// little by each, without a goroutine, a timer or a pause. In a steady stream of
// logins, about one in ten of those held is dead; when logins stop, what had expired
// by then stays until they resume.
//
// What it keeps after an end or a move, where a [Backend] has to, takes about as
// much memory as a session without values. Memory is a [Watcher]. Beyond the errors
// of this package, it refuses a key that is already taken and a Replace that changes
// the owner.
type Memory struct {
	// A session lives in exactly one shard, and whether it exists is decided
	// there. The owners' lists hold the same sessions for Create and ByOwner.
	//
	// Lock order: an owner's list first, then shards by rising index. A
	// session enters and leaves under both locks, so with the list held it
	// can be neither added nor removed. Load, Touch and Save need only the
	// shard.
	shards   [256]shard // by the first byte of the key, which is as random as SHA-256
	owners   owners
	watchers watchers
}

type shard struct {
	sync.Mutex
	table
	_ [16]byte // up to a cache line, so that cores do not share one
}

// An entry is a session's place in Memory. Its record is guarded by its shard's
// lock, except that the session may be read without it for its key and owner,
// which never change.
type entry struct {
	session  atomic.Pointer[Session]
	lastSeen Time

	hash       uint64 // of the key, which is in another cache line
	chained    *entry // in the shard's table, guarded by the shard
	prev, next *entry // in the owner's list, guarded by the list
}

// sweepPerLogin is how many chains of a shard, each about one session long, a
// login looks through for expired sessions. A round of a shard with n sessions
// thus takes n/8 logins to it, in which about n/8 more may have died unseen.
const sweepPerLogin = 8

var (
	errTaken  = errors.New("store: a session has this key already; make keys from fresh randomness")
	errNobody = errors.New("store: a session needs an owner")
	errOwner  = errors.New("store: a session can not be replaced by one of another owner; create a new one")
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
	if err := e.gone(); err != nil {
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
	if e.gone() != nil || seen >= e.record().Deadline() {
		return ErrNotFound
	}
	e.lastSeen = max(e.lastSeen, seen)
	return nil
}

// Save implements [Backend].
func (m *Memory) Save(_ context.Context, key Key, version uint64, values []byte) error {
	s := m.shard(key)
	s.Lock()
	defer s.Unlock()

	e := s.find(key)
	if e.gone() != nil {
		return ErrNotFound
	}
	saved := *e.session.Load() // a copy: others may be reading the original
	if saved.Version != version {
		return ErrConflict
	}
	saved.Version++
	saved.Values = values
	e.session.Store(&saved)
	return nil
}

// Create implements [Backend].
func (m *Memory) Create(_ context.Context, r Record, limit Limit) (ended []Record, err error) {
	if r.Owner == "" {
		return nil, errNobody
	}
	m.sweep(r.Key)

	defer func() { m.watchers.tell(ended, ReasonTooManySessions) }() // with no lock held

	list := m.owners.list(r.Owner)
	list.Lock()
	defer list.Unlock()

	var others []Record
	if limit.Max > 0 {
		others = m.live(list)
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
		return nil, errTaken
	}

	// Whoever looks at this owner's sessions waits for the list, so nobody
	// sees one too many; the new one is not listed before the others went.
	for limit.Max > 0 && len(others) >= limit.Max {
		oldest := others[0]
		unseen := func(now Record) bool { return now.LastSeen == oldest.LastSeen }
		if r, ok := m.end(list, oldest.Key, ReasonTooManySessions, unseen); ok {
			ended = append(ended, r)
			others = others[1:]
		} else {
			others = m.live(list) // it was touched, and may no longer be the oldest
		}
	}
	list.add(e)
	return ended, nil
}

// Replace implements [Backend].
func (m *Memory) Replace(_ context.Context, old Key, version uint64, r Record) error {
	m.sweep(r.Key)

	list := m.owners.list(r.Owner)
	list.Lock()
	defer list.Unlock()
	from, to := m.shard(old), m.shard(r.Key)
	defer m.lockBoth(old, r.Key)()

	e := from.find(old)
	if err := e.gone(); err != nil {
		return err
	}
	switch s := e.session.Load(); {
	case s.Version != version:
		return ErrConflict
	case s.Owner != r.Owner:
		return errOwner
	case to.find(r.Key) != nil:
		return errTaken
	}
	from.remove(e)
	list.remove(e)
	from.add(newMove(old, r))
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
	err = e.gone()
	s.Unlock()
	var moved *MovedError
	switch {
	case errors.As(err, &moved):
		return Record{}, err
	case err != nil:
		return Record{}, nil
	}

	list := m.owners.list(e.session.Load().Owner)
	list.Lock()
	ended, ok := m.end(list, key, reason, func(Record) bool { return true })
	list.Unlock()
	if !ok {
		return m.Delete(ctx, key, reason) // it went or moved between the locks
	}
	m.watchers.tell([]Record{ended}, reason)
	return ended, nil
}

// ByOwner implements [Backend].
func (m *Memory) ByOwner(_ context.Context, owner string) ([]Record, error) {
	list := m.owners.list(owner)
	list.Lock()
	defer list.Unlock()
	return m.records(list), nil
}

// Watch implements [Watcher].
func (m *Memory) Watch(ctx context.Context, ended func(Ending)) error {
	m.watchers.add(ctx, ended)
	return nil
}

// end removes what is at a key of a locked list if the condition holds for it, and
// leaves the reason behind, if there is one.
func (m *Memory) end(list ownerList, key Key, reason Reason, condition func(Record) bool) (Record, bool) {
	s := m.shard(key)
	s.Lock()
	defer s.Unlock()

	e := s.find(key)
	if e == nil || e.session.Load().Owner != list.owner || !condition(e.record()) {
		return Record{}, false
	}
	s.remove(e)
	if list.owner != "" { // what is left of a session is in no list
		list.remove(e)
		if reason.Retained() {
			s.add(newTombstone(key, reason))
		}
	}
	return e.record(), true
}

// sweep takes out what may be forgotten among the next few in the shard of key. The
// caller holds no lock: the owner of each is known only after the shard has been
// looked at, and must be locked before it.
func (m *Memory) sweep(key Key) {
	var room [2 * sweepPerLogin]*Session
	dead := room[:0]
	now := TimeOf(time.Now())
	forgettable := func(r Record) bool { return r.GoneAt().Add(Grace) <= now }

	s := m.shard(key)
	s.Lock()
	for range min(sweepPerLogin, len(s.chains)) {
		for e := s.nextChain(); e != nil; e = e.chained {
			if forgettable(e.record()) {
				dead = append(dead, e.session.Load())
			}
		}
	}
	s.Unlock()

	for _, d := range dead {
		list := m.owners.list(d.Owner)
		list.Lock()
		m.end(list, d.Key, "", forgettable)
		list.Unlock()
	}
}

func (m *Memory) shard(key Key) *shard { return &m.shards[key[0]] }

// lockBoth locks the shards of two keys in order, or the one they share, and
// returns what unlocks them.
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

func expired(r Record) bool { return r.GoneAt() <= TimeOf(time.Now()) }
