// Package storetest checks that a [store.Backend] keeps its contract. The same suite is for
// backends in memory and for backends across a network.
//
// Call it from a test of the backend:
//
//	func TestBackend(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Backend {
//			return mystore.New(openTestDatabase(t))
//		})
//	}
//
// If several processes share the backend's data, also call [RunNodes], with two instances of
// the backend on the same data. Run both with -race as well.
//
// The suite cannot cause the failures that depend on the backend: a lost connection, a full
// disk, a failover. Test that each of them is an error other than [store.ErrNotFound]. Nor
// does the suite wait, so it cannot check how long a backend keeps a session
// ([store.Grace]), the reason of an ending ([store.TombstoneLifetime]) or the new key of a
// session that has moved.
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

// Run checks the rules of [store.Backend], each in a subtest with a backend from newBackend.
// All backends may share one database, even one that is in use: keys and owners are random,
// and nothing else is read. Run calls newBackend once more to find out whether the backend is
// a [store.Watcher] or a [store.Lister]. If so, it checks the rules of these too.
//
// Run never sleeps. Instead of waiting for sessions to end, it creates some that have ended.
// Those that ended just now a backend has to keep for [store.Grace]. Those that ended an hour
// ago it has to accept, but to keep only if they are remembered. All other sessions end at
// least half an hour from now, so the clocks of the test and of a remote backend need not
// agree to the second.
func Run(t *testing.T, newBackend func(t *testing.T) store.Backend) {
	for _, c := range checksFor(newBackend(t)) {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, newBackend(t))
		})
	}
}

// RunNodes is [Run] for a backend whose data several processes share. It checks that what
// one node has done, the other sees at once. newNodes returns two nodes on the same data,
// which receive the calls of each check in turn. If a is a [store.Watcher], the check watches
// on a, while sessions end on both.
func RunNodes(t *testing.T, newNodes func(t *testing.T) (a, b store.Backend)) {
	Run(t, func(t *testing.T) store.Backend { return alternate(newNodes(t)) })
}

// A check tests one rule of the contract.
type check struct {
	name string
	run  func(t T, b store.Backend)
}

// T is the part of [testing.T] that a check needs. It is an interface so that storetest's own
// tests can run a check that fails.
type T interface {
	require.TestingT
	Helper()
	Context() context.Context
}

var backendChecks = slices.Concat(recordChecks, moveChecks, endingChecks, ownerChecks, byIDChecks, raceChecks)

func checksFor(b store.Backend) []check {
	checks := backendChecks
	if _, watches := b.(store.Watcher); watches {
		checks = slices.Concat(checks, watcherChecks, byIDWatcherChecks)
	}
	if _, lists := b.(store.Lister); lists {
		checks = slices.Concat(checks, listerChecks, listerRaceChecks)
	}
	return checks
}

// newRecord returns a session of a new owner that is valid for half an hour. Every field has
// a value of its own. No time is a whole second, not even in a synctest bubble.
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
			Created:       now.Add(-3*time.Hour) + 4,
			Client:        "user agent " + rand.Text(),
			Address:       "address " + rand.Text(),
			Expires:       now.Add(8*time.Hour) + 2,
			IdleTimeout:   time.Hour + 3*time.Millisecond,
			Version:       1,
			Values:        []byte("values " + rand.Text()),
			Details: &store.Details{
				RememberUntil:  now.Add(9*time.Hour) + 5,
				Rotated:        now.Add(-time.Hour) + 6,
				SuccessorToken: []byte("successor token " + rand.Text()),
				Label:          "label " + rand.Text(),
				Factors:        []store.Factor{{Name: "pwd " + rand.Text(), At: now + 8}, {Name: "otp", At: now + 9}},
				Actor:          &store.Actor{Owner: "actor " + rand.Text(), ID: rand.Text(), Key: newKeyFor("actor")},
				Device:         &store.Device{PublicKey: []byte("public key " + rand.Text()), Registered: now + 10, Proven: now + 11},
			},
		},
		LastSeen: now.Add(-30*time.Minute) + 7,
	}
}

// newRecordFor is newRecord for a given owner, last seen minutesAgo.
func newRecordFor(owner string, minutesAgo int) store.Record {
	r := newRecord()
	r.Key, r.Owner = newKeyFor(owner), owner
	r.LastSeen = store.TimeOf(time.Now()).Add(-time.Duration(minutesAgo) * time.Minute)
	return r
}

// successor returns the record that re-authentication replaces r by. It differs from r in
// every field but ID, Owner and Created.
func successor(r store.Record) store.Record {
	next, details := newRecord(), r.Detail()
	next.Key, next.ID, next.Owner = newKeyFor(r.Owner), r.ID, r.Owner
	next.Authenticated = r.Authenticated.Add(time.Hour)
	next.Expires = r.Expires.Add(time.Hour)
	next.IdleTimeout = r.IdleTimeout + time.Minute
	next.Version = r.Version + 1
	next.LastSeen = r.LastSeen.Add(time.Minute)
	next.Created = r.Created
	next.Details.RememberUntil = details.RememberUntil.Add(3 * time.Hour)
	next.Details.Rotated = details.Rotated.Add(time.Minute)
	return next
}

// withValues returns a copy of r with other values, which Save can store.
func withValues(r store.Record, values []byte) store.Record {
	s := *r.Session
	s.Values = values
	s.Version++
	r.Session = &s
	return r
}

// atVersion returns a copy of r with another Version.
func atVersion(r store.Record, version uint64) store.Record {
	s := *r.Session
	s.Version = version
	r.Session = &s
	return r
}

// newKeyFor returns a random key of the owner's group, as a guard does.
func newKeyFor(owner string) (key store.Key) {
	group := store.GroupOf(owner)
	for {
		if rand.Read(key[:]); key.Group() == group {
			return key
		}
	}
}

// mustCreate creates sessions without a limit.
func mustCreate(t T, b store.Backend, records ...store.Record) {
	t.Helper()
	for _, r := range records {
		ended, err := b.Create(t.Context(), r, store.Limit{})
		require.NoError(t, err)
		require.Empty(t, ended, "Create without a limit ended sessions")
	}
}

// mustSave saves r, whose Version is one more than that of the stored session.
func mustSave(t T, b store.Backend, r store.Record) {
	t.Helper()
	require.NoError(t, b.Save(t.Context(), r), "Save with Version %d, of a session that was stored with %d", r.Version, r.Version-1)
}

func mustLoad(t T, b store.Backend, key store.Key) store.Record {
	t.Helper()
	r, err := b.Load(t.Context(), key)
	require.NoError(t, err)
	require.NotNil(t, r.Session, "Load returned neither a session nor an error")
	return r
}

func requireGone(t T, b store.Backend, r store.Record) {
	t.Helper()
	_, err := b.Load(t.Context(), r.Key)
	require.ErrorIs(t, err, store.ErrNotFound, "the session must be gone")
	require.NotContains(t, ownedKeys(t, b, r.Owner), r.Key, "the owner's sessions")
}

// requireOwned checks that the owner's sessions are those with the keys want, apart from
// sessions that are gone.
func requireOwned(t T, b store.Backend, owner string, want ...store.Key) {
	t.Helper()
	require.ElementsMatch(t, want, ownedKeys(t, b, owner), "the owner's sessions")
}

// ownedKeys returns the keys of an owner's sessions, without those that are gone.
func ownedKeys(t T, b store.Backend, owner string) []store.Key {
	t.Helper()
	records, err := b.ByOwner(t.Context(), owner, "", store.MaxPage)
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

// requireSame compares records field by field. A backend need not tell empty bytes from nil,
// nor zero Details from nil.
func requireSame(t T, want, got store.Record) {
	t.Helper()
	require.NotNil(t, got.Session)
	require.Equal(t, string(want.Values), string(got.Values), "Values")
	w, g := want.Detail(), got.Detail()
	require.Equal(t, string(w.SuccessorToken), string(g.SuccessorToken), "SuccessorToken")
	w.SuccessorToken, g.SuccessorToken = nil, nil
	require.Equal(t, w, g, "Details")
	require.Equal(t, withoutValuesAndDetails(want), withoutValuesAndDetails(got))
	require.Equal(t, want.LastSeen, got.LastSeen, "LastSeen")
}

// withoutValuesAndDetails returns the session of r without the parts that requireSame compares
// separately.
func withoutValuesAndDetails(r store.Record) store.Session {
	s := *r.Session
	s.Values, s.Details = nil, nil
	return s
}

// concurrently starts functions at the same moment, as nearly as goroutines can, so that any
// of them may come first. It returns their errors in the functions' order.
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
