package values

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// version is the first byte of every Bag that is not empty. Increment it when the format
// changes, or the meaning of a tag in codec.go.
const version = 1

// Unmarshal is the inverse of [Bag.Marshal]. It splits b into entries without decoding
// any, and accepts only what Marshal writes: sorted, complete, without empty sessions,
// keys or values. It copies b. If b is empty it returns an empty Bag, not nil.
func Unmarshal(b []byte) (Bag, error) {
	bag := Bag{}
	if len(b) == 0 {
		return bag, nil
	}
	if b[0] != version {
		return nil, fmt.Errorf("stored session values have format %d, this version reads only %d", b[0], version)
	}
	// One copy, which all keys and values are substrings of.
	rest := string(b[1:])
	for last, more := "", true; more; more = rest != "" {
		name, tail, ok := cutPart(rest)
		block, tail, ok2 := cutPart(tail)
		if !ok || !ok2 || name <= last && len(bag) > 0 {
			return nil, errCorrupt
		}
		entries, err := unmarshalEntries(block)
		if err != nil {
			return nil, err
		}
		bag[name], last, rest = entries, name, tail
	}
	return bag, nil
}

func unmarshalEntries(block string) (Entries, error) {
	n, err := countParts(block)
	if err != nil || n == 0 || n%2 != 0 {
		return nil, errCorrupt
	}
	entries := make(Entries, n/2)
	for i := range entries {
		e := &entries[i]
		e.Key, block, _ = cutPart(block)
		e.Value, block, _ = cutPart(block)
		if e.Key == "" || e.Value == "" || i > 0 && e.Key <= entries[i-1].Key {
			return nil, errCorrupt
		}
	}
	return entries, nil
}

// Marshal returns the bytes to store: equal bytes for equal bags, and nil for a bag
// without entries. It leaves out names without entries.
func (b Bag) Marshal() []byte {
	var buf [512]byte
	var space [4]string
	out, names := buf[:0], space[:0]
	for name := range b {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if len(b[name]) == 0 {
			continue
		}
		if len(out) == 0 {
			out = append(out, version)
		}
		out = appendPart(out, name)
		start := len(out)
		for _, e := range b[name] {
			out = appendPart(out, e.Key)
			out = appendPart(out, e.Value)
		}
		out = closePart(out, start)
	}
	if len(out) == 0 {
		return nil
	}
	return slices.Clip(bytes.Clone(out)) // without spare capacity, as Memory keeps it
}

// MarshalWithin is like Marshal, for at most size bytes. If the bag is larger, it removes
// the oldest messages of the largest flash list (in bytes) from b, a list with its last
// message, and so on. Only lists under gorilla's default flash key count. MarshalWithin
// reports false if the bag is too large even without them. The time it takes is proportional
// to the number of messages and lists.
func (b Bag) MarshalWithin(size int) ([]byte, bool) {
	for {
		out := b.Marshal()
		if len(out) <= size {
			return out, true
		}
		if !b.trimFlash(len(out) - size) {
			return nil, false
		}
	}
}

// trimFlash removes messages, at least one, until about excess bytes are gone. It may
// remove too few, but not too many. It reports false if there are no messages.
func (b Bag) trimFlash(excess int) bool {
	type flashes struct{ name, list string }
	var all []flashes
	for name, entries := range b {
		list := entries.value(flashKey)
		if messages, ok := listElements(list); ok && messages != "" {
			all = append(all, flashes{name, list})
		}
	}
	slices.SortFunc(all, func(a, b flashes) int {
		return cmp.Or(cmp.Compare(len(b.list), len(a.list)), cmp.Compare(a.name, b.name))
	})
	for _, f := range all {
		if excess <= 0 {
			break
		}
		excess -= b.trimList(f.name, f.list, excess)
	}
	return len(all) > 0
}

// trimList removes messages from the front of a list, until excess bytes are gone or the
// list is. It returns no fewer bytes than the bag is then shorter, if the list is gone.
func (b Bag) trimList(name, list string, excess int) (removed int) {
	messages, _ := listElements(list)
	for before := len(messages); messages != "" && before-len(messages) < excess; {
		// cutPart returns no rest if the list is corrupt, so all of it goes.
		_, messages, _ = cutPart(messages)
	}
	i, _ := b[name].search(flashKey)
	trimmed := slices.Clone(b[name])
	if messages != "" {
		trimmed[i].Value = listOf(messages)
		b[name] = trimmed
		return excess
	}
	b[name] = slices.Delete(trimmed, i, i+1)
	removed = len(flashKey) + len(list) + 4*binary.MaxVarintLen32
	if len(trimmed) == 1 {
		removed += len(name)
	}
	return removed
}
