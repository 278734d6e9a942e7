package store

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// A table is a hash table of entries by key. It has as many chains as entries, so that a
// chain is about one entry long. It grows and shrinks by one chain at a time (linear
// hashing, Litwin 1980), so that no call pays for a rehash. A Go map would hold every key a
// second time, would never shrink, and could not be swept in parts.
type table struct {
	chains   []*entry
	count    int
	sweepPos int // the chain that nextChain returned last
}

func newTable() table { return table{chains: make([]*entry, 1)} }

func (t *table) find(key Key) *entry {
	hash := hashOf(key)
	for e := t.chains[t.chainOf(hash)]; e != nil; e = e.chained {
		if e.hash == hash && e.session.Load().Key == key {
			return e
		}
	}
	return nil
}

func (t *table) add(e *entry) {
	t.push(e)
	t.count++
	if last := len(t.chains); t.count > last {
		// Until now, the entries of the new chain were in the chain whose index is the
		// new index without its highest bit.
		t.chains = append(t.chains, nil)
		t.redistribute(t.detachChain(last &^ (1 << (bits.Len(uint(last)) - 1))))
	}
}

func (t *table) remove(e *entry) {
	at := &t.chains[t.chainOf(e.hash)]
	for *at != e {
		at = &(*at).chained
	}
	*at = e.chained
	e.chained = nil
	t.count--
	if last := len(t.chains) - 1; last > t.count && last > 0 {
		first := t.detachChain(last)
		t.chains = t.chains[:last]
		t.redistribute(first)
		if cap(t.chains) > 64 && cap(t.chains) > 4*last {
			t.chains = slices.Clone(t.chains)
		}
	}
}

// nextChain returns the next chain, and after the last one the first.
func (t *table) nextChain() *entry {
	t.sweepPos = (t.sweepPos + 1) % len(t.chains)
	return t.chains[t.sweepPos]
}

// chainOf returns the index of the chain that keys with this hash belong to.
func (t *table) chainOf(hash uint64) int {
	n := uint(len(t.chains))
	mask := uint(1)<<bits.Len(n-1) - 1
	i := uint(hash) & mask
	if i >= n {
		i &= mask >> 1 // the table has not grown to its chain yet
	}
	return int(i)
}

// detachChain empties a chain and returns its entries.
func (t *table) detachChain(i int) (first *entry) {
	first, t.chains[i] = t.chains[i], nil
	return first
}

// redistribute adds the entries of a detached chain to the chains they belong to now.
func (t *table) redistribute(first *entry) {
	for first != nil {
		next := first.chained
		t.push(first)
		first = next
	}
}

func (t *table) push(e *entry) {
	first := &t.chains[t.chainOf(e.hash)]
	e.chained, *first = *first, e
}

// hashOf returns a part of the key, which is a SHA-256 and so random already. It leaves out
// the first byte, which selects the shard.
func hashOf(key Key) uint64 { return binary.LittleEndian.Uint64(key[24:]) }
