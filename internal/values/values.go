// Package values encodes the values of gorilla sessions as bytes that can be compared
// and merged without being decoded.
//
// Gorilla keeps the values of one named session in a map[any]any. [Encode] turns such a
// map into [Entries], one per key. A [Bag] holds the Entries of all named sessions of one
// login, or of a visitor's cookie; [Bag.Marshal] returns the bytes to store. The way back
// is [Unmarshal] and [Entries.Decode], which returns every key and value with the type it
// had. [OpenSessions] are the sessions that the handlers of a request have opened, and find
// out what is to be saved of them.
//
// Unlike the encoding/gob streams of gorilla's own stores, the bytes have two properties:
//
//   - Equal values have equal bytes. A session has changed if its bytes differ, so a
//     request that only read has nothing to save. For types that only encoding/gob can
//     store, see the base argument of [Encode].
//   - Keys and values are encoded one by one. [Merge] finds out which of them a request
//     changed without decoding any.
//
// # Format
//
// A bag without entries has no bytes. The bytes of any other bag, in EBNF:
//
//	bag     = version session { session } .   version is one byte
//	session = name entries .                  sorted by name, each name once
//	name    = part(bytes) .
//	entries = part(entry { entry }) .         sorted by key, each key once
//	entry   = part(value) part(value) .       the key, then its value
//	value   = tag content .                   tag is one byte
//	part(x) = length x .                      the number of bytes of x, as a uvarint
//
// The tag says how the content is encoded, which extends to the end of the part:
//
//	content = /* nothing */                            nil, false, true, nil slices and maps
//	        | varint                                   integers, time.Duration
//	        | uvarint                                  unsigned integers
//	        | bytes                                    string, []byte
//	        | bits                                     floats: IEEE 754, big-endian
//	        | time                                     time.Time.MarshalBinary
//	        | { part(value) }                          []any
//	        | { part(bytes) }                          []string
//	        | { part(bytes) part(value) }              map[string]any, sorted by key
//	        | { part(bytes) part(bytes) }              map[string]string, sorted by key
//	        | gob .                                    any other type: a stream of encoding/gob
//
// A varint and a uvarint are those of encoding/binary, and must have the shortest form. For
// example, a session "cart" that holds "n": -3 and "l": []any{"a", nil} is
//
//	01  04 "cart"  10  02 10 "l"  06 14 02 10 "a" 01 01  02 10 "n"  02 04 05
//
// There are lengths but no counts. A forged count could make the decoder allocate memory
// for elements that do not exist, and two lists are concatenated by concatenating their
// bytes.
//
// # Merging
//
// When a request saves a session that another request has saved since it was loaded,
// [Merge] combines three versions: base, which this request loaded; mine, which it wants
// to save; and latest, which is stored now. The changes between base and mine are applied
// to latest:
//
//	base      mine       latest     merged
//	a=1 b=1   a=2 b=1    a=1 b=2    a=2 b=2      each request changed another key
//	a=1       a=2        a=3        a=2          both changed one key: mine is later
//	a=1       (none)     a=2        (none)       a deletion is a change
//	f=[x]     f=[x m]    f=[x t]    f=[x t m]    both appended to a list
//	f=[x]     (none)     f=[x t]    f=[t]        mine showed the flash x to the user
package values

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// A Bag holds the named sessions of one login or visitor, by name.
type Bag map[string]Entries

// Entries are the contents of one named session, sorted by Key, each Key once. Entries
// are read-only: they share memory with the Bag they came from.
type Entries []Entry

// An Entry is one key and its value, both encoded. Neither is ever empty.
type Entry struct{ Key, Value string }

var errCorrupt = errors.New("stored session values are corrupt")

// Encode encodes the values of a gorilla session. base holds the entries that m was
// decoded from, or nil. It matters for values that are stored by encoding/gob, which have
// no unique bytes: one that still decodes to the same keeps the bytes it has in base.
//
// Encode returns an error for a type that is neither plain nor given to [gob.Register],
// and for two keys that have the same encoding, such as two NaNs or two pointers to equal
// values.
func Encode(m map[any]any, base Entries) (Entries, error) { return new(encoder).encode(m, base) }

// An encoder encodes again and again with one piece of memory.
type encoder struct{ space []byte }

func (enc *encoder) encode(m map[any]any, base Entries) (Entries, error) {
	if len(m) == 0 {
		return nil, nil
	}
	if enc.space == nil {
		enc.space = make([]byte, 0, 128)
	}
	if base.areOf(m, enc.space) {
		return base, nil
	}
	var space [8]encoded
	all, buf := space[:0], enc.space
	for k, v := range m {
		var e encoded
		var err error
		if e, buf, err = encodeEntry(buf, k, v, base); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	entries := joinEntries(all, string(buf))
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	for i := range entries[1:] {
		if entries[i].Key == entries[i+1].Key {
			k, _ := decodeValue(entries[i].Key, 0)
			return nil, fmt.Errorf("two session keys are stored as the same %#v", k)
		}
	}
	return entries, nil
}

// areOf reports whether e are the entries of m. It may report false for keys and values that
// are not plain, and takes less time than to encode m: most requests change nothing. It
// overwrites buf.
func (e Entries) areOf(m map[any]any, buf []byte) bool {
	if len(e) != len(m) {
		return false
	}
	for _, entry := range e {
		if entry.Key[0] != tagString || entry.Value[0] == tagGob {
			return false
		}
		v, ok := m[entry.Key[1:]]
		if !ok {
			return false
		}
		var err error
		if buf, err = appendValue(buf[:0], v, entry.Value, 0); err != nil || string(buf) != entry.Value {
			return false
		}
	}
	return true
}

// An encoded entry has what is unchanged. What is new of it is in a buffer, after the entry
// before: the key up to keyEnd, and the value up to end.
type encoded struct {
	Entry
	keyEnd, end int
}

// encodeEntry appends to buf what is new of an entry.
func encodeEntry(buf []byte, k, v any, base Entries) (e encoded, _ []byte, err error) {
	start := len(buf)
	if buf, err = appendValue(buf, k, "", 0); err != nil {
		return e, nil, fmt.Errorf("session key %#v: %w", k, err)
	}
	key := buf[start:]
	i, found := base.search(string(key))
	if !found && key[0] == tagGob {
		i, found = base.searchEqualGob(string(key))
	}
	if found {
		e.Entry = base[i]
		buf = buf[:start]
	}
	e.keyEnd = len(buf)
	if buf, err = appendValue(buf, v, e.Value, 0); err != nil {
		return e, nil, fmt.Errorf("session value of key %#v: %w", k, err)
	}
	if string(buf[e.keyEnd:]) == e.Value {
		buf = buf[:e.keyEnd]
	} else {
		e.Value = ""
	}
	e.end = len(buf)
	return e, buf, nil
}

// joinEntries returns the entries. What is new of all is in text, one piece of memory.
func joinEntries(all []encoded, text string) Entries {
	entries := make(Entries, len(all))
	start := 0
	for i, e := range all {
		if e.Key == "" {
			e.Key = text[start:e.keyEnd]
		}
		if e.Value == "" {
			e.Value = text[e.keyEnd:e.end]
		}
		entries[i], start = e.Entry, e.end
	}
	return entries
}

// Decode returns the entries as a new map. Keys and values have the types that were
// encoded.
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

// search returns the index of the encoded key and reports whether e has it.
func (e Entries) search(key string) (int, bool) {
	// Not sort.Find: strings.Compare would move every key to the heap.
	i := sort.Search(len(e), func(i int) bool { return e[i].Key >= key })
	return i, i < len(e) && e[i].Key == key
}

// searchEqualGob finds a key that encoding/gob has stored with other bytes, for example
// in another process.
func (e Entries) searchEqualGob(key string) (int, bool) {
	i := slices.IndexFunc(e, func(e Entry) bool { return equalGob(e.Key, key) })
	return i, i >= 0
}

// value returns the encoded value of an encoded key, or "".
func (e Entries) value(key string) string {
	if i, ok := e.search(key); ok {
		return e[i].Value
	}
	return ""
}
