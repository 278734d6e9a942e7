package storetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// recordChecks test one session without concurrent calls.
var recordChecks = []check{
	{"Load returns every field as it was created", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		requireSame(t, r, mustLoad(t, b, r.Key))
	}},
	{"sessions with empty fields are stored", func(t T, b store.Backend) {
		r := newRecord()
		r.Stamp, r.Authenticated, r.Version, r.Values = "", 0, 0, nil
		for _, details := range []*store.Details{nil, {}, {Label: "only"}} {
			r.Key, r.ID, r.Details = newKeyFor(r.Owner), rand.Text(), details
			mustCreate(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"sessions with unusual text and extreme numbers are stored", func(t T, b store.Backend) {
		r := newRecord()
		odd := "=Jürgen \"ß\" 李小龙 🦊 '; DROP TABLE sessions; --\n\t{1}%_*?[a-z]\\"
		r.Owner += odd
		r.Key = newKeyFor(r.Owner)
		r.Client += odd
		r.Address += odd
		r.Stamp += "\u00a0é\u0301 "
		r.IdleTimeout = 100 * 365 * 24 * time.Hour
		r.Expires = r.LastSeen.Add(100 * 365 * 24 * time.Hour)
		r.Details.RememberUntil = r.Expires + 1
		r.Version = 1<<53 - 1
		mustCreate(t, b, r)
		requireSame(t, r, mustLoad(t, b, r.Key))
		requireOwned(t, b, r.Owner, r.Key)
	}},
	{"values may be any bytes, of 100 KB and more", func(t T, b store.Backend) {
		large := make([]byte, 100<<10)
		rand.Read(large)
		for _, values := range [][]byte{{}, {0}, everyByte(), large, bytes.Repeat(everyByte(), 1000)} {
			r := newRecord()
			r.Values = values
			mustCreate(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))

			saved := newRecord()
			mustCreate(t, b, saved)
			mustSave(t, b, withValues(saved, values))
			require.Equal(t, string(values), string(mustLoad(t, b, saved.Key).Values))
		}
	}},
	{"the successor token may be any bytes", func(t T, b store.Backend) {
		for _, token := range [][]byte{{}, {0}, everyByte()} {
			r := newRecord()
			r.Details.SuccessorToken = token
			mustCreate(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))

			next := successor(newRecordFor(r.Owner, 5))
			next.Details.SuccessorToken = token
			require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, next))
			requireSame(t, next, mustLoad(t, b, next.Key))
		}
	}},
	{"keys that differ in one bit are different keys", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		for bit := range 8 * len(r.Key) {
			other := r.Key
			other[bit/8] ^= 1 << (bit % 8)
			_, err := b.Load(t.Context(), other)
			require.ErrorIs(t, err, store.ErrNotFound)
		}
	}},
	{"an unknown key is ErrNotFound, except in Delete", func(t T, b store.Backend) {
		r := newRecord()
		requireNoTrace(t, b, r)
		requireStaysGone(t, b, r)
		for _, reason := range []store.Reason{store.ReasonLoggedOut, store.ReasonEnded} {
			requireDeletesNothing(t, b, r.Key, reason)
			requireNoTrace(t, b, r) // a Delete of nothing must leave no reason
		}
	}},
	{"loading is not activity", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		for range 3 {
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"Load returns a session just past GoneAt", func(t T, b store.Backend) {
		for _, r := range justGone() {
			mustCreate(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"a remembered session is kept past its Deadline", func(t T, b store.Backend) {
		for _, r := range remembered("session=" + rand.Text()) {
			mustCreate(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))
			r = withValues(r, []byte("new"))
			mustSave(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))
			requireOwned(t, b, r.Owner, r.Key)
			mustDelete(t, b, r.Key, store.ReasonLoggedOut)
		}
	}},
	{"long after GoneAt, Load returns the session as it was or ErrNotFound", func(t T, b store.Backend) {
		for _, r := range longGone("session=" + rand.Text()) {
			mustCreate(t, b, r)
			got, err := b.Load(t.Context(), r.Key)
			if err == nil {
				requireSame(t, r, got)
			} else {
				require.ErrorIs(t, err, store.ErrNotFound)
			}
		}
	}},

	{"Touch moves LastSeen forward and changes nothing else", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		for range 3 {
			r.LastSeen += 1
			require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen))
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"Touch never moves LastSeen back", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		for _, earlier := range []time.Duration{0, time.Millisecond, time.Hour} {
			require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen.Add(-earlier)))
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"Touch with a time before the Deadline works after it", func(t T, b store.Backend) {
		for _, r := range pastDeadline() {
			mustCreate(t, b, r)
			r.LastSeen = r.Deadline() - 1
			require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen))
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"Touch with a time from the Deadline on is ErrNotFound", func(t T, b store.Backend) {
		for _, r := range pastDeadline() {
			mustCreate(t, b, r)
			for _, late := range []store.Time{r.Deadline(), r.Deadline() + 1, r.GoneAt(), store.TimeOf(time.Now()).Add(time.Hour)} {
				require.ErrorIs(t, b.Touch(t.Context(), r.Key, late), store.ErrNotFound)
				requireSame(t, r, mustLoad(t, b, r.Key))
			}
		}
	}},

	{"Save stores values and Version, and changes nothing else", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		for _, values := range []string{"first", "", "third"} {
			r = withValues(r, []byte(values))
			mustSave(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"Save stores Details and changes nothing else", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		for _, details := range savedDetails(r) {
			r = withValues(r, r.Values)
			r.Details = details
			mustSave(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))
			requireSame(t, r, mustLoadByID(t, b, r))
		}
		require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen+1))
		mustDelete(t, b, r.Key, store.ReasonLoggedOut)
	}},
	{"Save does not move LastSeen", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		for _, seen := range []store.Time{0, r.LastSeen.Add(-time.Hour), r.LastSeen + 1, r.Expires} {
			r = atVersion(r, r.Version+1)
			saving := r
			saving.LastSeen = seen
			mustSave(t, b, saving)
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"Save at another version is ErrConflict and changes nothing", func(t T, b store.Backend) {
		r := newRecord()
		r.Version = 5
		mustCreate(t, b, r)
		for _, version := range []uint64{0, 4, 6, 1 << 40} {
			require.ErrorIs(t, b.Save(t.Context(), withValues(atVersion(r, version), []byte("new"))), store.ErrConflict)
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"Touch and Save do not conflict", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen+1))
		mustSave(t, b, withValues(r, []byte("new")))
		require.Equal(t, r.LastSeen+1, mustLoad(t, b, r.Key).LastSeen, "Save lost the Touch")
	}},
	{"a loaded session does not change", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		before := mustLoad(t, b, r.Key)
		require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen+1))
		mustSave(t, b, withValues(r, []byte("new")))
		mustDelete(t, b, r.Key, store.ReasonLoggedOut)
		requireSame(t, r, before)
	}},
}

// savedDetails returns details that may be saved in r, one after the other: with every field
// but RememberUntil changed, longer and shorter ones.
func savedDetails(r store.Record) []*store.Details {
	changed, long, few := newRecord().Details, newRecord().Details, store.Details{}
	changed.RememberUntil, changed.Rotated = r.Details.RememberUntil, r.Details.Rotated+1
	changed.Factors = slices.Repeat(changed.Factors, 4)
	long.RememberUntil = r.Details.RememberUntil
	long.Label = string(bytes.Repeat([]byte("Jürgens 🦊 \x00"), 1000))
	long.SuccessorToken = everyByte()
	few.RememberUntil = r.Details.RememberUntil
	return []*store.Details{changed, long, &few, {RememberUntil: few.RememberUntil, Label: "again"}}
}

// requireStaysGone checks that Touch, Save and Replace of a session that is gone return
// ErrNotFound and do not bring it back.
func requireStaysGone(t T, b store.Backend, r store.Record) {
	t.Helper()
	next := successor(r)
	for _, attempt := range []struct {
		name string
		err  error
	}{
		{"Touch", b.Touch(t.Context(), r.Key, r.LastSeen+1)},
		{"Save", b.Save(t.Context(), atVersion(r, r.Version+1))},
		{"Save at version 0", b.Save(t.Context(), atVersion(r, 1))},
		{"Replace", b.Replace(t.Context(), r.Key, r.Version, next)},
	} {
		require.ErrorIs(t, attempt.err, store.ErrNotFound, attempt.name)
	}
	requireGone(t, b, r)
	requireGone(t, b, next)
}

// requireNoTrace checks that a session is gone, without a tombstone or a move marker.
func requireNoTrace(t T, b store.Backend, r store.Record) {
	t.Helper()
	requireGone(t, b, r)
	_, err := b.Load(t.Context(), r.Key)
	var moved *store.MovedError
	require.False(t, errors.As(err, &moved), "Load returned a MovedError, but the session has never moved")
	var ended *store.EndedError
	require.False(t, errors.As(err, &ended), "Load returned an EndedError, but nothing has ended the session")
}

// pastDeadline returns sessions past their Deadline that a backend still has to keep.
func pastDeadline() []store.Record {
	return slices.Concat(justGone(), remembered("session="+rand.Text()))
}

// justGone returns sessions that are gone since this moment, so within store.Grace: by their
// idle timeout, their absolute timeout and their RememberUntil.
func justGone() []store.Record {
	now := store.TimeOf(time.Now())
	idle, absolute, forgotten := newRecord(), newRecord(), remembered("session=" + rand.Text())[0]
	idle.IdleTimeout, idle.Details.RememberUntil = now.Sub(idle.LastSeen), 0
	absolute.Expires, absolute.Details.RememberUntil = now, now.Add(-time.Hour)
	forgotten.Details.RememberUntil = now
	return []store.Record{idle, absolute, forgotten}
}

// remembered returns sessions of an owner that are long past their Deadline, one by its idle
// and one by its absolute timeout, but before their RememberUntil.
func remembered(owner string) []store.Record {
	idle := newRecordFor(owner, 150)
	idle.IdleTimeout = time.Hour
	absolute := newRecordFor(owner, 61)
	absolute.IdleTimeout = 3 * time.Hour
	absolute.Expires = store.TimeOf(time.Now()).Add(-time.Hour)
	return []store.Record{idle, absolute}
}

// longGone returns the same sessions as remembered, but without a later RememberUntil.
func longGone(owner string) []store.Record {
	records := remembered(owner)
	records[0].Details = nil
	records[1].Details.RememberUntil = records[1].Expires
	return records
}

func everyByte() []byte {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return every
}
