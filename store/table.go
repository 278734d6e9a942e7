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
	for e := t.chains[t.chainOf(key)]; e != nil; e = e.chained {
		if e.session.Load().Key == key {
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
	at := &t.chains[t.chainOf(e.session.Load().Key)]
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

// chainOf is the index of the chain that key belongs to. The first byte of the
// key has chosen the shard; these others are independent of it.
func (t *table) chainOf(key Key) int {
	n := uint(len(t.chains))
	mask := uint(1)<<bits.Len(n-1) - 1
	i := uint(binary.LittleEndian.Uint64(key[24:])) & mask
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
	first := &t.chains[t.chainOf(e.session.Load().Key)]
	e.chained, *first = *first, e
}
