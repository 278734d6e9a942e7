package sqlstore

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// A Dialect is the variant of SQL that a database understands.
type Dialect int

// The dialects that a [Store] supports.
const (
	PostgreSQL Dialect = iota + 1
	MySQL              // for MariaDB too
	SQLite
)

// statements holds the SQL texts of one dialect.
type statements struct {
	schema           string
	begin            []string // starts a transaction; see transaction.go
	commit, rollback string

	load             string
	loadForUpdate    string // like load, and locks the row
	touch            string
	save             string
	insert           string
	retire           string // turns a session into a tombstone or a move marker
	endBatch         string // ends store.MaxPage sessions, whose rows are locked; "" if there are no round trips to save
	deleteGone       string // deletes an owner's sessions that are past their GoneAt
	loadByID         string
	page             string // a page of an owner's sessions, in the order of their IDs
	byIDs            string // store.MaxPage sessions, by owner and ID
	byIDsForUpdate   string // like byIDs, and locks the rows
	byOwner          string
	byOwnerForUpdate string // like byOwner, and locks the rows
	lockGroup        string // makes the Creates of an owner wait for each other; "" if they do anyway
	writeNothing     string // changes nothing, but its COMMIT waits for synchronous standbys; "" if the database cannot
	notify           string // "" if the database has no notifications
	notifyBatch      string // like notify, with store.MaxPage payloads
	list             string // a page of a realm's sessions, in the order of owner_hash and session_id
	countEnd         string // finds the owner_hash at which the next step of Count ends, unless it is the last
	count            string // counts the sessions in a range of owner_hash that are not past their GoneAt
	useIndex         string // within a transaction, makes list, countEnd and count use the index; "" if they do anyway
	deleteRow        string
	sweep            string // deletes up to sweepBatchSize rows that are past delete_after
	findSchema       string // returns a row if the last statement of the schema has run, and its tables are there
	lockSchema       string // makes concurrent EnsureSchemas wait for each other; "" if they need not
	settings         string // reads what checkSettings checks

	// prepare is set where drivers would otherwise prepare every statement anew: for
	// MySQL that is another round trip, for SQLite a third of a Load. PostgreSQL's
	// drivers decide for themselves whether to keep statements prepared: behind a
	// pooler they must not.
	prepare bool
}

// standard holds the SQL that the dialects share. In every dialect times and durations are in
// milliseconds.
//
// A session's delete_after is later than necessary by up to one idle timeout, so that most
// touches leave it and with it every index unchanged. PostgreSQL then updates one row in
// place (a HOT update).
var standard = statements{
	commit:   `COMMIT`,
	rollback: `ROLLBACK`,
	load:     `SELECT kind, version, last_seen, record, session_values FROM sessionguard_sessions WHERE session_key = ?`,
	touch: fmt.Sprintf(`UPDATE sessionguard_sessions SET
		last_seen = GREATEST(last_seen, ?),
		delete_after = CASE WHEN delete_after < GREATEST(LEAST(? + idle_timeout_ms, expires), remember_until) + %[1]d
			THEN GREATEST(LEAST(? + 2 * idle_timeout_ms, expires), remember_until) + %[1]d
			ELSE delete_after END
		WHERE session_key = ? AND kind = 0 AND ? < LEAST(last_seen + idle_timeout_ms, expires)`, store.Grace.Milliseconds()),
	save: `UPDATE sessionguard_sessions SET version = version + 1, record = ?, session_values = ?
		WHERE session_key = ? AND kind = 0 AND version = ?`,
	insert: `INSERT INTO sessionguard_sessions
		(session_key, kind, owner_hash, session_id, version, last_seen, idle_timeout_ms, expires, remember_until, delete_after, record, session_values)
		VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
	retire: `UPDATE sessionguard_sessions SET kind = ?, delete_after = ?, record = ?, owner_hash = NULL, session_id = NULL, session_values = NULL
		WHERE session_key = ? AND kind = 0 AND version = ? AND last_seen = ?`,
	loadByID: `SELECT session_key, kind, version, last_seen, record, session_values FROM sessionguard_sessions
		WHERE owner_hash = ? AND session_id = ? AND kind = 0`,
	byOwner: selectHeads + `WHERE owner_hash = ? AND kind = 0`,
	page:    selectHeads + `WHERE owner_hash = ? AND session_id > ? AND kind = 0 ORDER BY session_id LIMIT ?`,
	byIDs:   selectHeads + `WHERE kind = 0 AND (owner_hash, session_id) IN (` + repeat(`(?, ?)`, store.MaxPage) + `)`,
	deleteGone: `DELETE FROM sessionguard_sessions
		WHERE owner_hash = ? AND kind = 0 AND ` + goneAt + ` <= ?`,
	list: selectListed + `WHERE (owner_hash, session_id) > (?, ?) AND owner_hash <= ? AND kind = 0
		ORDER BY owner_hash, session_id LIMIT ` + strconv.Itoa(store.MaxPage),
	countEnd: fmt.Sprintf(`SELECT owner_hash FROM sessionguard_sessions WHERE owner_hash > ? AND owner_hash <= ? AND kind = 0
		ORDER BY owner_hash LIMIT 1 OFFSET %d`, countStep-1),
	count:     `SELECT COUNT(*) FROM sessionguard_sessions WHERE owner_hash > ? AND owner_hash <= ? AND kind = 0 AND ` + goneAt + ` > ?`,
	deleteRow: `DELETE FROM sessionguard_sessions WHERE session_key = ?`,
}

// countStep is small enough for a busy server whose cache does not have the table.
const countStep = 2_000

// goneAt is a session's GoneAt.
const goneAt = `GREATEST(LEAST(last_seen + idle_timeout_ms, expires), remember_until)`

// selectHeads begins a query for sessions without their values.
const selectHeads = `SELECT session_key, session_id, kind, version, last_seen, record FROM sessionguard_sessions `

// selectListed begins a query for sessions without their values, with their places in the list.
const selectListed = `SELECT owner_hash, session_id, session_key, kind, version, last_seen, record FROM sessionguard_sessions `

// endBatch returns the statement that ends store.MaxPage sessions: a round trip each would take
// too long. record is the SQL expression for a tombstone's record: the row's key and then the
// reason.
func endBatch(record string) string {
	return `UPDATE sessionguard_sessions SET kind = ?, delete_after = ?, record = ` + record + `, owner_hash = NULL, session_id = NULL, session_values = NULL
		WHERE session_key IN (` + repeat(`?`, store.MaxPage) + `)`
}

// repeat returns n copies of text with commas between them.
func repeat(text string, n int) string { return text + strings.Repeat(`, `+text, n-1) }

// withCallTimeout adapts the statements to the Timeout of calls. In PostgreSQL the server
// then rolls back a transaction that was idle for longer than a call can take, because its
// node has vanished: it may hold a lock that the logins of 1/64 of all owners wait for.
func (s *statements) withCallTimeout(timeout time.Duration) *statements {
	if s.schema != PostgreSQLSchema {
		return s
	}
	adapted := *s
	limit := max(3*min(timeout, 24*time.Hour), time.Second).Milliseconds()
	adapted.begin = []string{fmt.Sprintf("%s; SET LOCAL idle_in_transaction_session_timeout = %d", s.begin[0], limit)}
	return &adapted
}

var dialects = map[Dialect]*statements{
	PostgreSQL: postgreSQL(),
	MySQL:      mySQL(),
	SQLite:     sqlite(),
}

func postgreSQL() *statements {
	s := standard
	s.schema = PostgreSQLSchema
	s.begin = []string{`BEGIN ISOLATION LEVEL READ COMMITTED`}
	s.loadForUpdate, s.byOwnerForUpdate = s.load+` FOR UPDATE`, s.byOwner+` ORDER BY session_id FOR UPDATE`
	// One search of the index for each ID, whatever the planner thinks of the table. With a
	// list of IDs it reads all sessions that there are if its statistics are out of date.
	s.byIDs = `SELECT s.* FROM (VALUES ` + repeat(`(CAST(? AS BYTEA), CAST(? AS BYTEA))`, store.MaxPage) + `) AS wanted (hash, id)
		CROSS JOIN LATERAL (` + selectHeads + `WHERE owner_hash = hash AND session_id = id AND kind = 0 OFFSET 0) AS s`
	s.byIDsForUpdate = strings.Replace(s.byIDs, `OFFSET 0`, `FOR UPDATE`, 1)
	s.lockGroup = lockGroup
	s.findSchema = findSchema
	s.settings = `SELECT name, COALESCE(current_setting(name, true), '') FROM (VALUES ('fsync'), ('synchronous_commit')) AS settings (name)`
	// With statistics that are out of date, the planner reads and sorts all the rest of a
	// realm for each page.
	s.useIndex = `SELECT set_config(name, 'off', true) FROM (VALUES ('enable_seqscan'), ('enable_bitmapscan'), ('enable_sort')) AS settings (name)`
	s.lockSchema = `SELECT pg_advisory_xact_lock(7306079469238350945)` // an arbitrary number, ours alone
	s.writeNothing = `SELECT pg_logical_emit_message(true, 'sessionguard', '')`
	s.notify = `SELECT pg_notify(?, ?)`
	s.notifyBatch = `SELECT ` + repeat(`pg_notify('`+channel+`', ?)`, store.MaxPage)
	s.endBatch = endBatch(`session_key || CAST(? AS BYTEA)`)
	// The array is built once; a plain IN may be evaluated again for every row. A row that
	// was touched before it was locked is checked again and skipped.
	s.sweep = fmt.Sprintf(`DELETE FROM sessionguard_sessions WHERE session_key = ANY(ARRAY(
		SELECT session_key FROM sessionguard_sessions WHERE delete_after < ?
		ORDER BY delete_after LIMIT %d FOR UPDATE SKIP LOCKED))`, sweepBatchSize)
	for _, text := range []*string{
		&s.load, &s.loadForUpdate, &s.touch, &s.save, &s.insert, &s.retire, &s.endBatch, &s.deleteGone,
		&s.loadByID, &s.page, &s.byIDs, &s.byIDsForUpdate, &s.byOwner, &s.byOwnerForUpdate, &s.lockGroup, &s.notify, &s.notifyBatch, &s.sweep,
		&s.list, &s.countEnd, &s.count, &s.deleteRow,
	} {
		*text = numberPlaceholders(*text)
	}
	return &s
}

func mySQL() *statements {
	s := standard
	s.schema = MySQLSchema
	s.begin = []string{`SET TRANSACTION ISOLATION LEVEL READ COMMITTED`, `START TRANSACTION`}
	// With completion_type=CHAIN, a plain COMMIT or ROLLBACK starts another transaction,
	// which would then contain the next use of the connection.
	s.commit, s.rollback = `COMMIT AND NO CHAIN NO RELEASE`, `ROLLBACK AND NO CHAIN NO RELEASE`
	s.loadForUpdate = s.load + ` FOR UPDATE`
	// If one owner has many of the rows, MySQL would otherwise scan the whole table, and
	// wait for the locked rows of other owners.
	byIndex := strings.NewReplacer(`FROM sessionguard_sessions `, `FROM sessionguard_sessions FORCE INDEX (sessionguard_sessions_owner) `)
	s.page, s.byIDs = byIndex.Replace(s.page), byIndex.Replace(s.byIDs)
	s.byIDsForUpdate = s.byIDs + ` FOR UPDATE`
	s.byOwnerForUpdate = byIndex.Replace(s.byOwner) + ` ORDER BY session_id FOR UPDATE`
	s.deleteGone = `DELETE sessionguard_sessions FROM sessionguard_sessions FORCE INDEX (sessionguard_sessions_owner)
		WHERE owner_hash = ? AND kind = 0 AND ` + goneAt + ` <= ?`
	// MySQL compares a row of columns with every entry of the index.
	s.list = byIndex.Replace(strings.Replace(s.list, `(owner_hash, session_id) > (?, ?)`, `(owner_hash = ? AND session_id > ? OR owner_hash > ?)`, 1))
	s.count = byIndex.Replace(s.count)
	// Only sessions have an owner_hash, and to read kind takes a search of the table for each.
	s.countEnd = strings.Replace(byIndex.Replace(s.countEnd), ` AND kind = 0`, ``, 1)
	s.lockGroup = lockGroup
	s.findSchema = findSchema
	s.settings = `SHOW VARIABLES WHERE Variable_name IN ('autocommit', 'completion_type', 'tx_isolation',
		'transaction_isolation', 'character_set_client', 'sql_select_limit',
		'innodb_flush_log_at_trx_commit', 'innodb_flush_method', 'log_bin', 'sync_binlog')`
	// Ordered like the index, so that concurrent sweeps lock rows in the same order.
	s.sweep = fmt.Sprintf(`DELETE FROM sessionguard_sessions WHERE delete_after < ?
		ORDER BY delete_after, session_key LIMIT %d`, sweepBatchSize)
	s.prepare = true
	s.endBatch = strings.Replace(endBatch(`CONCAT(session_key, ?)`), ` SET `, ` FORCE INDEX (PRIMARY) SET `, 1)
	return &s
}

func sqlite() *statements {
	s := standard
	s.schema = SQLiteSchema
	s.begin = []string{`BEGIN IMMEDIATE`}
	s.settings = `SELECT name, file FROM pragma_database_list WHERE name = 'main'
		UNION ALL SELECT 'read_uncommitted', read_uncommitted FROM pragma_read_uncommitted
		UNION ALL SELECT 'journal_mode', journal_mode FROM pragma_journal_mode
		UNION ALL SELECT 'synchronous', synchronous FROM pragma_synchronous`
	s.findSchema = `SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = 'sessionguard_sessions_delete_after'`
	s.sweep = fmt.Sprintf(`DELETE FROM sessionguard_sessions WHERE session_key IN (
		SELECT session_key FROM sessionguard_sessions WHERE delete_after < ?
		ORDER BY delete_after LIMIT %d)`, sweepBatchSize)
	s.prepare = true
	s.byIDs = strings.Replace(s.byIDs, `IN (`, `IN (VALUES `, 1)
	s.loadForUpdate, s.byOwnerForUpdate, s.byIDsForUpdate = s.load, s.byOwner, s.byIDs
	functions := strings.NewReplacer("GREATEST(", "MAX(", "LEAST(", "MIN(")
	s.touch, s.deleteGone, s.count = functions.Replace(s.touch), functions.Replace(s.deleteGone), functions.Replace(s.count)
	return &s
}

const (
	lockGroup  = `SELECT id FROM sessionguard_locks WHERE id = ? FOR UPDATE`
	findSchema = `SELECT 1 FROM sessionguard_locks
		WHERE NOT EXISTS (SELECT 1 FROM sessionguard_sessions WHERE 1 = 0) HAVING COUNT(*) = 64` // an error without the table
)

// numberPlaceholders replaces each ? with $1, $2 and so on.
func numberPlaceholders(text string) string {
	parts := strings.Split(text, "?")
	var b strings.Builder
	for i, part := range parts {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}
