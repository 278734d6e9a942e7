package values

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"time"
)

// A value is one tag byte, followed by its content up to the end of the part that holds
// the value. Plain types have tags of their own. All other types, including named versions
// of plain types, are stored by encoding/gob, which identifies them by the name they were
// registered under.
//
// Values outlive the version of this package that stored them: add tags only at the end.
const (
	tagNil byte = iota + 1
	tagFalse
	tagTrue
	tagInt // signed integers are varints, unsigned ones uvarints
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
	tagTime // as MarshalBinary: without the monotonic clock, and only the offset of the zone
	tagDuration
	tagList      // []any: values
	tagStrings   // []string: strings
	tagMap       // map[string]any: alternating strings and values, sorted by key
	tagStringMap // map[string]string: alternating strings, sorted by key
	tagGob       // a gob stream of one interface value

	nilFlag = 0x80 // added to the tag of a nil slice or map, to tell it from an empty one
)

// maxDepth limits how deep lists and maps may be nested, so that a list that contains
// itself is an error instead of a stack overflow. It does not limit encoding/gob: a
// registered type that points at itself still overflows the stack.
const maxDepth = 100

var errDepth = fmt.Errorf("nested more than %d levels deep, or contains itself", maxDepth)

// flashKey is the encoding of gorilla's default flash key.
const flashKey = string(rune(tagString)) + "_flash"

// appendValue appends the encoding of v to b. old is the stored encoding that v was
// decoded from, or "": see appendGob.
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
	case string:
		return append(append(b, tagString), v...), nil
	case []byte:
		return append(appendTag(b, tagBytes, v == nil), v...), nil
	case time.Time:
		return v.AppendBinary(append(b, tagTime))
	case time.Duration:
		return binary.AppendVarint(append(b, tagDuration), int64(v)), nil
	case []string:
		return appendStrings(appendTag(b, tagStrings, v == nil), v), nil
	case map[string]string:
		return appendStringMap(appendTag(b, tagStringMap, v == nil), v), nil
	case []any:
		return appendList(appendTag(b, tagList, v == nil), v, old, depth)
	case map[string]any:
		return appendMap(appendTag(b, tagMap, v == nil), v, old, depth)
	}
	if b, ok := appendNumber(b, v); ok {
		return b, nil
	}
	return appendGob(append(b, tagGob), v, old)
}

// appendNumber appends the encoding of v if its type is one of Go's number types. It
// reports false for other types.
func appendNumber(b []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case int:
		b = binary.AppendVarint(append(b, tagInt), int64(v))
	case int8:
		b = binary.AppendVarint(append(b, tagInt8), int64(v))
	case int16:
		b = binary.AppendVarint(append(b, tagInt16), int64(v))
	case int32:
		b = binary.AppendVarint(append(b, tagInt32), int64(v))
	case int64:
		b = binary.AppendVarint(append(b, tagInt64), v)
	case uint:
		b = binary.AppendUvarint(append(b, tagUint), uint64(v))
	case uint8:
		b = binary.AppendUvarint(append(b, tagUint8), uint64(v))
	case uint16:
		b = binary.AppendUvarint(append(b, tagUint16), uint64(v))
	case uint32:
		b = binary.AppendUvarint(append(b, tagUint32), uint64(v))
	case uint64:
		b = binary.AppendUvarint(append(b, tagUint64), v)
	case float32:
		b = binary.BigEndian.AppendUint32(append(b, tagFloat32), math.Float32bits(v))
	case float64:
		b = binary.BigEndian.AppendUint64(append(b, tagFloat64), math.Float64bits(v))
	default:
		return b, false
	}
	return b, true
}

func appendTag(b []byte, tag byte, isNil bool) []byte {
	if isNil {
		tag |= nilFlag
	}
	return append(b, tag)
}

// decodeValue is the inverse of appendValue.
func decodeValue(s string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: %w", errCorrupt, errDepth)
	}
	if s == "" {
		return nil, errCorrupt
	}
	tag, s := s[0], s[1:]
	if (tag <= tagTrue || tag&nilFlag != 0) && s != "" {
		return nil, errCorrupt
	}
	if tag&nilFlag != 0 {
		return decodeNil(tag)
	}
	switch tag {
	case tagNil:
		return nil, nil
	case tagFalse:
		return false, nil
	case tagTrue:
		return true, nil
	case tagString:
		return s, nil
	case tagBytes:
		return append(make([]byte, 0, len(s)), s...), nil
	case tagTime:
		return decodeTime(s)
	case tagDuration:
		return decodeInt[time.Duration](s)
	case tagStrings:
		return decodeStrings(s)
	case tagStringMap:
		return decodeMap(s, func(v string) (string, error) { return v, nil })
	case tagList:
		return decodeList(s, depth)
	case tagMap:
		return decodeMap(s, func(v string) (any, error) { return decodeValue(v, depth+1) })
	case tagGob:
		return decodeGob(s)
	}
	return decodeNumber(tag, s)
}

// decodeNil returns the nil slice or map of a tag with nilFlag.
func decodeNil(tag byte) (any, error) {
	switch tag &^ nilFlag {
	case tagBytes:
		return []byte(nil), nil
	case tagStrings:
		return []string(nil), nil
	case tagStringMap:
		return map[string]string(nil), nil
	case tagList:
		return []any(nil), nil
	case tagMap:
		return map[string]any(nil), nil
	}
	return nil, errUnknownTag(tag)
}

// decodeNumber is the inverse of appendNumber. It returns an error for other tags.
func decodeNumber(tag byte, s string) (any, error) {
	switch tag {
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
	}
	return nil, errUnknownTag(tag)
}

func errUnknownTag(tag byte) error { return fmt.Errorf("%w: unknown tag %d", errCorrupt, tag) }

func decodeTime(s string) (any, error) {
	var t time.Time
	if err := t.UnmarshalBinary([]byte(s)); err != nil {
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	return t, nil
}

// decodeKey decodes a value for use as a map key. It returns an error for a corrupt or
// forged one that cannot be hashed, which would panic as a key.
func decodeKey(s string) (any, error) {
	k, err := decodeValue(s, 0)
	if _, ok := k.(string); ok || err != nil {
		return k, err
	}
	if !reflect.ValueOf(k).Comparable() {
		return nil, fmt.Errorf("%w: a %T cannot be a key", errCorrupt, k)
	}
	return k, nil
}

func decodeInt[T int | int8 | int16 | int32 | int64 | time.Duration](s string) (any, error) {
	u, rest, ok := cutUvarint(s)
	n := int64(u>>1) ^ -int64(u&1) // binary.AppendVarint stores the sign in the lowest bit
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
