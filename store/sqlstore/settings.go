package sqlstore

import (
	"context"
	"errors"
	"strings"
)

// checkSettings returns an error if the database is set up so that a Store cannot keep its
// promises. Once the settings have passed, it does not check again.
func (s *Store) checkSettings(ctx context.Context) error {
	if s.sql.settings == "" || s.settingsOK.Load() {
		return nil
	}
	var problem error
	truncated := s.dialect == MySQL // SHOW obeys sql_select_limit, so a low one hides itself
	err := s.retry(ctx, func() error {
		return forEachRow(ctx, s.db, s.sql.settings, nil, func(scan func(...any) error) error {
			var name, value string
			if err := scan(&name, &value); err != nil {
				return err
			}
			truncated = truncated && name != "sql_select_limit"
			if text := settingProblem(name, value); text != "" {
				problem = &safeError{errors.New("sqlstore: " + text)}
			}
			return nil
		})
	})
	if err == nil && problem == nil && truncated {
		problem = &safeError{errors.New("sqlstore: " + settingProblem("sql_select_limit", "too low"))}
	}
	if err == nil {
		err = problem
	}
	s.settingsOK.Store(err == nil)
	return err
}

// settingProblem returns what is wrong with a setting of MySQL or SQLite, or "".
func settingProblem(name, value string) string {
	const change = "; change it in the connection string or the server"
	switch value = strings.ToUpper(value); name {
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
