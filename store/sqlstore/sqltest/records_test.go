package sqltest

import (
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

func newOwner() string { return "session=" + rand.Text() }

// newRecord returns a session of a new owner, with an idle timeout of half an hour.
func newRecord() store.Record { return newRecordOf(newOwner()) }

func newRecordOf(owner string) store.Record {
	at := store.TimeOf(time.Now())
	r := store.Record{LastSeen: at, Session: &store.Session{
		ID: rand.Text(), Owner: owner, Authenticated: at, Version: 1,
		Expires: at.Add(12 * time.Hour), IdleTimeout: 30 * time.Minute,
		Values:  []byte("values"),
		Created: at, Client: "Firefox on Linux", Address: "192.0.2.1",
	}}
	for rand.Read(r.Key[:]); r.Key.Group() != store.GroupOf(owner); {
		rand.Read(r.Key[:])
	}
	return r
}

// newRecordSeen returns a session that was last seen some time ago.
func newRecordSeen(ago time.Duration) store.Record {
	r := newRecord()
	r.LastSeen = r.LastSeen.Add(-ago)
	r.Expires = r.LastSeen.Add(12 * time.Hour)
	return r
}

// newGoneRecordOf returns a session of an owner that is past its GoneAt.
func newGoneRecordOf(owner string) store.Record {
	r := newRecordOf(owner)
	r.LastSeen, r.IdleTimeout, r.Details = store.TimeOf(time.Now()).Add(-2*time.Hour), time.Hour, nil
	return r
}

func create(t testing.TB, b store.Backend, records ...store.Record) {
	t.Helper()
	for _, r := range records {
		_, err := b.Create(t.Context(), r, store.Limit{})
		require.NoError(t, err)
	}
}

// createMany creates n sessions, eight at a time.
func createMany(t *testing.T, s *sqlstore.Store, n int, next func() store.Record) []store.Record {
	t.Helper()
	records := make([]store.Record, n)
	errs := make(chan error, n)
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for i := w; i < n; i += 8 {
				records[i] = next()
				_, err := s.Create(t.Context(), records[i], store.Limit{})
				errs <- err
			}
		})
	}
	workers.Wait()
	for range n {
		require.NoError(t, <-errs)
	}
	return records
}

// ignoreGone returns nil for an error that says that the session is gone or has changed.
func ignoreGone(err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
