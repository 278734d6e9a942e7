package values

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"strings"
	"testing"

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

// bigCart returns a value that gob encodes differently nearly every time.
func bigCart() cart {
	items := map[string]int{}
	for i := range 30 {
		items[fmt.Sprint("item", i)] = i
	}
	return cart{Items: items}
}

func TestUnchangedGobValuesKeepTheirBytes(t *testing.T) {
	m := map[any]any{
		"cart": bigCart(),
		"list": []any{"a", bigCart(), []any{bigCart()}},
		"map":  map[string]any{"": bigCart(), "a": 1, "b": bigCart(), "c": map[string]any{"d": bigCart()}},
	}
	base := encode(t, m)
	require.False(t, base.Equal(encode(t, m)), "gob has become deterministic: Encode does not need base any more")
	loaded := decode(t, base)
	for range 10 {
		got, err := Encode(loaded, base)
		require.NoError(t, err)
		require.True(t, base.Equal(got))
	}

	t.Run("also if the list or map that holds them changes", func(t *testing.T) {
		list, inner := loaded["list"].([]any), loaded["map"].(map[string]any)
		loaded["list"] = append(list, "new")
		inner["0"], inner["z"] = "new", "new"
		delete(inner, "a")
		mine, err := Encode(loaded, base)
		require.NoError(t, err)
		require.False(t, base.Equal(mine))
		require.Equal(t, loaded, decode(t, mine))
		require.True(t, strings.HasPrefix(mine.value(listKey), base.value(listKey)), "the elements before the new one keep their bytes")
	})
	t.Run("a changed value is stored", func(t *testing.T) {
		c := loaded["cart"].(cart)
		c.Items["item3"]++
		mine, err := Encode(loaded, base)
		require.NoError(t, err)
		require.Equal(t, 4, decode(t, mine)["cart"].(cart).Items["item3"])
	})
	t.Run("a change that gob drops is no change", func(t *testing.T) {
		loaded := decode(t, base)
		c := loaded["cart"].(cart)
		c.note = "unexported"
		loaded["cart"] = c
		mine, err := Encode(loaded, base)
		require.NoError(t, err)
		require.True(t, base.Equal(mine))
	})
	t.Run("base may hold other types, or corrupt values", func(t *testing.T) {
		other := encode(t, map[any]any{"cart": map[string]any{"x": 1}, "list": "a", "map": []any{1}})
		mine, err := Encode(m, other)
		require.NoError(t, err)
		require.Equal(t, m, decode(t, mine))
		for i := range other { // corrupt
			other[i].Value = other[i].Value[:1] + "\xff"
		}
		mine, err = Encode(m, other)
		require.NoError(t, err)
		require.Equal(t, m, decode(t, mine))
	})
}

const listKey = string(rune(tagString)) + "list"

// Gob numbers types in the order a process meets them, so another process may have
// stored the same struct with other bytes.
func TestGobKeysOfAnotherProcessAreFound(t *testing.T) {
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

// renumber raises the ID of the only user-defined type in a gob stream by one.
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

// forgedLoose returns the gob stream of a loose whose key has been changed from a string to
// a []byte. Gob panics when it decodes it.
func forgedLoose(t *testing.T) string {
	var b bytes.Buffer
	var v any = loose{keyA("k"): 1}
	require.NoError(t, gob.NewEncoder(&b).Encode(&v))
	// A type's registered name is followed by its number: 6 is string, 5 is []byte.
	forged := strings.Replace(b.String(), "keyA\x0c", "keyB\x0a", 1)
	require.NotEqual(t, b.String(), forged)
	return forged
}

func TestGobPanicsOnKeyThatCannotBeHashed(t *testing.T) {
	var v any
	require.Panics(t, func() { _ = gob.NewDecoder(strings.NewReader(forgedLoose(t))).Decode(&v) })
}
