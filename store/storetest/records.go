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

// What one session does when nobody else is about.
var recordChecks = []check{
	{"what was created is loaded, to the last field", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		requireSame(t, r, mustLoad(t, b, r.Key))
	}},
	{"sessions with little in them are kept", func(t T, b store.Backend) {
		r := newRecord()
		r.ID, r.Stamp, r.Authenticated, r.Version, r.Values = "", "", 0, 0, nil
		for _, details := range []*store.Details{nil, {}, {Address: "only"}} {
			r.Key, r.Details = newKeyFor(r.Owner), details
			mustCreate(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"sessions with much in them are kept", func(t T, b store.Backend) {
		r := newRecord()
		odd := "=Jürgen \"ß\" 李小龙 🦊 '; DROP TABLE sessions; --\n\t{1}%_*?[a-z]\\"
		r.Owner += odd
		r.Key = newKeyFor(r.Owner)
		r.Details.UserAgent += odd
		r.Details.Address += odd
		r.Stamp += "\u00a0é\u0301 "
		r.IdleTimeout = 100 * 365 * 24 * time.Hour
		r.Expires = r.LastSeen.Add(100 * 365 * 24 * time.Hour)
		r.Details.RememberUntil = r.Expires + 1
		r.Version = 1<<53 - 1
		mustCreate(t, b, r)
		requireSame(t, r, mustLoad(t, b, r.Key))
		requireOwned(t, b, r.Owner, r.Key)
	}},
	{"values are any bytes, up to 100 KB and more", func(t T, b store.Backend) {
		large := make([]byte, 100<<10)
		rand.Read(large)
		every := everyByte()
		for _, values := range [][]byte{{}, {0}, every, large, bytes.Repeat(every, 1000)} {
			r := newRecord()
			r.Values = values
			mustCreate(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))

			saved := newRecord()
			mustCreate(t, b, saved)
			require.NoError(t, b.Save(t.Context(), saved.Key, saved.Version, values))
			require.Equal(t, string(values), string(mustLoad(t, b, saved.Key).Values))
		}
	}},
	{"the handover is any bytes", func(t T, b store.Backend) {
		for _, handover := range [][]byte{{}, {0}, everyByte()} {
			r := newRecord()
			r.Details.SuccessorToken = handover
			mustCreate(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))

			next := successor(newRecordFor(r.Owner, 5))
			next.Details.SuccessorToken = handover
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
	{"an unknown key is ErrNotFound everywhere but in Delete", func(t T, b store.Backend) {
		r := newRecord()
		requireNoTrace(t, b, r)
		requireStaysGone(t, b, r)
		for _, reason := range []store.Reason{store.ReasonLoggedOut, store.ReasonEnded} {
			requireDeletesNothing(t, b, r.Key, reason)
			requireNoTrace(t, b, r) // it has not ended, for it never was
		}
	}},
	{"loading is not activity", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		for range 3 {
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"a session that has just ended is loaded as it is", func(t T, b store.Backend) {
		for _, r := range justGone() {
			mustCreate(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"a remembered session is kept past its end", func(t T, b store.Backend) {
		for _, r := range remembered("session=" + rand.Text()) {
			mustCreate(t, b, r)
			requireSame(t, r, mustLoad(t, b, r.Key))
			require.NoError(t, b.Save(t.Context(), r.Key, r.Version, []byte("new")))
			r.Version++
			r.Values = []byte("new")
			requireSame(t, r, mustLoad(t, b, r.Key))
			requireOwned(t, b, r.Owner, r.Key)
			mustDelete(t, b, r.Key, store.ReasonLoggedOut)
		}
	}},
	{"long past its end a session is loaded as it is, or ErrNotFound", func(t T, b store.Backend) {
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

	{"Touch moves LastSeen forward and nothing else", func(t T, b store.Backend) {
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
	{"Touch from before the end counts after it", func(t T, b store.Backend) {
		for _, r := range pastDeadline() {
			mustCreate(t, b, r)
			r.LastSeen = r.Deadline() - 1
			require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen))
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"Touch at the end or later revives nothing, remembered or not", func(t T, b store.Backend) {
		for _, r := range pastDeadline() {
			mustCreate(t, b, r)
			for _, late := range []store.Time{r.Deadline(), r.Deadline() + 1, r.GoneAt(), store.TimeOf(time.Now()).Add(time.Hour)} {
				require.ErrorIs(t, b.Touch(t.Context(), r.Key, late), store.ErrNotFound)
				requireSame(t, r, mustLoad(t, b, r.Key))
			}
		}
	}},

	{"Save stores values, raises Version by one and changes nothing else", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		for _, values := range []string{"first", "", "third"} {
			require.NoError(t, b.Save(t.Context(), r.Key, r.Version, []byte(values)))
			r.Version++
			r.Values = []byte(values)
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"Save at another version is ErrConflict and changes nothing", func(t T, b store.Backend) {
		r := newRecord()
		r.Version = 5
		mustCreate(t, b, r)
		for _, version := range []uint64{0, 4, 6, 1 << 40} {
			require.ErrorIs(t, b.Save(t.Context(), r.Key, version, []byte("new")), store.ErrConflict)
			requireSame(t, r, mustLoad(t, b, r.Key))
		}
	}},
	{"Touch does not stand in the way of Save", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen+1))
		require.NoError(t, b.Save(t.Context(), r.Key, r.Version, []byte("new")))
		require.Equal(t, r.LastSeen+1, mustLoad(t, b, r.Key).LastSeen, "Save lost the touch")
	}},
	{"a session that was loaded stays as it was", func(t T, b store.Backend) {
		r := newRecord()
		mustCreate(t, b, r)
		before := mustLoad(t, b, r.Key)
		require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen+1))
		require.NoError(t, b.Save(t.Context(), r.Key, r.Version, []byte("new")))
		mustDelete(t, b, r.Key, store.ReasonLoggedOut)
		requireSame(t, r, before)
	}},
}

// requireRefused checks that nothing can be done to a session that is not there,
// and that trying does not bring it back.
func requireStaysGone(t T, b store.Backend, r store.Record) {
	t.Helper()
	next := successor(r)
	for _, attempt := range []struct {
		name string
		err  error
	}{
		{"Touch", b.Touch(t.Context(), r.Key, r.LastSeen+1)},
		{"Save", b.Save(t.Context(), r.Key, r.Version, r.Values)},
		{"Save at 0", b.Save(t.Context(), r.Key, 0, r.Values)},
		{"Replace", b.Replace(t.Context(), r.Key, r.Version, next)},
	} {
		require.ErrorIs(t, attempt.err, store.ErrNotFound, attempt.name)
	}
	requireGone(t, b, r)
	requireGone(t, b, next)
}

// requireUnknown checks that a session is gone and that nothing is known of it.
func requireNoTrace(t T, b store.Backend, r store.Record) {
	t.Helper()
	requireGone(t, b, r)
	_, err := b.Load(t.Context(), r.Key)
	var moved *store.MovedError
	require.False(t, errors.As(err, &moved), "it has never moved")
	var ended *store.EndedError
	require.False(t, errors.As(err, &ended), "nobody has ended it")
}

// pastTheirEnd returns sessions that are there, although they have ended.
func pastDeadline() []store.Record {
	return slices.Concat(justGone(), remembered("session="+rand.Text()))
}

// justEnded returns sessions that ended a moment ago, within store.Grace: idle, at
// their absolute end, and when they were no longer remembered.
func justGone() []store.Record {
	now := store.TimeOf(time.Now())
	idle, absolute, forgotten := newRecord(), newRecord(), remembered("session=" + rand.Text())[0]
	idle.IdleTimeout, idle.Details.RememberUntil = now.Sub(idle.LastSeen), 0
	absolute.Expires, absolute.Details.RememberUntil = now, now.Add(-time.Hour)
	forgotten.Details.RememberUntil = now
	return []store.Record{idle, absolute, forgotten}
}

// remembered returns sessions of an owner that Replace may revive, although they
// ended long ago: idle, and at their absolute end.
func remembered(owner string) []store.Record {
	idle := newRecordFor(owner, 150)
	idle.IdleTimeout = time.Hour
	absolute := newRecordFor(owner, 61)
	absolute.IdleTimeout = 3 * time.Hour
	absolute.Expires = store.TimeOf(time.Now()).Add(-time.Hour)
	return []store.Record{idle, absolute}
}

// dead returns the same, but no longer remembered.
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
