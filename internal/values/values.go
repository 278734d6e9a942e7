// Package values keeps the values of gorilla sessions as bytes that can be
// compared and merged.
//
// Equal values have equal bytes, so a session is dirty when its bytes differ,
// and a request that only read has nothing to save. Each key and value is
// encoded by itself, so when two requests changed the same session, [Merge]
// finds out who changed what without decoding anything.
//
// Every sequence, from the named sessions of a login down to the elements of a
// list, is its parts one after the other, each behind its length (see cut).
// There are no counts: no forged one can ask for memory, and two lists are
// appended by appending their bytes.
package values

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// A Bag is all the named sessions of one login: name to entries.
type Bag map[string]Entries

// Entries are one named session, sorted by Key, each Key once. They share
// memory with the Bag they came from, so nobody writes to them.
type Entries []Entry

// An Entry is one key and its value, both encoded. Neither is ever empty.
type Entry struct{ Key, Value string }

// version is the first byte of every Bag that is not empty. Whoever changes
// the format, or what a tag in codec.go means, counts it up.
const version = 1

var errCorrupt = errors.New("stored session values are corrupt")

// Unmarshal is the opposite of [Bag.Marshal]. It cuts b into entries without
// decoding any, and accepts only what Marshal writes: sorted, complete, no
// empty names. An empty b is an empty Bag, ready to be written to.
func Unmarshal(b []byte) (Bag, error) {
	bag := Bag{}
	if len(b) == 0 {
		return bag, nil
	}
	if b[0] != version {
		return nil, fmt.Errorf("stored session values have format %d, this version reads only %d", b[0], version)
	}
	// One copy, which every key and value is then a part of.
	rest := string(b[1:])
	for last, more := "", true; more; more = rest != "" {
		name, tail, ok := cut(rest)
		block, tail, ok2 := cut(tail)
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
	n, err := count(block)
	if err != nil || n == 0 || n%2 != 0 {
		return nil, errCorrupt
	}
	entries := make(Entries, n/2)
	for i := range entries {
		e := &entries[i]
		e.Key, block, _ = cut(block)
		e.Value, block, _ = cut(block)
		if e.Key == "" || e.Value == "" || i > 0 && e.Key <= entries[i-1].Key {
			return nil, errCorrupt
		}
	}
	return entries, nil
}

// Marshal returns the bytes to store: the same for equal bags, and none for a
// bag without entries. Names without entries are left out.
func (b Bag) Marshal() []byte {
	var space [512]byte
	out := space[:0]
	for _, name := range slices.Sorted(maps.Keys(b)) {
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
	return bytes.Clone(out) // it may be kept for as long as a session lives
}

// MarshalWithin is Marshal for a place of limited size: the oldest messages of
// the largest flash list, in bytes, go first, and with its last message the list.
// It looks only at gorilla's default flash key, and returns false if the rest is
// still too large. Twice the messages cost twice the time.
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

// trimFlash takes messages from the front of the largest flash list until excess
// bytes are gone, and returns false when no message is left.
func (b Bag) trimFlash(excess int) bool {
	var name, list string
	for n, entries := range b {
		v := entries.value(flashKey)
		if l, ok := elements(v); !ok || l == "" {
			continue
		}
		if len(v) > len(list) || len(v) == len(list) && n < name {
			name, list = n, v
		}
	}
	if list == "" {
		return false
	}
	messages, _ := elements(list)
	for before := len(messages); messages != "" && before-len(messages) < excess; {
		// A list that cannot be cut is corrupt, and goes as a whole.
		_, messages, _ = cut(messages)
	}
	i, _ := b[name].search(flashKey)
	trimmed := slices.Clone(b[name])
	if messages == "" {
		trimmed = slices.Delete(trimmed, i, i+1)
	} else {
		trimmed[i].Value = listOf(messages)
	}
	b[name] = trimmed
	return true
}

// Encode turns gorilla's map into entries. base is what the map was decoded
// from, or nil: values that go through encoding/gob have no unique bytes, and
// one that still decodes to the same keeps the bytes it has in base.
//
// A type that is neither a plain one nor given to [gob.Register] is an error,
// and so are two keys that encode alike (NaN, or pointers to equal values).
func Encode(m map[any]any, base Entries) (Entries, error) {
	if len(m) == 0 {
		return nil, nil
	}
	entries := make(Entries, 0, len(m))
	buf := make([]byte, 0, 128)
	for k, v := range m {
		var e Entry
		var err error
		if buf, err = appendValue(buf[:0], k, "", 0); err != nil {
			return nil, fmt.Errorf("session key %#v: %w", k, err)
		}
		i, found := base.search(string(buf))
		if !found && buf[0] == tagGob {
			i, found = base.searchSame(string(buf))
		}
		var old string
		if found {
			e.Key, old = base[i].Key, base[i].Value
		} else {
			e.Key = string(buf)
		}
		if buf, err = appendValue(buf[:0], v, old, 0); err != nil {
			return nil, fmt.Errorf("session value of key %#v: %w", k, err)
		}
		// Nothing is allocated for what did not change.
		if e.Value = old; string(buf) != old {
			e.Value = string(buf)
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	for i := range entries[1:] {
		if entries[i].Key == entries[i+1].Key {
			k, _ := decodeValue(entries[i].Key, 0)
			return nil, fmt.Errorf("two session keys are stored as the same %#v", k)
		}
	}
	return entries, nil
}

// Decode returns the entries as a new map. Types are those that were encoded.
func (e Entries) Decode() (map[any]any, error) {
	m := make(map[any]any, len(e))
	for _, entry := range e {
		k, err := decodeKey(entry.Key)
		if err != nil {
			return nil, fmt.Errorf("session key %.64q: %w", entry.Key, err)
		}
		if m[k], err = decodeValue(entry.Value, 0); err != nil {
			return nil, fmt.Errorf("session value of key %#v: %w", k, err)
		}
	}
	return m, nil
}

// Equal reports whether e and o hold the same values. Nil equals empty.
func (e Entries) Equal(o Entries) bool { return slices.Equal(e, o) }

// Merge applies to latest what changed between base and mine, key by key: both
// sides' changes stand, and where both changed one key, mine is the later
// commit and wins, also with a deletion.
//
// Lists ([]any, gorilla's flashes) append instead. A list that mine only
// appended to gets those elements after latest's. A list that mine took away
// or replaced was shown to the user: the elements of base are gone, what
// latest added since stays, and mine's follow. A list that ends up empty is
// removed.
func Merge(base, mine, latest Entries) Entries {
	var merged Entries
	for len(base)+len(mine)+len(latest) > 0 {
		key := firstKey(base, mine, latest)
		v := mergeValue(take(&base, key), take(&mine, key), take(&latest, key))
		if v != "" {
			merged = append(merged, Entry{key, v})
		}
	}
	return merged
}

// mergeValue merges the values of one key, of which "" is the absent one.
func mergeValue(base, mine, latest string) string {
	if mine == base {
		return latest
	}
	if latest == base {
		return mine
	}
	had, wasList := elements(base)
	ours, weList := elements(mine)
	theirs, theyList := elements(latest)
	// Where there was a list, an absent one is an empty one.
	weList = weList || wasList && mine == ""
	theyList = theyList || wasList && latest == ""
	if !weList || !theyList {
		return mine
	}
	// Lengths come first, so whole elements match if the bytes do.
	ours, onlyAppended := strings.CutPrefix(ours, had)
	if !onlyAppended {
		theirs = strings.TrimPrefix(theirs, had)
	}
	if theirs+ours == "" {
		return ""
	}
	return listOf(theirs + ours)
}

func firstKey(lists ...Entries) string {
	var first string
	for _, l := range lists {
		if len(l) > 0 && (first == "" || l[0].Key < first) {
			first = l[0].Key
		}
	}
	return first
}

// take removes the entry at the front of e if it is key's, and returns its
// value or "".
func take(e *Entries, key string) string {
	if len(*e) == 0 || (*e)[0].Key != key {
		return ""
	}
	v := (*e)[0].Value
	*e = (*e)[1:]
	return v
}

func (e Entries) search(key string) (int, bool) {
	// Not sort.Find: strings.Compare would move every key to the heap.
	i := sort.Search(len(e), func(i int) bool { return e[i].Key >= key })
	return i, i < len(e) && e[i].Key == key
}

// searchSame finds a gob-coded key of which another process wrote other bytes.
func (e Entries) searchSame(key string) (int, bool) {
	i := slices.IndexFunc(e, func(e Entry) bool { return sameGob(e.Key, key) })
	return i, i >= 0
}

func (e Entries) value(key string) string {
	if i, ok := e.search(key); ok {
		return e[i].Value
	}
	return ""
}
