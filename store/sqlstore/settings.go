package sqlstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// checkSettings returns an error if the database is set up so that a Store cannot keep its
// promises. Once the settings have passed, it does not check again.
func (s *Store) checkSettings(ctx context.Context) error {
	if s.sql.settings == "" || s.settingsOK.Load() {
		return nil
	}
	settings := map[string]string{}
	err := s.retry(ctx, func() error {
		return forEachRow(ctx, s.db, s.sql.settings, nil, func(scan func(...any) error) error {
			var name, value string
			err := scan(&name, &value)
			settings[name] = strings.ToUpper(value)
			return err
		})
	})
	if err == nil {
		err = s.checkAll(settings)
	}
	if err == nil && s.dialect == PostgreSQL {
		err = s.retry(ctx, func() error { return s.checkPooler(ctx) })
	}
	s.settingsOK.Store(err == nil)
	return err
}

func (s *Store) checkAll(settings map[string]string) error {
	if _, ok := settings["sql_select_limit"]; s.dialect == MySQL && !ok {
		settings["sql_select_limit"] = "too low" // SHOW obeys it, so it hides itself
	}
	problem := ""
	for name, value := range settings {
		problem = cmp.Or(problem, settingProblem(name, value))
	}
	if problem == "" && !s.insecureDurability {
		problem = durabilityProblem(settings)
	}
	if problem == "" {
		return nil
	}
	return &safeError{errors.New("sqlstore: " + problem)}
}

// settingProblem returns what is wrong with a setting of MySQL or SQLite, in upper case, or
// "".
func settingProblem(name, value string) string {
	const change = "; change it in the connection string or the server"
	switch name {
	case "autocommit":
		if value == "OFF" || value == "0" {
			return "autocommit is off: changes would take effect only with a later COMMIT" + change
		}
	case "completion_type":
		if value != "NO_CHAIN" && value != "0" { // the application commits on the same connections
			return "completion_type is " + value + ": changes after a commit would take effect only with the next COMMIT" + change
		}
	case "tx_isolation", "transaction_isolation":
		if value == "READ-UNCOMMITTED" {
			return "the transaction isolation is READ-UNCOMMITTED: sessions could be read that are never committed" + change
		}
	case "character_set_client":
		switch value {
		case "BIG5", "CP932", "GB18030", "GB2312", "GBK", "SJIS":
			// A character may end in a backslash. If the driver quotes values itself
			// (interpolateParams), such a value could end the quotation.
			return "the character set is " + value + ", in which values cannot be quoted safely; use utf8mb4" + change
		}
	case "sql_select_limit":
		if value != "18446744073709551615" {
			return "sql_select_limit is " + strings.ToLower(value) + ": some sessions would not be found" + change
		}
	case "main":
		if value == "" {
			return "the SQLite database is in memory, where every connection of the pool would have its own; name a file"
		}
	case "read_uncommitted":
		if value == "1" {
			return "PRAGMA read_uncommitted is on: sessions could be read that are never committed; turn it off"
		}
	}
	return ""
}

// preparesSeparately returns the server's process, and whether the driver has prepared this
// very statement, without a name, in an earlier round trip. PostgreSQL evaluates 'now' when it
// parses a statement, and now() when it runs it. %[1]s is a text that no other client uses.
const preparesSeparately = `SELECT pg_backend_pid(), CAST('now' AS TIMESTAMPTZ) <> now() AND NOT EXISTS (
	SELECT 1 FROM pg_prepared_statements WHERE statement LIKE '%%%[1]s%%') WHERE CAST($1 AS BIGINT) = 1`

var errPooler = &safeError{errors.New("sqlstore: the driver prepares statements in a round trip of their own, and a pooler in transaction mode " +
	"mixes them with those of other clients: with lib/pq set binary_parameters=yes, with pgx default_query_exec_mode=exec")}

// checkPooler returns an error if statements of other clients may run in place of the Store's.
// A server's process that serves two connections at once is behind a pooler.
func (s *Store) checkPooler(ctx context.Context) error {
	select {
	case s.checkingPooler <- struct{}{}: // the checks of many calls would wait for each other's connections
		defer func() { <-s.checkingPooler }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.settingsOK.Load() {
		return nil
	}
	text := fmt.Sprintf(preparesSeparately, rand.Text())
	var processes [2]int
	for i := range processes {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		separately := false
		err = forEachRow(ctx, conn, text, []any{1}, func(scan func(...any) error) error {
			return scan(&processes[i], &separately)
		})
		if err != nil || !separately {
			return err
		}
		if s.db.Stats().MaxOpenConnections == 1 {
			return nil // a second connection would never come
		}
	}
	if processes[0] == processes[1] {
		return errPooler
	}
	return nil
}

// awaitDisk, within a transaction of PostgreSQL, turns on synchronous_commit where it is off.
// What ends or replaces a session is a transaction, and checkSettings has asked only one
// connection: another may have been changed since, or have been opened after an ALTER ROLE.
const awaitDisk = `; SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'`

// durabilityProblem returns with which setting the database confirms changes before they
// have reached the disk, or "".
func durabilityProblem(settings map[string]string) string {
	const accept = ": a crash could undo a logout that was confirmed; change it, or set Config.InsecureDurability"
	flush, binlog := settings["innodb_flush_log_at_trx_commit"], settings["sync_binlog"]
	journal, synchronous := settings["journal_mode"], settings["synchronous"]
	switch {
	case settings["fsync"] == "OFF":
		return "fsync is off" + accept
	case settings["synchronous_commit"] == "OFF":
		return "synchronous_commit is off" + accept
	case flush == "0" || flush == "2":
		return "innodb_flush_log_at_trx_commit is " + flush + accept
	case flush == "1" && settings["log_bin"] == "ON" && binlog != "1":
		// With a binary log, InnoDB syncs a transaction only when it is prepared. After a crash
		// the server rolls back what is not in that log. A flush of 3 syncs both.
		return "there is a binary log and sync_binlog is " + binlog + accept
	case settings["innodb_flush_method"] == "NOSYNC":
		return "innodb_flush_method is nosync" + accept
	case journal == "OFF" || journal == "MEMORY":
		return "PRAGMA journal_mode is " + journal + accept
	case synchronous == "0":
		return "PRAGMA synchronous is OFF" + accept
	case journal == "WAL" && synchronous == "1":
		return "PRAGMA synchronous is NORMAL with a write-ahead log" + accept
	}
	return ""
}
