package sqltest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// Two nodes sweep in batches while sessions are in use.
func TestSweepDeletesOnlyRowsThatAreNoLongerNeeded(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			var log bytes.Buffer
			config := sqlstore.Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), Timeout: 20 * time.Second}
			a, b, db := d.node(t, config), d.node(t, config), d.open(t)
			_, err := db.Exec("DELETE FROM sessionguard_sessions")
			require.NoError(t, err)
			requireBatches := func(int) {}
			if d.dialect == sqlstore.PostgreSQL {
				requireBatches = recordDeletes(t, db)
			}

			rows := createSweepable(t, a)
			stop := sweepWhileTouching(t, []*sqlstore.Store{a, b, a, b}, append(rows.live, rows.touchedLate...))
			require.Eventually(t, func() bool {
				var remaining int
				err := db.QueryRow("SELECT COUNT(*) FROM sessionguard_sessions").Scan(&remaining)
				return err == nil && remaining == rows.needed()
			}, 20*time.Second, 20*time.Millisecond)
			stop()

			rows.requireSwept(t, b)
			require.Empty(t, log.String())
			requireBatches(len(rows.dead))
		})
	}
}

// recordDeletes makes PostgreSQL record the size of each DELETE. The function that it
// returns requires that batches of at most 1000 rows add up to a total.
func recordDeletes(t *testing.T, db *sql.DB) (requireBatches func(total int)) {
	t.Helper()
	for _, text := range []string{
		`CREATE TABLE IF NOT EXISTS batches (size INT)`,
		`TRUNCATE batches`,
		`CREATE OR REPLACE FUNCTION count_batch() RETURNS TRIGGER LANGUAGE plpgsql AS
			'BEGIN INSERT INTO batches SELECT count(*) FROM deleted; RETURN NULL; END'`,
		`CREATE TRIGGER batches AFTER DELETE ON sessionguard_sessions
			REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION count_batch()`,
	} {
		_, err := db.Exec(text)
		require.NoError(t, err)
	}
	t.Cleanup(func() { _, _ = db.Exec(`DROP TRIGGER batches ON sessionguard_sessions`) })
	return func(total int) {
		t.Helper()
		var largest, sum int
		require.NoError(t, db.QueryRow("SELECT max(size), sum(size) FROM batches").Scan(&largest, &sum))
		require.LessOrEqual(t, largest, 1000)
		require.Equal(t, total, sum)
	}
}

// sweepable holds sessions of which Sweep deletes only the dead ones. With idle timeouts of
// half an hour, a row stays for another half hour, a minute and ten minutes.
type sweepable struct {
	dead                                    []store.Record
	live, inMargin, remembered, touchedLate []store.Record
	moved, ended                            store.Record
}

func createSweepable(t *testing.T, s *sqlstore.Store) sweepable {
	t.Helper()
	rows := sweepable{
		dead:     createMany(t, s, 2500, func() store.Record { return newRecordSeen(72 * time.Minute) }),
		live:     createMany(t, s, 50, newRecord),
		inMargin: createMany(t, s, 50, func() store.Record { return newRecordSeen(70 * time.Minute) }),
		remembered: createMany(t, s, 50, func() store.Record {
			r := newRecordSeen(24 * time.Hour)
			r.Expires = r.LastSeen.Add(48 * time.Hour)
			r.Details = &store.Details{RememberUntil: r.Expires}
			return r
		}),
		touchedLate: createMany(t, s, 50, func() store.Record { return newRecordSeen(29 * time.Minute) }),
		moved:       newRecord(),
		ended:       newRecord(),
	}
	create(t, s, rows.moved, rows.ended)
	require.NoError(t, s.Replace(t.Context(), rows.moved.Key, 1, newRecordOf(rows.moved.Owner)))
	_, err := s.Delete(t.Context(), rows.ended.Key, store.ReasonEnded)
	require.NoError(t, err)
	return rows
}

// needed returns the number of rows that Sweep must keep: also the move marker, the session
// at its new key, and the tombstone.
func (rows sweepable) needed() int {
	return len(rows.live) + len(rows.inMargin) + len(rows.remembered) + len(rows.touchedLate) + 3
}

func (rows sweepable) requireSwept(t *testing.T, s *sqlstore.Store) {
	t.Helper()
	for _, r := range rows.dead[:50] {
		_, err := s.Load(t.Context(), r.Key)
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	for _, kept := range [][]store.Record{rows.live, rows.inMargin, rows.remembered, rows.touchedLate} {
		for _, r := range kept {
			_, err := s.Load(t.Context(), r.Key)
			require.NoError(t, err)
		}
	}
	var moved *store.MovedError
	_, err := s.Load(t.Context(), rows.moved.Key)
	require.ErrorAs(t, err, &moved)
	var ended *store.EndedError
	_, err = s.Load(t.Context(), rows.ended.Key)
	require.ErrorAs(t, err, &ended)
}

// sweepWhileTouching runs Sweep on each node, and touches sessions over each, until stop is
// called. It requires that no touch fails and that Sweep returns within a second.
func sweepWhileTouching(t *testing.T, nodes []*sqlstore.Store, sessions []store.Record) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var sweeps, requests sync.WaitGroup
	for _, s := range nodes {
		sweeps.Go(func() { s.Sweep(ctx) })
	}
	var failures sync.Map
	for i, s := range nodes {
		requests.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				for _, r := range sessions {
					if err := s.Touch(ctx, r.Key, store.TimeOf(time.Now())); err != nil && ctx.Err() == nil {
						failures.Store(fmt.Sprint(i, round), err)
					}
				}
			}
		})
	}
	return func() {
		t.Helper()
		stopped := time.Now()
		cancel()
		sweeps.Wait()
		require.Less(t, time.Since(stopped), slack)
		requests.Wait()
		failures.Range(func(_, err any) bool { require.NoError(t, err.(error)); return true })
	}
}

// In PostgreSQL a locked row does not stop a sweep. A later sweep deletes it.
func TestSweepSkipsLockedRows(t *testing.T) {
	d := databases["PostgreSQL"](t)
	s, db := d.node(t, sqlstore.Config{Timeout: time.Second}), d.open(t)
	rows := createMany(t, s, 10, func() store.Record { return newRecordSeen(3 * time.Hour) })
	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("SELECT 1 FROM sessionguard_sessions WHERE session_key = $1 FOR UPDATE", rows[0].Key[:])
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go s.Sweep(ctx)
	require.Eventually(t, func() bool {
		for _, r := range rows[1:] {
			if _, err := s.Load(t.Context(), r.Key); err == nil {
				return false
			}
		}
		return true
	}, 5*time.Second, 10*time.Millisecond)
	_, err = s.Load(t.Context(), rows[0].Key)
	require.NoError(t, err)
	require.NoError(t, tx.Rollback())
}

// A row is kept as long as its session may be used and not much longer. Most touches leave
// its place in the index unchanged.
func TestTouchExtendsHowLongARowIsKept(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			s, db := d.node(t, sqlstore.Config{}), d.open(t)
			deleteAfter := func(r store.Record) (at int64) {
				t.Helper()
				d.readColumns(t, db, r.Key, "delete_after", &at)
				return at
			}
			longest := newRecord()
			longest.IdleTimeout, longest.Expires = 1<<63-1, longest.LastSeen.Add(1<<63-1)
			r := newRecord()
			create(t, s, r, longest)
			require.Equal(t, int64(longest.Expires.Add(store.Grace)), deleteAfter(longest))

			changes, before := 0, deleteAfter(r)
			for range 100 { // once a minute
				r.LastSeen = r.LastSeen.Add(time.Minute)
				require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen))
				at := deleteAfter(r)
				require.GreaterOrEqual(t, at, int64(r.GoneAt().Add(store.Grace)))
				require.LessOrEqual(t, at, int64(r.GoneAt().Add(store.Grace+r.IdleTimeout)))
				if at != before {
					changes++
				}
				before = at
			}
			require.LessOrEqual(t, changes, 4, "the indexes change with every touch")
			for {
				r.LastSeen = r.LastSeen.Add(29 * time.Minute)
				if s.Touch(t.Context(), r.Key, r.LastSeen) != nil {
					break
				}
			}
			require.Equal(t, int64(r.Expires.Add(store.Grace)), deleteAfter(r), "a row is kept past its absolute timeout")
		})
	}
}

func TestTombstonesAndMoveMarkersAreKeptAsLongAsPromised(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			s, db := d.node(t, sqlstore.Config{}), d.open(t)
			requireKeptUntil := func(r store.Record, until store.Time) {
				t.Helper()
				var deleteAfter int64
				d.readColumns(t, db, r.Key, "delete_after", &deleteAfter)
				require.InDelta(t, int64(until), deleteAfter, 10_000)
			}
			at := store.TimeOf(time.Now())
			moved, revived, theft, logout := newRecord(), newRecord(), newRecord(), newRecord()
			create(t, s, moved, revived, theft, logout)
			next, revival := newRecordOf(moved.Owner), newRecordOf(revived.Owner)
			revival.Details = &store.Details{Rotated: revival.Authenticated + 1}
			require.NoError(t, s.Replace(t.Context(), moved.Key, 1, next))
			require.NoError(t, s.Replace(t.Context(), revived.Key, 1, revival))
			for r, reason := range map[store.Record]store.Reason{theft: store.ReasonTheftSuspected, logout: store.ReasonLoggedOut} {
				_, err := s.Delete(t.Context(), r.Key, reason)
				require.NoError(t, err)
			}
			requireKeptUntil(moved, at.Add(store.Grace))
			requireKeptUntil(revived, revival.Expires)
			requireKeptUntil(theft, at.Add(store.TombstoneLifetime))
			requireKeptUntil(logout, at.Add(store.Grace))
		})
	}
}
