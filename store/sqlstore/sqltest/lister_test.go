package sqltest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// list returns what All yields, also before an error.
func list(ctx context.Context, s store.Lister, realm string) (records []store.Record, err error) {
	for rec, err := range s.All(ctx, realm) {
		if err != nil {
			return records, err
		}
		records = append(records, rec)
	}
	return records, nil
}

// One row that cannot be read must not keep EndAll from ending the sessions after it. All says
// so when it has yielded them.
func TestCorruptRowHidesNoOtherSessionFromAll(t *testing.T) {
	forEachCorruptor(t, func(t *testing.T, c corruptor) {
		for name, corrupt := range map[string]func(t *testing.T, c corruptor, r store.Record){
			"record": func(t *testing.T, c corruptor, r store.Record) { c.setRecord(t, r, []byte("noise")) },
			"ID": func(t *testing.T, c corruptor, r store.Record) {
				c.setColumn(t, r.Key, "session_id", []byte("another"))
			},
			"no ID": func(t *testing.T, c corruptor, r store.Record) { c.setColumn(t, r.Key, "session_id", nil) },
			"hash": func(t *testing.T, c corruptor, r store.Record) {
				c.setColumn(t, r.Key, "owner_hash", append(documentedHash(r.Owner)[:8], make([]byte, 24)...))
			},
			"later hash": func(t *testing.T, c corruptor, r store.Record) {
				c.setColumn(t, r.Key, "owner_hash", documentedHash(store.RealmOf(r.Owner)+rand.Text()))
			},
		} {
			t.Run(name, func(t *testing.T) {
				realm := "session-" + rand.Text() + "="
				rows := createMany(t, c.Store, store.MaxPage+20, func() store.Record { return newRecordOf(realm + rand.Text()) })
				corrupted := map[string]bool{}
				for i := 0; i < len(rows); i += 50 {
					corrupt(t, c, rows[i])
					corrupted[rows[i].ID] = true
				}
				got, err := list(t.Context(), c, realm)
				require.ErrorContains(t, err, "sqlstore: the row with key ")
				require.NotErrorIs(t, err, store.ErrNotFound)
				ids := map[string]bool{}
				for _, r := range got {
					require.False(t, corrupted[r.ID] || ids[r.ID])
					ids[r.ID] = true
				}
				require.Len(t, got, len(rows)-len(corrupted))
			})
		}
	})
}

// In SQLite a column can hold a value of any type.
func TestColumnOfTheWrongTypeHidesNoOtherSessionFromAll(t *testing.T) {
	d := databases["SQLite"](t)
	c := corruptor{d, d.node(t, sqlstore.Config{}), d.open(t)}
	rows := createMany(t, c.Store, store.MaxPage+20, newRecord)
	for _, column := range []string{"version", "last_seen", "session_id", "record", "kind"} {
		c.setColumn(t, rows[0].Key, column, "noise")
		got, err := list(t.Context(), c, "session=")
		if column == "kind" { // then it is no session
			require.NoError(t, err)
		} else {
			requireNamesKey(t, err, rows[0])
		}
		require.Len(t, got, len(rows)-1)
	}
}

// What a guard does with the error of a page, and with sessions that it has got before.
func TestServerThatStopsBetweenTwoPagesIsAnError(t *testing.T) {
	for name, start := range map[string]func(servers.T) *servers.Server{"PostgreSQL": servers.PostgreSQL, "MariaDB": servers.MariaDB} {
		t.Run(name, func(t *testing.T) {
			server := start(t)
			d := databases[name](t)
			d.dsn = server.DSN(server.Addr)
			s := d.node(t, sqlstore.Config{Timeout: 2 * time.Second})
			createMany(t, s, store.MaxPage+20, newRecord)
			n, failures := 0, 0
			for _, err := range s.All(t.Context(), "session=") {
				if err != nil {
					failures++
					require.Equal(t, 1, failures, "an error is the last")
					require.NotErrorIs(t, err, store.ErrNotFound)
					requireNoSecret(t, err)
					continue
				}
				if n++; n == 10 {
					require.NoError(t, server.Kill())
				}
			}
			require.Equal(t, store.MaxPage, n)
			require.Equal(t, 1, failures)
			_, err := s.Count(t.Context(), "session=")
			require.Error(t, err)
		})
	}
}

// The pool of a node is small, and a loop over All may take hours.
func TestAllHoldsNoConnectionBetweenSessions(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			d.node(t, sqlstore.Config{})
			db := d.open(t)
			db.SetMaxOpenConns(1)
			s, err := sqlstore.New(db, d.dialect, sqlstore.Config{Timeout: 10 * time.Second, InsecureDurability: true})
			require.NoError(t, err)
			realm := "session-" + rand.Text() + "="
			createMany(t, s, store.MaxPage+20, func() store.Record { return newRecordOf(realm + "ada") })
			for range s.All(t.Context(), realm) {
				require.Zero(t, db.Stats().InUse)
				requireNoTransaction(t, d, db)
				break
			}
			n, err := s.Count(t.Context(), realm)
			require.NoError(t, err)
			require.Equal(t, store.MaxPage+20, n)
		})
	}
}

// requireNoTransaction checks that the only connection of a pool is in no transaction, and has
// the planner's settings that it began with.
func requireNoTransaction(t *testing.T, d database, db *sql.DB) {
	t.Helper()
	switch d.dialect {
	case sqlstore.PostgreSQL:
		var sort string
		require.NoError(t, db.QueryRow("SHOW enable_sort").Scan(&sort))
		require.Equal(t, "on", sort)
	case sqlstore.MySQL:
		var in int
		require.NoError(t, db.QueryRow("SELECT @@in_transaction").Scan(&in))
		require.Zero(t, in)
	case sqlstore.SQLite:
		_, err := db.Exec("BEGIN")
		require.NoError(t, err)
		_, err = db.Exec("ROLLBACK")
		require.NoError(t, err)
	}
}
