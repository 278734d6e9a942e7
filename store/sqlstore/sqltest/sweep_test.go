package sqltest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// aged is a session that was last seen so long ago.
func aged(d time.Duration) store.Record {
	r := newRecord()
	r.LastSeen = r.LastSeen.Add(-d)
	r.Expires = r.LastSeen.Add(12 * time.Hour)
	return r
}

// Two nodes sweep while their sessions are used: what may be forgotten goes, in
// batches, and nothing else does.
func TestSweepDeletesWhatMayBeForgottenAndNothingElse(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			var log bytes.Buffer
			config := sqlstore.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}
			a, b, db := d.node(t, config), d.node(t, config), d.open(t)
			_, err := db.Exec("DELETE FROM sessionguard_sessions")
			require.NoError(t, err)
			exec := func(text string) {
				t.Helper()
				_, err := db.Exec(text)
				require.NoError(t, err)
			}
			if d.dialect == sqlstore.PostgreSQL {
				exec(`CREATE TABLE IF NOT EXISTS batches (size INT)`)
				exec(`TRUNCATE batches`)
				exec(`CREATE OR REPLACE FUNCTION count_batch() RETURNS TRIGGER LANGUAGE plpgsql AS
					'BEGIN INSERT INTO batches SELECT count(*) FROM gone; RETURN NULL; END'`)
				exec(`CREATE TRIGGER batches AFTER DELETE ON sessionguard_sessions
					REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION count_batch()`)
				t.Cleanup(func() { _, _ = db.Exec(`DROP TRIGGER batches ON sessionguard_sessions`) })
			}

			// Idle timeouts of half an hour: a row stays for another half hour, a
			// minute and ten minutes, and then it has to go.
			dead := createMany(t, a, 2500, func() store.Record { return aged(72 * time.Minute) })
			live := createMany(t, a, 50, newRecord)
			inMargin := createMany(t, a, 50, func() store.Record { return aged(70 * time.Minute) })
			remembered := createMany(t, a, 50, func() store.Record {
				r := aged(24 * time.Hour)
				r.Expires = r.LastSeen.Add(48 * time.Hour)
				r.Details.RememberUntil = r.Expires
				return r
			})
			touchedLate := createMany(t, a, 50, func() store.Record { return aged(29 * time.Minute) })
			moved, ended := newRecord(), newRecord()
			create(t, a, moved, ended)
			require.NoError(t, a.Replace(t.Context(), moved.Key, 1, newRecordOf(moved.Owner)))
			_, err = a.Delete(t.Context(), ended.Key, store.ReasonEnded)
			require.NoError(t, err)

			ctx, stop := context.WithCancel(t.Context())
			var sweeps, requests sync.WaitGroup
			for _, s := range []*sqlstore.Store{a, b, a, b} {
				sweeps.Go(func() { s.Sweep(ctx) })
			}
			var failures sync.Map
			for i, s := range []*sqlstore.Store{a, b, a, b} {
				requests.Go(func() {
					for round := 0; ctx.Err() == nil; round++ {
						for _, r := range append(live, touchedLate...) {
							if err := s.Touch(ctx, r.Key, store.TimeOf(time.Now())); err != nil && ctx.Err() == nil {
								failures.Store(fmt.Sprint(i, round), err)
							}
						}
					}
				})
			}
			require.Eventually(t, func() bool {
				var left int
				err := db.QueryRow("SELECT COUNT(*) FROM sessionguard_sessions").Scan(&left)
				return err == nil && left == len(live)+len(inMargin)+len(remembered)+len(touchedLate)+3
			}, 20*time.Second, 20*time.Millisecond)
			stopped := time.Now()
			stop()
			sweeps.Wait()
			require.Less(t, time.Since(stopped), time.Second)
			requests.Wait()
			failures.Range(func(_, err any) bool { require.NoError(t, err.(error)); return true })

			for _, r := range dead[:50] {
				_, err := b.Load(t.Context(), r.Key)
				require.ErrorIs(t, err, store.ErrNotFound)
			}
			for _, kept := range [][]store.Record{live, inMargin, remembered, touchedLate} {
				for _, r := range kept {
					_, err := b.Load(t.Context(), r.Key)
					require.NoError(t, err)
				}
			}
			var movedTo *store.MovedError
			_, err = b.Load(t.Context(), moved.Key)
			require.ErrorAs(t, err, &movedTo)
			var why *store.EndedError
			_, err = b.Load(t.Context(), ended.Key)
			require.ErrorAs(t, err, &why)
			require.Empty(t, log.String())
			if d.dialect == sqlstore.PostgreSQL {
				var largest, sum int
				require.NoError(t, db.QueryRow("SELECT max(size), sum(size) FROM batches").Scan(&largest, &sum))
				require.LessOrEqual(t, largest, 1000)
				require.Equal(t, len(dead), sum)
			}
		})
	}
}

// What somebody else holds does not stop a sweep in PostgreSQL, and is deleted later.
func TestSweepPassesOverWhatIsLocked(t *testing.T) {
	d := databases["PostgreSQL"](t)
	s, db := d.node(t, sqlstore.Config{Timeout: time.Second}), d.open(t)
	rows := createMany(t, s, 10, func() store.Record { return aged(3 * time.Hour) })
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

// A row is kept as long as its session may be used and not much longer, and mostly stays
// where it is in the index.
func TestTouchMovesWhenARowMayBeForgotten(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			s, db := d.node(t, sqlstore.Config{}), d.open(t)
			r := newRecord()
			create(t, s, r)
			forget := func() (at int64) {
				text := "SELECT forget_at FROM sessionguard_sessions WHERE session_key = ?"
				if d.dialect == sqlstore.PostgreSQL {
					text = "SELECT forget_at FROM sessionguard_sessions WHERE session_key = $1"
				}
				require.NoError(t, db.QueryRow(text, r.Key[:]).Scan(&at))
				return at
			}
			long := newRecord()
			long.IdleTimeout, long.Expires = 1<<63-1, long.LastSeen.Add(1<<63-1)
			create(t, s, long)
			r, short := long, r
			require.Equal(t, int64(long.Expires.Add(store.Grace)), forget())
			r = short
			changes, before := 0, forget()
			for range 100 { // once a minute
				r.LastSeen = r.LastSeen.Add(time.Minute)
				require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen))
				at := forget()
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
			require.Equal(t, int64(r.Expires.Add(store.Grace)), forget(), "nothing is kept past its absolute end")
		})
	}
}

func TestWhatIsLeftOfASessionIsKeptAsLongAsItHasTo(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			s, db := d.node(t, sqlstore.Config{}), d.open(t)
			requireKept := func(r store.Record, until store.Time) {
				t.Helper()
				text := "SELECT forget_at FROM sessionguard_sessions WHERE session_key = ?"
				if d.dialect == sqlstore.PostgreSQL {
					text = "SELECT forget_at FROM sessionguard_sessions WHERE session_key = $1"
				}
				var at int64
				require.NoError(t, db.QueryRow(text, r.Key[:]).Scan(&at))
				require.InDelta(t, int64(until), at, 10_000)
			}
			at := store.TimeOf(time.Now())
			moved, revived, theft, logout := newRecord(), newRecord(), newRecord(), newRecord()
			create(t, s, moved, revived, theft, logout)
			next, by := newRecordOf(moved.Owner), newRecordOf(revived.Owner)
			by.Details.Rotated = by.Authenticated + 1
			require.NoError(t, s.Replace(t.Context(), moved.Key, 1, next))
			require.NoError(t, s.Replace(t.Context(), revived.Key, 1, by))
			for r, reason := range map[store.Record]store.Reason{theft: store.ReasonTheftSuspected, logout: store.ReasonLoggedOut} {
				_, err := s.Delete(t.Context(), r.Key, reason)
				require.NoError(t, err)
			}
			requireKept(moved, at.Add(store.Grace))
			requireKept(revived, by.Expires)
			requireKept(theft, at.Add(store.TombstoneLifetime))
			requireKept(logout, at.Add(store.Grace))
		})
	}
}

// createMany creates sessions, a few at a time.
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
