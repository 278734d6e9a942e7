package values

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"
)

// A value is one tag byte and what the tag says follows, up to the end of the
// part that the value is in. Plain types have tags of their own; all others,
// also named versions of plain types, are encoding/gob's, which knows them by
// the name they were registered under.
//
// Stored values live on: tags are only ever added at the end.
const (
	tagNil byte = iota + 1
	tagFalse
	tagTrue
	tagInt // the integers are varints
	tagInt8
	tagInt16
	tagInt32
	tagInt64
	tagUint
	tagUint8
	tagUint16
	tagUint32
	tagUint64
	tagFloat32 // IEEE 754 bits, big-endian
	tagFloat64
	tagString
	tagBytes
	tagTime // as MarshalBinary: no monotonic clock, and of the zone only its offset
	tagDuration
	tagList      // []any: values
	tagStrings   // []string: strings
	tagMap       // map[string]any: string and value in turn, sorted
	tagStringMap // map[string]string: string and string in turn, sorted
	tagGob       // a gob stream of one interface value

	isNil = 0x80 // added to the tag of a nil slice or map: not the same as an empty one
)

// maxDepth is how deep lists and maps may be nested. A list that contains
// itself must be an error and not the end of the process. What gob encodes,
// gob walks: a registered type that points at itself still overflows the stack.
const maxDepth = 100

var errDepth = fmt.Errorf("nested more than %d levels deep, or contains itself", maxDepth)

// flashKey is gorilla's default flash key, encoded.
const flashKey = string(rune(tagString)) + "_flash"

// appendValue appends v, encoded, to b. old is the same value as stored before,
// or "": see gob.go.
func appendValue(b []byte, v any, old string, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch v := v.(type) {
	case nil:
		return append(b, tagNil), nil
	case bool:
		if v {
			return append(b, tagTrue), nil
		}
		return append(b, tagFalse), nil
	case int:
		return binary.AppendVarint(append(b, tagInt), int64(v)), nil
	case int8:
		return binary.AppendVarint(append(b, tagInt8), int64(v)), nil
	case int16:
		return binary.AppendVarint(append(b, tagInt16), int64(v)), nil
	case int32:
		return binary.AppendVarint(append(b, tagInt32), int64(v)), nil
	case int64:
		return binary.AppendVarint(append(b, tagInt64), v), nil
	case uint:
		return binary.AppendUvarint(append(b, tagUint), uint64(v)), nil
	case uint8:
		return binary.AppendUvarint(append(b, tagUint8), uint64(v)), nil
	case uint16:
		return binary.AppendUvarint(append(b, tagUint16), uint64(v)), nil
	case uint32:
		return binary.AppendUvarint(append(b, tagUint32), uint64(v)), nil
	case uint64:
		return binary.AppendUvarint(append(b, tagUint64), v), nil
	case float32:
		return binary.BigEndian.AppendUint32(append(b, tagFloat32), math.Float32bits(v)), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(b, tagFloat64), math.Float64bits(v)), nil
	case string:
		return append(append(b, tagString), v...), nil
	case []byte:
		return append(appendTag(b, tagBytes, v == nil), v...), nil
	case time.Time:
		return v.AppendBinary(append(b, tagTime))
	case time.Duration:
		return binary.AppendVarint(append(b, tagDuration), int64(v)), nil
	case []string:
		b = appendTag(b, tagStrings, v == nil)
		for _, s := range v {
			b = appendPart(b, s)
		}
		return b, nil
	case map[string]string:
		b = appendTag(b, tagStringMap, v == nil)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			b = appendPart(appendPart(b, k), v[k])
		}
		return b, nil
	case []any:
		return appendList(appendTag(b, tagList, v == nil), v, old, depth)
	case map[string]any:
		return appendMap(appendTag(b, tagMap, v == nil), v, old, depth)
	default:
		return appendGob(append(b, tagGob), v, old)
	}
}

func appendTag(b []byte, tag byte, null bool) []byte {
	if null {
		tag |= isNil
	}
	return append(b, tag)
}

// decodeValue is the opposite of appendValue.
func decodeValue(s string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: %w", errCorrupt, errDepth)
	}
	if s == "" {
		return nil, errCorrupt
	}
	tag, s := s[0], s[1:]
	if (tag <= tagTrue || tag&isNil != 0) && s != "" {
		return nil, errCorrupt
	}
	switch tag {
	case tagNil:
		return nil, nil
	case tagFalse:
		return false, nil
	case tagTrue:
		return true, nil
	case tagInt:
		return decodeInt[int](s)
	case tagInt8:
		return decodeInt[int8](s)
	case tagInt16:
		return decodeInt[int16](s)
	case tagInt32:
		return decodeInt[int32](s)
	case tagInt64:
		return decodeInt[int64](s)
	case tagUint:
		return decodeUint[uint](s)
	case tagUint8:
		return decodeUint[uint8](s)
	case tagUint16:
		return decodeUint[uint16](s)
	case tagUint32:
		return decodeUint[uint32](s)
	case tagUint64:
		return decodeUint[uint64](s)
	case tagFloat32:
		if len(s) != 4 {
			return nil, errCorrupt
		}
		return math.Float32frombits(binary.BigEndian.Uint32([]byte(s))), nil
	case tagFloat64:
		if len(s) != 8 {
			return nil, errCorrupt
		}
		return math.Float64frombits(binary.BigEndian.Uint64([]byte(s))), nil
	case tagString:
		return s, nil
	case tagBytes:
		return append(make([]byte, 0, len(s)), s...), nil
	case tagBytes | isNil:
		return []byte(nil), nil
	case tagTime:
		var t time.Time
		if err := t.UnmarshalBinary([]byte(s)); err != nil {
			return nil, fmt.Errorf("%w: %w", errCorrupt, err)
		}
		return t, nil
	case tagDuration:
		return decodeInt[time.Duration](s)
	case tagStrings:
		return decodeStrings(s)
	case tagStrings | isNil:
		return []string(nil), nil
	case tagStringMap:
		return decodeMap(s, func(v string) (string, error) { return v, nil })
	case tagStringMap | isNil:
		return map[string]string(nil), nil
	case tagList:
		return decodeList(s, depth)
	case tagList | isNil:
		return []any(nil), nil
	case tagMap:
		return decodeMap(s, func(v string) (any, error) { return decodeValue(v, depth+1) })
	case tagMap | isNil:
		return map[string]any(nil), nil
	case tagGob:
		return decodeGob(s)
	}
	return nil, fmt.Errorf("%w: unknown tag %d", errCorrupt, tag)
}

// decodeKey decodes a value that is to be the key of a map, which a hostile or
// damaged one would otherwise panic on.
func decodeKey(s string) (any, error) {
	k, err := decodeValue(s, 0)
	if _, ok := k.(string); ok || err != nil {
		return k, err
	}
	if !reflect.ValueOf(k).Comparable() {
		return nil, fmt.Errorf("%w: a %T can not be a key", errCorrupt, k)
	}
	return k, nil
}

func decodeInt[T int | int8 | int16 | int32 | int64 | time.Duration](s string) (any, error) {
	u, rest, ok := cutUvarint(s)
	n := int64(u>>1) ^ -int64(u&1) // as binary.AppendVarint folds the sign
	if !ok || rest != "" || int64(T(n)) != n {
		return nil, errCorrupt
	}
	return T(n), nil
}

func decodeUint[T uint | uint8 | uint16 | uint32 | uint64](s string) (any, error) {
	u, rest, ok := cutUvarint(s)
	if !ok || rest != "" || uint64(T(u)) != u {
		return nil, errCorrupt
	}
	return T(u), nil
}
