package storetest

import (
	"errors"
	"strconv"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// rounds is how often a race is repeated: often enough for a backend that checks and acts in
// two steps to fail every time, seldom enough for a backend across a network.
const rounds = 100

// raceChecks test concurrent calls that neither move nor delete a session.
var raceChecks = []check{
	{"a hundred concurrent Creates leave as many sessions as the limit allows", func(t T, b store.Backend) {
		owner := newRecord().Owner
		var creates []func() error
		var created []store.Record
		results := make([][]store.Record, 100)
		for i := range results {
			r := newRecordFor(owner, i%20)
			created = append(created, r)
			creates = append(creates, func() (err error) {
				results[i], err = b.Create(t.Context(), r, store.Limit{Max: 3})
				return err
			})
		}
		require.NoError(t, errors.Join(concurrently(creates...)...))

		live := ownedKeys(t, b, owner)
		require.Len(t, live, 3)
		var ended []store.Key
		for _, r := range results {
			ended = append(ended, keysOf(r...)...)
		}
		require.ElementsMatch(t, keysOf(created...), append(ended, live...), "every other session must be returned as ended, once")
	}},
	{"a hundred concurrent Creates are refused beyond the limit", func(t T, b store.Backend) {
		owner := newRecord().Owner
		var creates []func() error
		var created []store.Record
		for range 100 {
			r := newRecordFor(owner, 0)
			created = append(created, r)
			creates = append(creates, func() error {
				ended, err := b.Create(t.Context(), r, store.Limit{Max: 3, Refuse: true})
				if len(ended) > 0 {
					return errors.New("Create ended sessions instead of refusing")
				}
				return err
			})
		}
		var accepted []store.Key
		for i, err := range concurrently(creates...) {
			if err == nil {
				accepted = append(accepted, created[i].Key)
			} else {
				require.ErrorIs(t, err, store.ErrLimit)
			}
		}
		require.Len(t, accepted, 3)
		requireOwned(t, b, owner, accepted...)
	}},
	{"a limit spares a session that was touched first", func(t T, b store.Backend) {
		for range rounds {
			oldest := newRecord()
			second := newRecordFor(oldest.Owner, 20)
			mustCreate(t, b, oldest, second, newRecordFor(oldest.Owner, 10))
			errs := concurrently(
				func() error {
					_, err := b.Create(t.Context(), newRecordFor(oldest.Owner, 0), store.Limit{Max: 3})
					return err
				},
				func() error { return b.Touch(t.Context(), oldest.Key, newRecordFor(oldest.Owner, 0).LastSeen) },
			)
			require.NoError(t, errs[0])
			if errs[1] == nil { // the session was still there, so the Touch came first
				mustLoad(t, b, oldest.Key)
				requireGone(t, b, second)
			} else {
				require.ErrorIs(t, errs[1], store.ErrNotFound)
				requireGone(t, b, oldest)
				mustLoad(t, b, second.Key)
			}
		}
	}},
	{"exactly one of concurrent Saves at one version succeeds", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			mustCreate(t, b, r)
			var saves []func() error
			for i := range 8 {
				saves = append(saves, func() error {
					return b.Save(t.Context(), withValues(r, []byte(strconv.Itoa(i))))
				})
			}
			won := winner(t, concurrently(saves...), store.ErrConflict)
			got := mustLoad(t, b, r.Key)
			require.Equal(t, strconv.Itoa(won), string(got.Values))
			require.Equal(t, r.Version+1, got.Version)
		}
	}},
	{"no update is lost when writers retry after ErrConflict", func(t T, b store.Backend) {
		const writers, each = 32, 4
		r := newRecord()
		r.Version, r.Values = 0, []byte("0")
		mustCreate(t, b, r)
		count := func() error {
			// Each conflict is another writer's success, which bounds the attempts.
			done := 0
			for range writers * each {
				now, err := b.Load(t.Context(), r.Key)
				if err != nil {
					return err
				}
				n, err := strconv.Atoi(string(now.Values))
				if err != nil {
					return err
				}
				err = b.Save(t.Context(), withValues(now, []byte(strconv.Itoa(n+1))))
				if err == nil {
					done++
				} else if !errors.Is(err, store.ErrConflict) {
					return err
				}
				if done == each {
					return nil
				}
			}
			return errors.New("Save returned more conflicts than there were other Saves")
		}
		var counts []func() error
		for range writers {
			counts = append(counts, count)
		}
		require.NoError(t, errors.Join(concurrently(counts...)...))
		got := mustLoad(t, b, r.Key)
		require.Equal(t, strconv.Itoa(writers*each), string(got.Values))
		require.EqualValues(t, writers*each, got.Version)
	}},
	{"concurrent Touches leave the latest LastSeen", func(t T, b store.Backend) {
		for range rounds {
			r := newRecord()
			mustCreate(t, b, r)
			var touches []func() error
			for i := range 8 {
				touches = append(touches, func() error {
					return b.Touch(t.Context(), r.Key, r.LastSeen+store.Time(8-i))
				})
			}
			require.NoError(t, errors.Join(concurrently(touches...)...))
			require.Equal(t, r.LastSeen+8, mustLoad(t, b, r.Key).LastSeen)
		}
	}},
}

// winner returns the index of the one nil error. It requires every other error to be lost.
func winner(t T, errs []error, lost error) int {
	t.Helper()
	won := -1
	for i, err := range errs {
		if err != nil {
			require.ErrorIs(t, err, lost)
			continue
		}
		require.Equal(t, -1, won, "two of them succeeded")
		won = i
	}
	require.NotEqual(t, -1, won, "none of them succeeded")
	return won
}

// ignore returns err, or nil if err is the expected one.
func ignore(expected, err error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
