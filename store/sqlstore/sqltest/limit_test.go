package sqltest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// A limit may be new while an owner has thousands of sessions. A login that needed a round
// trip for each of them would time out, and so would the next.
func TestLimitEndsManySessionsInFewRoundTrips(t *testing.T) {
	const many = 450
	for _, name := range []string{"PostgreSQL", "MariaDB"} {
		t.Run(name, func(t *testing.T) {
			d, m := metered(t, name)
			s, owner := d.node(t, sqlstore.Config{Timeout: 10 * time.Second}), newOwner()
			endings := make(chan store.Ending, many)
			if d.dialect == sqlstore.PostgreSQL {
				l := databases[name](t).listener(t, sqlstore.Config{})
				require.NoError(t, l.Watch(t.Context(), func(e store.Ending) { endings <- e }))
			}
			ids := map[string]bool{}
			for _, r := range createMany(t, s, many, func() store.Record { return newRecordOf(owner) }) {
				ids[r.ID] = true
			}
			before := m.roundTrips.Load()
			ended, err := s.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 3})
			require.NoError(t, err)
			require.Less(t, m.roundTrips.Load()-before, int64(40))
			require.Len(t, ended, many-2)
			for _, r := range ended {
				require.True(t, ids[r.ID], "ended twice, or not the owner's")
				delete(ids, r.ID)
				_, err := s.Load(t.Context(), r.Key)
				var tombstone *store.EndedError
				require.ErrorAs(t, err, &tombstone)
				require.Equal(t, store.ReasonTooManySessions, tombstone.Reason)
			}
			records, err := s.ByOwner(t.Context(), owner, "", store.MaxPage)
			require.NoError(t, err)
			require.Len(t, records, 3)
			if d.dialect == sqlstore.PostgreSQL {
				reported := map[string]bool{}
				for range ended {
					e := <-endings
					require.Equal(t, store.ReasonTooManySessions, e.Reason)
					reported[e.ID] = true
				}
				require.Len(t, reported, len(ended))
			}
		})
	}
}

// While the sessions are touched and saved, four logins end all but ten of them, each once.
func TestLimitEndsSessionsInUseExactlyOnce(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			config := sqlstore.Config{Timeout: 3 * time.Second}
			a, b, owner := d.node(t, config), d.node(t, config), newOwner()
			records := createMany(t, a, 250, func() store.Record { return newRecordOf(owner) })
			ctx, stop := context.WithCancel(t.Context())
			var users, logins sync.WaitGroup
			for w := range 4 {
				users.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						r := records[(97*i+w)%len(records)]
						if w == 0 {
							_ = b.Save(ctx, withValues(atVersion(r, 1), []byte("saved")))
						} else {
							_ = b.Touch(ctx, r.Key, r.LastSeen+store.Time(i))
						}
					}
				})
			}
			ended := map[store.Key]store.Record{}
			var mu sync.Mutex
			for _, s := range []*sqlstore.Store{a, b, a, b} {
				logins.Go(func() {
					endedByLogin, err := s.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 10})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					for _, r := range endedByLogin {
						if _, twice := ended[r.Key]; twice {
							t.Error("ended twice")
						}
						ended[r.Key] = r
					}
				})
			}
			logins.Wait()
			stop()
			users.Wait()
			require.Len(t, ended, 250+4-10)
			remaining, err := a.ByOwner(t.Context(), owner, "", store.MaxPage)
			require.NoError(t, err)
			require.Len(t, remaining, 10)
			for _, r := range remaining {
				require.NotContains(t, ended, r.Key)
			}
		})
	}
}

// A session that is just moving to another key counts once, at its old or its new key.
func TestLimitCountsSessionsThatAreMoving(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			config := sqlstore.Config{Timeout: 5 * time.Second}
			a, b := d.node(t, config), d.node(t, config)
			for i := range 200 {
				owner := newOwner()
				old, next := newRecordOf(owner), newRecordOf(owner)
				next.ID, next.Version = old.ID, old.Version
				old.Key[0], next.Key[0] = 0xff, 0 // in key order, it moves behind a search in progress
				create(t, a, old, newGoneRecordOf(owner))
				var both sync.WaitGroup
				both.Go(func() { _ = a.Replace(t.Context(), old.Key, old.Version, next) })
				both.Go(func() {
					_, _ = b.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 1, Refuse: i%2 == 0})
				})
				both.Wait()
				records, err := a.ByOwner(t.Context(), owner, "", store.MaxPage)
				require.NoError(t, err)
				live := 0 // do not count the gone session, which a refused Create does not delete
				for _, r := range records {
					if r.GoneAt() > store.TimeOf(time.Now()) {
						live++
					}
				}
				require.Equal(t, 1, live)
			}
		})
	}
}

// Even if one owner has most of the sessions, a login waits for no locked row of another.
// SQLite locks the whole file.
func TestLimitDoesNotWaitForOtherOwners(t *testing.T) {
	for _, name := range []string{"PostgreSQL", "MariaDB"} {
		t.Run(name, func(t *testing.T) {
			d := databases[name](t)
			s, db, owner, other := d.node(t, sqlstore.Config{}), d.open(t), newOwner(), newRecord()
			for store.GroupOf(other.Owner) == store.GroupOf(owner) {
				other = newRecord()
			}
			create(t, s, other)
			createMany(t, s, 300, func() store.Record { return newGoneRecordOf(owner) })
			analyze := "ANALYZE sessionguard_sessions"
			if d.dialect == sqlstore.MySQL {
				analyze = "ANALYZE TABLE sessionguard_sessions"
			}
			_, err := db.Exec(analyze)
			require.NoError(t, err)
			tx, err := db.Begin()
			require.NoError(t, err)
			defer func() { _ = tx.Rollback() }()
			var one int
			lock := d.placeholders("SELECT 1 FROM sessionguard_sessions WHERE session_key = ? FOR UPDATE")
			require.NoError(t, tx.QueryRow(lock, other.Key[:]).Scan(&one))
			_, err = s.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 3})
			require.NoError(t, err)
		})
	}
}

// If sessionguard_locks lacks rows, nothing makes concurrent logins of an owner wait for
// each other.
func TestLimitNeedsAllLockRows(t *testing.T) {
	for _, name := range []string{"PostgreSQL", "MariaDB"} {
		d := databases[name](t)
		s, db := d.node(t, sqlstore.Config{}), d.open(t)
		_, err := db.Exec("DELETE FROM sessionguard_locks")
		require.NoError(t, err)
		_, err = s.Create(t.Context(), newRecord(), store.Limit{Max: 1})
		require.ErrorContains(t, err, "EnsureSchema")
		require.NoError(t, s.EnsureSchema(t.Context()))
		_, err = s.Create(t.Context(), newRecord(), store.Limit{Max: 1})
		require.NoError(t, err)
	}
}

// If a node loses its network during a transaction, the transaction keeps its locks until
// the server notices. By TCP alone that takes hours.
func TestVanishedNodeDoesNotBlockLoginsForLong(t *testing.T) {
	server := postgreSQL(t)
	d := databases["PostgreSQL"](t)
	connected, db, owner := d.node(t, sqlstore.Config{}), d.open(t), "session=ada"
	proxy := servers.NewProxy(t, server.Addr)
	d.dsn = server.DSN(proxy.Addr)
	vanishing := d.node(t, sqlstore.Config{Timeout: 500 * time.Millisecond})

	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("SELECT id FROM sessionguard_locks WHERE id = $1 FOR UPDATE", store.GroupOf(owner))
	require.NoError(t, err)
	failed := make(chan error)
	go func() {
		_, err := vanishing.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 1})
		failed <- err
	}()
	require.Eventually(t, func() bool { // its transaction waits for the lock
		var waiting int
		err := db.QueryRow("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%sessionguard_locks%'").Scan(&waiting)
		return err == nil && waiting == 1
	}, 400*time.Millisecond, time.Millisecond)
	require.NoError(t, proxy.Stall())
	require.NoError(t, tx.Rollback()) // now its transaction holds the lock
	require.Error(t, <-failed)

	require.Eventually(t, func() bool {
		_, err := connected.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 1})
		return err == nil
	}, 10*time.Second, time.Millisecond)
}
