package values

import (
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var paris = time.FixedZone("", 2*60*60)

// plain are values that are exactly equal after a round trip.
var plain = []any{
	nil, true, false, "", "text", "\x00\xff", strings.Repeat("long", 100),
	0, 1, -1, 63, 64, -64, -65, math.MaxInt, math.MinInt,
	int8(math.MaxInt8), int8(math.MinInt8), int16(math.MaxInt16), int16(math.MinInt16),
	int32(math.MaxInt32), int32(math.MinInt32), int64(math.MaxInt64), int64(math.MinInt64),
	uint(math.MaxUint), uint8(0), uint8(math.MaxUint8), uint16(math.MaxUint16), uint32(math.MaxUint32), uint64(math.MaxUint64),
	float32(1.5), float32(math.Inf(1)), 0.0, -1e300, math.Inf(-1),
	[]byte(nil), []byte{}, []byte("bytes"),
	time.Time{}, time.Date(2024, 2, 29, 12, 30, 0, 123456789, time.UTC), time.Date(2024, 2, 29, 12, 30, 0, 0, paris),
	time.Duration(0), -time.Hour, time.Duration(math.MaxInt64),
	[]any(nil), []any{}, []any{nil, 1, "a", []any{}, []any{[]byte(nil)}, map[string]any{"k": role("r")}},
	[]string(nil), []string{}, []string{"", "a", strings.Repeat("b", 200)},
	map[string]any(nil), map[string]any{}, map[string]any{"": nil, "a": 1, "b": []any{2.5}, "c": map[string]any{"d": true}},
	map[string]string(nil), map[string]string{}, map[string]string{"": "", "a": "b"},
	role("admin"), level(-3), tags{"x"}, money{1234, "EUR"}, point{1, 2}, complex(1, 2), []int{1, 2}, map[string]int{"a": 1},
}

func TestRoundTripKeepsTypesAndValues(t *testing.T) {
	for _, v := range plain {
		m := map[any]any{"k": v, "in a list": []any{v, v}, "in a map": map[string]any{"k": v}}
		require.Equal(t, m, decode(t, encode(t, m)), "%T %#v", v, v)
	}
}

func TestRoundTripKeepsBitsOfFloats(t *testing.T) {
	nan := math.Float64frombits(0x7ff8_0000_dead_beef)
	m := decode(t, encode(t, map[any]any{"nan": nan, "-0": math.Copysign(0, -1), "f": math.Float32frombits(0x7fc0_1234)}))
	require.Equal(t, math.Float64bits(nan), math.Float64bits(m["nan"].(float64)))
	require.True(t, math.Signbit(m["-0"].(float64)))
	require.Equal(t, uint32(0x7fc0_1234), math.Float32bits(m["f"].(float32)))
}

func TestTimeIsStoredAsMarshalBinary(t *testing.T) {
	now := time.Now()
	e := encode(t, map[any]any{"now": now})
	got := decode(t, e)["now"].(time.Time)
	require.True(t, now.Equal(got))
	require.NotContains(t, got.String(), "m=")
	again, err := Encode(map[any]any{"now": now}, nil)
	require.NoError(t, err)
	require.True(t, e.Equal(again), "the monotonic clock is not stored")
	_, err = Encode(map[any]any{"odd": time.Now().In(time.FixedZone("", 1<<30))}, nil)
	require.ErrorContains(t, err, `"odd"`)
}

func TestEveryComparableTypeCanBeAKey(t *testing.T) {
	m := map[any]any{}
	for i, v := range plain {
		if _, err := decodeKey(encode(t, map[any]any{"k": v})[0].Value); err == nil {
			m[v] = i
		}
	}
	require.Greater(t, len(m), 30)
	require.Contains(t, m, role("admin"))
	require.Contains(t, m, point{1, 2})
	require.Equal(t, m, decode(t, encode(t, m)))
}

func TestDecodeRejectsCorruptValues(t *testing.T) {
	deep := "\x01"
	for range maxDepth + 1 {
		deep = listOf(string(appendPart(nil, deep)))
	}
	tag := func(t byte, s string) string { return string([]byte{t}) + s }
	for name, v := range map[string]string{
		"empty":                              "",
		"unknown tag":                        "\x00",
		"unknown tag 127":                    "\x7fabc",
		"nil int":                            tag(tagInt|nilFlag, ""),
		"nil with content":                   tag(tagNil, "x"),
		"true with content":                  tag(tagTrue, "x"),
		"nil list with content":              tag(tagList|nilFlag, "\x01\x01"),
		"int without digits":                 tag(tagInt, ""),
		"int with content after it":          tag(tagInt, "\x01\x01"),
		"int not shortest":                   tag(tagInt, "\x81\x00"),
		"int8 too large":                     tag(tagInt8, "\x80\x02"),
		"uint8 too large":                    tag(tagUint8, "\x80\x02"),
		"uint64 too large":                   tag(tagUint64, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
		"float32 truncated":                  tag(tagFloat32, "123"),
		"float64 too long":                   tag(tagFloat64, "123456789"),
		"time empty":                         tag(tagTime, ""),
		"time of unknown version":            tag(tagTime, "\x09123456789012345"),
		"list truncated":                     tag(tagList, "\x05\x01"),
		"list of empty values":               tag(tagList, "\x00\x00"),
		"list of corrupt values":             tag(tagList, "\x01\x00"),
		"strings truncated":                  tag(tagStrings, "\x05a"),
		"map with an odd number of parts":    tag(tagMap, "\x01a"),
		"map not sorted":                     tag(tagMap, "\x01b\x01\x01\x01a\x01\x01"),
		"map with a corrupt value":           tag(tagMap, "\x01b\x01\x00"),
		"string map with a key twice":        tag(tagStringMap, "\x01a\x01a\x01a\x01a"),
		"string map with an empty key twice": tag(tagStringMap, "\x00\x01a\x00\x01a"),
		"too deep":                           deep,
		"gob empty":                          tag(tagGob, ""),
		"gob nonsense":                       tag(tagGob, "\x03abc"),
		"gob with content after it":          encode(t, map[any]any{1: role("r")})[0].Value + "\x00",
		"gob map with a list as key":         tag(tagGob, forgedLoose(t)),
	} {
		_, err := Entries{{flashKey, v}}.Decode()
		require.ErrorContains(t, err, `"_flash"`, name)
		_, err = Entries{{v, "\x01"}}.Decode()
		require.Error(t, err, name)
	}
	for _, k := range []any{[]byte(nil), []byte{}, []any{}, []string{}, map[string]any{}, map[string]string{}, tags{"a"}, anyKey{tags{"a"}}} {
		key := encode(t, map[any]any{"k": k})[0].Value
		_, err := Entries{{key, "\x01"}}.Decode()
		require.ErrorContains(t, err, "cannot be a key", "%#v", k)
	}
}

func TestForgedLengthsDoNotAllocate(t *testing.T) {
	huge := "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
	nested := ""
	for range maxDepth {
		nested = huge + string(rune(tagList)) + nested
	}
	many := strings.Repeat("\x00", 100_000)
	for _, in := range []string{huge, "\x04cart" + huge, "\x01s" + nested, nested} {
		require.Less(t, allocated(func() { _, err := Unmarshal([]byte("\x01" + in)); require.Error(t, err) }), uint64(8192))
		for _, tag := range []byte{tagList, tagStrings, tagMap, tagStringMap} {
			e := Entries{{flashKey, string([]byte{tag}) + in}}
			require.Less(t, allocated(func() { _, err := e.Decode(); require.Error(t, err) }), uint64(8192))
		}
	}
	for _, tag := range []byte{tagList, tagStrings, tagMap, tagStringMap} {
		e := Entries{{flashKey, string([]byte{tag}) + many}}
		require.Less(t, allocated(func() { _, _ = e.Decode() }), uint64(40*len(many)))
	}
	require.Less(t, allocated(func() { _, _ = Unmarshal([]byte("\x01\x01s" + string(appendPart(nil, many)))) }), uint64(40*len(many)))
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzDecode(f *testing.F) {
	for _, v := range append(plain, anyKey{1}) {
		// Without maps in gob: the fuzzer would find go.dev/issue/79539 again and again.
		if _, ok := v.(map[string]int); !ok {
			f.Add(encode(f, map[any]any{"k": v})[0].Value)
		}
	}
	f.Add(listOf("\x05\x01"))
	f.Fuzz(func(t *testing.T, s string) {
		_, _ = Entries{{s, s}}.Decode()
		m, err := Entries{{"\x01", s}}.Decode()
		if err != nil {
			return
		}
		e, err := Encode(m, nil)
		require.NoError(t, err)
		again, err := Encode(decode(t, e), e)
		require.NoError(t, err)
		require.True(t, e.Equal(again), "%q is stored as %q, then %q", s, e, again)
	})
}
