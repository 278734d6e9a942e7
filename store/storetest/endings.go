package storetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// unknownReason is a reason that no backend knows.
const unknownReason store.Reason = "unknown_reason"

// retainedReasons are reasons that a backend has to keep.
var retainedReasons = []store.Reason{
	store.ReasonIdle, store.ReasonAbsolute, store.ReasonLoggedOutElsewhere, store.ReasonEnded,
	store.ReasonTooManySessions, store.ReasonNoUser, store.ReasonDeactivated, store.ReasonCredentialsChanged, store.ReasonTheftSuspected, unknownReason,
}

// unretainedReasons are reasons that a backend may forget.
var unretainedReasons = []store.Reason{store.ReasonLoggedOut, store.ReasonReplaced, store.ReasonLoginIncomplete}

// endingChecks test Delete, and what Load returns after it.
var endingChecks = []check{
	{"Delete is final", func(t T, b store.Backend) {
		for _, reason := range []store.Reason{store.ReasonLoggedOut, store.ReasonEnded} {
			r := newRecord()
			mustCreate(t, b, r)
			mustDelete(t, b, r.Key, reason)
			requireGone(t, b, r)
			requireStaysGone(t, b, r)
		}
	}},
	{"Delete returns the session as it was", func(t T, b store.Backend) {
		r := newRecord()
		for _, r := range append(pastDeadline(), r) {
			mustCreate(t, b, r)
			requireSameExceptValues(t, r, mustDelete(t, b, r.Key, store.ReasonIdle))
		}

		next := successor(r)
		mustCreate(t, b, next)
		require.NoError(t, b.Touch(t.Context(), next.Key, next.LastSeen+1))
		next = withValues(next, []byte("new"))
		mustSave(t, b, next)
		next.LastSeen++
		requireSameExceptValues(t, next, mustDelete(t, b, next.Key, store.ReasonLoggedOut))
	}},
	{"a second Delete returns no session and no error", func(t T, b store.Backend) {
		r, other := newRecord(), newRecord()
		mustCreate(t, b, r, other)
		mustDelete(t, b, r.Key, store.ReasonLoggedOut)
		for _, reason := range []store.Reason{store.ReasonLoggedOut, store.ReasonIdle, unknownReason} {
			requireDeletesNothing(t, b, r.Key, reason)
			requireGone(t, b, r)
		}
		requireSame(t, other, mustLoad(t, b, other.Key))
	}},
	{"Load returns why a session was ended", func(t T, b store.Backend) {
		for i, reason := range retainedReasons {
			r := newRecord()
			if i%2 == 0 {
				r = remembered(r.Owner)[0]
			}
			mustCreate(t, b, r)
			mustDelete(t, b, r.Key, reason)
			requireEnded(t, b, r, reason)
			requireStaysGone(t, b, r)
			requireEnded(t, b, r, reason)
		}
	}},
	{"a later Delete does not change the reason", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		mustDelete(t, b, r.Key, store.ReasonCredentialsChanged)
		for _, reason := range slices.Concat(unretainedReasons, retainedReasons) {
			requireDeletesNothing(t, b, r.Key, reason)
			requireEnded(t, b, r, store.ReasonCredentialsChanged)
		}
	}},
	{"an unretained reason never becomes another", func(t T, b store.Backend) {
		for _, reason := range unretainedReasons {
			r := newRecord()
			mustCreate(t, b, r)
			mustDelete(t, b, r.Key, reason)
			for _, later := range retainedReasons {
				_, err := b.Load(t.Context(), r.Key)
				require.ErrorIs(t, err, store.ErrNotFound)
				var ended *store.EndedError
				if errors.As(err, &ended) {
					require.Equal(t, reason, ended.Reason)
				}
				requireDeletesNothing(t, b, r.Key, later)
			}
		}
	}},

	{"one of concurrent Deletes gets the session, and its reason is kept", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			mustCreate(t, b, r)
			_, reason := requireOneDeleteWins(t, b, r)
			requireEnded(t, b, r, reason)
			requireOwned(t, b, r.Owner)
		}
	}},
	{"Delete returns the effect of the last Touch and Save", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			mustCreate(t, b, r)
			var ended store.Record
			errs := concurrently(
				func() error { return b.Touch(t.Context(), r.Key, r.LastSeen+1) },
				func() error { return b.Save(t.Context(), withValues(r, nil)) },
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
			requireSameExceptValues(t, r, ended)
		}
	}},
	{"no concurrent call brings a deleted session back", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			mustCreate(t, b, r)
			next := successor(r)
			var ended store.Record
			var moved *store.MovedError
			errs := concurrently(
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
				func() error { return ignore(store.ErrNotFound, b.Touch(t.Context(), r.Key, r.LastSeen+1)) },
				func() error { return ignore(store.ErrNotFound, b.Touch(t.Context(), r.Key, r.LastSeen+2)) },
				func() error { return ignore(store.ErrNotFound, b.Save(t.Context(), withValues(r, nil))) },
				func() error { return b.Replace(t.Context(), r.Key, r.Version, next) },
			)
			require.NoError(t, errors.Join(errs[:4]...))
			requireGone(t, b, r)
			if errs[4] == nil { // it came before the Delete, which has to return a MovedError
				require.NotNil(t, moved, "a logout would believe that it had ended the session")
				require.Equal(t, next.Key, moved.To)
				require.Nil(t, ended.Session)
				requireOwned(t, b, r.Owner, next.Key)
				continue
			}
			require.Nil(t, moved)
			require.NotNil(t, ended.Session)
			if !errors.Is(errs[4], store.ErrConflict) { // it came after the Save
				require.ErrorIs(t, errs[4], store.ErrNotFound)
			}
			requireGone(t, b, next)
			requireOwned(t, b, r.Owner)
		}
	}},
	{"no concurrent call brings a session back that a limit ended", func(t T, b store.Backend) {
		for range rounds {
			old := newRecord()
			mustCreate(t, b, old)
			added, next := newRecordFor(old.Owner, 0), successor(old)
			var ended []store.Record
			errs := concurrently(
				func() (err error) {
					ended, err = b.Create(t.Context(), added, store.Limit{Max: 1})
					return err
				},
				func() error { return ignore(store.ErrNotFound, b.Touch(t.Context(), old.Key, old.LastSeen+1)) },
				func() error { return ignore(store.ErrNotFound, b.Save(t.Context(), withValues(old, nil))) },
				func() error {
					err := ignore(store.ErrNotFound, b.Replace(t.Context(), old.Key, old.Version, next))
					return ignore(store.ErrConflict, err)
				},
			)
			require.NoError(t, errors.Join(errs...))
			require.Len(t, ended, 1, "the limit must end either the old session or its successor")
			requireEnded(t, b, ended[0], store.ReasonTooManySessions)
			requireGone(t, b, old)
			requireGone(t, b, next)
			requireOwned(t, b, old.Owner, added.Key)
		}
	}},
	{"either Delete or a concurrent limit gets the session", func(t T, b store.Backend) {
		for range rounds {
			old := newRecord()
			mustCreate(t, b, old)
			reason := requireDeleteOrLimitWins(t, b, old)
			requireEnded(t, b, old, reason)
		}
	}},
}

// mustDelete deletes a session, checks that Delete returned it, and returns it.
func mustDelete(t T, b store.Backend, key store.Key, reason store.Reason) store.Record {
	t.Helper()
	ended, err := b.Delete(t.Context(), key, reason)
	require.NoError(t, err)
	require.NotNil(t, ended.Session, "Delete did not return the session")
	require.Equal(t, key, ended.Key)
	return ended
}

func requireDeletesNothing(t T, b store.Backend, key store.Key, reason store.Reason) {
	t.Helper()
	ended, err := b.Delete(t.Context(), key, reason)
	require.NoError(t, err)
	require.Nil(t, ended.Session, "Delete returned a session that does not exist")
}

// requireEnded checks that the session of r is gone and that Load returns the reason.
func requireEnded(t T, b store.Backend, r store.Record, reason store.Reason) {
	t.Helper()
	requireGone(t, b, r)
	_, err := b.Load(t.Context(), r.Key)
	var ended *store.EndedError
	require.ErrorAs(t, err, &ended)
	require.Equal(t, reason, ended.Reason)
}

// requireSameExceptValues is requireSame for a record whose Values may be missing.
func requireSameExceptValues(t T, want, got store.Record) {
	t.Helper()
	require.NotNil(t, got.Session)
	s := *got.Session
	s.Values = want.Values
	requireSame(t, want, store.Record{Session: &s, LastSeen: got.LastSeen})
}

// requireOneDeleteWins deletes a session eight times concurrently, each time for another
// reason. It returns the session and the reason of the one Delete that got it.
func requireOneDeleteWins(t T, b store.Backend, r store.Record) (ended store.Record, reason store.Reason) {
	t.Helper()
	results := make([]store.Record, 8)
	var deletes []func() error
	for i := range results {
		deletes = append(deletes, func() (err error) {
			results[i], err = b.Delete(t.Context(), r.Key, retainedReasons[i])
			return err
		})
	}
	require.NoError(t, errors.Join(concurrently(deletes...)...))
	for i, got := range results {
		if got.Session != nil {
			require.Nil(t, ended.Session, "two Deletes got the session")
			ended, reason = got, retainedReasons[i]
		}
	}
	require.NotNil(t, ended.Session, "no Delete got the session")
	requireSameExceptValues(t, r, ended)
	return ended, reason
}

// requireDeleteOrLimitWins deletes an owner's only session while a Create with a limit ends
// it. It returns the reason of the call that got the session.
func requireDeleteOrLimitWins(t T, b store.Backend, r store.Record) store.Reason {
	t.Helper()
	var byLimit []store.Record
	var byDelete store.Record
	errs := concurrently(
		func() (err error) {
			byLimit, err = b.Create(t.Context(), newRecordFor(r.Owner, 0), store.Limit{Max: 1})
			return err
		},
		func() (err error) {
			byDelete, err = b.Delete(t.Context(), r.Key, store.ReasonEnded)
			return err
		},
	)
	require.NoError(t, errors.Join(errs...))
	if byDelete.Session != nil {
		require.Empty(t, byLimit, "both calls got the session")
		requireSameExceptValues(t, r, byDelete)
		return store.ReasonEnded
	}
	require.Equal(t, []store.Key{r.Key}, keysOf(byLimit...), "neither call got the session")
	return store.ReasonTooManySessions
}
