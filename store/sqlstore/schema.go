package sqlstore

import (
	"context"
	"errors"
	"strings"
)

// PostgreSQLSchema makes what a [Store] needs in PostgreSQL, if it is not there.
const PostgreSQLSchema = `CREATE TABLE IF NOT EXISTS sessionguard_sessions (
	session_key BYTEA    NOT NULL PRIMARY KEY,
	kind        SMALLINT NOT NULL,
	owner_hash  BYTEA,
	version     BIGINT   NOT NULL,
	last_seen   BIGINT   NOT NULL,
	idle_ms     BIGINT   NOT NULL,
	expires     BIGINT   NOT NULL,
	remember    BIGINT   NOT NULL,
	forget_at   BIGINT   NOT NULL,
	record      BYTEA    NOT NULL,
	data        BYTEA
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS sessionguard_sessions_owner_hash ON sessionguard_sessions (owner_hash) WHERE kind = 0;
CREATE INDEX IF NOT EXISTS sessionguard_sessions_forget_at ON sessionguard_sessions (forget_at);
CREATE TABLE IF NOT EXISTS sessionguard_locks (id SMALLINT NOT NULL PRIMARY KEY);
INSERT INTO sessionguard_locks SELECT generate_series(0, 63) ON CONFLICT DO NOTHING;
`

// MySQLSchema makes what a [Store] needs in MySQL or MariaDB, if it is not there. The
// names of its indexes are part of it.
const MySQLSchema = `CREATE TABLE IF NOT EXISTS sessionguard_sessions (
	session_key VARBINARY(32) NOT NULL PRIMARY KEY,
	kind        SMALLINT      NOT NULL,
	owner_hash  VARBINARY(32),
	version     BIGINT        NOT NULL,
	last_seen   BIGINT        NOT NULL,
	idle_ms     BIGINT        NOT NULL,
	expires     BIGINT        NOT NULL,
	remember    BIGINT        NOT NULL,
	forget_at   BIGINT        NOT NULL,
	record      LONGBLOB      NOT NULL,
	data        LONGBLOB,
	INDEX sessionguard_sessions_owner_hash (owner_hash),
	INDEX sessionguard_sessions_forget_at (forget_at)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS sessionguard_locks (id SMALLINT NOT NULL PRIMARY KEY) ENGINE = InnoDB;
INSERT IGNORE INTO sessionguard_locks VALUES
	(0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15),
	(16), (17), (18), (19), (20), (21), (22), (23), (24), (25), (26), (27), (28), (29), (30), (31),
	(32), (33), (34), (35), (36), (37), (38), (39), (40), (41), (42), (43), (44), (45), (46), (47),
	(48), (49), (50), (51), (52), (53), (54), (55), (56), (57), (58), (59), (60), (61), (62), (63);
`

// SQLiteSchema makes what a [Store] needs in SQLite, if it is not there.
const SQLiteSchema = `CREATE TABLE IF NOT EXISTS sessionguard_sessions (
	session_key BLOB    NOT NULL PRIMARY KEY,
	kind        INTEGER NOT NULL,
	owner_hash  BLOB,
	version     INTEGER NOT NULL,
	last_seen   INTEGER NOT NULL,
	idle_ms     INTEGER NOT NULL,
	expires     INTEGER NOT NULL,
	remember    INTEGER NOT NULL,
	forget_at   INTEGER NOT NULL,
	record      BLOB    NOT NULL,
	data        BLOB
);
CREATE INDEX IF NOT EXISTS sessionguard_sessions_owner_hash ON sessionguard_sessions (owner_hash) WHERE kind = 0;
CREATE INDEX IF NOT EXISTS sessionguard_sessions_forget_at ON sessionguard_sessions (forget_at);
`

// EnsureSchema makes the tables, where they are not there: [PostgreSQLSchema],
// [MySQLSchema] or [SQLiteSchema]. Any number of nodes may call it at once, and again
// at every start; where they are there it needs no right to make any. All else needs
// SELECT, INSERT, UPDATE and DELETE on both, and that the user has these it does not
// check.
//
// It never changes a table that is there. Who migrates by other means runs the schema
// by them instead.
func (s *Store) EnsureSchema(ctx context.Context) error {
	return s.call(ctx, "making the tables", func(ctx context.Context) error {
		complete := false
		err := s.retry(ctx, func() error {
			return each(ctx, s.db, s.isComplete, nil, func(func(...any) error) error {
				complete = true
				return nil
			})
		})
		if complete && err == nil {
			return nil
		}
		return s.transact(ctx, s.makeSchema) // the error was most likely that there is no such table
	})
}

// In MySQL each statement commits by itself.
func (s *Store) makeSchema(ctx context.Context, q querier) error {
	if s.lockSchema != "" { // CREATE IF NOT EXISTS fails where two do it at once
		if _, err := q.ExecContext(ctx, s.lockSchema); err != nil {
			return err
		}
	}
	for text := range strings.SplitSeq(strings.TrimSpace(s.schema), ";\n") {
		if _, err := q.ExecContext(ctx, strings.TrimSuffix(text, ";")); err != nil {
			return err
		}
	}
	return nil
}

// suitable says whether the database is set so that what is promised holds. It asks
// once.
func (s *Store) suitable(ctx context.Context) error {
	if s.settings == "" || s.suits.Load() {
		return nil
	}
	var wrong error
	cut := s.dialect == MySQL // a low sql_select_limit hides itself: SHOW obeys it
	err := s.retry(ctx, func() error {
		return each(ctx, s.db, s.settings, nil, func(scan func(...any) error) error {
			var name, value string
			if err := scan(&name, &value); err != nil {
				return err
			}
			cut = cut && name != "sql_select_limit"
			if why := unsuitable(name, value); why != "" {
				wrong = &ownError{errors.New("sqlstore: " + why)}
			}
			return nil
		})
	})
	if err == nil && wrong == nil && cut {
		wrong = &ownError{errors.New("sqlstore: " + unsuitable("sql_select_limit", "too low"))}
	}
	if err == nil {
		err = wrong
	}
	s.suits.Store(err == nil)
	return err
}

// unsuitable says what is wrong with a setting of MySQL or SQLite, if anything is.
func unsuitable(name, value string) string {
	const change = "; change it in the connection string or the server"
	switch value = strings.ToUpper(value); name {
	case "autocommit":
		if value == "OFF" || value == "0" {
			return "autocommit is off: what is done would not be done until somebody commits" + change
		}
	case "completion_type":
		if value != "NO_CHAIN" && value != "0" { // the application commits on the same connections
			return "completion_type is " + value + ": after a commit, what is done would not be done until the next" + change
		}
	case "tx_isolation", "transaction_isolation":
		if value == "READ-UNCOMMITTED" {
			return "the transaction isolation is READ-UNCOMMITTED: sessions would be read that may never have been there" + change
		}
	case "character_set_client":
		switch value {
		case "BIG5", "CP932", "GB18030", "GB2312", "GBK", "SJIS":
			// A character may end in a backslash, so a driver that quotes values
			// itself (interpolateParams) would let them end the quotation.
			return "the character set is " + value + ", in which values can not be quoted safely; use utf8mb4" + change
		}
	case "sql_select_limit":
		if value != "18446744073709551615" {
			return "sql_select_limit is " + strings.ToLower(value) + ": sessions would not be found" + change
		}
	case "main":
		if value == "" {
			return "the SQLite database is in memory, where every connection of the pool would have its own; name a file"
		}
	case "read_uncommitted":
		if value == "1" {
			return "PRAGMA read_uncommitted is on: sessions would be read that may never have been there; turn it off"
		}
	}
	return ""
}
