package sqltest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// manySessions are many pages, and more than one step of Count.
const manySessions = 12_000

// Every page is read from the index and in its order, whatever the database believes to be in
// the table. Otherwise each page of a million sessions may read all of them.
func TestAllAndCountReadEverySessionOnce(t *testing.T) {
	const realm = "session="
	for name, start := range ownDatabases {
		t.Run(name, func(t *testing.T) {
			m := start(t)
			s, err := sqlstore.New(m.db, m.dialect, sqlstore.Config{Timeout: time.Minute, InsecureDurability: true})
			require.NoError(t, err)
			require.NoError(t, s.EnsureSchema(t.Context()))
			if m.dialect == sqlstore.PostgreSQL {
				m.exec(t, "ALTER TABLE sessionguard_sessions SET (autovacuum_enabled = false)")
			}
			for name, fill := range map[string]func(){
				"few sessions":  func() { m.fill(t, realm, 50) },
				"tombstones":    func() { m.fill(t, "", manySessions); m.fill(t, realm, 50) },
				"another realm": func() { m.fill(t, "other=", manySessions/10) },
				"half of them":  func() { m.fill(t, realm, manySessions) },
			} {
				t.Run("analyzed with "+name, func(t *testing.T) {
					m.exec(t, "DELETE FROM sessionguard_sessions")
					if m.dialect == sqlstore.PostgreSQL {
						m.exec(t, "VACUUM sessionguard_sessions")
					}
					fill()
					m.exec(t, m.analyze)
					m.fill(t, realm, manySessions)

					before := m.rowsRead(t)
					sessions, err := list(t.Context(), s, realm)
					require.NoError(t, err)
					require.GreaterOrEqual(t, len(sessions), manySessions)
					all := m.rowsRead(t)
					n, err := s.Count(t.Context(), realm)
					require.NoError(t, err)
					require.Equal(t, len(sessions), n)
					count := m.rowsRead(t) - all
					all -= before
					t.Logf("%d sessions: All has read %d rows, Count %d", n, all, count)
					require.Less(t, float64(all), 1.1*float64(n))
					require.Less(t, float64(count), 2.2*float64(n)) // once to find where a step ends
				})
			}
		})
	}
}

// SQLite's statements are searches of the index too, without sorting. It does not say how many
// rows it has read.
func TestSQLiteServesAllAndCountFromTheIndex(t *testing.T) {
	for _, realm := range []string{"session=", "other=", ""} { // which it takes for all that there are
		d := databases["SQLite"](t)
		var texts sync.Map
		explainer := d.open(t)
		m := measured{database: d, db: sql.OpenDB(recorder{explainer.Driver(), d.dsn, &texts})}
		t.Cleanup(func() { require.NoError(t, m.db.Close()) })
		s, err := sqlstore.New(m.db, d.dialect, sqlstore.Config{})
		require.NoError(t, err)
		require.NoError(t, s.EnsureSchema(t.Context()))
		m.fill(t, realm, 50)
		m.exec(t, "ANALYZE")
		m.fill(t, "session=", 500)
		texts.Clear()
		_, err = list(t.Context(), s, "session=")
		require.NoError(t, err)
		_, err = s.Count(t.Context(), "session=")
		require.NoError(t, err)
		for text := range texts.Range {
			text := text.(string)
			var id, parent, unused int
			var plan string
			rows, err := explainer.Query("EXPLAIN QUERY PLAN "+text, make([]any, strings.Count(text, "?"))...)
			require.NoError(t, err)
			require.True(t, rows.Next())
			require.NoError(t, rows.Scan(&id, &parent, &unused, &plan))
			t.Log(plan)
			require.Regexp(t, `^SEARCH sessionguard_sessions USING (COVERING )?INDEX sessionguard_sessions_owner \(`+
				`(\(owner_hash,session_id\)>\(\?,\?\)|owner_hash>\?) AND owner_hash<\?\)$`, plan)
			require.False(t, rows.Next(), text)
			require.NoError(t, rows.Close())
		}
	}
}

// A recorder is a driver.Connector that records the texts of statements.
type recorder struct {
	of    driver.Driver
	dsn   string
	texts *sync.Map
}

func (r recorder) Connect(context.Context) (driver.Conn, error) {
	conn, err := r.of.Open(r.dsn)
	return recordingConn{conn, r.texts}, err
}

func (r recorder) Driver() driver.Driver { return r.of }

// A recordingConn hides the methods of the connection that run a text without preparing it.
type recordingConn struct {
	driver.Conn
	texts *sync.Map
}

func (c recordingConn) Prepare(text string) (driver.Stmt, error) {
	c.texts.Store(text, true)
	return c.Conn.Prepare(text)
}

// A measured database has no other tests' rows, and one connection.
type measured struct {
	database
	db       *sql.DB
	analyze  string
	rowsRead func(t *testing.T) int // how many rows the connection has read so far
}

var ownDatabases = map[string]func(t *testing.T) measured{
	"PostgreSQL": func(t *testing.T) measured {
		s := servers.PostgreSQL(t)
		m := measured{database: database{sqlstore.PostgreSQL, "pgx", s.DSN(s.Addr)}, analyze: "ANALYZE sessionguard_sessions"}
		m.db = m.open(t)
		m.db.SetMaxOpenConns(1)
		m.rowsRead = func(t *testing.T) (n int) {
			m.exec(t, "SELECT pg_stat_force_next_flush()")
			require.NoError(t, m.db.QueryRow(`SELECT pg_stat_get_tuples_returned('sessionguard_sessions'::regclass)
				+ pg_stat_get_tuples_returned('sessionguard_sessions_owner'::regclass)`).Scan(&n))
			return n
		}
		return m
	},
	"MariaDB": func(t *testing.T) measured {
		s := servers.MariaDB(t)
		m := measured{database: database{sqlstore.MySQL, "mysql", s.DSN(s.Addr)}, analyze: "ANALYZE TABLE sessionguard_sessions"}
		m.db = m.open(t)
		m.db.SetMaxOpenConns(1)
		m.rowsRead = func(t *testing.T) (n int) {
			require.NoError(t, m.db.QueryRow(`SELECT SUM(variable_value) FROM information_schema.session_status
				WHERE variable_name IN ('handler_read_first', 'handler_read_key', 'handler_read_next', 'handler_read_rnd', 'handler_read_rnd_next')`).Scan(&n))
			return n
		}
		return m
	},
}

func (m measured) exec(t *testing.T, text string) {
	t.Helper()
	_, err := m.db.Exec(text)
	require.NoError(t, err)
}

// fill inserts sessions of a realm, or tombstones if realm is "".
func (m measured) fill(t *testing.T, realm string, n int) {
	t.Helper()
	const batch = 250
	at := store.TimeOf(time.Now())
	for ; n > 0; n -= batch {
		var args []any
		rows := min(n, batch)
		for i := range rows {
			owner := realm + "one, who has every other session"
			if i%2 == 0 {
				owner = realm + rand.Text()
			}
			r := newRecordOf(owner)
			kind, hash, id := kindSession, documentedHash(r.Owner), []byte(r.ID)
			if realm == "" {
				kind, hash, id = kindTombstone, nil, nil
			}
			args = append(args, r.Key[:], kind, hash, id, int64(at), int64(at.Add(time.Hour)), record.Append(nil, r.Session))
		}
		_, err := m.db.Exec(m.placeholders(`INSERT INTO sessionguard_sessions
			(session_key, kind, owner_hash, session_id, last_seen, expires, record, version, idle_timeout_ms, remember_until, delete_after)
			VALUES `+strings.Repeat(`(?, ?, ?, ?, ?, ?, ?, 1, 1800000, 0, 9000000000000), `, rows-1)+`(?, ?, ?, ?, ?, ?, ?, 1, 1800000, 0, 9000000000000)`), args...)
		require.NoError(t, err)
	}
}

// documentedHash returns the column owner_hash as the documentation describes it.
func documentedHash(owner string) []byte {
	realm, all := sha256.Sum256([]byte(store.RealmOf(owner))), sha256.Sum256([]byte(owner))
	return append(realm[:8:8], all[:24]...)
}
