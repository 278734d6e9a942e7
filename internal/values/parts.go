package values

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Lists and maps: sequences of parts, each behind its length.

func appendList(b []byte, list []any, old string, depth int) ([]byte, error) {
	oldList, _ := elements(old)
	var oldElement string
	var err error
	for _, v := range list {
		oldElement, oldList, _ = cut(oldList)
		start := len(b)
		if b, err = appendValue(b, v, oldElement, depth+1); err != nil {
			return nil, err
		}
		b = closePart(b, start)
	}
	return b, nil
}

func appendMap(b []byte, m map[string]any, old string, depth int) ([]byte, error) {
	var oldMap, oldKey, oldValue string
	if old != "" && old[0] == tagMap {
		oldMap = old[1:]
	}
	var err error
	for _, k := range slices.Sorted(maps.Keys(m)) {
		// Both are sorted. No value is "" once one has been read.
		for oldMap != "" && (oldValue == "" || oldKey < k) {
			oldKey, oldMap, _ = cut(oldMap)
			oldValue, oldMap, _ = cut(oldMap)
		}
		b = appendPart(b, k)
		start := len(b)
		was := ""
		if oldKey == k {
			was = oldValue
		}
		if b, err = appendValue(b, m[k], was, depth+1); err != nil {
			return nil, err
		}
		b = closePart(b, start)
	}
	return b, nil
}

func decodeStrings(s string) (any, error) {
	n, err := count(s)
	if err != nil {
		return nil, err
	}
	list := make([]string, n)
	for i := range list {
		list[i], s, _ = cut(s)
	}
	return list, nil
}

func decodeList(s string, depth int) (any, error) {
	n, err := count(s)
	if err != nil {
		return nil, err
	}
	list := make([]any, n)
	for i := range list {
		var element string
		element, s, _ = cut(s)
		if list[i], err = decodeValue(element, depth+1); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func decodeMap[T any](s string, decode func(string) (T, error)) (any, error) {
	n, err := count(s)
	if err != nil || n%2 != 0 {
		return nil, errCorrupt
	}
	m := make(map[string]T, n/2)
	for last := ""; s != ""; {
		var k, v string
		k, s, _ = cut(s)
		v, s, _ = cut(s)
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

// elements returns the parts of an encoded []any, and false for other values.
func elements(v string) (string, bool) {
	if v == "" || v[0]&^isNil != tagList {
		return "", false
	}
	return v[1:], true
}

// listOf is the opposite of elements.
func listOf(elements string) string { return string(rune(tagList)) + elements }

// appendPart appends s behind its length.
func appendPart(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// closePart puts the length of what b holds from start on in front of it.
func closePart(b []byte, start int) []byte {
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(len(b)-start))
	return slices.Insert(b, start, length[:n]...)
}

// cut splits off the part that s begins with.
func cut(s string) (part, rest string, ok bool) {
	if s != "" && int(s[0]) < min(len(s), 0x80) { // nearly always
		n := int(s[0]) + 1
		return s[1:n], s[n:], true
	}
	n, s, ok := cutUvarint(s)
	if !ok || n > uint64(len(s)) {
		return "", "", false
	}
	return s[:n], s[n:], true
}

// count says how many parts s consists of. What is allocated for them is
// allocated after this, so never for more than there are.
func count(s string) (int, error) {
	n := 0
	for ; s != ""; n++ {
		var ok bool
		if _, s, ok = cut(s); !ok {
			return 0, errCorrupt
		}
	}
	return n, nil
}

// cutUvarint is binary.Uvarint for strings, and accepts only the shortest form:
// the same number is always the same bytes.
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
