package sqlstore

import (
	"context"
	"errors"
	"strings"
)

// PostgreSQLSchema creates the tables and indexes that a [Store] needs in PostgreSQL, where
// they do not exist.
//
// In all schemas, owner_hash is 8 bytes of the SHA-256 of the owner's realm
// ([store.RealmOf]) and 24 bytes of that of the owner, so that the sessions of a realm are a
// range of the index. A row has it as long as it is a session; no touch changes it.
const PostgreSQLSchema = `CREATE TABLE IF NOT EXISTS sessionguard_sessions (
	session_key     BYTEA    NOT NULL PRIMARY KEY,
	kind            SMALLINT NOT NULL,
	owner_hash      BYTEA,
	session_id      BYTEA,
	version         BIGINT   NOT NULL,
	last_seen       BIGINT   NOT NULL,
	idle_timeout_ms BIGINT   NOT NULL,
	expires         BIGINT   NOT NULL,
	remember_until  BIGINT   NOT NULL,
	delete_after    BIGINT   NOT NULL,
	record          BYTEA    NOT NULL,
	session_values  BYTEA
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS sessionguard_sessions_owner ON sessionguard_sessions (owner_hash, session_id) WHERE kind = 0;
CREATE INDEX IF NOT EXISTS sessionguard_sessions_delete_after ON sessionguard_sessions (delete_after);
CREATE TABLE IF NOT EXISTS sessionguard_locks (id SMALLINT NOT NULL PRIMARY KEY);
INSERT INTO sessionguard_locks SELECT generate_series(0, 63) ON CONFLICT DO NOTHING;
`

// MySQLSchema creates the tables and indexes that a [Store] needs in MySQL or MariaDB, where
// they do not exist. The statements of a Store depend on the names of the indexes.
const MySQLSchema = `CREATE TABLE IF NOT EXISTS sessionguard_sessions (
	session_key     VARBINARY(32) NOT NULL PRIMARY KEY,
	kind            SMALLINT      NOT NULL,
	owner_hash      VARBINARY(32),
	session_id      VARBINARY(255),
	version         BIGINT        NOT NULL,
	last_seen       BIGINT        NOT NULL,
	idle_timeout_ms BIGINT        NOT NULL,
	expires         BIGINT        NOT NULL,
	remember_until  BIGINT        NOT NULL,
	delete_after    BIGINT        NOT NULL,
	record          LONGBLOB      NOT NULL,
	session_values  LONGBLOB,
	INDEX sessionguard_sessions_owner (owner_hash, session_id),
	INDEX sessionguard_sessions_delete_after (delete_after)
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS sessionguard_locks (id SMALLINT NOT NULL PRIMARY KEY) ENGINE = InnoDB;
INSERT IGNORE INTO sessionguard_locks VALUES
	(0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15),
	(16), (17), (18), (19), (20), (21), (22), (23), (24), (25), (26), (27), (28), (29), (30), (31),
	(32), (33), (34), (35), (36), (37), (38), (39), (40), (41), (42), (43), (44), (45), (46), (47),
	(48), (49), (50), (51), (52), (53), (54), (55), (56), (57), (58), (59), (60), (61), (62), (63);
`

// SQLiteSchema creates the table and indexes that a [Store] needs in SQLite, where they do
// not exist.
const SQLiteSchema = `CREATE TABLE IF NOT EXISTS sessionguard_sessions (
	session_key     BLOB    NOT NULL PRIMARY KEY,
	kind            INTEGER NOT NULL,
	owner_hash      BLOB,
	session_id      BLOB,
	version         INTEGER NOT NULL,
	last_seen       INTEGER NOT NULL,
	idle_timeout_ms INTEGER NOT NULL,
	expires         INTEGER NOT NULL,
	remember_until  INTEGER NOT NULL,
	delete_after    INTEGER NOT NULL,
	record          BLOB    NOT NULL,
	session_values  BLOB
);
CREATE INDEX IF NOT EXISTS sessionguard_sessions_owner ON sessionguard_sessions (owner_hash, session_id) WHERE kind = 0;
CREATE INDEX IF NOT EXISTS sessionguard_sessions_delete_after ON sessionguard_sessions (delete_after);
`

// EnsureSchema creates the tables and indexes where they do not exist: it runs
// [PostgreSQLSchema], [MySQLSchema] or [SQLiteSchema]. Any number of nodes may call it at
// the same time, and again at every start. If the tables exist, it needs no right to create
// any. It never changes an existing table. Applications that migrate by other means run the
// schema themselves.
//
// All other methods need SELECT, INSERT, UPDATE and DELETE on both tables. EnsureSchema does
// not check that the database user has these rights.
func (s *Store) EnsureSchema(ctx context.Context) error {
	return s.call(ctx, "creating the tables", func(ctx context.Context) error {
		exists := false
		err := s.retry(ctx, func() error {
			return forEachRow(ctx, s.db, s.sql.findSchema, nil, func(func(...any) error) error {
				exists = true
				return nil
			})
		})
		if exists && err == nil {
			return nil
		}
		return s.transact(ctx, s.createSchema) // err most likely says that a table is missing
	})
}

var errNoSchema = &safeError{errors.New("sqlstore: the tables are missing or incomplete; EnsureSchema creates them")}

// createSchema runs the schema. In MySQL each of its statements commits by itself.
func (s *Store) createSchema(ctx context.Context, q querier) error {
	if s.sql.lockSchema != "" { // in PostgreSQL, concurrent CREATE IF NOT EXISTS can fail
		if _, err := q.ExecContext(ctx, s.sql.lockSchema); err != nil {
			return err
		}
	}
	for text := range strings.SplitSeq(strings.TrimSpace(s.sql.schema), ";\n") {
		if _, err := q.ExecContext(ctx, strings.TrimSuffix(text, ";")); err != nil {
			return err
		}
	}
	return nil
}
