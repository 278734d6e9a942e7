package values

import (
	"bytes"
	"encoding/gob"
	"testing"

	"github.com/stretchr/testify/require"
)

// small holds the values of a small application: five strings and ints under string keys.
var small = map[any]any{"theme": "dark", "cart_id": "c-81734", "visits": 1234, "page": 3, "lang": "en"}

func BenchmarkRead(b *testing.B) {
	stored := Bag{"session": encode(b, small)}.Marshal()
	b.Run("values", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bag, err := Unmarshal(stored)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := bag["session"].Decode(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("values not decoded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Unmarshal(stored); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gob", func(b *testing.B) {
		stored := gobEncode(b, small)
		b.ReportAllocs()
		for b.Loop() {
			m := map[any]any{}
			if err := gob.NewDecoder(bytes.NewReader(stored)).Decode(&m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	base := encode(b, small)
	b.Run("values", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e, err := Encode(small, nil)
			if err != nil {
				b.Fatal(err)
			}
			Bag{"session": e}.Marshal()
		}
	})
	b.Run("values unchanged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if e, err := Encode(small, base); err != nil || !e.Equal(base) {
				b.Fatal(err)
			}
		}
	})
	b.Run("gob", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			gobEncode(b, small)
		}
	})
}

func BenchmarkMerge(b *testing.B) {
	base := encode(b, small)
	mine := union(base, encode(b, map[any]any{"z": []any{"mine"}}))
	latest := union(base, encode(b, map[any]any{"z": []any{"theirs"}}))
	b.ReportAllocs()
	for b.Loop() {
		Merge(base, mine, latest)
	}
}

func gobEncode(b *testing.B, m map[any]any) []byte {
	var buf bytes.Buffer
	require.NoError(b, gob.NewEncoder(&buf).Encode(m))
	return buf.Bytes()
}

// A small session must stay cheap enough to be decoded on every request.
func TestReadingSmallSessionAllocatesLittle(t *testing.T) {
	stored := Bag{"session": encode(t, small)}.Marshal()
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		bag, _ := Unmarshal(stored)
		_, _ = bag["session"].Decode()
	}), 16.0)
	base := encode(t, small)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = Encode(small, base) }), 2.0)
	var again encoder
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = again.encode(small, base) }))
}

// What an encoder has returned does not change with what it encodes next.
func TestEntriesDoNotShareTheMemoryOfTheirEncoder(t *testing.T) {
	var e encoder
	first, err := e.encode(map[any]any{"k": "first"}, nil)
	require.NoError(t, err)
	want := encode(t, map[any]any{"k": "first"})
	_, err = e.encode(map[any]any{"k": "other"}, nil)
	require.NoError(t, err)
	require.Equal(t, want, first)
	other, err := e.encode(map[any]any{"k": "other"}, first)
	require.NoError(t, err)
	require.Equal(t, encode(t, map[any]any{"k": "other"}), other)
}

// A login stores a small session, and that must stay cheap too.
func TestWritingSmallSessionAllocatesLittle(t *testing.T) {
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		e, _ := Encode(small, nil)
		Bag{"session": Merge(nil, e, nil)}.Marshal()
	}), 4.0)
}
