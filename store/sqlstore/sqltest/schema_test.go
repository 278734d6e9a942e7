package sqltest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
	"github.com/sessionguard-go/sessionguard/store/storetest"
)

func TestManyNodesCreateTheTablesConcurrently(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			db := d.open(t)
			for range 5 {
				dropTables(t, db)
				errs := make(chan error)
				var nodes []*sqlstore.Store
				for range 8 {
					s := d.unprepared(t, 10*time.Second)
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

// A backup without sessions may have one table and not the other.
func TestEnsureSchemaCreatesATableThatIsMissing(t *testing.T) {
	for name, start := range databases {
		for _, table := range []string{"sessionguard_sessions", "sessionguard_locks"} {
			if name == "SQLite" && table == "sessionguard_locks" {
				continue // it has none
			}
			t.Run(name+", "+table, func(t *testing.T) {
				d := start(t)
				d.node(t, patient)
				_, err := d.open(t).Exec("DROP TABLE " + table)
				require.NoError(t, err)
				_, err = d.node(t, patient).Create(t.Context(), newRecord(), store.Limit{Max: 1})
				require.NoError(t, err)
			})
		}
	}
}

// The user that runs the application may have fewer rights than the one that created the
// tables.
func TestUserWithoutRightToCreateTablesPassesStoretest(t *testing.T) {
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
	l := d.listener(t, sqlstore.Config{})
	storetest.Run(t, func(*testing.T) store.Backend { return l })
}

// An application that migrates by other means runs the schema itself, possibly twice.
func TestSchemasCanBeRunByMigrations(t *testing.T) {
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
		create(t, d.unprepared(t, time.Second), newRecord())
	}
}

func TestTombstoneContainsOnlyKeyAndReason(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			s, r := d.node(t, sqlstore.Config{}), newRecord()
			create(t, s, r)
			_, err := s.Delete(t.Context(), r.Key, store.ReasonTheftSuspected)
			require.NoError(t, err)
			var record, values, hash []byte
			d.readColumns(t, d.open(t), r.Key, "record, session_values, owner_hash", &record, &values, &hash)
			require.Equal(t, string(r.Key[:])+string(store.ReasonTheftSuspected), string(record))
			require.Empty(t, values)
			require.Empty(t, hash)
		})
	}
}

// Many collations treat several of these as equal.
func TestOwnersThatLookAlikeAreDistinct(t *testing.T) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			s, prefix := d.node(t, sqlstore.Config{}), newOwner()
			keys := map[string]store.Key{}
			for _, suffix := range []string{
				"ada", "Ada", "ADA", "ada ", "ada\x00", "ad\u00e1", "ada\u0301", "\uff41da", "ada\u200b", "\u00e6", "ae", "ss", "\u00df",
				"\xff\xfe", "\xff", "", " ", "\u0131", "i", "I", strings.Repeat("x", 3000), strings.Repeat("x", 3001),
			} {
				r := newRecordOf(prefix + suffix)
				ended, err := s.Create(t.Context(), r, store.Limit{Max: 1})
				require.NoError(t, err)
				require.Empty(t, ended)
				keys[r.Owner] = r.Key
			}
			for owner, key := range keys {
				records, err := s.ByOwner(t.Context(), owner, "", store.MaxPage)
				require.NoError(t, err)
				require.Len(t, records, 1)
				require.Equal(t, key, records[0].Key)
				require.Equal(t, owner, records[0].Owner)
			}
		})
	}
}
