package values

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func encode(t testing.TB, m map[any]any) Entries {
	t.Helper()
	e, err := Encode(m, nil)
	require.NoError(t, err)
	return e
}

func decode(t testing.TB, e Entries) map[any]any {
	t.Helper()
	m, err := e.Decode()
	require.NoError(t, err)
	return m
}

func TestEqualValuesHaveEqualBytes(t *testing.T) {
	var first Entries
	for i := range 50 {
		m, inner, strs := map[any]any{}, map[string]any{}, map[string]string{}
		for j := range 30 { // another insertion order in each round
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

func TestEncodeSortsByKey(t *testing.T) {
	e := encode(t, map[any]any{"b": 1, "a": 2, 3: 3, "aa": 4, "": 5})
	require.Len(t, e, 5)
	for i := range e[1:] {
		require.Less(t, e[i].Key, e[i+1].Key)
	}
}

func TestEmptySession(t *testing.T) {
	base := encode(t, map[any]any{"k": "v"})
	for _, m := range []map[any]any{nil, {}} {
		e, err := Encode(m, base)
		require.NoError(t, err)
		require.Empty(t, e, "base adds no keys")
	}
	for _, e := range []Entries{nil, {}} {
		m := decode(t, e)
		require.Empty(t, m)
		m["writable"] = true
	}
}

func TestDecodeReturnsANewMapEachTime(t *testing.T) {
	e := encode(t, map[any]any{"list": []any{"a"}, "bytes": []byte("b"), "map": map[string]any{"k": 1}})
	m := decode(t, e)
	m["list"].([]any)[0], m["bytes"].([]byte)[0], m["map"].(map[string]any)["k"] = "changed", 'x', 2
	require.Equal(t, map[any]any{"list": []any{"a"}, "bytes": []byte("b"), "map": map[string]any{"k": 1}}, decode(t, e))
}

func TestEqual(t *testing.T) {
	e := encode(t, map[any]any{"a": 1, "b": 2})
	for _, test := range []struct {
		name  string
		other Entries
		want  bool
	}{
		{"same values", encode(t, map[any]any{"b": 2, "a": 1}), true},
		{"other value", encode(t, map[any]any{"a": 1, "b": 3}), false},
		{"other type", encode(t, map[any]any{"a": 1, "b": int64(2)}), false},
		{"other key", encode(t, map[any]any{"a": 1, "c": 2}), false},
		{"fewer keys", encode(t, map[any]any{"a": 1}), false},
		{"no keys", nil, false},
	} {
		require.Equal(t, test.want, e.Equal(test.other), test.name)
		require.Equal(t, test.want, test.other.Equal(e), test.name)
	}
	require.True(t, Entries(nil).Equal(Entries{}))
}

func TestEncodeErrorsNameKeyAndType(t *testing.T) {
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
	require.Equal(t, m, decode(t, encode(t, m)), "the limit itself is allowed, to encode and to decode")
}

// Entries that are taken for unchanged must be those that encoding would return.
func TestEncodeReturnsTheBaseOnlyIfItIsTheSame(t *testing.T) {
	m := map[any]any{"a": 1, "b": []any{"x", nil}, "c": map[string]any{"d": true}, "e": "text"}
	base := encode(t, m)
	for name, change := range map[string]func(map[any]any){
		"nothing":               func(map[any]any) {},
		"a value":               func(m map[any]any) { m["a"] = 2 },
		"the type of a value":   func(m map[any]any) { m["a"] = int64(1) },
		"an element of a list":  func(m map[any]any) { m["b"].([]any)[0] = "y" },
		"a value of a map":      func(m map[any]any) { m["c"].(map[string]any)["d"] = false },
		"a key more":            func(m map[any]any) { m["f"] = nil },
		"a key less":            func(m map[any]any) { delete(m, "a") },
		"another key":           func(m map[any]any) { delete(m, "a"); m["z"] = 1 },
		"the type of a key":     func(m map[any]any) { delete(m, "a"); m[1] = 1 },
		"a key before the rest": func(m map[any]any) { delete(m, "e"); m[""] = "text" },
	} {
		changed := decode(t, base)
		change(changed)
		got, err := Encode(changed, base)
		require.NoError(t, err, name)
		require.Equal(t, encode(t, changed), got, name)
	}
	_, err := Encode(map[any]any{"a": func() {}, "b": 1, "c": 1, "e": 1}, base)
	require.ErrorContains(t, err, "cannot be stored")
}
