package store

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// A table is a hash table of sessions by key. It has as many chains as sessions, so that a
// chain is about one session long. It grows and shrinks by one chain at a time (linear
// hashing, Litwin 1980), so that no call pays for a rehash. A Go map would hold every key a
// second time, would never shrink, and could not be swept in parts.
//
// Chains link slots by their index, not by pointers, which the garbage collector would have
// to follow. A slot that is free is reused. Slots do not move, so that owners can name them.
type table struct {
	slots    []slot   // the first is never used: an index of 0 is none
	free     uint32   // the first of the free slots, which are chained
	chains   []uint32 // the first slot of each
	count    int
	sweepPos int // the chain that nextChain returned last
	packs    packs
}

// A slot names a session in Memory, or what remains of one: see tombstone.go.
type slot struct {
	lastSeen Time
	hash     uint32 // of the key, which is in another cache line
	chained  uint32
	place    place
	sweepAt  uint32 // in seconds since 1970: before, the session may not be forgotten, see mayForget
}

// maxSlots is how many slots a table can have: a [ref] has 24 bits for them.
const maxSlots = 1 << 24

func newTable() table {
	return table{slots: make([]slot, 1), chains: make([]uint32, 1), packs: packs{all: make([]pack, 1)}}
}

// find returns the slot of a key, or nil. It is valid until the table changes.
func (t *table) find(key Key) *slot {
	hash := hashOf(key)
	for i := t.chains[t.chainOf(hash)]; i != 0; i = t.slots[i].chained {
		if s := &t.slots[i]; s.hash == hash && t.session(s).Key == key {
			return s
		}
	}
	return nil
}

func (t *table) full() bool { return t.free == 0 && len(t.slots) >= maxSlots }

// add adds a session, whose key must not be in the table, and returns the index of its slot.
func (t *table) add(r Record) uint32 {
	i := t.free
	if i != 0 {
		t.free = t.slots[i].chained
	} else {
		i = uint32(len(t.slots))
		t.slots = append(t.slots, slot{})
	}
	t.slots[i] = slot{lastSeen: r.LastSeen, hash: hashOf(r.Key), sweepAt: sweepTime(forgetAt(r))}
	t.put(&t.slots[i], r.Session)
	t.push(i)
	t.count++
	if last := len(t.chains); t.count > last {
		// Until now, the sessions of the new chain were in the chain whose index is the
		// new index without its highest bit.
		t.chains = append(t.chains, 0)
		t.redistribute(t.detachChain(last &^ (1 << (bits.Len(uint(last)) - 1))))
	}
	return i
}

// remove removes the session of a key, which must be in the table.
func (t *table) remove(key Key) {
	s := t.find(key)
	at := &t.chains[t.chainOf(s.hash)]
	for &t.slots[*at] != s {
		at = &t.slots[*at].chained
	}
	i := *at
	*at = s.chained
	from := s.place
	*s = slot{chained: t.free}
	t.free = i
	t.count--
	t.drop(from)
	if last := len(t.chains) - 1; last > t.count && last > 0 {
		first := t.detachChain(last)
		t.chains = t.chains[:last]
		t.redistribute(first)
		if cap(t.chains) > 64 && cap(t.chains) > 4*last {
			t.chains = slices.Clone(t.chains)
		}
	}
	if t.count == 0 && len(t.slots) > 64 {
		*t = newTable()
	}
}

// replace lets s name another session with the same key.
func (t *table) replace(s *slot, session *Session) {
	if s.place.isLoose() && len(session.Values) <= maxPackedValues {
		t.packs.loose[s.place.at()] = clipped(session)
		return
	}
	t.makeRoom() // which may put s elsewhere
	from := s.place
	t.put(s, session)
	t.drop(from)
}

// nextChain returns the first slot of the next chain, and after the last one of the first.
func (t *table) nextChain() uint32 {
	t.sweepPos = (t.sweepPos + 1) % len(t.chains)
	return t.chains[t.sweepPos]
}

// mayForget reports whether what s names may be forgotten. Activity only postpones that, so
// that it need not look at the session, which is in another cache line, until the earliest
// moment that add has found, or mayForget itself.
func (t *table) mayForget(s *slot, now Time) bool {
	if now < Time(s.sweepAt)*1000 {
		return false
	}
	at := forgetAt(t.record(s))
	s.sweepAt = sweepTime(at)
	return at <= now
}

// sweepTime returns the sweepAt of what may be forgotten at a time.
func sweepTime(forgetAt Time) uint32 { return uint32(min(max(forgetAt/1000, 0), math.MaxUint32)) }

// chainOf returns the index of the chain that keys with this hash belong to.
func (t *table) chainOf(hash uint32) int {
	n := uint(len(t.chains))
	mask := uint(1)<<bits.Len(n-1) - 1
	i := uint(hash) & mask
	if i >= n {
		i &= mask >> 1 // the table has not grown to its chain yet
	}
	return int(i)
}

// detachChain empties a chain and returns its slots.
func (t *table) detachChain(i int) (first uint32) {
	first, t.chains[i] = t.chains[i], 0
	return first
}

// redistribute adds the slots of a detached chain to the chains they belong to now.
func (t *table) redistribute(first uint32) {
	for first != 0 {
		next := t.slots[first].chained
		t.push(first)
		first = next
	}
}

func (t *table) push(i uint32) {
	s := &t.slots[i]
	first := &t.chains[t.chainOf(s.hash)]
	s.chained, *first = *first, i
}

// hashOf returns a part of the key, which is a SHA-256 and so random already. It leaves out
// the first byte, which selects the shard, and the last, which a guard may choose.
func hashOf(key Key) uint32 { return binary.LittleEndian.Uint32(key[24:]) }

func (t *table) session(s *slot) *Session {
	if s.place.isLoose() {
		return t.packs.loose[s.place.at()]
	}
	return &t.packs.all[s.place.pack()].sessions[s.place.at()]
}

// record returns what s names, which is nothing if s is nil.
func (t *table) record(s *slot) Record {
	if s == nil {
		return Record{}
	}
	return Record{t.session(s), s.lastSeen}
}
