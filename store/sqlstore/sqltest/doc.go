// Package sqltest tests sqlstore on real PostgreSQL, MariaDB, MySQL and SQLite databases. It is a
// module of its own, so that importing sqlstore adds no database driver to an application.
package sqltest
