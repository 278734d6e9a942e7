package sqltest

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

// Neither the connection string nor the server's defaults matter.
func TestTwoNodesPassStoretestUnderAnySettings(t *testing.T) {
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
				t.Parallel()
				d := databases[name](t)
				d.dsn += option
				a, b := d.node(t, patient), d.node(t, patient)
				storetest.RunNodes(t, func(*testing.T) (store.Backend, store.Backend) { return a, b })
			})
		}
	}
}

func TestStorePassesStoretestOverOneConnection(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			db := d.open(t)
			db.SetMaxOpenConns(1)
			s, err := sqlstore.New(db, d.dialect, sqlstore.Config{Timeout: patient.Timeout, InsecureDurability: true})
			require.NoError(t, err)
			require.NoError(t, s.EnsureSchema(t.Context()))
			storetest.Run(t, func(*testing.T) store.Backend { return s })
		})
	}
}

func TestUnsafeSettingsAreRefused(t *testing.T) {
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
		for option, wantError := range options {
			t.Run(option, func(t *testing.T) {
				d := databases[name](t)
				d.node(t, sqlstore.Config{})
				if name == "SQLite" {
					d.dsn = "file:" + d.dsn
				}
				d.dsn += option
				s := d.unprepared(t, time.Second)
				for range 2 {
					_, err := s.Load(t.Context(), newRecord().Key)
					require.ErrorContains(t, err, wantError)
					require.NotErrorIs(t, err, store.ErrNotFound)
				}
			})
		}
	}
}

// With interpolateParams the driver quotes values in the statement itself. A user's ID is as
// safe there as in a parameter.
func TestNoValueEndsTheQuotationOfADriver(t *testing.T) {
	for _, charset := range []string{"utf8mb4", "utf8mb3", "latin1", "ujis", "euckr", "gbk", "sjis", "big5", "cp932", "gb2312"} {
		t.Run(charset, func(t *testing.T) {
			d := databases["MariaDB"](t)
			other, bystander := d.node(t, sqlstore.Config{}), newRecord()
			create(t, other, bystander)
			d.dsn += "?interpolateParams=true&charset=" + charset
			s := d.unprepared(t, time.Second)
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
				require.NoError(t, s.Save(t.Context(), withValues(atVersion(r, 1), []byte{byte(lead), '\'', ',', 'k', 'i', 'n', 'd', '=', '7', ' ', '-', '-', ' '})))
				_, err = other.Load(t.Context(), bystander.Key)
				require.NoError(t, err)
			}
		})
	}
}

// A connection may change its settings after they were checked. Others see confirmed changes
// at once nevertheless.
func TestNoTransactionFollowsACommitOrRollback(t *testing.T) {
	d := databases["MariaDB"](t)
	other, db := d.node(t, sqlstore.Config{}), d.open(t)
	db.SetMaxOpenConns(1)
	s, err := sqlstore.New(db, d.dialect, sqlstore.Config{InsecureDurability: true})
	require.NoError(t, err)
	r, gone := newRecord(), newRecord()
	create(t, s, r, gone)
	_, err = db.Exec("SET completion_type = 'CHAIN'")
	require.NoError(t, err)
	for _, transact := range []func() error{
		func() error { _, err := s.Delete(t.Context(), gone.Key, store.ReasonEnded); return err },
		func() error { return ignoreGone(s.Replace(t.Context(), gone.Key, 1, newRecord())) }, // the session is gone: rolls back
	} {
		require.NoError(t, transact())
		before, err := other.Load(t.Context(), r.Key)
		require.NoError(t, err)
		require.NoError(t, s.Save(t.Context(), withValues(before, []byte(rand.Text()))))
		after, err := other.Load(t.Context(), r.Key)
		require.NoError(t, err)
		require.Equal(t, before.Version+1, after.Version)
	}
}

func TestDatabaseInMemoryIsRefused(t *testing.T) {
	for _, dsn := range []string{
		":memory:", "file::memory:", "file::memory:?cache=shared", "file:sessions.db?mode=memory", "file:sessions.db?mode=memory&cache=shared", "", "file:",
	} {
		t.Run(dsn, func(t *testing.T) {
			s := database{sqlstore.SQLite, "sqlite", dsn}.unprepared(t, time.Second)
			requireFails(t, s, time.Second)
			for range 2 {
				_, err := s.Load(t.Context(), newRecord().Key)
				require.ErrorContains(t, err, "in memory")
				require.ErrorContains(t, s.EnsureSchema(t.Context()), "in memory")
			}
		})
	}
}

// MySQL reports only rows whose values changed, unless clientFoundRows is set.
func TestTouchThatChangesNothingSucceeds(t *testing.T) {
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
			require.NoError(t, s.Save(t.Context(), atVersion(r, r.Version+version+1)))
		}
		require.ErrorIs(t, s.Touch(t.Context(), r.Key, r.Deadline()), store.ErrNotFound)
		require.ErrorIs(t, s.Save(t.Context(), atVersion(r, r.Version+1)), store.ErrConflict)
	}
}
