// Package storetest is what every [store.Backend] has to pass: one suite of
// promises, for backends in memory and across a network alike.
//
// A backend's own test calls it:
//
//	func TestBackend(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Backend {
//			db := openTestDatabase(t)
//			t.Cleanup(func() { db.Close() })
//			return sqlstore.New(db)
//		})
//	}
//
// Run it with -race too. It can not show what only the backend's author knows
// how to cause: a lost connection, a full disk, a failover.
package storetest

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// Run checks that a backend keeps the promises of [store.Backend], each in a
// subtest with a backend from newBackend. They may all share one database, even
// one that is in use: keys and owners are random, and nothing else is read.
//
// Run never sleeps. Instead of waiting for a session to end it creates sessions
// that have: just now, which a backend has to keep for [store.Grace], and an
// hour ago, which it has to accept and need not keep. All others end no earlier
// than half an hour from now, so that the clocks of the test and of a remote
// backend need not agree to the second.
func Run(t *testing.T, newBackend func(t *testing.T) store.Backend) {
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			p.check(t, newBackend(t))
		})
	}
}

// A promise is checked through the part of testing.T that lets storetest's own
// test see it fail on backends that break it.
type promise struct {
	name  string
	check func(t T, b store.Backend)
}

// T is the part of [testing.T] that a check needs.
type T interface {
	require.TestingT
	Helper()
	Context() context.Context
}

var promises = slices.Concat(records, owners, races)

// newRecord returns a session of a new owner that is good for half an hour, with
// a different value in every field.
func newRecord() store.Record {
	now := store.TimeOf(time.Now())
	return store.Record{
		Session: &store.Session{
			Key:           newKey(),
			ID:            rand.Text(),
			Owner:         "session=" + rand.Text(),
			Stamp:         "stamp " + rand.Text(),
			Created:       now.Add(-3 * time.Hour),
			Authenticated: now.Add(-2 * time.Hour),
			Expires:       now.Add(8 * time.Hour),
			IdleTimeout:   time.Hour + 7*time.Millisecond,
			Version:       1,
			Values:        []byte("values " + rand.Text()),
		},
		LastSeen: now.Add(-30 * time.Minute),
	}
}

// newRecordOf is newRecord for an owner, last seen so many minutes ago.
func newRecordOf(owner string, minutes int) store.Record {
	r := newRecord()
	r.Owner = owner
	r.LastSeen = store.TimeOf(time.Now()).Add(-time.Duration(minutes) * time.Minute)
	return r
}

// successor is what a login in the session of r replaces it by.
func successor(r store.Record) store.Record {
	next := *r.Session
	next.Key = newKey()
	next.Version++
	next.Authenticated = r.Authenticated.Add(time.Hour)
	next.Values = []byte("values of the successor")
	return store.Record{Session: &next, LastSeen: r.LastSeen.Add(time.Minute)}
}

func newKey() (key store.Key) {
	rand.Read(key[:])
	return key
}

// create stores records, without a limit.
func create(t T, b store.Backend, records ...store.Record) {
	t.Helper()
	for _, r := range records {
		ended, err := b.Create(t.Context(), r, store.Limit{})
		require.NoError(t, err)
		require.Empty(t, ended, "no limit, but sessions were ended")
	}
}

func load(t T, b store.Backend, key store.Key) store.Record {
	t.Helper()
	r, err := b.Load(t.Context(), key)
	require.NoError(t, err)
	require.NotNil(t, r.Session, "no error, and no session either")
	return r
}

func requireGone(t T, b store.Backend, r store.Record) {
	t.Helper()
	_, err := b.Load(t.Context(), r.Key)
	require.ErrorIs(t, err, store.ErrNotFound, "the session should be gone")
	require.NotContains(t, owned(t, b, r.Owner), r.Key, "the owner's sessions")
}

// requireOwned checks that exactly these are the live sessions of an owner.
func requireOwned(t T, b store.Backend, owner string, want ...store.Key) {
	t.Helper()
	require.ElementsMatch(t, want, owned(t, b, owner), "the owner's sessions")
}

// owned lists the keys of an owner's sessions, without those past their end.
func owned(t T, b store.Backend, owner string) []store.Key {
	t.Helper()
	records, err := b.ByOwner(t.Context(), owner)
	require.NoError(t, err)
	records = slices.DeleteFunc(records, func(r store.Record) bool {
		return r.End() <= store.TimeOf(time.Now())
	})
	return keys(records...)
}

func keys(records ...store.Record) []store.Key {
	var keys []store.Key
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	return keys
}

// requireSame compares records field by field. A backend need not tell empty
// values from none.
func requireSame(t T, want, got store.Record) {
	t.Helper()
	require.NotNil(t, got.Session)
	w, g := *want.Session, *got.Session
	require.Equal(t, string(w.Values), string(g.Values), "Values")
	w.Values, g.Values = nil, nil
	require.Equal(t, w, g)
	require.Equal(t, want.LastSeen, got.LastSeen, "LastSeen")
}

// together runs functions at the same moment, as nearly as goroutines can, and
// returns their errors in order.
func together(functions ...func() error) []error {
	errs := make([]error, len(functions))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, f := range functions {
		wg.Go(func() {
			<-start
			errs[i] = f()
		})
	}
	close(start)
	wg.Wait()
	return errs
}
