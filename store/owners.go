package store

import (
	"cmp"
	"hash/maphash"
	"iter"
	"slices"
	"sync"
)

// owners lists the sessions of every owner. The lists are linked through the entries
// themselves, so that an owner with one session costs one slot of a map.
type owners struct {
	seed   maphash.Seed // random, so that nobody can choose user IDs that share a list
	shards [1024]ownerShard
}

type ownerShard struct {
	sync.Mutex
	first map[uint64]*entry // by hash, which takes half the memory of a map by owner
}

// An ownerList is the list of an owner's sessions. Owners with the same hash share a list;
// entries tells them apart. Only [owners.lock] returns one, so its shard is locked.
type ownerList struct {
	*ownerShard
	hash  uint64
	owner string
}

// lock locks the list of an owner's sessions and returns it. The caller must Unlock it.
func (o *owners) lock(owner string) ownerList {
	hash := maphash.String(o.seed, owner)
	list := ownerList{&o.shards[hash%uint64(len(o.shards))], hash, owner}
	list.Lock()
	return list
}

func (l ownerList) entries() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for e := l.first[l.hash]; e != nil; {
			next := e.next // e may be removed meanwhile
			if e.session.Load().Owner == l.owner && !yield(e) {
				return
			}
			e = next
		}
	}
}

// page returns the first max entries whose ID is greater than after, in the order of IDs.
func (l ownerList) page(after string, max int) []*entry {
	idOf := func(e *entry) string { return e.session.Load().ID }
	var page []*entry
	for e := range l.entries() {
		id := idOf(e)
		if id <= after || len(page) == max && id >= idOf(page[max-1]) {
			continue
		}
		at, _ := slices.BinarySearchFunc(page, id, func(e *entry, id string) int { return cmp.Compare(idOf(e), id) })
		page = slices.Insert(page, at, e)
		page = page[:min(len(page), max)]
	}
	return page
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

// prune removes the sessions of a list that are gone, and returns the others, the least
// recently seen first. If it only skipped them, a delayed Touch might still extend one.
func (m *Memory) prune(list ownerList) []Record {
	live := slices.DeleteFunc(m.records(list), func(r Record) bool {
		if !isGone(r) {
			return false
		}
		_, ok := m.removeIf(list, r.Key, "", isGone)
		return ok
	})
	slices.SortFunc(live, func(a, b Record) int { return cmp.Compare(a.LastSeen, b.LastSeen) })
	return live
}

// records returns all sessions of a list.
func (m *Memory) records(list ownerList) []Record {
	var records []Record
	for e := range list.entries() {
		records = append(records, m.recordOf(e))
	}
	return records
}

// recordOf returns the record of an entry of a locked list.
func (m *Memory) recordOf(e *entry) Record {
	s := m.shard(e.session.Load().Key)
	s.Lock()
	defer s.Unlock()
	return e.record()
}
