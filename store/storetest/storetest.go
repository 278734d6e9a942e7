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
	mathrand "math/rand/v2"
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
// that have: just now, which a backend has to keep for [store.Grace], and an hour
// ago, which it has to accept, and to keep only if they are remembered. All others
// end no earlier than half an hour from now, so that the clocks of the test and of a
// remote backend need not agree to the second. How long a backend keeps what it has
// to tell of an end or a move, Run can not show.
//
// What a [store.Watcher] promises is checked if the backend is one, and newBackend is
// called once more to find out.
func Run(t *testing.T, newBackend func(t *testing.T) store.Backend) {
	for _, p := range checksFor(newBackend(t)) {
		t.Run(p.name, func(t *testing.T) {
			p.run(t, newBackend(t))
		})
	}
}

// RunNodes is [Run] for a backend that several processes share: what one node has
// done, the other has to know at once. Each call of a promise goes to the other of
// two nodes in turn. A [store.Watcher] watches on a, while sessions end on both.
func RunNodes(t *testing.T, newNodes func(t *testing.T) (a, b store.Backend)) {
	Run(t, func(t *testing.T) store.Backend { return alternate(newNodes(t)) })
}

// A promise is checked through the part of testing.T that lets storetest's own
// test see it fail on backends that break it.
type check struct {
	name string
	run  func(t T, b store.Backend)
}

// T is the part of [testing.T] that a check needs.
type T interface {
	require.TestingT
	Helper()
	Context() context.Context
}

var backendChecks = slices.Concat(recordChecks, moveChecks, endingChecks, ownerChecks, raceChecks)

func checksFor(b store.Backend) []check {
	if _, watches := b.(store.Watcher); watches {
		return slices.Concat(backendChecks, watcherChecks)
	}
	return backendChecks
}

// newRecord returns a session of a new owner that is good for half an hour, with
// a different value in every field. No time is a whole second, not even in a synctest
// bubble.
func newRecord() store.Record {
	owner := "session=" + rand.Text()
	now := store.TimeOf(time.Now())
	return store.Record{
		Session: &store.Session{
			Key:           newKeyFor(owner),
			ID:            rand.Text(),
			Owner:         owner,
			Stamp:         "stamp " + rand.Text(),
			Authenticated: now.Add(-2*time.Hour) + 1,
			Expires:       now.Add(8*time.Hour) + 2,
			IdleTimeout:   time.Hour + 3*time.Millisecond,
			Version:       1,
			Values:        []byte("values " + rand.Text()),
			Details: &store.Details{
				Created:        now.Add(-3*time.Hour) + 4,
				UserAgent:      "user agent " + rand.Text(),
				Address:        "address " + rand.Text(),
				RememberUntil:  now.Add(9*time.Hour) + 5,
				Rotated:        now.Add(-time.Hour) + 6,
				SuccessorToken: []byte("handover " + rand.Text()),
			},
		},
		LastSeen: now.Add(-30*time.Minute) + 7,
	}
}

// newRecordOf is newRecord for an owner, last seen so many minutes ago.
func newRecordFor(owner string, minutes int) store.Record {
	r := newRecord()
	r.Key, r.Owner = newKeyFor(owner), owner
	r.LastSeen = store.TimeOf(time.Now()).Add(-time.Duration(minutes) * time.Minute)
	return r
}

// successor is what a login in the session of r replaces it by: another value in
// every field but the ID, the owner and when it was created.
func successor(r store.Record) store.Record {
	next, was := newRecord(), r.Detail()
	next.Key, next.ID, next.Owner = newKeyFor(r.Owner), r.ID, r.Owner
	next.Authenticated = r.Authenticated.Add(time.Hour)
	next.Expires = r.Expires.Add(time.Hour)
	next.IdleTimeout = r.IdleTimeout + time.Minute
	next.Version = r.Version + 1
	next.LastSeen = r.LastSeen.Add(time.Minute)
	next.Details.Created = was.Created
	next.Details.RememberUntil = was.RememberUntil.Add(3 * time.Hour)
	next.Details.Rotated = was.Rotated.Add(time.Minute)
	return next
}

// newKeyOf returns a key of the owner's group, as every guard does.
func newKeyFor(owner string) (key store.Key) {
	for {
		if rand.Read(key[:]); key.Group() == store.GroupOf(owner) {
			return key
		}
	}
}

// create stores records, without a limit.
func mustCreate(t T, b store.Backend, records ...store.Record) {
	t.Helper()
	for _, r := range records {
		ended, err := b.Create(t.Context(), r, store.Limit{})
		require.NoError(t, err)
		require.Empty(t, ended, "no limit, but sessions were ended")
	}
}

func mustLoad(t T, b store.Backend, key store.Key) store.Record {
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
	require.NotContains(t, ownedKeys(t, b, r.Owner), r.Key, "the owner's sessions")
}

// requireOwned checks that exactly these are the sessions of an owner that count.
func requireOwned(t T, b store.Backend, owner string, want ...store.Key) {
	t.Helper()
	require.ElementsMatch(t, want, ownedKeys(t, b, owner), "the owner's sessions")
}

// owned lists the keys of an owner's sessions, without those that nothing brings back.
func ownedKeys(t T, b store.Backend, owner string) []store.Key {
	t.Helper()
	records, err := b.ByOwner(t.Context(), owner)
	require.NoError(t, err)
	records = slices.DeleteFunc(records, func(r store.Record) bool {
		return r.GoneAt() <= store.TimeOf(time.Now())
	})
	return keysOf(records...)
}

func keysOf(records ...store.Record) []store.Key {
	var keys []store.Key
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	return keys
}

// requireSame compares records field by field. A backend need not tell empty bytes
// from none, nor zero details.
func requireSame(t T, want, got store.Record) {
	t.Helper()
	require.NotNil(t, got.Session)
	require.Equal(t, string(want.Values), string(got.Values), "Values")
	w, g := want.Detail(), got.Detail()
	require.Equal(t, string(w.SuccessorToken), string(g.SuccessorToken), "Handover")
	w.SuccessorToken, g.SuccessorToken = nil, nil
	require.Equal(t, w, g, "Details")
	require.Equal(t, withoutValuesAndDetails(want), withoutValuesAndDetails(got))
	require.Equal(t, want.LastSeen, got.LastSeen, "LastSeen")
}

// plainly is the session of r without what requireSame compares by itself.
func withoutValuesAndDetails(r store.Record) store.Session {
	s := *r.Session
	s.Values, s.Details = nil, nil
	return s
}

// together runs functions at the same moment, as nearly as goroutines can, so that
// any may come first, and returns their errors in order.
func concurrently(functions ...func() error) []error {
	errs := make([]error, len(functions))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for _, i := range mathrand.Perm(len(functions)) {
		wg.Go(func() {
			<-start
			errs[i] = functions[i]()
		})
	}
	close(start)
	wg.Wait()
	return errs
}
