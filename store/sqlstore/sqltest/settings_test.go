package sqltest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

// Whatever the connection string and the server's defaults say.
func TestPromisesAreKeptUnderAnySettings(t *testing.T) {
	for name, options := range map[string][]string{
		"PostgreSQL": {
			"&default_transaction_isolation=serializable&default_query_exec_mode=exec",
			"&default_transaction_isolation=repeatable%20read&default_query_exec_mode=simple_protocol",
		},
		"MariaDB": {
			"?tx_isolation='SERIALIZABLE'&sql_mode=''&charset=latin1&collation=latin1_swedish_ci",
			"?tx_isolation='REPEATABLE-READ'&clientFoundRows=true&interpolateParams=true&parseTime=true&multiStatements=true&sql_mode='NO_BACKSLASH_ESCAPES,ANSI_QUOTES'",
			"?tx_isolation='READ-COMMITTED'&sql_mode='ORACLE'",
		},
		"SQLite": {
			"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate",
			"?_pragma=journal_mode(TRUNCATE)&_pragma=synchronous(OFF)&_txlock=exclusive&_time_format=sqlite",
		},
	} {
		for _, option := range options {
			t.Run(name+" "+option, func(t *testing.T) {
				d := databases[name](t)
				d.dsn += option
				storetest.RunNodes(t, func(t *testing.T) (a, b store.Backend) {
					return d.node(t, sqlstore.Config{}), d.node(t, sqlstore.Config{})
				})
			})
		}
	}
}

func TestPromisesAreKeptOverOneConnection(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			storetest.Run(t, func(t *testing.T) store.Backend {
				db := d.open(t)
				db.SetMaxOpenConns(1)
				s, err := sqlstore.New(db, d.dialect, sqlstore.Config{})
				require.NoError(t, err)
				require.NoError(t, s.EnsureSchema(t.Context()))
				return s
			})
		})
	}
}

func TestSettingsUnderWhichNothingHoldsAreRefused(t *testing.T) {
	for name, options := range map[string]map[string]string{
		"MariaDB": {
			"?autocommit=0":                    "autocommit",
			"?completion_type=1":               "completion_type",
			"?completion_type='RELEASE'":       "completion_type",
			"?tx_isolation='READ-UNCOMMITTED'": "READ-UNCOMMITTED",
			"?sql_select_limit=1":              "sql_select_limit",
			"?sql_select_limit=0":              "sql_select_limit",
			"?sql_select_limit=4":              "sql_select_limit",
			"?charset=big5":                    "BIG5",
			"?charset=cp932":                   "CP932",
			"?charset=gb2312":                  "GB2312",
			"?charset=gbk":                     "GBK",
			"?charset=sjis":                    "SJIS",
			"?character_set_client='gbk'&interpolateParams=true": "GBK",
		},
		"SQLite": {
			"?_pragma=read_uncommitted(1)":              "read_uncommitted",
			"?cache=shared&_pragma=read_uncommitted(1)": "read_uncommitted",
		},
	} {
		for option, complaint := range options {
			t.Run(option, func(t *testing.T) {
				d := databases[name](t)
				d.node(t, sqlstore.Config{})
				if name == "SQLite" {
					d.dsn = "file:" + d.dsn
				}
				d.dsn += option
				s := d.bare(t, time.Second)
				for range 2 {
					_, err := s.Load(t.Context(), newRecord().Key)
					require.ErrorContains(t, err, complaint)
					require.NotErrorIs(t, err, store.ErrNotFound)
				}
			})
		}
	}
}

// A user's ID is as safe in a statement as in a parameter.
func TestNoTextEndsTheQuotationOfADriver(t *testing.T) {
	for _, charset := range []string{"utf8mb4", "utf8mb3", "latin1", "ujis", "euckr", "gbk", "sjis", "big5", "cp932", "gb2312"} {
		t.Run(charset, func(t *testing.T) {
			d := databases["MariaDB"](t)
			other, bystander := d.node(t, sqlstore.Config{}), newRecord()
			create(t, other, bystander)
			d.dsn += "?interpolateParams=true&charset=" + charset
			s := d.bare(t, time.Second)
			for lead := 0x80; lead < 0x100; lead++ {
				r := newRecordOf("session=" + string([]byte{byte(lead)}) + "', NULL) -- ")
				r.Values = []byte{byte(lead), '\'', ')', ' ', '-', '-', ' '}
				if _, err := s.Create(t.Context(), r, store.Limit{}); err != nil {
					require.ErrorContains(t, err, "character set")
					return
				}
				got, err := other.Load(t.Context(), r.Key)
				require.NoError(t, err)
				require.Equal(t, r.Values, got.Values)
				require.Equal(t, r.Owner, got.Owner)
				require.NoError(t, s.Save(t.Context(), r.Key, 1, []byte{byte(lead), '\'', ',', 'k', 'i', 'n', 'd', '=', '7', ' ', '-', '-', ' '}))
				_, err = other.Load(t.Context(), bystander.Key)
				require.NoError(t, err)
			}
		})
	}
}

// What is confirmed is there for others at once, whatever a connection was told since
// it was looked at.
func TestNoTransactionGoesOnAfterItsCommit(t *testing.T) {
	d := databases["MariaDB"](t)
	other, db := d.node(t, sqlstore.Config{}), d.open(t)
	db.SetMaxOpenConns(1)
	s, err := sqlstore.New(db, d.dialect, sqlstore.Config{})
	require.NoError(t, err)
	r, gone := newRecord(), newRecord()
	create(t, s, r, gone)
	_, err = db.Exec("SET completion_type = 'CHAIN'")
	require.NoError(t, err)
	for _, end := range []func() error{
		func() error { _, err := s.Delete(t.Context(), gone.Key, store.ReasonEnded); return err },
		func() error { return unlessGone(s.Replace(t.Context(), gone.Key, 1, newRecord())) }, // rolls back
	} {
		require.NoError(t, end())
		before, err := other.Load(t.Context(), r.Key)
		require.NoError(t, err)
		require.NoError(t, s.Save(t.Context(), r.Key, before.Version, []byte(rand.Text())))
		after, err := other.Load(t.Context(), r.Key)
		require.NoError(t, err)
		require.Equal(t, before.Version+1, after.Version)
	}
}

func TestADatabaseInMemoryIsRefused(t *testing.T) {
	for _, dsn := range []string{
		":memory:", "file::memory:", "file::memory:?cache=shared", "file:sessions.db?mode=memory", "file:sessions.db?mode=memory&cache=shared", "", "file:",
	} {
		t.Run(dsn, func(t *testing.T) {
			s := database{sqlstore.SQLite, "sqlite", dsn}.bare(t, time.Second)
			requireFails(t, s, time.Second)
			for range 2 {
				_, err := s.Load(t.Context(), newRecord().Key)
				require.ErrorContains(t, err, "in memory")
				require.ErrorContains(t, s.EnsureSchema(t.Context()), "in memory")
			}
		})
	}
}

// MySQL counts changed rows only, unless it is told otherwise.
func TestATouchThatChangesNothingIsNoEnd(t *testing.T) {
	for _, option := range []string{"?clientFoundRows=false", "?clientFoundRows=true"} {
		d := databases["MariaDB"](t)
		d.dsn += option
		s, r := d.node(t, sqlstore.Config{}), newRecord()
		create(t, s, r)
		for range 2 {
			require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen))
			require.NoError(t, s.Touch(t.Context(), r.Key, r.LastSeen-1))
		}
		for version := range uint64(3) { // the same values
			require.NoError(t, s.Save(t.Context(), r.Key, version+1, r.Values))
		}
		require.ErrorIs(t, s.Touch(t.Context(), r.Key, r.Deadline()), store.ErrNotFound)
		require.ErrorIs(t, s.Save(t.Context(), r.Key, 1, nil), store.ErrConflict)
	}
}

// Collations find many of these equal.
func TestOwnersThatLookAlikeAreDifferent(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			s, prefix := d.node(t, sqlstore.Config{}), "session="+rand.Text()
			owned := map[string]store.Key{}
			for _, suffix := range []string{
				"ada", "Ada", "ADA", "ada ", "ada\x00", "ad\u00e1", "ada\u0301", "\uff41da", "ada\u200b", "\u00e6", "ae", "ss", "\u00df",
				"\xff\xfe", "\xff", "", " ", "\u0131", "i", "I", strings.Repeat("x", 3000), strings.Repeat("x", 3001),
			} {
				r := newRecordOf(prefix + suffix)
				gone, err := s.Create(t.Context(), r, store.Limit{Max: 1})
				require.NoError(t, err)
				require.Empty(t, gone)
				owned[r.Owner] = r.Key
			}
			for owner, key := range owned {
				records, err := s.ByOwner(t.Context(), owner)
				require.NoError(t, err)
				require.Len(t, records, 1)
				require.Equal(t, key, records[0].Key)
				require.Equal(t, owner, records[0].Owner)
			}
		})
	}
}

func TestWhatHasEndedLeavesTheReasonOnly(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			s, r := d.node(t, sqlstore.Config{}), newRecord()
			create(t, s, r)
			_, err := s.Delete(t.Context(), r.Key, store.ReasonTheftSuspected)
			require.NoError(t, err)
			text := "SELECT record, data, owner_hash FROM sessionguard_sessions WHERE session_key = ?"
			if d.dialect == sqlstore.PostgreSQL {
				text = "SELECT record, data, owner_hash FROM sessionguard_sessions WHERE session_key = $1"
			}
			var record, data, hash []byte
			require.NoError(t, d.open(t).QueryRow(text, r.Key[:]).Scan(&record, &data, &hash))
			require.Equal(t, string(r.Key[:])+string(store.ReasonTheftSuspected), string(record))
			require.Empty(t, data)
			require.Empty(t, hash)
		})
	}
}

func TestManyNodesMakeTheTablesAtOnce(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			db := d.open(t)
			for range 5 {
				for _, table := range []string{"sessionguard_sessions", "sessionguard_locks"} {
					_, err := db.Exec("DROP TABLE IF EXISTS " + table)
					require.NoError(t, err)
				}
				errs := make(chan error)
				var nodes []*sqlstore.Store
				for range 8 {
					s := d.bare(t, 10*time.Second)
					nodes = append(nodes, s)
					go func() { errs <- s.EnsureSchema(t.Context()) }()
				}
				for range nodes {
					require.NoError(t, <-errs)
				}
				create(t, nodes[0], newRecord())
				require.NoError(t, nodes[0].EnsureSchema(t.Context()))
				_, err := nodes[1].Create(t.Context(), newRecord(), store.Limit{Max: 1})
				require.NoError(t, err)
			}
		})
	}
}

// Whoever runs the application may be allowed less than whoever made the tables.
func TestWhoMayNotMakeTablesMayUseThem(t *testing.T) {
	d := databases["PostgreSQL"](t)
	d.node(t, sqlstore.Config{})
	for _, text := range []string{
		`CREATE ROLE application LOGIN`,
		`GRANT SELECT, INSERT, UPDATE, DELETE ON sessionguard_sessions, sessionguard_locks TO application`,
	} {
		_, err := d.open(t).Exec(text)
		require.NoError(t, err)
	}
	d.dsn = strings.Replace(d.dsn, "postgres@", "application@", 1)
	_, err := d.open(t).Exec(`CREATE TABLE mine ()`)
	require.Error(t, err)
	storetest.Run(t, func(t *testing.T) store.Backend { return d.listener(t, sqlstore.Config{}) })
}

// Without all of its rows, who would wait for whom is not defined.
func TestALimitNeedsItsLocks(t *testing.T) {
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

// Whoever migrates by other means gets the same tables.
func TestTheSchemasCanBeRunByOthers(t *testing.T) {
	for name, schema := range map[string]string{
		"PostgreSQL": sqlstore.PostgreSQLSchema, "MariaDB": sqlstore.MySQLSchema, "SQLite": sqlstore.SQLiteSchema,
	} {
		d := databases[name](t)
		if name == "MariaDB" {
			d.dsn += "?multiStatements=true"
		}
		db := d.open(t)
		for range 2 {
			_, err := db.Exec(schema)
			require.NoError(t, err)
		}
		create(t, d.bare(t, time.Second), newRecord())
	}
}

// Deadlocks and busy files are tried again, and do not show.
func TestUnderContentionNothingFails(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			a, b := d.node(t, sqlstore.Config{}), d.node(t, sqlstore.Config{})
			owners := []string{"session=" + rand.Text(), "session=" + rand.Text()}
			failed := make(chan error, 1000)
			var workers sync.WaitGroup
			for w := range 16 {
				s := []*sqlstore.Store{a, b}[w%2]
				workers.Go(func() {
					for i := range 20 {
						r := newRecordOf(owners[(w/2+i)%2])
						_, err := s.Create(t.Context(), r, store.Limit{Max: 2})
						failed <- err
						next := newRecordOf(r.Owner)
						_ = s.Touch(t.Context(), r.Key, r.LastSeen+1)
						failed <- unlessGone(s.Replace(t.Context(), r.Key, 1, next))
						_, err = s.Delete(t.Context(), next.Key, store.ReasonEnded)
						failed <- unlessGone(err)
					}
				})
			}
			workers.Wait()
			close(failed)
			for err := range failed {
				require.NoError(t, err)
			}
			for _, owner := range owners {
				records, err := a.ByOwner(t.Context(), owner)
				require.NoError(t, err)
				require.LessOrEqual(t, len(records), 2, fmt.Sprint(records))
			}
		})
	}
}

func unlessGone(err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
