package values

import (
	"encoding/binary"
	"maps"
	"slices"
)

// This file encodes lists and maps as sequences of parts. A part is its length in bytes,
// followed by its content.

func appendStrings(b []byte, list []string) []byte {
	for _, s := range list {
		b = appendPart(b, s)
	}
	return b
}

func appendStringMap(b []byte, m map[string]string) []byte {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		b = appendPart(appendPart(b, k), m[k])
	}
	return b
}

// appendList appends the elements of list. Each is compared with the element at the same
// index in old: see appendGob.
func appendList(b []byte, list []any, old string, depth int) ([]byte, error) {
	oldList, _ := listElements(old)
	var oldElement string
	var err error
	for _, v := range list {
		oldElement, oldList, _ = cutPart(oldList)
		start := len(b)
		if b, err = appendValue(b, v, oldElement, depth+1); err != nil {
			return nil, err
		}
		b = closePart(b, start)
	}
	return b, nil
}

// appendMap appends the entries of m. Each value is compared with the one of the same key
// in old: see appendGob.
func appendMap(b []byte, m map[string]any, old string, depth int) ([]byte, error) {
	var oldMap, oldKey, oldValue string
	if old != "" && old[0] == tagMap {
		oldMap = old[1:]
	}
	var err error
	for _, k := range slices.Sorted(maps.Keys(m)) {
		// Both are sorted, so one pass through old suffices. No encoded value is empty:
		// oldValue is "" only before the first entry has been read.
		for oldMap != "" && (oldValue == "" || oldKey < k) {
			oldKey, oldMap, _ = cutPart(oldMap)
			oldValue, oldMap, _ = cutPart(oldMap)
		}
		b = appendPart(b, k)
		start := len(b)
		previous := ""
		if oldKey == k {
			previous = oldValue
		}
		if b, err = appendValue(b, m[k], previous, depth+1); err != nil {
			return nil, err
		}
		b = closePart(b, start)
	}
	return b, nil
}

func decodeStrings(s string) (any, error) {
	n, err := countParts(s)
	if err != nil {
		return nil, err
	}
	list := make([]string, n)
	for i := range list {
		list[i], s, _ = cutPart(s)
	}
	return list, nil
}

func decodeList(s string, depth int) (any, error) {
	n, err := countParts(s)
	if err != nil {
		return nil, err
	}
	list := make([]any, n)
	for i := range list {
		var element string
		element, s, _ = cutPart(s)
		if list[i], err = decodeValue(element, depth+1); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func decodeMap[T any](s string, decode func(string) (T, error)) (any, error) {
	n, err := countParts(s)
	if err != nil || n%2 != 0 {
		return nil, errCorrupt
	}
	m := make(map[string]T, n/2)
	for last := ""; s != ""; {
		var k, v string
		k, s, _ = cutPart(s)
		v, s, _ = cutPart(s)
		if k <= last && len(m) > 0 {
			return nil, errCorrupt
		}
		if m[k], err = decode(v); err != nil {
			return nil, err
		}
		last = k
	}
	return m, nil
}

// listElements returns the encoded elements of v if v is an encoded []any.
func listElements(v string) (elements string, ok bool) {
	if v == "" || v[0]&^nilFlag != tagList {
		return "", false
	}
	return v[1:], true
}

// listOf is the inverse of listElements.
func listOf(elements string) string { return string(rune(tagList)) + elements }

// appendPart appends the length of s, and s.
func appendPart(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// closePart makes b[start:] a part: it inserts the length at start.
func closePart(b []byte, start int) []byte {
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(len(b)-start))
	return slices.Insert(b, start, length[:n]...)
}

// cutPart splits s after its first part.
func cutPart(s string) (part, rest string, ok bool) {
	if s != "" && int(s[0]) < min(len(s), 0x80) { // fast path: a length of one byte
		n := int(s[0]) + 1
		return s[1:n], s[n:], true
	}
	n, s, ok := cutUvarint(s)
	if !ok || n > uint64(len(s)) {
		return "", "", false
	}
	return s[:n], s[n:], true
}

// countParts returns the number of parts in s. Decoders call it before they allocate, so
// that a forged length cannot make them allocate more than s holds.
func countParts(s string) (int, error) {
	n := 0
	for ; s != ""; n++ {
		var ok bool
		if _, s, ok = cutPart(s); !ok {
			return 0, errCorrupt
		}
	}
	return n, nil
}

// cutUvarint is binary.Uvarint for strings. It accepts only the shortest form, so that
// equal numbers have equal bytes.
func cutUvarint(s string) (n uint64, rest string, ok bool) {
	for i := 0; i < len(s) && i < binary.MaxVarintLen64; i++ {
		c := s[i]
		if c < 0x80 {
			if c == 0 && i > 0 || c > 1 && i == binary.MaxVarintLen64-1 {
				break
			}
			return n | uint64(c)<<(7*i), s[i+1:], true
		}
		n |= uint64(c&0x7f) << (7 * i)
	}
	return 0, "", false
}
