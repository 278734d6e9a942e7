package storetest

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// moveChecks test Replace, and what Load, Delete and Replace return for the old key.
var moveChecks = []check{
	{"Replace moves a session to its new key", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		next := successor(r)
		require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, next))
		requireSame(t, next, mustLoad(t, b, next.Key))
		requireGone(t, b, r)
		requireOwned(t, b, r.Owner, next.Key)

		// The moved session is a session like any other.
		require.NoError(t, b.Touch(t.Context(), next.Key, next.LastSeen+1))
		mustSave(t, b, withValues(next, nil))
		mustDelete(t, b, next.Key, store.ReasonLoggedOut)
		requireOwned(t, b, r.Owner)
	}},
	{"Replace stores the new session with whatever Version it has", func(t T, b store.Backend) {
		for _, version := range []uint64{0, 1, 2, 1 << 40} {
			r := newRecord()
			mustCreate(t, b, r)
			next := atVersion(successor(r), version)
			require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, next))
			requireSame(t, next, mustLoad(t, b, next.Key))
			mustSave(t, b, withValues(next, []byte("new")))
		}
	}},
	{"Replace moves sessions past their Deadline", func(t T, b store.Backend) {
		for _, r := range pastDeadline() {
			mustCreate(t, b, r)
			next := successor(newRecordFor(r.Owner, 0))
			next.ID = r.ID
			require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, next))
			requireMoved(t, b, r, next)
			requireSame(t, next, mustLoad(t, b, next.Key))

			next.LastSeen++
			require.NoError(t, b.Touch(t.Context(), next.Key, next.LastSeen))
			requireSame(t, next, mustLoad(t, b, next.Key))
			mustDelete(t, b, next.Key, store.ReasonLoggedOut)
		}
	}},
	{"Replace at another version is ErrConflict and changes nothing", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		for _, version := range []uint64{0, 2, 1 << 40} {
			next := successor(r)
			require.ErrorIs(t, b.Replace(t.Context(), r.Key, version, next), store.ErrConflict)
			requireNoTrace(t, b, next)
			requireSame(t, r, mustLoad(t, b, r.Key))
			requireOwned(t, b, r.Owner, r.Key)
		}
	}},
	{"nothing brings a session back to its old key", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, successor(r)))
		requireStaysGone(t, b, r)
	}},
	{"Load, Delete and Replace of an old key return the new one and change nothing", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		next := successor(r)
		last := successor(next)
		require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, next))
		require.NoError(t, b.Replace(t.Context(), next.Key, next.Version, last))
		for range 2 {
			requireMoved(t, b, r, next)
			requireMoved(t, b, next, last)
		}
		requireSame(t, last, mustLoad(t, b, last.Key))
		requireOwned(t, b, r.Owner, last.Key)
	}},
	{"the MovedError reports whether the move was a revival", func(t T, b store.Backend) {
		for _, rotated := range []time.Duration{-time.Hour, 0, time.Hour} {
			r := newRecord()
			next := successor(r)
			next.Details.Rotated = next.Authenticated.Add(rotated)
			mustCreate(t, b, r)
			require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, next))
			requireMoved(t, b, r, next)
		}
	}},
	{"after a move and a Delete, both keys return what happened", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		next := successor(r)
		require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, next))
		mustDelete(t, b, next.Key, store.ReasonTheftSuspected)
		requireMoved(t, b, r, next)
		requireEnded(t, b, next, store.ReasonTheftSuspected)
		requireStaysGone(t, b, r)
		requireStaysGone(t, b, next)
	}},

	{"one of concurrent Replaces succeeds, and the others return a MovedError", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			requireOneReplaceWins(t, b, r, 4)
		}
	}},
	{"one of fifty concurrent revivals of a remembered session succeeds", func(t T, b store.Backend) {
		for i := range 2 * rounds / 50 {
			r := remembered("session=" + rand.Text())[i%2]
			requireOneReplaceWins(t, b, r, 50)
		}
	}},
	{"Replace never loses a concurrent Save", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			mustCreate(t, b, r)
			next := successor(r)
			errs := concurrently(
				func() error { return b.Save(t.Context(), withValues(r, []byte("new"))) },
				func() error { return b.Replace(t.Context(), r.Key, r.Version, next) },
			)
			if errs[0] == nil {
				require.ErrorIs(t, errs[1], store.ErrConflict, "Replace moved a version that was no longer current")
				requireGone(t, b, next)
				require.Equal(t, "new", string(mustLoad(t, b, r.Key).Values))
			} else {
				require.ErrorIs(t, errs[0], store.ErrNotFound)
				require.NoError(t, errs[1])
				requireGone(t, b, r)
				requireSame(t, next, mustLoad(t, b, next.Key))
			}
		}
	}},
	{"a Load during a Replace returns the session or its new key", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			mustCreate(t, b, r)
			find := func() error {
				_, err := b.Load(t.Context(), r.Key)
				var moved *store.MovedError
				if errors.As(err, &moved) {
					_, err = b.Load(t.Context(), moved.To)
				}
				return err
			}
			replace := func() error { return b.Replace(t.Context(), r.Key, r.Version, successor(r)) }
			require.NoError(t, errors.Join(concurrently(find, find, replace, find, find)...))
		}
	}},
}

// requireOneReplaceWins creates a session and replaces it by several others concurrently.
func requireOneReplaceWins(t T, b store.Backend, r store.Record, concurrent int) {
	t.Helper()
	mustCreate(t, b, r)
	var nexts []store.Record
	var replaces []func() error
	for range concurrent {
		next := successor(newRecordFor(r.Owner, 0))
		next.ID = r.ID
		nexts = append(nexts, next)
		replaces = append(replaces, func() error {
			return b.Replace(t.Context(), r.Key, r.Version, next)
		})
	}
	errs := concurrently(replaces...)
	won := winner(t, errs, store.ErrNotFound)
	requireMoved(t, b, r, nexts[won])
	requireOwned(t, b, r.Owner, nexts[won].Key)
	for i, next := range nexts {
		if i == won {
			requireSame(t, next, mustLoad(t, b, next.Key))
			continue
		}
		var moved *store.MovedError
		require.ErrorAs(t, errs[i], &moved)
		require.Equal(t, nexts[won].Key, moved.To)
		_, err := b.Load(t.Context(), next.Key)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
}

// requireMoved checks that Load, Delete and Replace of r's key change nothing and return a
// MovedError with the key of to.
func requireMoved(t T, b store.Backend, r, to store.Record) {
	t.Helper()
	_, loaded := b.Load(t.Context(), r.Key)
	ended, deleted := b.Delete(t.Context(), r.Key, store.ReasonEnded)
	require.Nil(t, ended.Session, "Delete returned a session that has moved")
	next := successor(r)
	for _, attempt := range []struct {
		name string
		err  error
	}{
		{"Load", loaded},
		{"Delete", deleted},
		{"Replace", b.Replace(t.Context(), r.Key, r.Version, next)},
	} {
		require.ErrorIs(t, attempt.err, store.ErrNotFound, attempt.name)
		var moved *store.MovedError
		require.ErrorAs(t, attempt.err, &moved, attempt.name)
		require.Equal(t, store.MovedError{To: to.Key, Owner: r.Owner, ID: r.ID, Revived: to.Revived()}, *moved, attempt.name)
	}
	requireGone(t, b, r)
	requireGone(t, b, next)
}
