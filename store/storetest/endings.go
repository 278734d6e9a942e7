package storetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// Reasons that a backend keeps: the last is one that it has never heard of.
var kept = []store.Reason{
	store.ReasonIdle, store.ReasonAbsolute, store.ReasonLoggedOutElsewhere, store.ReasonEnded, store.ReasonTooManySessions, store.ReasonNoUser,
	store.ReasonDeactivated, store.ReasonCredentialsChanged, store.ReasonTheftSuspected, "another",
}

// Reasons that it may forget.
var notKept = []store.Reason{store.ReasonLoggedOut, store.ReasonReplaced, store.ReasonLoginIncomplete}

// What Delete does, and what is known afterwards.
var endings = []promise{
	{"Delete is final", func(t T, b store.Backend) {
		for _, reason := range []store.Reason{store.ReasonLoggedOut, store.ReasonEnded} {
			r := newRecord()
			create(t, b, r)
			end(t, b, r.Key, reason)
			requireGone(t, b, r)
			requireRefused(t, b, r)
		}
	}},
	{"Delete returns the session as it was", func(t T, b store.Backend) {
		r := newRecord()
		for _, r := range append(pastTheirEnd(), r) {
			create(t, b, r)
			requireSameButValues(t, r, end(t, b, r.Key, store.ReasonIdle))
		}

		next := successor(r)
		create(t, b, next)
		require.NoError(t, b.Touch(t.Context(), next.Key, next.LastSeen+1))
		require.NoError(t, b.Save(t.Context(), next.Key, next.Version, []byte("new")))
		next.LastSeen++
		next.Version++
		requireSameButValues(t, next, end(t, b, next.Key, store.ReasonLoggedOut))
	}},
	{"Delete twice is no error, and returns no session again", func(t T, b store.Backend) {
		r, other := newRecord(), newRecord()
		create(t, b, r, other)
		end(t, b, r.Key, store.ReasonLoggedOut)
		for _, reason := range []store.Reason{store.ReasonLoggedOut, store.ReasonIdle, "another"} {
			requireNothingToEnd(t, b, r.Key, reason)
			requireGone(t, b, r)
		}
		requireSame(t, other, load(t, b, other.Key))
	}},
	{"Load tells why a session was ended", func(t T, b store.Backend) {
		for i, reason := range kept {
			r := newRecord()
			if i%2 == 0 {
				r = remembered(r.Owner)[0]
			}
			create(t, b, r)
			end(t, b, r.Key, reason)
			requireEnded(t, b, r, reason)
			requireRefused(t, b, r)
			requireEnded(t, b, r, reason)
		}
	}},
	{"the first reason stays", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		end(t, b, r.Key, store.ReasonCredentialsChanged)
		for _, reason := range slices.Concat(notKept, kept) {
			requireNothingToEnd(t, b, r.Key, reason)
			requireEnded(t, b, r, store.ReasonCredentialsChanged)
		}
	}},
	{"a reason that is not kept never becomes another", func(t T, b store.Backend) {
		for _, reason := range notKept {
			r := newRecord()
			create(t, b, r)
			end(t, b, r.Key, reason)
			for _, later := range kept {
				_, err := b.Load(t.Context(), r.Key)
				require.ErrorIs(t, err, store.ErrNotFound)
				var ended *store.EndedError
				if errors.As(err, &ended) {
					require.Equal(t, reason, ended.Reason)
				}
				requireNothingToEnd(t, b, r.Key, later)
			}
		}
	}},

	{"of parallel Deletes one gets the session, and its reason stays", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			create(t, b, r)
			_, reason := requireOneDeletes(t, b, r)
			requireEnded(t, b, r, reason)
			requireOwned(t, b, r.Owner)
		}
	}},
	{"Delete returns what the last Touch and the last Save left", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			create(t, b, r)
			var ended store.Record
			errs := together(
				func() error { return b.Touch(t.Context(), r.Key, r.LastSeen+1) },
				func() error { return b.Save(t.Context(), r.Key, r.Version, nil) },
				func() (err error) {
					ended, err = b.Delete(t.Context(), r.Key, store.ReasonIdle)
					return err
				},
			)
			require.NoError(t, errs[2])
			if errs[0] == nil {
				r.LastSeen++
			} else {
				require.ErrorIs(t, errs[0], store.ErrNotFound)
			}
			if errs[1] == nil {
				r.Version++
			} else {
				require.ErrorIs(t, errs[1], store.ErrNotFound)
			}
			requireSameButValues(t, r, ended)
		}
	}},
	{"nothing under way brings a deleted session back", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			create(t, b, r)
			next := successor(r)
			var ended store.Record
			var moved *store.MovedError
			errs := together(
				func() (err error) {
					ended, err = b.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
					if err != nil && !errors.As(err, &moved) {
						return err
					}
					if _, err := b.Load(t.Context(), r.Key); !errors.Is(err, store.ErrNotFound) {
						return fmt.Errorf("after Delete, Load returned %v", err)
					}
					return nil
				},
				func() error { return unless(store.ErrNotFound, b.Touch(t.Context(), r.Key, r.LastSeen+1)) },
				func() error { return unless(store.ErrNotFound, b.Touch(t.Context(), r.Key, r.LastSeen+2)) },
				func() error { return unless(store.ErrNotFound, b.Save(t.Context(), r.Key, r.Version, nil)) },
				func() error { return b.Replace(t.Context(), r.Key, r.Version, next) },
			)
			require.NoError(t, errors.Join(errs[:4]...))
			requireGone(t, b, r)
			if errs[4] == nil { // before the Delete, which has to say so
				require.NotNil(t, moved, "a logout would believe that it ended the session")
				require.Equal(t, next.Key, moved.To)
				require.Nil(t, ended.Session)
				requireOwned(t, b, r.Owner, next.Key)
				continue
			}
			require.Nil(t, moved)
			require.NotNil(t, ended.Session)
			if !errors.Is(errs[4], store.ErrConflict) { // after the Save
				require.ErrorIs(t, errs[4], store.ErrNotFound)
			}
			requireGone(t, b, next)
			requireOwned(t, b, r.Owner)
		}
	}},
	{"a session ended by the limit is not brought back either", func(t T, b store.Backend) {
		for range rounds {
			old := newRecord()
			create(t, b, old)
			added, next := newRecordOf(old.Owner, 0), successor(old)
			var ended []store.Record
			errs := together(
				func() (err error) {
					ended, err = b.Create(t.Context(), added, store.Limit{Max: 1})
					return err
				},
				func() error { return unless(store.ErrNotFound, b.Touch(t.Context(), old.Key, old.LastSeen+1)) },
				func() error { return unless(store.ErrNotFound, b.Save(t.Context(), old.Key, old.Version, nil)) },
				func() error {
					err := unless(store.ErrNotFound, b.Replace(t.Context(), old.Key, old.Version, next))
					return unless(store.ErrConflict, err)
				},
			)
			require.NoError(t, errors.Join(errs...))
			require.Len(t, ended, 1, "either the old session or its successor")
			requireEnded(t, b, ended[0], store.ReasonTooManySessions)
			requireGone(t, b, old)
			requireGone(t, b, next)
			requireOwned(t, b, old.Owner, added.Key)
		}
	}},
	{"a session that Delete and a limit end at once goes to one of them", func(t T, b store.Backend) {
		for range rounds {
			old := newRecord()
			create(t, b, old)
			reason := requireDeleteOrLimit(t, b, old)
			requireEnded(t, b, old, reason)
		}
	}},
}

// end deletes a session and returns it, as it has to be returned.
func end(t T, b store.Backend, key store.Key, reason store.Reason) store.Record {
	t.Helper()
	ended, err := b.Delete(t.Context(), key, reason)
	require.NoError(t, err)
	require.NotNil(t, ended.Session, "Delete did not return the session")
	require.Equal(t, key, ended.Key)
	return ended
}

func requireNothingToEnd(t T, b store.Backend, key store.Key, reason store.Reason) {
	t.Helper()
	ended, err := b.Delete(t.Context(), key, reason)
	require.NoError(t, err)
	require.Nil(t, ended.Session, "Delete returned a session that is not there")
}

// requireEnded checks that the session of r has ended and that Load tells why.
func requireEnded(t T, b store.Backend, r store.Record, reason store.Reason) {
	t.Helper()
	requireGone(t, b, r)
	_, err := b.Load(t.Context(), r.Key)
	var ended *store.EndedError
	require.ErrorAs(t, err, &ended)
	require.Equal(t, reason, ended.Reason)
}

// requireSameButValues is requireSame for what Delete returns.
func requireSameButValues(t T, want, got store.Record) {
	t.Helper()
	require.NotNil(t, got.Session)
	s := *got.Session
	s.Values = want.Values
	requireSame(t, want, store.Record{Session: &s, LastSeen: got.LastSeen})
}

// requireOneDeletes has a session deleted for eight reasons at once, and returns
// what the one Delete got that ended it.
func requireOneDeletes(t T, b store.Backend, r store.Record) (ended store.Record, reason store.Reason) {
	t.Helper()
	results := make([]store.Record, 8)
	var deletes []func() error
	for i := range results {
		deletes = append(deletes, func() (err error) {
			results[i], err = b.Delete(t.Context(), r.Key, kept[i])
			return err
		})
	}
	require.NoError(t, errors.Join(together(deletes...)...))
	for i, got := range results {
		if got.Session != nil {
			require.Nil(t, ended.Session, "two of them got the session")
			ended, reason = got, kept[i]
		}
	}
	require.NotNil(t, ended.Session, "none of them got the session")
	requireSameButValues(t, r, ended)
	return ended, reason
}

// requireDeleteOrLimit has a session, its owner's only one, deleted at the moment
// when a limit ends it, and returns the reason of whichever got it.
func requireDeleteOrLimit(t T, b store.Backend, r store.Record) store.Reason {
	t.Helper()
	var byLimit []store.Record
	var byDelete store.Record
	errs := together(
		func() (err error) {
			byLimit, err = b.Create(t.Context(), newRecordOf(r.Owner, 0), store.Limit{Max: 1})
			return err
		},
		func() (err error) {
			byDelete, err = b.Delete(t.Context(), r.Key, store.ReasonEnded)
			return err
		},
	)
	require.NoError(t, errors.Join(errs...))
	if byDelete.Session != nil {
		require.Empty(t, byLimit, "both of them got the session")
		requireSameButValues(t, r, byDelete)
		return store.ReasonEnded
	}
	require.Equal(t, []store.Key{r.Key}, keys(byLimit...), "none of them got the session")
	return store.ReasonTooManySessions
}
