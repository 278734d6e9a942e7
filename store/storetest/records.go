package storetest

import (
	"bytes"
	"crypto/rand"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// What one session does when nobody else is about.
var records = []promise{
	{"what was created is loaded, to the last field", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		requireSame(t, r, load(t, b, r.Key))
	}},
	{"sessions with little in them are kept", func(t T, b store.Backend) {
		r := newRecord()
		r.ID, r.Stamp, r.Version, r.Values = "", "", 0, nil
		create(t, b, r)
		requireSame(t, r, load(t, b, r.Key))
	}},
	{"sessions with much in them are kept", func(t T, b store.Backend) {
		r := newRecord()
		r.Owner += "=Jürgen \"ß\" 李小龙 🦊 '; DROP TABLE sessions; --\n\t{1}%_*?[a-z]\\"
		r.Stamp += "\u00a0é\u0301 "
		r.IdleTimeout = 100 * 365 * 24 * time.Hour
		r.Expires = r.LastSeen.Add(100 * 365 * 24 * time.Hour)
		r.Version = 1<<53 - 1
		create(t, b, r)
		requireSame(t, r, load(t, b, r.Key))
		requireOwned(t, b, r.Owner, r.Key)
	}},
	{"values are any bytes, up to 100 KB and more", func(t T, b store.Backend) {
		large := make([]byte, 100<<10)
		rand.Read(large)
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		for _, values := range [][]byte{{}, {0}, every, large, bytes.Repeat(every, 1000)} {
			r := newRecord()
			r.Values = values
			create(t, b, r)
			requireSame(t, r, load(t, b, r.Key))

			saved := newRecord()
			create(t, b, saved)
			require.NoError(t, b.Save(t.Context(), saved.Key, saved.Version, values))
			require.Equal(t, string(values), string(load(t, b, saved.Key).Values))
		}
	}},
	{"keys that differ in one bit are different keys", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		for bit := range 8 * len(r.Key) {
			other := r.Key
			other[bit/8] ^= 1 << (bit % 8)
			_, err := b.Load(t.Context(), other)
			require.ErrorIs(t, err, store.ErrNotFound)
		}
	}},
	{"an unknown key is ErrNotFound everywhere but in Delete", func(t T, b store.Backend) {
		r := newRecord()
		_, err := b.Load(t.Context(), r.Key)
		require.ErrorIs(t, err, store.ErrNotFound, "Load")
		requireRefused(t, b, r)
		require.NoError(t, b.Delete(t.Context(), r.Key, store.LoggedOut))
	}},
	{"loading is not activity", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		for range 3 {
			requireSame(t, r, load(t, b, r.Key))
		}
	}},
	{"a session that has just ended is loaded as it is", func(t T, b store.Backend) {
		for _, r := range justEnded() {
			create(t, b, r)
			requireSame(t, r, load(t, b, r.Key))
		}
	}},
	{"long past its end a session is loaded as it is, or ErrNotFound", func(t T, b store.Backend) {
		for _, r := range dead("session=" + rand.Text()) {
			create(t, b, r)
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
		create(t, b, r)
		for range 3 {
			r.LastSeen += 1
			require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen))
			requireSame(t, r, load(t, b, r.Key))
		}
	}},
	{"Touch never moves LastSeen back", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		for _, earlier := range []time.Duration{0, time.Millisecond, time.Hour} {
			require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen.Add(-earlier)))
			requireSame(t, r, load(t, b, r.Key))
		}
	}},
	{"Touch from before the end counts after it", func(t T, b store.Backend) {
		for _, r := range justEnded() {
			create(t, b, r)
			r.LastSeen = r.End() - 1
			require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen))
			requireSame(t, r, load(t, b, r.Key))
		}
	}},
	{"Touch at the end or later revives nothing", func(t T, b store.Backend) {
		for _, r := range justEnded() {
			create(t, b, r)
			for _, late := range []time.Duration{0, time.Millisecond, time.Hour} {
				require.ErrorIs(t, b.Touch(t.Context(), r.Key, r.End().Add(late)), store.ErrNotFound)
				requireSame(t, r, load(t, b, r.Key))
			}
		}
	}},

	{"Save stores values, raises Version by one and changes nothing else", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		for _, values := range []string{"first", "", "third"} {
			require.NoError(t, b.Save(t.Context(), r.Key, r.Version, []byte(values)))
			r.Version++
			r.Values = []byte(values)
			requireSame(t, r, load(t, b, r.Key))
		}
	}},
	{"Save at another version is ErrConflict and changes nothing", func(t T, b store.Backend) {
		r := newRecord()
		r.Version = 5
		create(t, b, r)
		for _, version := range []uint64{0, 4, 6, 1 << 40} {
			require.ErrorIs(t, b.Save(t.Context(), r.Key, version, []byte("new")), store.ErrConflict)
			requireSame(t, r, load(t, b, r.Key))
		}
	}},
	{"Touch does not stand in the way of Save", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen+1))
		require.NoError(t, b.Save(t.Context(), r.Key, r.Version, []byte("new")))
		require.Equal(t, r.LastSeen+1, load(t, b, r.Key).LastSeen, "Save lost the touch")
	}},
	{"a session that was loaded stays as it was", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		before := load(t, b, r.Key)
		require.NoError(t, b.Touch(t.Context(), r.Key, r.LastSeen+1))
		require.NoError(t, b.Save(t.Context(), r.Key, r.Version, []byte("new")))
		require.NoError(t, b.Delete(t.Context(), r.Key, store.LoggedOut))
		requireSame(t, r, before)
	}},

	{"Replace moves a session to its new key", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		next := successor(r)
		require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, next))
		requireSame(t, next, load(t, b, next.Key))
		requireGone(t, b, r)
		requireOwned(t, b, r.Owner, next.Key)

		// The successor is a session like any other.
		require.NoError(t, b.Touch(t.Context(), next.Key, next.LastSeen+1))
		require.NoError(t, b.Save(t.Context(), next.Key, next.Version, nil))
		require.NoError(t, b.Delete(t.Context(), next.Key, store.LoggedOut))
		requireOwned(t, b, r.Owner)
	}},
	{"Delete and Replace tell where a session has moved, and change nothing", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		next := successor(r)
		last := successor(next)
		require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, next))
		require.NoError(t, b.Replace(t.Context(), next.Key, next.Version, last))
		for range 2 {
			for from, to := range map[store.Key]store.Key{r.Key: next.Key, next.Key: last.Key} {
				for _, err := range []error{
					b.Delete(t.Context(), from, store.LoggedOut),
					b.Replace(t.Context(), from, r.Version, successor(r)),
				} {
					require.ErrorIs(t, err, store.ErrNotFound)
					var moved *store.MovedError
					require.ErrorAs(t, err, &moved)
					require.Equal(t, to, moved.To)
				}
			}
		}
		requireSame(t, last, load(t, b, last.Key))
		requireOwned(t, b, r.Owner, last.Key)
		require.NoError(t, b.Delete(t.Context(), last.Key, store.LoggedOut))
		require.NoError(t, b.Delete(t.Context(), last.Key, store.LoggedOut))
	}},
	{"Replace at another version is ErrConflict and changes nothing", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		for _, version := range []uint64{0, 2, 1 << 40} {
			next := successor(r)
			require.ErrorIs(t, b.Replace(t.Context(), r.Key, version, next), store.ErrConflict)
			requireGone(t, b, next)
			requireSame(t, r, load(t, b, r.Key))
			requireOwned(t, b, r.Owner, r.Key)
		}
	}},

	{"Delete is final", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		require.NoError(t, b.Delete(t.Context(), r.Key, store.LoggedOut))
		requireGone(t, b, r)
		requireRefused(t, b, r)
	}},
	{"Replace ends the old session for good", func(t T, b store.Backend) {
		r := newRecord()
		create(t, b, r)
		require.NoError(t, b.Replace(t.Context(), r.Key, r.Version, successor(r)))
		requireRefused(t, b, r)
	}},
	{"Delete twice is no error", func(t T, b store.Backend) {
		r, other := newRecord(), newRecord()
		create(t, b, r, other)
		for _, reason := range []store.Reason{store.LoggedOut, store.Idle, "another"} {
			require.NoError(t, b.Delete(t.Context(), r.Key, reason))
			requireGone(t, b, r)
		}
		requireSame(t, other, load(t, b, other.Key))
	}},
}

// requireRefused checks that nothing can be done to a session that is not there,
// and that trying does not bring it back.
func requireRefused(t T, b store.Backend, r store.Record) {
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

// justEnded returns sessions that ended a moment ago, within store.Grace: idle,
// and at their absolute end.
func justEnded() []store.Record {
	now := store.TimeOf(time.Now())
	idle, absolute := newRecord(), newRecord()
	idle.IdleTimeout = now.Sub(idle.LastSeen)
	absolute.Expires = now
	return []store.Record{idle, absolute}
}

// dead returns sessions of an owner that have ended: idle, and at their
// absolute end.
func dead(owner string) []store.Record {
	now := store.TimeOf(time.Now())
	idle := newRecordOf(owner, 150)
	idle.IdleTimeout = time.Hour
	absolute := newRecordOf(owner, 61)
	absolute.IdleTimeout = 3 * time.Hour
	absolute.Expires = now.Add(-time.Hour)
	return []store.Record{idle, absolute}
}
