package store

import (
	"math/bits"
	mathrand "math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBlocksKeepOrderWhileTheyGrowAndShrink(t *testing.T) {
	b, want := blocks{{500_000}}, []ref{500_000}
	find := func(r ref) position { return b.search(func(other ref) bool { return other < r }) }
	requireSame := func() {
		t.Helper()
		require.Equal(t, want, slices.Concat(b...))
		var walked []ref
		for p := (position{}); !b.isEnd(p); p = b.next(p) {
			walked = append(walked, b.at(p))
		}
		require.Equal(t, want, walked)
		for i, block := range b {
			require.NotEmpty(t, block)
			require.LessOrEqual(t, len(block), maxBlock)
			if i > 0 {
				require.Greater(t, len(b[i-1])+len(block), maxBlock/2, "short neighbors")
			}
		}
	}
	for len(want) < 5000 {
		r := ref(mathrand.IntN(1_000_000))
		at, found := slices.BinarySearch(want, r)
		if found {
			continue
		}
		b.insert(find(r), r)
		want = slices.Insert(want, at, r)
		if len(want)%100 == 0 {
			requireSame()
		}
	}
	compared := 0
	b.search(func(r ref) bool { compared++; return r < 500_000 })
	require.LessOrEqual(t, compared, bits.Len(uint(len(want)))+2)
	for len(want) > 0 {
		at := mathrand.IntN(len(want))
		if len(want) > 2500 {
			at = 1000 // a part of it goes altogether
		}
		b.remove(find(want[at]))
		want = slices.Delete(want, at, at+1)
		if len(want)%100 == 0 && len(want) > 0 {
			requireSame()
		}
	}
	require.Empty(t, b)
}

// A page of an owner's sessions must not cost more the more sessions there are.
func TestMemoryPagesThroughOneOwnersManySessions(t *testing.T) {
	m := NewMemory()
	var ids []string
	for range 20_000 {
		r := testRecord("mallory", 0)
		mustCreate(t, m, r)
		ids = append(ids, r.ID)
	}
	mustCreate(t, m, testRecord("alice", 0), testRecord("zoe", 0))
	slices.Sort(ids)
	var listed []string
	for after := ""; ; after = listed[len(listed)-1] {
		page, err := m.ByOwner(t.Context(), "mallory", after, MaxPage)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			listed = append(listed, r.ID)
		}
	}
	require.Equal(t, ids, listed)
	for len(ids) > 0 {
		n := min(len(ids), MaxPage)
		var ends []End
		for _, id := range ids[:n] {
			ends = append(ends, End{"mallory", id, ReasonEnded})
		}
		ended, err := m.DeleteByID(t.Context(), ends)
		require.NoError(t, err)
		for i, r := range ended {
			require.Equal(t, ids[i], r.ID)
		}
		ids = ids[n:]
	}
	require.Equal(t, 2, m.ownerCount())
}

// An owner may have any number of sessions. All does not keep their list locked while it reads
// all of them, so it finds out what ends after its first page.
func TestMemoryListsOneOwnersManySessionsInPages(t *testing.T) {
	m := NewMemory()
	var ids []string
	for range 4 * MaxPage {
		r := testRecord("mallory", 0)
		mustCreate(t, m, r)
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	ended := ids[MaxPage:]
	var listed []string
	for r, err := range m.All(t.Context(), "mallory") {
		require.NoError(t, err)
		if len(listed) == 0 {
			for _, id := range ended {
				require.NoError(t, errOf(m.DeleteByID(t.Context(), []End{{"mallory", id, ReasonEnded}})))
			}
		}
		listed = append(listed, r.ID)
	}
	require.Equal(t, ids[:MaxPage], listed)
}
