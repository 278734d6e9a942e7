package values

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMerge(t *testing.T) {
	type m = map[any]any
	l := func(v ...any) []any { return v }
	for _, test := range []struct {
		name                     string
		base, mine, latest, want m
	}{
		{"nothing", nil, nil, nil, nil},
		{"latest's change stays", m{"a": 1}, m{"a": 1}, m{"a": 2, "b": 3}, m{"a": 2, "b": 3}},
		{"latest's deletion stays", m{"a": 1, "b": 1}, m{"a": 1, "b": 1}, m{"b": 1}, m{"b": 1}},
		{"mine's new key is added", nil, m{"b": 2}, m{"a": 1, "c": 3}, m{"a": 1, "b": 2, "c": 3}},
		{"both change different keys", m{"a": 1, "b": 1}, m{"a": 2, "b": 1}, m{"a": 1, "b": 2}, m{"a": 2, "b": 2}},
		{"both change one key: mine is later and wins", m{"a": 1}, m{"a": 2}, m{"a": 3}, m{"a": 2}},
		{"mine deletes", m{"a": 1, "b": 1}, m{"b": 1}, m{"a": 1, "b": 2}, m{"b": 2}},
		{"mine's deletion wins over latest's change", m{"a": 1}, nil, m{"a": 2}, nil},
		{"mine's change wins over latest's deletion", m{"a": 1}, m{"a": 2}, nil, m{"a": 2}},
		{"both delete", m{"a": 1}, nil, nil, nil},
		{"both add the same value", nil, m{"a": 1}, m{"a": 1}, m{"a": 1}},
		{"only the type changes", m{"a": int(1)}, m{"a": int64(1)}, m{"a": int(1)}, m{"a": int64(1)}},

		{"flash: both create the list", nil, m{"f": l("m")}, m{"f": l("t")}, m{"f": l("t", "m")}},
		{"flash: both create the same list", nil, m{"f": l("x")}, m{"f": l("x")}, m{"f": l("x", "x")}},
		{"flash: both append", m{"f": l("a")}, m{"f": l("a", "m")}, m{"f": l("a", "t")}, m{"f": l("a", "t", "m")}},
		{"flash: both append the same message", m{"f": l("a")}, m{"f": l("a", "x")}, m{"f": l("a", "x")}, m{"f": l("a", "x", "x")}},
		{"flash: mine shows, latest adds", m{"f": l("a")}, nil, m{"f": l("a", "t")}, m{"f": l("t")}},
		{"flash: mine shows and adds, latest adds", m{"f": l("a")}, m{"f": l("m")}, m{"f": l("a", "t")}, m{"f": l("t", "m")}},
		{"flash: both show", m{"f": l("a")}, nil, nil, nil},
		{"flash: mine shows, latest shows and adds", m{"f": l("a")}, nil, m{"f": l("t")}, m{"f": l("t")}},
		{"flash: latest shows, mine adds", m{"f": l("a")}, m{"f": l("a", "m")}, nil, m{"f": l("m")}},
		{"flash: latest shows and adds, mine adds", m{"f": l("a", "b")}, m{"f": l("a", "b", "m")}, m{"f": l("t")}, m{"f": l("t", "m")}},
		{"flash: latest shows, mine shows and adds", m{"f": l("a")}, m{"f": l("m")}, nil, m{"f": l("m")}},
		{"flash: mine empties the list, latest adds", m{"f": l("a")}, m{"f": l()}, m{"f": l("a", "t")}, m{"f": l("t")}},
		{"flash: mine empties the list, latest does not change", m{"f": l("a")}, m{"f": l()}, m{"f": l("a")}, m{"f": l()}},
		{"flash: both empty the list, which is removed", m{"f": l("a")}, m{"f": l()}, m{"f": []any(nil)}, nil},
		{"flash: one element is a prefix of another", m{"f": l("a")}, m{"f": l("ab")}, m{"f": l("a", "t")}, m{"f": l("t", "ab")}},
		{"flash: long elements", nil, m{"f": l(strings.Repeat("m", 300))}, m{"f": l(strings.Repeat("t", 200))}, m{"f": l(strings.Repeat("t", 200), strings.Repeat("m", 300))}},
		{"flash: nested lists are elements", m{"f": l(l("a"))}, m{"f": l(l("a"), l("m"))}, m{"f": l(l("a"), l("t"))}, m{"f": l(l("a"), l("t"), l("m"))}},
		{"flash: under any key", nil, m{7: l("m")}, m{7: l("t")}, m{7: l("t", "m")}},

		{"both replace a number by a list", m{"f": 1}, m{"f": l("m")}, m{"f": l("t")}, m{"f": l("t", "m")}},
		{"mine replaces a number by a list", m{"f": 1}, m{"f": l("m")}, m{"f": 2}, m{"f": l("m")}},
		{"latest replaces a number by a list", m{"f": 1}, m{"f": 2}, m{"f": l("t")}, m{"f": 2}},
		{"mine deletes, latest replaces by a list", m{"f": 1}, nil, m{"f": l("t")}, nil},
		{"latest deletes, mine replaces by a list", m{"f": 1}, m{"f": l("m")}, nil, m{"f": l("m")}},
		{"mine replaces a list by a number", m{"f": l("a")}, m{"f": 1}, m{"f": l("a", "t")}, m{"f": 1}},
		{"latest replaces a list by a number", m{"f": l("a")}, m{"f": l("a", "m")}, m{"f": 1}, m{"f": l("a", "m")}},
		{"mine deletes a list, latest replaces it by a number", m{"f": l("a")}, nil, m{"f": 1}, nil},
		{"other slices are plain values", m{"f": []string{"a"}}, m{"f": []string{"a", "m"}}, m{"f": []string{"a", "t"}}, m{"f": []string{"a", "m"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			base, mine, latest := encode(t, test.base), encode(t, test.mine), encode(t, test.latest)
			got := Merge(base, mine, latest)
			require.True(t, encode(t, test.want).Equal(got), "got %v", decode(t, got))
			require.True(t, Merge(base, mine, base).Equal(mine), "without other changes, mine is stored")
			require.True(t, Merge(base, base, latest).Equal(latest), "a request that changed nothing undoes nothing")
		})
	}
}

// randomEntries has few keys and values, so that merged sides often agree and often
// conflict. Some values are lists.
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

func TestMergeOfRandomEntriesIsValid(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		base, mine, latest := randomEntries(t, r, "abc"), randomEntries(t, r, "abc"), randomEntries(t, r, "abc")
		require.True(t, Merge(base, mine, base).Equal(mine))
		require.True(t, Merge(base, base, latest).Equal(latest))
		merged := Merge(base, mine, latest)
		back, err := Unmarshal(Bag{"s": merged}.Marshal())
		require.NoError(t, err, "merged entries are sorted and complete")
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

// union returns the entries of a, then those of b, whose keys are all greater.
func union(a, b Entries) Entries { return append(append(Entries{}, a...), b...) }

func TestMergeDoesNotChangeItsArguments(t *testing.T) {
	base := encode(t, map[any]any{"a": 1, "f": []any{"x"}})
	mine := encode(t, map[any]any{"a": 2, "f": []any{"x", "m"}})
	latest := encode(t, map[any]any{"a": 1, "f": []any{"x", "t"}, "z": 0})
	before := [3]Entries{union(nil, base), union(nil, mine), union(nil, latest)}
	Merge(base, mine, latest)
	require.Equal(t, before, [3]Entries{base, mine, latest})
}
