package storetest

import (
	"crypto/rand"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// ownerChecks test ByOwner and limits.
var ownerChecks = []check{
	{"ByOwner returns an owner's sessions as they are", func(t T, b store.Backend) {
		first := newRecord()
		second := newRecordFor(first.Owner, 5)
		mustCreate(t, b, first, second)
		require.NoError(t, b.Touch(t.Context(), first.Key, first.LastSeen+1))
		mustSave(t, b, withValues(first, []byte("new")))

		records, err := b.ByOwner(t.Context(), first.Owner, "", store.MaxPage)
		require.NoError(t, err)
		require.ElementsMatch(t, keysOf(first, second), keysOf(records...))
		for _, r := range records {
			requireSameExceptValues(t, mustLoad(t, b, r.Key), r)
		}
	}},
	{"ByOwner returns sessions past their Deadline", func(t T, b store.Backend) {
		for _, r := range pastDeadline() {
			mustCreate(t, b, r)
			records, err := b.ByOwner(t.Context(), r.Owner, "", store.MaxPage)
			require.NoError(t, err)
			require.Contains(t, keysOf(records...), r.Key)
		}
	}},
	{"ByOwner of an unknown owner returns nothing and no error", func(t T, b store.Backend) {
		requireOwned(t, b, "session="+rand.Text())
	}},
	{"owners with similar names are different owners", func(t T, b store.Backend) {
		name := rand.Text() + "a"
		owned := map[string]store.Key{}
		for _, owner := range []string{
			name + "=1", name + "=10", name + "=01", name + "=1=1", name + "=", "x" + name + "=1",
			name + "=a", name + "=A", name + "=ä", name + "=a\u0308", name + "=%", name + "=_", name + "=*",
			name + "=1 ", name + "= 1", name + "=1\n",
		} {
			r := newRecordFor(owner, 5)
			ended, err := b.Create(t.Context(), r, store.Limit{Max: 1})
			require.NoError(t, err)
			require.Empty(t, ended, "Create ended a session of another owner")
			owned[owner] = r.Key
		}
		for owner, key := range owned {
			requireOwned(t, b, owner, key)
		}
		mustDelete(t, b, owned[name+"=1"], store.ReasonEnded)
		delete(owned, name+"=1")
		for owner, key := range owned {
			requireOwned(t, b, owner, key)
		}
	}},

	{"Create at the limit ends the least recently seen sessions and returns them", func(t T, b store.Backend) {
		old := newRecord()
		recent, touched, added := newRecordFor(old.Owner, 10), newRecordFor(old.Owner, 20), newRecordFor(old.Owner, 25)
		mustCreate(t, b, old, recent, touched)
		now := newRecordFor(old.Owner, 0).LastSeen
		require.NoError(t, b.Touch(t.Context(), touched.Key, now))
		touched.LastSeen = now

		ended, err := b.Create(t.Context(), added, store.Limit{Max: 3})
		require.NoError(t, err)
		require.Len(t, ended, 1)
		requireSameExceptValues(t, old, ended[0])
		requireStaysGone(t, b, old)
		requireOwned(t, b, old.Owner, keysOf(recent, touched, added)...)

		// A lower limit ends as many sessions as necessary, but never the new one.
		last := newRecordFor(old.Owner, 29)
		ended, err = b.Create(t.Context(), last, store.Limit{Max: 2})
		require.NoError(t, err)
		require.ElementsMatch(t, keysOf(recent, added), keysOf(ended...))
		requireOwned(t, b, old.Owner, keysOf(touched, last)...)
	}},
	{"Create at a refusing limit returns ErrLimit and changes nothing", func(t T, b store.Backend) {
		limit := store.Limit{Max: 2, Refuse: true}
		first := newRecord()
		second, third := newRecordFor(first.Owner, 5), newRecordFor(first.Owner, 0)
		for _, r := range []store.Record{first, second} {
			ended, err := b.Create(t.Context(), r, limit)
			require.NoError(t, err)
			require.Empty(t, ended)
		}
		ended, err := b.Create(t.Context(), third, limit)
		require.ErrorIs(t, err, store.ErrLimit)
		require.Empty(t, ended)
		requireGone(t, b, third)
		requireSame(t, first, mustLoad(t, b, first.Key))
		requireSame(t, second, mustLoad(t, b, second.Key))
		requireOwned(t, b, first.Owner, first.Key, second.Key)

		// Deleting one session makes room for exactly one.
		mustDelete(t, b, first.Key, store.ReasonLoggedOut)
		_, err = b.Create(t.Context(), third, limit)
		require.NoError(t, err)
		_, err = b.Create(t.Context(), newRecordFor(first.Owner, 0), limit)
		require.ErrorIs(t, err, store.ErrLimit)
		requireOwned(t, b, first.Owner, second.Key, third.Key)
	}},
	{"Create below the limit ends nothing", func(t T, b store.Backend) {
		owner := "session=" + rand.Text()
		var created []store.Record
		for range 5 {
			r := newRecordFor(owner, 10)
			ended, err := b.Create(t.Context(), r, store.Limit{Max: 5})
			require.NoError(t, err)
			require.Empty(t, ended)
			created = append(created, r)
		}
		requireOwned(t, b, owner, keysOf(created...)...)
	}},
	{"a remembered session past its Deadline counts for the limit", func(t T, b store.Backend) {
		for i := range 2 {
			old := remembered("session=" + rand.Text())[i]
			mustCreate(t, b, old)
			added := newRecordFor(old.Owner, 0)
			_, err := b.Create(t.Context(), added, store.Limit{Max: 1, Refuse: true})
			require.ErrorIs(t, err, store.ErrLimit)
			requireSame(t, old, mustLoad(t, b, old.Key))

			ended, err := b.Create(t.Context(), added, store.Limit{Max: 1})
			require.NoError(t, err)
			require.Len(t, ended, 1)
			requireSameExceptValues(t, old, ended[0])
			requireStaysGone(t, b, old)
			requireOwned(t, b, old.Owner, added.Key)
		}
	}},
	{"sessions past GoneAt do not count for the limit", func(t T, b store.Backend) {
		for _, refuse := range []bool{false, true} {
			live := newRecord()
			mustCreate(t, b, longGone(live.Owner)...)
			mustCreate(t, b, live)
			mustCreate(t, b, longGone(live.Owner)...)
			ended, err := b.Create(t.Context(), newRecordFor(live.Owner, 0), store.Limit{Max: 2, Refuse: refuse})
			require.NoError(t, err)
			require.Empty(t, ended)
			requireSame(t, live, mustLoad(t, b, live.Key))
		}
	}},
	{"a delayed Touch does not exceed the limit", func(t T, b store.Backend) {
		old := justGone()[0]
		mustCreate(t, b, old)
		added := newRecordFor(old.Owner, 0)
		ended, err := b.Create(t.Context(), added, store.Limit{Max: 1})
		require.NoError(t, err)
		require.Empty(t, ended)
		if err := b.Touch(t.Context(), old.Key, old.Deadline()-1); err != nil {
			require.ErrorIs(t, err, store.ErrNotFound)
		}
		requireOwned(t, b, old.Owner, added.Key)
	}},
	{"Load returns the reason of a session ended by a limit", func(t T, b store.Backend) {
		old := newRecord()
		mustCreate(t, b, old)
		_, err := b.Create(t.Context(), newRecordFor(old.Owner, 0), store.Limit{Max: 1})
		require.NoError(t, err)
		for range 2 {
			requireEnded(t, b, old, store.ReasonTooManySessions)
			requireStaysGone(t, b, old)
			requireDeletesNothing(t, b, old.Key, store.ReasonEnded)
		}
	}},
	{"moved and deleted sessions do not count for the limit", func(t T, b store.Backend) {
		limit := store.Limit{Max: 2, Refuse: true}
		deleted := newRecord()
		replaced := newRecordFor(deleted.Owner, 5)
		mustCreate(t, b, deleted, replaced)
		next := successor(replaced)
		require.NoError(t, b.Replace(t.Context(), replaced.Key, replaced.Version, next))
		mustDelete(t, b, deleted.Key, store.ReasonLoggedOut)

		last := newRecordFor(deleted.Owner, 0)
		_, err := b.Create(t.Context(), last, limit)
		require.NoError(t, err)
		requireOwned(t, b, deleted.Owner, next.Key, last.Key)
	}},
}
