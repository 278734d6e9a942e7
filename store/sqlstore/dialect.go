package sqlstore

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// A Dialect is how a database speaks.
type Dialect int

// The dialects of a [Store].
const (
	PostgreSQL Dialect = iota + 1
	MySQL              // and MariaDB
	SQLite
)

// statements are what a Store says, in one dialect.
type statements struct {
	schema           string
	begin            []string // a transaction; see transaction.go
	commit, rollback string

	loadText      string
	loadForEnd    string // the same, and keeps others from changing it
	touchText     string
	saveText      string
	insert        string
	leave         string // makes a session what is left of one
	leaveMany     string // the same for so many that end: a round trip each would take too long
	many          int
	drop          string // deletes an owner's sessions that nothing brings back
	byOwner       string
	byOwnerForEnd string
	lockGroup     string // makes the Creates of an owner wait for each other; "" if they do anyway
	notify        string // "" where nobody can be told
	notifyMany    string // with so many payloads
	forget        string
	isComplete    string // finds what the last statement of the schema makes
	lockSchema    string
	settings      string // what suitable looks at

	// prepares says that drivers would otherwise prepare each statement anew: for MySQL
	// that is another round trip, for SQLite a third of a Load. PostgreSQL's keep them,
	// or do not where a pooler must not see any, which is theirs to know.
	prepares bool
}

// In every dialect times and durations are milliseconds, and a session's forget_at is
// later than it has to be by up to one idle timeout: so it mostly stays when the
// session is touched, and with it every index. PostgreSQL then writes one row in place
// (a HOT update).
var standard = statements{
	commit:   `COMMIT`,
	rollback: `ROLLBACK`,
	loadText: `SELECT kind, version, last_seen, record, data FROM sessionguard_sessions WHERE session_key = ?`,
	touchText: fmt.Sprintf(`UPDATE sessionguard_sessions SET
		last_seen = GREATEST(last_seen, ?),
		forget_at = CASE WHEN forget_at < GREATEST(LEAST(? + idle_ms, expires), remember) + %[1]d
			THEN GREATEST(LEAST(? + 2 * idle_ms, expires), remember) + %[1]d
			ELSE forget_at END
		WHERE session_key = ? AND kind = 0 AND ? < LEAST(last_seen + idle_ms, expires)`, store.Grace.Milliseconds()),
	saveText: `UPDATE sessionguard_sessions SET version = version + 1, data = ?
		WHERE session_key = ? AND kind = 0 AND version = ?`,
	insert: `INSERT INTO sessionguard_sessions
		(session_key, kind, owner_hash, version, last_seen, idle_ms, expires, remember, forget_at, record, data)
		VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
	leave: `UPDATE sessionguard_sessions SET kind = ?, forget_at = ?, record = ?, owner_hash = NULL, data = NULL
		WHERE session_key = ? AND kind = 0 AND version = ? AND last_seen = ?`,
	byOwner: `SELECT session_key, kind, version, last_seen, record, data FROM sessionguard_sessions
		WHERE owner_hash = ? AND kind = 0`,
	many: 100,
	drop: `DELETE FROM sessionguard_sessions
		WHERE owner_hash = ? AND kind = 0 AND GREATEST(LEAST(last_seen + idle_ms, expires), remember) <= ?`,
}

// leaveMany is leave for many sessions, each of whose record begins with its key.
func leaveMany(record string) string {
	const one = `session_key = ? AND version = ? AND last_seen = ?`
	return `UPDATE sessionguard_sessions SET kind = ?, forget_at = ?, record = ` + record + `, owner_hash = NULL, data = NULL
		WHERE kind = 0 AND (` + one + strings.Repeat(` OR `+one, standard.many-1) + `)`
}

// within is s for calls of this length. In PostgreSQL a transaction of a node that has
// vanished is undone when nothing was said in it for longer than a call can take: it may
// hold what every login of 1/64 of all owners waits for.
func (s *statements) within(timeout time.Duration) *statements {
	if s.schema != PostgreSQLSchema {
		return s
	}
	bounded := *s
	limit := max(3*min(timeout, 24*time.Hour), time.Second).Milliseconds()
	bounded.begin = []string{fmt.Sprintf("%s; SET LOCAL idle_in_transaction_session_timeout = %d", s.begin[0], limit)}
	return &bounded
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
	s.loadForEnd, s.byOwnerForEnd = s.loadText+` FOR UPDATE`, s.byOwner+` FOR UPDATE`
	s.lockGroup = lockGroup
	s.isComplete = isComplete
	s.lockSchema = `SELECT pg_advisory_xact_lock(7306079469238350945)` // any number that nobody else takes
	s.notify = `SELECT pg_notify(?, ?)`
	s.notifyMany = `SELECT ` + strings.Repeat(`pg_notify('`+channel+`', ?), `, s.many-1) + `pg_notify('` + channel + `', ?)`
	s.leaveMany = leaveMany(`session_key || CAST(? AS BYTEA)`)
	// The array is made once, where a mere IN may be evaluated again for every row; and
	// what was touched before it was locked is looked at again and left alone.
	s.forget = fmt.Sprintf(`DELETE FROM sessionguard_sessions WHERE session_key = ANY(ARRAY(
		SELECT session_key FROM sessionguard_sessions WHERE forget_at < ?
		ORDER BY forget_at LIMIT %d FOR UPDATE SKIP LOCKED))`, batch)
	for _, text := range []*string{
		&s.loadText, &s.loadForEnd, &s.touchText, &s.saveText, &s.insert, &s.leave, &s.leaveMany, &s.drop, &s.byOwner, &s.byOwnerForEnd,
		&s.lockGroup, &s.notify, &s.notifyMany, &s.forget,
	} {
		*text = numbered(*text)
	}
	return &s
}

func mySQL() *statements {
	s := standard
	s.schema = MySQLSchema
	s.begin = []string{`SET TRANSACTION ISOLATION LEVEL READ COMMITTED`, `START TRANSACTION`}
	// With completion_type=CHAIN another transaction would begin, and what the
	// connection is used for next be in it.
	s.commit, s.rollback = `COMMIT AND NO CHAIN NO RELEASE`, `ROLLBACK AND NO CHAIN NO RELEASE`
	s.loadForEnd = s.loadText + ` FOR UPDATE`
	// Where many rows are one owner's it would look at all, and wait for those of others.
	s.byOwnerForEnd = `SELECT session_key, kind, version, last_seen, record, data
		FROM sessionguard_sessions FORCE INDEX (sessionguard_sessions_owner_hash)
		WHERE owner_hash = ? AND kind = 0 FOR UPDATE`
	s.drop = `DELETE sessionguard_sessions FROM sessionguard_sessions FORCE INDEX (sessionguard_sessions_owner_hash)
		WHERE owner_hash = ? AND kind = 0 AND GREATEST(LEAST(last_seen + idle_ms, expires), remember) <= ?`
	s.lockGroup = lockGroup
	s.isComplete = isComplete
	s.settings = `SHOW VARIABLES WHERE Variable_name IN ('autocommit', 'completion_type', 'tx_isolation',
		'transaction_isolation', 'character_set_client', 'sql_select_limit')`
	// In the order of the index, so that all who delete lock in the same one.
	s.forget = fmt.Sprintf(`DELETE FROM sessionguard_sessions WHERE forget_at < ?
		ORDER BY forget_at, session_key LIMIT %d`, batch)
	s.prepares = true
	s.leaveMany = leaveMany(`CONCAT(session_key, ?)`)
	return &s
}

func sqlite() *statements {
	s := standard
	s.schema = SQLiteSchema
	s.begin = []string{`BEGIN IMMEDIATE`}
	s.loadForEnd, s.byOwnerForEnd = s.loadText, s.byOwner
	s.settings = `SELECT name, file FROM pragma_database_list WHERE name = 'main'
		UNION ALL SELECT 'read_uncommitted', read_uncommitted FROM pragma_read_uncommitted`
	s.isComplete = `SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = 'sessionguard_sessions_forget_at'`
	s.forget = fmt.Sprintf(`DELETE FROM sessionguard_sessions WHERE session_key IN (
		SELECT session_key FROM sessionguard_sessions WHERE forget_at < ?
		ORDER BY forget_at LIMIT %d)`, batch)
	s.prepares = true
	s.many = 1 // there are no round trips
	least := strings.NewReplacer("GREATEST(", "MAX(", "LEAST(", "MIN(")
	s.touchText, s.drop = least.Replace(s.touchText), least.Replace(s.drop)
	return &s
}

const (
	lockGroup  = `SELECT id FROM sessionguard_locks WHERE id = ? FOR UPDATE`
	isComplete = `SELECT 1 FROM sessionguard_locks HAVING COUNT(*) = 64`
)

// numbered turns each ? into $1, $2 and so on.
func numbered(text string) string {
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
