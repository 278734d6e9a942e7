// Package sqltest tries sqlstore on real PostgreSQL, MariaDB and SQLite. It is a module
// of its own, so that no application gets their drivers through sqlstore.
package sqltest
