package store

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// A table finds entries by key: chains of entries, as many as there are entries,
// so that a chain is about one long. It grows and shrinks by one chain at a time
// (linear hashing, Litwin 1980), so no call pays for the rest. A Go map would
// hold every key a second time, never shrink, and could not be swept in parts.
type table struct {
	chains []*entry
	count  int
	swept  int // the chain that nextChain returned last
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
		// Without its highest bit, an index is the chain that held until
		// now what belongs to it.
		t.chains = append(t.chains, nil)
		t.move(t.take(last &^ (1 << (bits.Len(uint(last)) - 1))))
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
		rest := t.take(last)
		t.chains = t.chains[:last]
		t.move(rest)
		if cap(t.chains) > 64 && cap(t.chains) > 4*last {
			t.chains = slices.Clone(t.chains)
		}
	}
}

// nextChain returns the chains in turn, from the first again after the last.
func (t *table) nextChain() *entry {
	t.swept = (t.swept + 1) % len(t.chains)
	return t.chains[t.swept]
}

// chainOf is the index of the chain that a key with this hash belongs to.
func (t *table) chainOf(hash uint64) int {
	n := uint(len(t.chains))
	mask := uint(1)<<bits.Len(n-1) - 1
	i := uint(hash) & mask
	if i >= n {
		i &= mask >> 1 // the chain it would have comes with later growth
	}
	return int(i)
}

func (t *table) take(i int) (first *entry) {
	first, t.chains[i] = t.chains[i], nil
	return first
}

func (t *table) move(first *entry) {
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

// hashOf is a part of the key, which is random in itself: it is a SHA-256. The
// first byte is left out, for it has chosen the shard.
func hashOf(key Key) uint64 { return binary.LittleEndian.Uint64(key[24:]) }
