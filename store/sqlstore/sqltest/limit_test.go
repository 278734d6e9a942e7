package sqltest

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// A limit may be new, and an owner have thousands: a login that asks the server for each
// of them would run out of time, and so would the next.
func TestALimitEndsAnyNumberInFewRoundTrips(t *testing.T) {
	const many = 450
	for name, address := range map[string]func() string{
		"PostgreSQL": func() string { return postgreSQL(t).Addr },
		"MariaDB":    func() string { return mariaDB(t).Addr },
	} {
		t.Run(name, func(t *testing.T) {
			d := databases[name](t)
			direct, m := d, newMeter(t, address())
			d.dsn = strings.Replace(d.dsn, address(), m.Addr().String(), 1)
			s, owner := d.node(t, sqlstore.Config{Timeout: 10 * time.Second}), "session="+rand.Text()
			told := make(chan store.Ending, many)
			if d.dialect == sqlstore.PostgreSQL {
				l := direct.listener(t, sqlstore.Config{})
				require.NoError(t, l.Watch(t.Context(), func(e store.Ending) { told <- e }))
			}
			ids := map[string]bool{}
			for _, r := range createMany(t, s, many, func() store.Record { return newRecordOf(owner) }) {
				ids[r.ID] = true
			}
			before := m.trips.Load()
			gone, err := s.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 3})
			require.NoError(t, err)
			require.Less(t, m.trips.Load()-before, int64(40))
			require.Len(t, gone, many-2)
			for _, r := range gone {
				require.True(t, ids[r.ID], "ended twice, or not the owner's")
				delete(ids, r.ID)
				require.Equal(t, "values", string(r.Values))
				_, err := s.Load(t.Context(), r.Key)
				var ended *store.EndedError
				require.ErrorAs(t, err, &ended)
				require.Equal(t, store.ReasonTooManySessions, ended.Reason)
			}
			records, err := s.ByOwner(t.Context(), owner)
			require.NoError(t, err)
			require.Len(t, records, 3)
			if d.dialect == sqlstore.PostgreSQL {
				heard := map[string]bool{}
				for range gone {
					e := <-told
					require.Equal(t, store.ReasonTooManySessions, e.Reason)
					heard[e.ID] = true
				}
				require.Len(t, heard, len(gone))
			}
		})
	}
}

// Whatever is done to them meanwhile, two logins end each session once, and return it
// as it was.
func TestALimitEndsManyThatAreInUse(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			config := sqlstore.Config{Timeout: 3 * time.Second}
			a, b, owner := d.node(t, config), d.node(t, config), "session="+rand.Text()
			records := createMany(t, a, 250, func() store.Record { return newRecordOf(owner) })
			ctx, stop := context.WithCancel(t.Context())
			var users, logins sync.WaitGroup
			for w := range 4 {
				users.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						r := records[(97*i+w)%len(records)]
						if w == 0 {
							_ = b.Save(ctx, r.Key, 1, []byte("saved"))
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
					gone, err := s.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 10})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					for _, r := range gone {
						if _, twice := ended[r.Key]; twice {
							t.Error("ended twice")
						}
						if (r.Version == 2) != (string(r.Values) == "saved") {
							t.Error("not as it was", r.Version, string(r.Values))
						}
						ended[r.Key] = r
					}
				})
			}
			logins.Wait()
			stop()
			users.Wait()
			require.Len(t, ended, 250+4-10)
			left, err := a.ByOwner(t.Context(), owner)
			require.NoError(t, err)
			require.Len(t, left, 10)
			for _, r := range left {
				require.NotContains(t, ended, r.Key)
			}
		})
	}
}

// overOf is a session of an owner that nothing brings back.
func overOf(owner string) store.Record {
	r := newRecordOf(owner)
	r.LastSeen, r.IdleTimeout, r.Details = store.TimeOf(time.Now()).Add(-2*time.Hour), time.Hour, nil
	return r
}

// A session that is just moving to another key counts, here or there.
func TestALimitHoldsBesideReplace(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			a, b := d.node(t, sqlstore.Config{Timeout: 5 * time.Second}), d.node(t, sqlstore.Config{Timeout: 5 * time.Second})
			for i := range 200 {
				owner := "session=" + rand.Text()
				old, next := newRecordOf(owner), newRecordOf(owner)
				next.ID, next.Version = old.ID, old.Version
				old.Key[0], next.Key[0] = 0xff, 0 // in the order of keys, it moves to where a search has been
				create(t, a, old, overOf(owner))
				var both sync.WaitGroup
				both.Go(func() { _ = a.Replace(t.Context(), old.Key, old.Version, next) })
				both.Go(func() {
					_, _ = b.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 1, Refuse: i%2 == 0})
				})
				both.Wait()
				records, err := a.ByOwner(t.Context(), owner)
				require.NoError(t, err)
				live := 0 // who was refused has dropped nothing
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

// However many of all sessions are one owner's, a login waits for no other's.
func TestALimitWaitsForNoOtherOwner(t *testing.T) {
	for name, start := range databases {
		if name == "SQLite" { // has one writer
			continue
		}
		t.Run(name, func(t *testing.T) {
			d := start(t)
			s, db, owner, other := d.node(t, sqlstore.Config{}), d.open(t), "session="+rand.Text(), newRecord()
			for store.GroupOf(other.Owner) == store.GroupOf(owner) {
				other = newRecord()
			}
			create(t, s, other)
			createMany(t, s, 300, func() store.Record { return overOf(owner) })
			analyze, lock := "ANALYZE sessionguard_sessions", "SELECT 1 FROM sessionguard_sessions WHERE session_key = $1 FOR UPDATE"
			if d.dialect == sqlstore.MySQL {
				analyze, lock = "ANALYZE TABLE sessionguard_sessions", strings.Replace(lock, "$1", "?", 1)
			}
			_, err := db.Exec(analyze)
			require.NoError(t, err)
			tx, err := db.Begin()
			require.NoError(t, err)
			defer func() { _ = tx.Rollback() }()
			var one int
			require.NoError(t, tx.QueryRow(lock, other.Key[:]).Scan(&one))
			_, err = s.Create(t.Context(), newRecordOf(owner), store.Limit{Max: 3})
			require.NoError(t, err)
		})
	}
}
