package values

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMarshalAndUnmarshalRoundTrip(t *testing.T) {
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
	stored := Bag{"a": one}.Marshal()
	require.Equal(t, len(stored), cap(stored), "a backend need not copy it so that nobody appends to what it keeps")
	for _, b := range [][]byte{nil, {}} {
		bag, err := Unmarshal(b)
		require.NoError(t, err)
		require.Empty(t, bag)
		bag["writable"] = one
	}
}

// Stores and cookies hold these bytes: change this test only together with version.
func TestFormatIsStable(t *testing.T) {
	bag := Bag{"cart": encode(t, map[any]any{"n": -3, "l": []any{"a", nil}})}
	require.Equal(t, "\x01\x04cart\x10\x02\x10l\x06\x14\x02\x10a\x01\x01\x02\x10n\x02\x04\x05", string(bag.Marshal()))
}

func TestUnmarshalAcceptsOnlyWhatMarshalWrites(t *testing.T) {
	for name, in := range map[string]string{
		"unknown version":      "\x02\x01s\x04\x01k\x01v",
		"no names":             "\x01",
		"name truncated":       "\x01\x05s",
		"no entries":           "\x01\x01s",
		"empty entries":        "\x01\x01s\x00",
		"key without value":    "\x01\x01s\x02\x01k",
		"empty key":            "\x01\x01s\x03\x00\x01v",
		"empty value":          "\x01\x01s\x03\x01k\x00",
		"value truncated":      "\x01\x01s\x04\x01k\x02v",
		"keys not sorted":      "\x01\x01s\x08\x01l\x01v\x01k\x01v",
		"key twice":            "\x01\x01s\x08\x01k\x01v\x01k\x01v",
		"names not sorted":     "\x01\x01t\x04\x01k\x01v\x01s\x04\x01k\x01v",
		"name twice":           "\x01\x01s\x04\x01k\x01v\x01s\x04\x01k\x01v",
		"empty name twice":     "\x01\x00\x04\x01k\x01v\x00\x04\x01k\x01v",
		"trailing byte":        "\x01\x01s\x04\x01k\x01v\x00",
		"length not shortest":  "\x01\x81\x00s\x04\x01k\x01v",
		"length overflows":     "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"length is 2^63":       "\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
		"length never ends":    "\x01" + strings.Repeat("\x80", 20),
		"entries too long":     "\x01\x01s\xff\xff\xff\xff\x0f\x01k\x01v",
		"gob of gorilla":       "\x0e\xff\x81\x04\x01\x02\xff\x82",
		"key after last value": "\x01\x01s\x05\x01k\x01v\x01",
	} {
		_, err := Unmarshal([]byte(in))
		require.Error(t, err, name)
	}
	_, err := Unmarshal([]byte("\x01\x01s\x04\x01k\x01v"))
	require.NoError(t, err)
	_, err = Unmarshal([]byte("\x02"))
	require.ErrorContains(t, err, "format 2")
}

func TestTrimFlashRemovesOldestOfLargestList(t *testing.T) {
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
	require.Equal(t, before, shared, "shared entries do not change")
	require.Equal(t, []any{"2"}, flashes("big"))
	require.True(t, bag.trimFlash(1))
	require.Equal(t, []any{4, 5}, flashes("small"))
	require.True(t, bag.trimFlash(1))
	require.Equal(t, []any{5}, flashes("small"))
	require.True(t, bag.trimFlash(1))
	require.NotContains(t, decode(t, bag["big"]), "_flash", "of two lists of the same size, the first by name")
	require.True(t, bag.trimFlash(1))
	require.NotContains(t, decode(t, bag["small"]), "_flash")
	require.False(t, bag.trimFlash(1))
	require.Equal(t, map[any]any{"a": 1}, decode(t, bag["big"]))
	require.Equal(t, map[any]any{"_flash": "not a list", "n": nil}, decode(t, bag["none"]))
	require.False(t, Bag(nil).trimFlash(1))
}

func TestUnmarshalCopiesItsInput(t *testing.T) {
	e := encode(t, map[any]any{"k": "v"})
	b := Bag{"s": e}.Marshal()
	bag, err := Unmarshal(b)
	require.NoError(t, err)
	clear(b)
	require.Equal(t, Bag{"s": e}, bag)
}

func TestMarshalWithinChangesOnlyABagThatIsTooLarge(t *testing.T) {
	e := encode(t, map[any]any{"_flash": []any{"first", "second"}, "cart": 1})
	bag := Bag{"s": e}
	all := bag.Marshal()

	stored, fits := bag.MarshalWithin(len(all))
	require.True(t, fits)
	require.Equal(t, all, stored)
	require.True(t, bag["s"].Equal(e))

	stored, fits = bag.MarshalWithin(len(all) - 1)
	require.True(t, fits)
	require.Equal(t, stored, bag.Marshal(), "the bag lacks the same message as its bytes")
	require.Equal(t, map[any]any{"_flash": []any{"second"}, "cart": 1}, decode(t, bag["s"]))
}

func TestMarshalWithinKeepsNewestMessagesThatFit(t *testing.T) {
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

func TestTrimFlashRemovesCorruptList(t *testing.T) {
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
		require.Equal(t, string(b), string(bag.Marshal()), "each bag has only one encoding")
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

// A session with thousands of names, each with one message, is marshalled a few times only
// when a large value takes the place of all.
func TestMarshalWithinDropsManyListsTogether(t *testing.T) {
	allocations := func(lists int) float64 {
		message, err := Encode(map[any]any{"_flash": []any{"x"}}, nil)
		require.NoError(t, err)
		bag := Bag{"kept": {{"\x10k", strings.Repeat("x", 60_000)}}}
		for i := range lists {
			bag[strconv.Itoa(i)] = message
		}
		return testing.AllocsPerRun(1, func() {
			b := maps.Clone(bag)
			stored, fits := b.MarshalWithin(60_100)
			require.True(t, fits)
			require.Greater(t, len(stored), 60_050, "no more are dropped than necessary")
		})
	}
	require.Less(t, allocations(1000), 3000.0) // 24,000 if each list were dropped alone
}
