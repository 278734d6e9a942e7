package store

import (
	"cmp"
	"hash/maphash"
	"iter"
	"slices"
	"sync"
)

// owners lists the sessions of every owner. The lists run through the entries
// themselves, so that an owner with one session costs one slot of a map.
type owners struct {
	seed   maphash.Seed // random: nobody can choose user IDs that share a list
	shards [64]ownerShard
}

type ownerShard struct {
	sync.Mutex
	first map[uint64]*entry // by hash: half the size of a map by owner
}

// An ownerList is the place of an owner's sessions. Lock it before anything
// else is done with it. Owners with the same hash share a list, and entries
// tells them apart.
type ownerList struct {
	*ownerShard
	hash  uint64
	owner string
}

func (o *owners) list(owner string) ownerList {
	hash := maphash.String(o.seed, owner)
	return ownerList{&o.shards[hash%uint64(len(o.shards))], hash, owner}
}

func (l ownerList) entries() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for e := l.first[l.hash]; e != nil; e = e.next {
			if e.session.Load().Owner == l.owner && !yield(e) {
				return
			}
		}
	}
}

func (l ownerList) add(e *entry) {
	if l.first == nil {
		l.ownerShard.first = make(map[uint64]*entry)
	}
	if e.next = l.first[l.hash]; e.next != nil {
		e.next.prev = e
	}
	l.first[l.hash] = e
}

func (l ownerList) remove(e *entry) {
	switch {
	case e.prev != nil:
		e.prev.next = e.next
	case e.next != nil:
		l.first[l.hash] = e.next
	default:
		delete(l.first, l.hash)
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
}

// live returns the live sessions of a locked list, the least recently seen
// first. It ends the expired ones, since a Touch that is under way might yet
// bring back one that was merely passed over.
func (m *Memory) live(list ownerList) []Record {
	live := slices.DeleteFunc(m.records(list), func(r Record) bool {
		if !expired(r) {
			return false
		}
		_, ok := m.end(list, r.Key, "", expired)
		return ok
	})
	slices.SortFunc(live, func(a, b Record) int { return cmp.Compare(a.LastSeen, b.LastSeen) })
	return live
}

// records returns all sessions of a locked list.
func (m *Memory) records(list ownerList) []Record {
	var records []Record
	for e := range list.entries() {
		s := m.shard(e.session.Load().Key)
		s.Lock()
		records = append(records, e.record())
		s.Unlock()
	}
	return records
}
