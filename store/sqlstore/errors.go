package sqlstore

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// A safeError has a text that this package wrote entirely, so it is never sanitized.
type safeError struct{ error }

func (e *safeError) Unwrap() error { return e.error }

// isSafe reports whether err comes from this package or from package store.
func isSafe(err error) bool {
	var safe *safeError
	return errors.As(err, &safe) ||
		errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrLimit)
}

func corruptRow(key []byte) error {
	return &safeError{fmt.Errorf("sqlstore: the row with key %x: %w", key, record.ErrCorrupt)}
}

// scanError returns the error for a failed scan of a row. The row is corrupt only if
// database/sql could not convert a column; otherwise the rows were closed meanwhile.
func scanError(key []byte, err error) error {
	if strings.HasPrefix(err.Error(), "sql: Scan error on column") {
		return corruptRow(key)
	}
	return err
}

// Drivers have no common way to report what went wrong. Those for PostgreSQL have the
// method SQLState. Those for SQLite have the method Code or only a text. Those for MySQL
// have a text that begins with the server's error number.
type (
	hasSQLState interface {
		error
		SQLState() string
	}
	hasCode interface {
		error
		Code() int
	}
)

var mysqlError = regexp.MustCompile(`^Error (\d+)( \(\w+\))?: `)

// isTransient reports whether the database has rolled back what failed, and a second
// attempt may succeed.
func isTransient(err error) bool {
	if errors.Is(err, errVictimChanged) {
		return true
	}
	if server, ok := errors.AsType[hasSQLState](err); ok {
		switch server.SQLState() {
		case "40001", "40P01": // serialization_failure, deadlock_detected
			return true
		}
		return false
	}
	text := innermost(err).Error()
	if m := mysqlError.FindStringSubmatch(text); m != nil {
		switch m[1] {
		case "1205", "1213", "1020": // lock wait timeout, deadlock; MariaDB: changed since it was read
			return true
		}
		return false
	}
	return strings.Contains(text, "database is locked") || strings.Contains(text, "table is locked")
}

// isConnectionLost reports whether the connection broke before a statement took effect, or
// during one that may run twice. It returns false if the server could not be reached at all:
// another attempt would only wait again.
func isConnectionLost(err error) bool {
	if _, ok := errors.AsType[*uncertainError](err); ok {
		return false
	}
	if server, ok := errors.AsType[hasSQLState](err); ok {
		return server.SQLState() == "57P01" || server.SQLState() == "57P02" // admin_shutdown, crash_shutdown
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network.Op != "dial"
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		connectionLostTexts[innermost(err).Error()]
}

// connectionLostTexts are errors that drivers have no type for.
var connectionLostTexts = map[string]bool{
	"invalid connection": true, // github.com/go-sql-driver/mysql
	"conn closed":        true, // github.com/jackc/pgx
}

// An uncertainError is the error of a statement that may have taken effect nevertheless.
type uncertainError struct{ error }

func (e *uncertainError) Unwrap() error { return e.error }

func uncertain(err error) error {
	if err == nil {
		return nil
	}
	return &uncertainError{err}
}

// sanitize returns the part of an error that cannot contain the connection string: what the
// server, the network or this process reports. A driver may put the connection string into
// any other error, so sanitize replaces it with one that holds its type and wraps nothing.
func sanitize(err error) error {
	if isSafe(err) {
		return err
	}
	if server, ok := errors.AsType[hasSQLState](err); ok {
		return server
	}
	if database, ok := errors.AsType[hasCode](err); ok {
		return sanitizeCoded(database)
	}
	if isMisreadAddress(err) {
		return withheld(err)
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		return name
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return certificate
	}
	for _, known := range []error{
		context.DeadlineExceeded, context.Canceled, sql.ErrConnDone, driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	inner := innermost(err)
	text := inner.Error()
	if mysqlError.MatchString(text) || connectionLostTexts[text] || strings.HasPrefix(text, "sql: ") {
		return inner
	}
	if text := noSuchTable.FindString(text); text != "" {
		return errors.New(text)
	}
	return withheld(err)
}

// sanitizeCoded sanitizes an error of SQLite. Such an error quotes the wrong statement,
// which may be a PRAGMA of the connection string.
func sanitizeCoded(err hasCode) error {
	text := err.Error()
	if !strings.Contains(text, "sessionguard_") {
		text, _, _ = strings.Cut(text, ":")
	}
	if code := fmt.Sprintf("(%d)", err.Code()); !strings.Contains(text, code) {
		text += " " + code
	}
	return errors.New(text)
}

func withheld(err error) error {
	return fmt.Errorf("%T from the driver; its text is withheld because it may contain the connection string, "+
		"but db.PingContext returns it", innermost(err))
}

// isMisreadAddress reports whether the driver used another part of the connection string as
// an address, such as "ada:password@host".
func isMisreadAddress(err error) bool {
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.UnknownNetworkError](err); ok {
		return true
	}
	name, ok := errors.AsType[*net.DNSError](err)
	return ok && !hostName.MatchString(name.Name)
}

var hostName = regexp.MustCompile(`^[\w.-]*$`)

var noSuchTable = regexp.MustCompile(`no such table: sessionguard_\w+`)

// isMissingTable reports whether the server does not know a table.
func isMissingTable(err error) bool {
	if server, ok := errors.AsType[hasSQLState](err); ok {
		return server.SQLState() == "42P01" // undefined_table
	}
	text := innermost(err).Error()
	if m := mysqlError.FindStringSubmatch(text); m != nil {
		return m[1] == "1146"
	}
	return noSuchTable.MatchString(text)
}

// isForeignStatement reports whether PostgreSQL had another prepared statement than the driver
// believed, or none. So it is if a pooler gives the driver's connection to others in between.
func isForeignStatement(err error) bool {
	server, ok := errors.AsType[hasSQLState](err)
	if !ok {
		return false
	}
	switch server.SQLState() {
	// invalid_sql_statement_name, duplicate_prepared_statement, protocol_violation
	case "26000", "42P05", "08P01":
		return true
	}
	return false
}

// innermost returns the error at the end of err's chain.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
