package store

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"sync"
)

// owners lists the sessions of every owner. It holds no pointers but those of owners with
// several sessions, so that the garbage collector has nothing to follow for the others.
type owners struct {
	seed   maphash.Seed // random, so that nobody can choose user IDs that share a list
	shards [1024]ownerShard
}

// An ownerShard holds the owners with the same lowest bits of their hash, by other bits, which
// takes less memory than their names.
type ownerShard struct {
	sync.Mutex
	single  map[uint32]ref    // the lists that are one session long
	several map[uint32]blocks // the others
}

// A ref names a slot of a [Memory]: the shard is in its highest 8 bits, the slot's index in
// the others. It is valid as long as it is in a list that is locked.
type ref uint32

// An ownerList is the list of an owner's sessions, in the order of their IDs. Owners with the
// same hash share a list, in which one owner's sessions follow the other's. Only
// [Memory.lockOwner] returns one, so its shard is locked.
type ownerList struct {
	*ownerShard
	memory *Memory
	hash   uint32
	owner  string
}

// refTo returns the ref to a slot in the shard of a key.
func refTo(key Key, slot uint32) ref { return ref(key[0])<<24 | ref(slot) }

// lockOwner locks the list of an owner's sessions and returns it. The caller must Unlock it.
func (m *Memory) lockOwner(owner string) ownerList {
	hash := maphash.String(m.owners.seed, owner)
	list := ownerList{&m.owners.shards[hash%uint64(len(m.owners.shards))], m, uint32(hash >> 32), owner}
	list.Lock()
	return list
}

// blocks returns the list. Only an empty one has no block.
func (l ownerList) blocks() blocks {
	if r, ok := l.single[l.hash]; ok {
		return blocks{{r}}
	}
	return l.several[l.hash]
}

// set makes b the list.
func (l ownerList) set(b blocks) {
	delete(l.single, l.hash)
	switch {
	case len(b) == 0:
		delete(l.several, l.hash)
	case len(b) == 1 && len(b[0]) == 1:
		delete(l.several, l.hash)
		l.setSingle(b[0][0])
	default:
		if l.several == nil {
			l.ownerShard.several = map[uint32]blocks{}
		}
		l.several[l.hash] = b
	}
}

// setSingle makes r the list, which is empty or one session long.
func (l ownerList) setSingle(r ref) {
	if l.single == nil {
		l.ownerShard.single = map[uint32]ref{}
	}
	l.single[l.hash] = r
}

// add adds a session that is in the slot r.
func (l ownerList) add(s *Session, r ref) {
	b := l.blocks()
	if b == nil {
		l.setSingle(r)
		return
	}
	b.insert(l.search(b, s.ID, s.Key), r)
	l.set(b)
}

// find returns the position of a session. It returns false if the list has no session with
// this ID and this key.
func (l ownerList) find(s *Session) (position, bool) {
	if r, ok := l.single[l.hash]; ok {
		return position{}, l.memory.recordAt(r).Key == s.Key
	}
	b := l.several[l.hash]
	p := l.search(b, s.ID, s.Key)
	return p, !b.isEnd(p) && l.memory.recordAt(b.at(p)).Key == s.Key
}

// removeAt removes the session at p, whose slot may be free by now.
func (l ownerList) removeAt(p position) {
	if _, ok := l.single[l.hash]; ok {
		delete(l.single, l.hash)
		return
	}
	b := l.several[l.hash]
	b.remove(p)
	l.set(b)
}

// search returns the position of the first session of the owner with at least this ID, and of
// the same ID, with at least this key. It may be that of another owner's session, or the end.
func (l ownerList) search(b blocks, id string, key Key) position {
	return b.search(func(r ref) bool {
		s := l.memory.recordAt(r).Session
		return cmp.Or(cmp.Compare(s.Owner, l.owner), cmp.Compare(s.ID, id), bytes.Compare(s.Key[:], key[:])) < 0
	})
}

// from returns the first max sessions of the owner with at least this ID.
func (l ownerList) from(id string, max int) (page []Record) {
	b := l.blocks()
	for p := l.search(b, id, Key{}); !b.isEnd(p) && len(page) < max; p = b.next(p) {
		r := l.memory.recordAt(b.at(p))
		if r.Owner != l.owner {
			break
		}
		page = append(page, r)
	}
	return page
}

// prune removes the sessions of a list that are gone, and returns the others, the least
// recently seen first. If it only skipped them, a delayed Touch might still extend one.
func (m *Memory) prune(list ownerList) []Record {
	live := slices.DeleteFunc(list.from("", math.MaxInt), func(r Record) bool {
		if !isGone(r) {
			return false
		}
		_, ok := m.removeIf(list, r.Session, "", isGone)
		return ok
	})
	slices.SortFunc(live, func(a, b Record) int { return cmp.Compare(a.LastSeen, b.LastSeen) })
	return live
}

// recordAt returns the record in a slot that a locked list names.
func (m *Memory) recordAt(r ref) Record {
	s := &m.shards[r>>24]
	s.Lock()
	defer s.Unlock()
	return s.record(&s.slots[r&(maxSlots-1)])
}
