package values

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type (
	role  string
	level int
	tags  []string
	money struct {
		Amount   int64
		Currency string
	}
	cart struct {
		Items map[string]int
		note  string
	}
	point   struct{ X, Y int }
	loose   map[any]any
	unknown struct{ A int }
	anyKey  struct{ V any }
	keyA    string
	keyB    []byte
)

func init() {
	for _, v := range []any{role(""), level(0), tags{}, money{}, cart{}, point{}, loose{}, anyKey{}, map[string]int{}} {
		gob.Register(v)
	}
	gob.RegisterName("keyA", keyA(""))
	gob.RegisterName("keyB", keyB(nil))
}

var paris = time.FixedZone("", 2*60*60)

// plain are values of which equality after a round trip is exact.
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

func TestTypesAndValuesComeBackExactly(t *testing.T) {
	for _, v := range plain {
		m := map[any]any{"k": v, "in a list": []any{v, v}, "in a map": map[string]any{"k": v}}
		require.Equal(t, m, decode(t, encode(t, m)), "%T %#v", v, v)
	}
}

func TestFloatsKeepTheirBits(t *testing.T) {
	nan := math.Float64frombits(0x7ff8_0000_dead_beef)
	m := decode(t, encode(t, map[any]any{"nan": nan, "-0": math.Copysign(0, -1), "f": math.Float32frombits(0x7fc0_1234)}))
	require.Equal(t, math.Float64bits(nan), math.Float64bits(m["nan"].(float64)))
	require.True(t, math.Signbit(m["-0"].(float64)))
	require.Equal(t, uint32(0x7fc0_1234), math.Float32bits(m["f"].(float32)))
}

func TestTimeKeepsWhatMarshalBinaryKeeps(t *testing.T) {
	now := time.Now()
	e := encode(t, map[any]any{"now": now})
	got := decode(t, e)["now"].(time.Time)
	require.True(t, now.Equal(got))
	require.NotContains(t, got.String(), "m=")
	again, err := Encode(map[any]any{"now": now}, nil)
	require.NoError(t, err)
	require.True(t, e.Equal(again), "the monotonic clock is not in the bytes")
	_, err = Encode(map[any]any{"odd": time.Now().In(time.FixedZone("", 1<<30))}, nil)
	require.ErrorContains(t, err, `"odd"`)
}

func TestKeysOfEveryComparableType(t *testing.T) {
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

func TestEqualValuesHaveEqualBytes(t *testing.T) {
	var first Entries
	for i := range 50 {
		m, inner, strs := map[any]any{}, map[string]any{}, map[string]string{}
		for j := range 30 { // another insertion order every time
			k := fmt.Sprint((i + j) % 30)
			m[k], inner[k], strs[k] = 1, "v", "w"
		}
		m["inner"], m["strs"] = inner, strs
		e := encode(t, m)
		if i == 0 {
			first = e
		}
		require.True(t, first.Equal(e))
	}
}

// bigCart is a value of which gob writes other bytes nearly every time.
func bigCart() cart {
	items := map[string]int{}
	for i := range 30 {
		items[fmt.Sprint("item", i)] = i
	}
	return cart{Items: items}
}

func TestGobValuesThatDidNotChangeKeepTheirBytes(t *testing.T) {
	m := map[any]any{
		"cart": bigCart(),
		"list": []any{"a", bigCart(), []any{bigCart()}},
		"map":  map[string]any{"": bigCart(), "a": 1, "b": bigCart(), "c": map[string]any{"d": bigCart()}},
	}
	base := encode(t, m)
	require.False(t, base.Equal(encode(t, m)), "gob has become deterministic: base could go")
	loaded := decode(t, base)
	for range 10 {
		got, err := Encode(loaded, base)
		require.NoError(t, err)
		require.True(t, base.Equal(got))
	}

	t.Run("what is around them may change", func(t *testing.T) {
		list, inner := loaded["list"].([]any), loaded["map"].(map[string]any)
		loaded["list"] = append(list, "new")
		inner["0"], inner["z"] = "new", "new"
		delete(inner, "a")
		mine, err := Encode(loaded, base)
		require.NoError(t, err)
		require.False(t, base.Equal(mine))
		require.Equal(t, loaded, decode(t, mine))
		require.True(t, strings.HasPrefix(mine.value(listKey), base.value(listKey)), "the list was only appended to")
	})
	t.Run("a change is stored", func(t *testing.T) {
		c := loaded["cart"].(cart)
		c.Items["item3"]++
		mine, err := Encode(loaded, base)
		require.NoError(t, err)
		require.Equal(t, 4, decode(t, mine)["cart"].(cart).Items["item3"])
	})
	t.Run("what gob drops is no change", func(t *testing.T) {
		loaded := decode(t, base)
		c := loaded["cart"].(cart)
		c.note = "unexported"
		loaded["cart"] = c
		mine, err := Encode(loaded, base)
		require.NoError(t, err)
		require.True(t, base.Equal(mine))
	})
	t.Run("a base of other types is no obstacle", func(t *testing.T) {
		other := encode(t, map[any]any{"cart": map[string]any{"x": 1}, "list": "a", "map": []any{1}})
		mine, err := Encode(m, other)
		require.NoError(t, err)
		require.Equal(t, m, decode(t, mine))
		for i := range other { // corrupt, that is
			other[i].Value = other[i].Value[:1] + "\xff"
		}
		mine, err = Encode(m, other)
		require.NoError(t, err)
		require.Equal(t, m, decode(t, mine))
	})
}

const listKey = string(rune(tagString)) + "list"

// Gob numbers types in the order a process meets them, so another process may
// have written other bytes for the same struct.
func TestGobKeysOfAnotherProcess(t *testing.T) {
	e := encode(t, map[any]any{point{1, 2}: "v"})
	foreign := renumber(t, e[0].Key)
	base := Entries{{foreign, e[0].Value}}
	loaded := decode(t, base)
	require.Equal(t, map[any]any{point{1, 2}: "v"}, loaded)
	got, err := Encode(loaded, base)
	require.NoError(t, err)
	require.True(t, base.Equal(got))
	loaded[point{3, 4}] = "w"
	got, err = Encode(loaded, base)
	require.NoError(t, err)
	require.Equal(t, loaded, decode(t, got))
}

// renumber raises the ID of the one user-defined type in a gob stream by one.
func renumber(t *testing.T, s string) string {
	i := strings.IndexByte(s, 0xff) // message length, then ff and minus the ID
	require.Positive(t, i)
	neg := s[i : i+2]
	id := s[i+1]
	pos := "\xff" + string([]byte{id + 1})
	out := strings.ReplaceAll(s, neg, "\xff"+string([]byte{id + 2}))
	out = strings.ReplaceAll(out, pos, "\xff"+string([]byte{id + 3}))
	require.NotEqual(t, s, out)
	return out
}

func TestEncodeSaysWhatIsWrong(t *testing.T) {
	self := []any{nil}
	self[0] = self
	selfMap := map[string]any{}
	selfMap["k"] = []any{selfMap}
	deep := any("x")
	for range maxDepth {
		deep = []any{deep}
	}
	for name, test := range map[string]struct {
		m    map[any]any
		want []string
	}{
		"value not registered":  {map[any]any{"u": unknown{1}}, []string{`"u"`, "values.unknown", "gob.Register"}},
		"nested not registered": {map[any]any{"u": []any{map[string]any{"x": unknown{1}}}}, []string{`"u"`, "values.unknown", "gob.Register"}},
		"key not registered":    {map[any]any{unknown{1}: 1}, []string{"values.unknown", "gob.Register"}},
		"function":              {map[any]any{"f": func() {}}, []string{`"f"`, "func()"}},
		"nil pointer":           {map[any]any{"p": (*money)(nil)}, []string{`"p"`, "*values.money"}},
		"contains itself":       {map[any]any{"s": self}, []string{`"s"`, "levels deep"}},
		"map contains itself":   {map[any]any{"s": selfMap}, []string{`"s"`, "levels deep"}},
		"too deep":              {map[any]any{"d": []any{deep}}, []string{`"d"`, "levels deep"}},
		"same key twice":        {map[any]any{math.NaN(): 1, &money{1, "A"}: 1, &money{1, "A"}: 2}, []string{"two session keys"}},
	} {
		_, err := Encode(test.m, nil)
		require.Error(t, err, name)
		for _, want := range test.want {
			require.ErrorContains(t, err, want, name)
		}
	}
	m := map[any]any{"d": deep}
	require.Equal(t, m, decode(t, encode(t, m)), "the limit itself is allowed both ways")
}

func TestDecodeRefusesCorruptValues(t *testing.T) {
	deep := "\x01"
	for range maxDepth + 1 {
		deep = listOf(string(appendPart(nil, deep)))
	}
	tag := func(t byte, s string) string { return string([]byte{t}) + s }
	for name, v := range map[string]string{
		"empty":                      "",
		"no such tag":                "\x00",
		"no such tag either":         "\x7fabc",
		"nil int":                    tag(tagInt|isNil, ""),
		"nil with a rest":            tag(tagNil, "x"),
		"true with a rest":           tag(tagTrue, "x"),
		"nil list with a rest":       tag(tagList|isNil, "\x01\x01"),
		"int without digits":         tag(tagInt, ""),
		"int with a rest":            tag(tagInt, "\x01\x01"),
		"int not shortest":           tag(tagInt, "\x81\x00"),
		"int8 too large":             tag(tagInt8, "\x80\x02"),
		"uint8 too large":            tag(tagUint8, "\x80\x02"),
		"uint64 too large":           tag(tagUint64, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
		"float32 cut off":            tag(tagFloat32, "123"),
		"float64 too long":           tag(tagFloat64, "123456789"),
		"time empty":                 tag(tagTime, ""),
		"time of unknown version":    tag(tagTime, "\x09123456789012345"),
		"list cut off":               tag(tagList, "\x05\x01"),
		"list of empty values":       tag(tagList, "\x00\x00"),
		"list of corrupt values":     tag(tagList, "\x01\x00"),
		"strings cut off":            tag(tagStrings, "\x05a"),
		"map with an odd part":       tag(tagMap, "\x01a"),
		"map unsorted":               tag(tagMap, "\x01b\x01\x01\x01a\x01\x01"),
		"map with a corrupt value":   tag(tagMap, "\x01b\x01\x00"),
		"string map with key twice":  tag(tagStringMap, "\x01a\x01a\x01a\x01a"),
		"string map, empty twice":    tag(tagStringMap, "\x00\x01a\x00\x01a"),
		"too deep":                   deep,
		"gob empty":                  tag(tagGob, ""),
		"gob nonsense":               tag(tagGob, "\x03abc"),
		"gob with a rest":            encode(t, map[any]any{1: role("r")})[0].Value + "\x00",
		"gob map with a list as key": tag(tagGob, forgedLoose(t)),
	} {
		_, err := Entries{{flashKey, v}}.Decode()
		require.ErrorContains(t, err, `"_flash"`, name)
		_, err = Entries{{v, "\x01"}}.Decode()
		require.Error(t, err, name)
	}
	for _, k := range []any{[]byte(nil), []byte{}, []any{}, []string{}, map[string]any{}, map[string]string{}, tags{"a"}, anyKey{tags{"a"}}} {
		key := encode(t, map[any]any{"k": k})[0].Value
		_, err := Entries{{key, "\x01"}}.Decode()
		require.ErrorContains(t, err, "can not be a key", "%#v", k)
	}
}

// forgedLoose is a gob stream of a loose whose key was a string and is now a
// []byte: gob itself panics on it.
func forgedLoose(t *testing.T) string {
	var b bytes.Buffer
	var v any = loose{keyA("k"): 1}
	require.NoError(t, gob.NewEncoder(&b).Encode(&v))
	// A type's registered name is followed by its number: 6 is string, 5 is []byte.
	forged := strings.Replace(b.String(), "keyA\x0c", "keyB\x0a", 1)
	require.NotEqual(t, b.String(), forged)
	return forged
}

func TestGobPanicsOnAKeyThatCanNotBeHashed(t *testing.T) {
	var v any
	require.Panics(t, func() { _ = gob.NewDecoder(strings.NewReader(forgedLoose(t))).Decode(&v) })
}

func TestForgedLengthsAllocateNothing(t *testing.T) {
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

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzDecode(f *testing.F) {
	for _, v := range append(plain, anyKey{1}) {
		// Not gob's maps: go.dev/issue/79539 would be found again and again.
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
