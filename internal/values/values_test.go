package values

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
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

func TestBagComesBackFromItsBytes(t *testing.T) {
	bag := Bag{
		"session": encode(t, map[any]any{"a": 1, "b": "two", 3: nil}),
		"cart":    encode(t, map[any]any{"items": []any{"x", 2}}),
		"":        encode(t, map[any]any{"": ""}),
		"long":    encode(t, map[any]any{strings.Repeat("k", 300): strings.Repeat("v", 70_000)}),
	}
	b := bag.Marshal()
	got, err := Unmarshal(b)
	require.NoError(t, err)
	require.Equal(t, bag, got)
	for range 20 {
		require.Equal(t, b, maps.Clone(bag).Marshal())
	}
}

func TestBagWithoutEntriesHasNoBytes(t *testing.T) {
	require.Nil(t, Bag(nil).Marshal())
	require.Nil(t, Bag{"a": nil, "b": {}}.Marshal())
	one := encode(t, map[any]any{"k": "v"})
	require.Equal(t, Bag{"a": one}.Marshal(), Bag{"a": one, "b": nil}.Marshal())
	require.Less(t, cap(Bag{"a": one}.Marshal()), 64, "it is kept for as long as a session")
	for _, b := range [][]byte{nil, {}} {
		bag, err := Unmarshal(b)
		require.NoError(t, err)
		require.Empty(t, bag)
		bag["writable"] = one
	}
}

// The bytes are in stores and cookies: this test may only change together with
// the version.
func TestFormatIsStable(t *testing.T) {
	bag := Bag{"cart": encode(t, map[any]any{"n": -3, "l": []any{"a", nil}})}
	require.Equal(t, "\x01\x04cart\x10\x02\x10l\x06\x14\x02\x10a\x01\x01\x02\x10n\x02\x04\x05", string(bag.Marshal()))
}

func TestUnmarshalAcceptsOnlyWhatMarshalWrites(t *testing.T) {
	for name, in := range map[string]string{
		"unknown version":      "\x02\x01s\x04\x01k\x01v",
		"no names":             "\x01",
		"name cut off":         "\x01\x05s",
		"no entries":           "\x01\x01s",
		"empty entries":        "\x01\x01s\x00",
		"key without value":    "\x01\x01s\x02\x01k",
		"empty key":            "\x01\x01s\x03\x00\x01v",
		"empty value":          "\x01\x01s\x03\x01k\x00",
		"value cut off":        "\x01\x01s\x04\x01k\x02v",
		"keys unsorted":        "\x01\x01s\x08\x01l\x01v\x01k\x01v",
		"key twice":            "\x01\x01s\x08\x01k\x01v\x01k\x01v",
		"names unsorted":       "\x01\x01t\x04\x01k\x01v\x01s\x04\x01k\x01v",
		"name twice":           "\x01\x01s\x04\x01k\x01v\x01s\x04\x01k\x01v",
		"empty name twice":     "\x01\x00\x04\x01k\x01v\x00\x04\x01k\x01v",
		"rest":                 "\x01\x01s\x04\x01k\x01v\x00",
		"length not shortest":  "\x01\x81\x00s\x04\x01k\x01v",
		"length overflows":     "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"length of 2^63":       "\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
		"length never ends":    "\x01" + strings.Repeat("\x80", 20),
		"length of the block":  "\x01\x01s\xff\xff\xff\xff\x0f\x01k\x01v",
		"gorilla's own gob":    "\x0e\xff\x81\x04\x01\x02\xff\x82",
		"entries of other bag": "\x01\x01s\x05\x01k\x01v\x01",
	} {
		_, err := Unmarshal([]byte(in))
		require.Error(t, err, name)
	}
	_, err := Unmarshal([]byte("\x01\x01s\x04\x01k\x01v"))
	require.NoError(t, err)
	_, err = Unmarshal([]byte("\x02"))
	require.ErrorContains(t, err, "format 2")
}

func TestMerge(t *testing.T) {
	type m = map[any]any
	l := func(v ...any) []any { return v }
	for _, test := range []struct {
		name                     string
		base, mine, latest, want m
	}{
		{"nothing", nil, nil, nil, nil},
		{"theirs stays", m{"a": 1}, m{"a": 1}, m{"a": 2, "b": 3}, m{"a": 2, "b": 3}},
		{"their deletion stays", m{"a": 1, "b": 1}, m{"a": 1, "b": 1}, m{"b": 1}, m{"b": 1}},
		{"mine is added", nil, m{"b": 2}, m{"a": 1, "c": 3}, m{"a": 1, "b": 2, "c": 3}},
		{"both change different keys", m{"a": 1, "b": 1}, m{"a": 2, "b": 1}, m{"a": 1, "b": 2}, m{"a": 2, "b": 2}},
		{"both change one key: last commit wins", m{"a": 1}, m{"a": 2}, m{"a": 3}, m{"a": 2}},
		{"my deletion", m{"a": 1, "b": 1}, m{"b": 1}, m{"a": 1, "b": 2}, m{"b": 2}},
		{"my deletion wins over their change", m{"a": 1}, nil, m{"a": 2}, nil},
		{"my change wins over their deletion", m{"a": 1}, m{"a": 2}, nil, m{"a": 2}},
		{"both delete", m{"a": 1}, nil, nil, nil},
		{"both add the same", nil, m{"a": 1}, m{"a": 1}, m{"a": 1}},
		{"type alone changes", m{"a": int(1)}, m{"a": int64(1)}, m{"a": int(1)}, m{"a": int64(1)}},

		{"flash: both add the first", nil, m{"f": l("m")}, m{"f": l("t")}, m{"f": l("t", "m")}},
		{"flash: both add the same first", nil, m{"f": l("x")}, m{"f": l("x")}, m{"f": l("x", "x")}},
		{"flash: both append", m{"f": l("a")}, m{"f": l("a", "m")}, m{"f": l("a", "t")}, m{"f": l("a", "t", "m")}},
		{"flash: both append the same", m{"f": l("a")}, m{"f": l("a", "x")}, m{"f": l("a", "x")}, m{"f": l("a", "x", "x")}},
		{"flash: I show, they add", m{"f": l("a")}, nil, m{"f": l("a", "t")}, m{"f": l("t")}},
		{"flash: I show and add, they add", m{"f": l("a")}, m{"f": l("m")}, m{"f": l("a", "t")}, m{"f": l("t", "m")}},
		{"flash: I show, they show", m{"f": l("a")}, nil, nil, nil},
		{"flash: I show, they show and add", m{"f": l("a")}, nil, m{"f": l("t")}, m{"f": l("t")}},
		{"flash: they show, I add", m{"f": l("a")}, m{"f": l("a", "m")}, nil, m{"f": l("m")}},
		{"flash: they show and add, I add", m{"f": l("a", "b")}, m{"f": l("a", "b", "m")}, m{"f": l("t")}, m{"f": l("t", "m")}},
		{"flash: they show, I show and add", m{"f": l("a")}, m{"f": l("m")}, nil, m{"f": l("m")}},
		{"flash: I empty it, they add", m{"f": l("a")}, m{"f": l()}, m{"f": l("a", "t")}, m{"f": l("t")}},
		{"flash: I empty it, they change nothing", m{"f": l("a")}, m{"f": l()}, m{"f": l("a")}, m{"f": l()}},
		{"flash: empty of both sides goes", m{"f": l("a")}, m{"f": l()}, m{"f": []any(nil)}, nil},
		{"flash: one element is the start of another", m{"f": l("a")}, m{"f": l("ab")}, m{"f": l("a", "t")}, m{"f": l("t", "ab")}},
		{"flash: long elements", nil, m{"f": l(strings.Repeat("m", 300))}, m{"f": l(strings.Repeat("t", 200))}, m{"f": l(strings.Repeat("t", 200), strings.Repeat("m", 300))}},
		{"flash: nested lists are elements", m{"f": l(l("a"))}, m{"f": l(l("a"), l("m"))}, m{"f": l(l("a"), l("t"))}, m{"f": l(l("a"), l("t"), l("m"))}},
		{"flash: under any key", nil, m{7: l("m")}, m{7: l("t")}, m{7: l("t", "m")}},

		{"a list replaced what was none, on both sides", m{"f": 1}, m{"f": l("m")}, m{"f": l("t")}, m{"f": l("t", "m")}},
		{"a list replaced what was none, mine", m{"f": 1}, m{"f": l("m")}, m{"f": 2}, m{"f": l("m")}},
		{"a list replaced what was none, theirs", m{"f": 1}, m{"f": 2}, m{"f": l("t")}, m{"f": 2}},
		{"I delete, they make it a list", m{"f": 1}, nil, m{"f": l("t")}, nil},
		{"they delete, I make it a list", m{"f": 1}, m{"f": l("m")}, nil, m{"f": l("m")}},
		{"I replace a list by none", m{"f": l("a")}, m{"f": 1}, m{"f": l("a", "t")}, m{"f": 1}},
		{"they replace a list by none", m{"f": l("a")}, m{"f": l("a", "m")}, m{"f": 1}, m{"f": l("a", "m")}},
		{"I delete a list, they replace it", m{"f": l("a")}, nil, m{"f": 1}, nil},
		{"other slices are plain values", m{"f": []string{"a"}}, m{"f": []string{"a", "m"}}, m{"f": []string{"a", "t"}}, m{"f": []string{"a", "m"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			base, mine, latest := encode(t, test.base), encode(t, test.mine), encode(t, test.latest)
			got := Merge(base, mine, latest)
			require.True(t, encode(t, test.want).Equal(got), "got %v", decode(t, got))
			require.True(t, Merge(base, mine, base).Equal(mine), "when nobody else changed anything, mine is stored")
			require.True(t, Merge(base, base, latest).Equal(latest), "who changed nothing, undoes nothing")
		})
	}
}

// randomEntries has few keys and values, so that sides agree, collide and nest.
func randomEntries(t *testing.T, r *rand.Rand, keys string) Entries {
	m := map[any]any{}
	for _, k := range keys {
		list := []any{}
		for range r.IntN(4) {
			list = append(list, r.IntN(2))
		}
		switch r.IntN(4) {
		case 0:
			m[string(k)] = r.IntN(3)
		case 1, 2:
			m[string(k)] = list
		}
	}
	return encode(t, m)
}

func TestMergeOfAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		base, mine, latest := randomEntries(t, r, "abc"), randomEntries(t, r, "abc"), randomEntries(t, r, "abc")
		require.True(t, Merge(base, mine, base).Equal(mine))
		require.True(t, Merge(base, base, latest).Equal(latest))
		merged := Merge(base, mine, latest)
		back, err := Unmarshal(Bag{"s": merged}.Marshal())
		require.NoError(t, err, "a merge is sorted and complete")
		require.True(t, back["s"].Equal(merged))
		decode(t, merged)
	}
}

func TestMergeOfIndependentChangesCommutes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5_000 {
		left, right := randomEntries(t, r, "abc"), randomEntries(t, r, "xyz")
		base := union(left, right)
		a := union(randomEntries(t, r, "abc"), right)
		b := union(left, randomEntries(t, r, "xyz"))
		require.True(t, Merge(base, a, b).Equal(Merge(base, b, a)))
		require.True(t, Merge(base, a, b).Equal(union(a[:len(a)-len(right)], b[len(left):])))
	}
}

// union puts entries behind others whose keys are all smaller.
func union(a, b Entries) Entries { return append(append(Entries{}, a...), b...) }

func TestMergeLeavesItsArgumentsAlone(t *testing.T) {
	base := encode(t, map[any]any{"a": 1, "f": []any{"x"}})
	mine := encode(t, map[any]any{"a": 2, "f": []any{"x", "m"}})
	latest := encode(t, map[any]any{"a": 1, "f": []any{"x", "t"}, "z": 0})
	before := [3]Entries{union(nil, base), union(nil, mine), union(nil, latest)}
	Merge(base, mine, latest)
	require.Equal(t, before, [3]Entries{base, mine, latest})
}

func TestTrimFlashTakesTheOldestOfTheLargestList(t *testing.T) {
	shared := encode(t, map[any]any{"_flash": []any{strings.Repeat("1", 200), "2"}, "a": 1})
	bag := Bag{
		"big":   shared,
		"small": encode(t, map[any]any{"_flash": []any{"3", 4, 5}, "other": []any{strings.Repeat("x", 500)}}),
		"none":  encode(t, map[any]any{"_flash": "not a list", "n": nil}),
		"empty": encode(t, map[any]any{"_flash": []any{}}),
		"nil":   encode(t, map[any]any{"_flash": []any(nil)}),
	}
	before := union(nil, shared)
	flashes := func(name string) any { return decode(t, bag[name])["_flash"] }

	require.True(t, bag.trimFlash(1))
	require.Equal(t, before, shared, "entries are shared and stay as they are")
	require.Equal(t, []any{"2"}, flashes("big"))
	require.True(t, bag.trimFlash(1))
	require.Equal(t, []any{4, 5}, flashes("small"))
	require.True(t, bag.trimFlash(1))
	require.Equal(t, []any{5}, flashes("small"))
	require.True(t, bag.trimFlash(1))
	require.NotContains(t, decode(t, bag["big"]), "_flash", "of two equal ones, the first name's")
	require.True(t, bag.trimFlash(1))
	require.NotContains(t, decode(t, bag["small"]), "_flash")
	require.False(t, bag.trimFlash(1))
	require.Equal(t, map[any]any{"a": 1}, decode(t, bag["big"]))
	require.Equal(t, map[any]any{"_flash": "not a list", "n": nil}, decode(t, bag["none"]))
	require.False(t, Bag(nil).trimFlash(1))
}

// One pass, and no more is lost than has to be.
func TestMarshalWithinKeepsTheNewestThatFit(t *testing.T) {
	const size = 2000
	var flashes []any
	for i := range 20_000 {
		flashes = append(flashes, fmt.Sprintf("row %d", i))
	}
	entries, err := Encode(map[any]any{"_flash": flashes, "cart": 1}, nil)
	require.NoError(t, err)
	small, err := Encode(map[any]any{"_flash": []any{"other"}}, nil)
	require.NoError(t, err)
	bag := Bag{"flash": entries, "other": small}

	stored, fits := bag.MarshalWithin(size)
	require.True(t, fits)
	require.LessOrEqual(t, len(stored), size)
	require.Greater(t, len(stored), size-20)
	got, err := Unmarshal(stored)
	require.NoError(t, err)
	require.True(t, got["other"].Equal(small))
	m, err := got["flash"].Decode()
	require.NoError(t, err)
	require.Equal(t, 1, m["cart"])
	kept := m["_flash"].([]any)
	require.Equal(t, flashes[len(flashes)-len(kept):], kept)

	_, fits = bag.MarshalWithin(5)
	require.False(t, fits)
	stored, fits = Bag{}.MarshalWithin(0)
	require.True(t, fits)
	require.Empty(t, stored)
}

func TestTrimFlashOfEqualListsIsDeterministic(t *testing.T) {
	e := encode(t, map[any]any{"_flash": []any{"a", "b"}})
	for range 50 {
		bag := Bag{"c": e, "a": e, "b": e}
		require.True(t, bag.trimFlash(1))
		require.False(t, bag["a"].Equal(e))
	}
}

func TestTrimFlashEndsOnACorruptList(t *testing.T) {
	bag := Bag{"s": {{flashKey, listOf("\xff")}}}
	require.True(t, bag.trimFlash(1))
	require.False(t, bag.trimFlash(1))
	require.Nil(t, bag.Marshal())
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x01"))
	f.Add([]byte("\x02\x01s\x04\x01k\x01v"))
	f.Add([]byte("\x01\x01s\x04\x01k\x01v"))
	f.Add(Bag{
		"session": encode(f, map[any]any{"_flash": []any{"a", 1}, "b": true, 1: nil}),
		"cart":    encode(f, map[any]any{"items": map[string]any{"a": []string{"b"}}}),
	}.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		bag, err := Unmarshal(b)
		if err != nil {
			return
		}
		require.Equal(t, string(b), string(bag.Marshal()), "there is one form of a bag")
		before := len(bag)
		for _, e := range bag {
			_, _ = e.Decode()
			require.True(t, Merge(e, e, e).Equal(e))
			require.True(t, Merge(nil, e, nil).Equal(e))
			require.Empty(t, Merge(e, nil, e))
			Merge(nil, e, e)
		}
		for bag.trimFlash(1) {
		}
		require.Len(t, bag, before)
		_, err = Unmarshal(bag.Marshal())
		require.NoError(t, err)
	})
}
