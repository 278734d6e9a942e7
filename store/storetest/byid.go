package storetest

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// byIDChecks test LoadByID, ByOwner and DeleteByID.
var byIDChecks = []check{
	{"LoadByID returns a session as it is", func(t T, b store.Backend) {
		r, other := newRecord(), newRecord()
		mustCreate(t, b, append(pastDeadline(), r, newRecordFor(r.Owner, 5), other)...)
		requireSame(t, r, mustLoadByID(t, b, r))
		r.LastSeen++
		require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen))
		r = withValues(r, []byte("new"))
		mustSave(t, b, r)
		requireSame(t, r, mustLoadByID(t, b, r))
		for _, r := range pastDeadline() {
			mustCreate(t, b, r)
			requireSame(t, r, mustLoadByID(t, b, r))
		}
	}},
	{"LoadByID finds a session that has moved, until it ends", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r, newRecordFor(r.Owner, 5))
		next := r
		for range 3 {
			before := next
			next = successor(before)
			require.NoError(t, b.Replace(t.Context(), before.Key, before.Version, next))
			requireSame(t, next, mustLoadByID(t, b, r))
		}
		mustDelete(t, b, next.Key, store.ReasonEnded)
		requireNoneByID(t, b, r.Owner, r.ID)
	}},
	{"LoadByID finds no session of another owner or with another ID", func(t T, b store.Backend) {
		r := newRecord()
		r.ID = "Id" + rand.Text()
		mustCreate(t, b, r)
		for _, owner := range []string{"", r.Owner[1:], r.Owner[:len(r.Owner)-1], r.Owner + "x", strings.ToLower(r.Owner)} {
			requireNoneByID(t, b, owner, r.ID)
		}
		for _, id := range []string{"", r.ID[1:], r.ID[:len(r.ID)-1], r.ID + "x", r.ID + " ", r.ID + "\x00", strings.ToLower(r.ID), "%", "*", r.Owner, string(r.Key[:])} {
			requireNoneByID(t, b, r.Owner, id)
		}
	}},

	{"ByOwner returns pages in the order of the IDs", func(t T, b store.Backend) {
		r := newRecord()
		var ids []string
		for _, id := range []string{"a", "a!", "a\x01", "a\x01b", "aa", "A", "ä", "\xff", "a ", "\x01", "b", "0", strings.Repeat("a", 255)} {
			other := newRecordFor(r.Owner, 5)
			other.ID = id
			mustCreate(t, b, other)
			ids = append(ids, id)
		}
		slices.Sort(ids)
		for max := 1; max <= len(ids)+1; max++ {
			for at := range len(ids) + 1 {
				after := append([]string{""}, ids...)[at]
				page, err := b.ByOwner(t.Context(), r.Owner, after, max)
				require.NoError(t, err)
				require.Equal(t, ids[at:][:min(max, len(ids)-at)], append([]string{}, idsOf(page)...), "after %q", after)
			}
		}
		for after, first := range map[string]string{"a\x00": "a\x01", "a\x01a": "a\x01b", "_": "a"} { // no session has these IDs
			page, err := b.ByOwner(t.Context(), r.Owner, after, 1)
			require.NoError(t, err)
			require.Equal(t, []string{first}, idsOf(page))
		}
	}},
	{"pages have every session, once, although sessions move and end meanwhile", func(t T, b store.Backend) {
		owner, current := newRecord().Owner, map[string]store.Record{}
		for range 30 {
			r := newRecordFor(owner, 5)
			mustCreate(t, b, r)
			current[r.ID] = r
		}
		seen := map[string]bool{}
		for after := ""; ; {
			page, err := b.ByOwner(t.Context(), owner, after, 4)
			require.NoError(t, err)
			for i, r := range page {
				require.False(t, seen[r.ID], "a session is on two pages")
				seen[r.ID] = true
				requireSameExceptValues(t, current[r.ID], r)
				if i == 0 {
					mustDelete(t, b, r.Key, store.ReasonEnded)
					delete(current, r.ID)
				}
			}
			if len(page) < 4 {
				break
			}
			after = page[len(page)-1].ID
			for id, r := range current {
				current[id] = successor(r)
				require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, current[id]))
			}
			mustCreate(t, b, newRecord()) // of another owner
		}
		require.Len(t, seen, 30)
	}},

	{"DeleteByID ends sessions, each for its reason, and returns them as they were", func(t T, b store.Backend) {
		var ends []store.End
		var records []store.Record
		spared := newRecord()
		mustCreate(t, b, spared)
		for i, reason := range slices.Concat(retainedReasons, unretainedReasons) {
			r := newRecord()
			if i%2 == 0 {
				r = newRecordFor(spared.Owner, 5)
			}
			mustCreate(t, b, r)
			require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen+1))
			r.LastSeen++
			records, ends = append(records, r), append(ends, store.End{Owner: r.Owner, ID: r.ID, Reason: reason})
		}
		for _, r := range pastDeadline() {
			mustCreate(t, b, r)
			records, ends = append(records, r), append(ends, store.End{Owner: r.Owner, ID: r.ID, Reason: store.ReasonIdle})
		}
		ended, err := b.DeleteByID(t.Context(), ends)
		require.NoError(t, err)
		require.Len(t, ended, len(ends))
		for i, r := range records {
			requireSameExceptValues(t, r, ended[i])
			requireStaysGone(t, b, r)
			requireNoneByID(t, b, r.Owner, r.ID)
			if ends[i].Reason.Retained() {
				requireEnded(t, b, r, ends[i].Reason)
			}
		}
		requireOwned(t, b, spared.Owner, spared.Key)
	}},
	{"DeleteByID ends nothing else, and nothing twice", func(t T, b store.Backend) {
		first, second, other := newRecord(), newRecord(), newRecord()
		mustCreate(t, b, first, second, other)
		mustDelete(t, b, second.Key, store.ReasonCredentialsChanged)
		ends := []store.End{
			{Owner: other.Owner, ID: first.ID, Reason: store.ReasonEnded},
			{Owner: first.Owner, ID: first.ID[1:], Reason: store.ReasonEnded},
			{Owner: second.Owner, ID: second.ID, Reason: store.ReasonEnded},
			{Owner: first.Owner, ID: first.ID, Reason: store.ReasonDeactivated},
			{Owner: newRecord().Owner, ID: "", Reason: store.ReasonEnded},
		}
		for i := range 2 {
			ended, err := b.DeleteByID(t.Context(), ends)
			require.NoError(t, err)
			require.Len(t, ended, len(ends))
			for j, r := range ended {
				require.Equal(t, i == 0 && j == 3, r.Session != nil)
			}
			requireEnded(t, b, first, store.ReasonDeactivated)
			requireEnded(t, b, second, store.ReasonCredentialsChanged)
			requireSame(t, other, mustLoad(t, b, other.Key))
		}
		ended, err := b.DeleteByID(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, ended)
	}},
	{"DeleteByID ends a full page", func(t T, b store.Backend) {
		owner := newRecord().Owner
		for range store.MaxPage + 1 {
			mustCreate(t, b, newRecordFor(owner, 5))
		}
		page, err := b.ByOwner(t.Context(), owner, "", store.MaxPage)
		require.NoError(t, err)
		require.Len(t, page, store.MaxPage)
		ended, err := b.DeleteByID(t.Context(), endsOf(store.ReasonEnded, page...))
		require.NoError(t, err)
		require.Equal(t, idsOf(page), idsOf(ended))
		require.Len(t, ownedKeys(t, b, owner), 1)
	}},

	{"a session that moves meanwhile does not escape DeleteByID", func(t T, b store.Backend) {
		for range rounds {
			r, other := newRecord(), newRecord()
			other.Owner, other.Key = r.Owner, newKeyFor(r.Owner)
			next := successor(r)
			last := successor(next)
			mustCreate(t, b, r, other)
			var ended []store.Record
			errs := concurrently(
				func() (err error) {
					ended, err = b.DeleteByID(t.Context(), endsOf(store.ReasonEnded, r, other))
					return err
				},
				func() error {
					err := b.Replace(t.Context(), r.Key, r.Version, next)
					if err == nil {
						err = b.Replace(t.Context(), next.Key, next.Version, last)
					}
					return ignore(store.ErrNotFound, err)
				},
				func() error { return ignore(store.ErrNotFound, b.Touch(t.Context(), other.Key, other.LastSeen+1)) },
				func() error {
					return ignore(store.ErrNotFound, b.Save(t.Context(), withValues(other, nil)))
				},
			)
			require.NoError(t, errors.Join(errs...))
			require.Equal(t, []string{r.ID, other.ID}, idsOf(ended))
			requireOwned(t, b, r.Owner)
			for _, gone := range []store.Record{r, next, last, other} {
				requireGone(t, b, gone)
			}
			requireEnded(t, b, ended[0], store.ReasonEnded)
			requireEnded(t, b, ended[1], store.ReasonEnded)
		}
	}},
	{"one of concurrent DeleteByIDs, Deletes and limits gets a session", func(t T, b store.Backend) {
		for range rounds {
			first := newRecord()
			second := newRecordFor(first.Owner, 35)
			mustCreate(t, b, first, second)
			results := make([][]store.Record, 4)
			errs := concurrently(
				func() (err error) {
					results[0], err = b.DeleteByID(t.Context(), endsOf(store.ReasonEnded, first, second))
					return err
				},
				func() (err error) {
					results[1], err = b.DeleteByID(t.Context(), endsOf(store.ReasonIdle, second, first))
					return err
				},
				func() error {
					r, err := b.Delete(t.Context(), first.Key, store.ReasonAbsolute)
					results[2] = []store.Record{r}
					return err
				},
				func() (err error) {
					results[3], err = b.Create(t.Context(), newRecordFor(first.Owner, 0), store.Limit{Max: 1})
					return err
				},
			)
			require.NoError(t, errors.Join(errs...))
			reasons := []store.Reason{store.ReasonEnded, store.ReasonIdle, store.ReasonAbsolute, store.ReasonTooManySessions}
			got := map[store.Key]store.Reason{}
			for i, result := range results {
				for _, r := range result {
					if r.Session != nil {
						require.Empty(t, got[r.Key], "two calls got the session")
						got[r.Key] = reasons[i]
					}
				}
			}
			for _, r := range []store.Record{first, second} {
				require.NotEmpty(t, got[r.Key], "no call got the session")
				requireEnded(t, b, r, got[r.Key])
			}
		}
	}},
}

// byIDWatcherChecks test that a Watcher reports what DeleteByID ends.
var byIDWatcherChecks = []check{
	{"a watcher receives the sessions that DeleteByID ends", func(t T, b store.Backend) {
		l := watch(t, t.Context(), b)
		first, second := newRecord(), newRecord()
		third, spared := newRecordFor(first.Owner, 5), newRecordFor(first.Owner, 5)
		mustCreate(t, b, first, second, third, spared)
		next := successor(second)
		require.NoError(t, b.Replace(t.Context(), second.Key, second.Version, next))
		ends := append(endsOf(store.ReasonEnded, first, second), endsOf(store.ReasonLoggedOut, third)...)
		for range 2 {
			_, err := b.DeleteByID(t.Context(), ends)
			require.NoError(t, err)
		}
		requireEndings(t, b, l, map[string][]store.Reason{
			first.ID: {store.ReasonEnded}, second.ID: {store.ReasonEnded}, third.ID: {store.ReasonLoggedOut}, spared.ID: nil,
		})
	}},
}

func mustLoadByID(t T, b store.Backend, r store.Record) store.Record {
	t.Helper()
	got, err := b.LoadByID(t.Context(), r.Owner, r.ID)
	require.NoError(t, err)
	require.NotNil(t, got.Session, "LoadByID returned neither a session nor an error")
	return got
}

func requireNoneByID(t T, b store.Backend, owner, id string) {
	t.Helper()
	_, err := b.LoadByID(t.Context(), owner, id)
	require.ErrorIs(t, err, store.ErrNotFound)
}

func endsOf(reason store.Reason, records ...store.Record) (ends []store.End) {
	for _, r := range records {
		ends = append(ends, store.End{Owner: r.Owner, ID: r.ID, Reason: reason})
	}
	return ends
}

// idsOf returns the IDs of sessions, "" for a Record without one.
func idsOf(records []store.Record) (ids []string) {
	for _, r := range records {
		id := ""
		if r.Session != nil {
			id = r.ID
		}
		ids = append(ids, id)
	}
	return ids
}
