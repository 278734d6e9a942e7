// Package libsqltest tests sqlstore on a libSQL file, through Turso's driver. It is a module of
// its own because the driver contains a C library that has the same names as SQLite's.
package libsqltest
