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

// An ownError is one whose text is ours to the last word.
type ownError struct{ error }

func (e *ownError) Unwrap() error { return e.error }

func corrupt(key []byte) error {
	return &ownError{fmt.Errorf("sqlstore: the row of key %x: %w", key, record.ErrCorrupt)}
}

// unread is why a row could not be scanned: only where database/sql could not convert a
// column is that the row's fault. Otherwise the rows were closed meanwhile.
func unread(key []byte, err error) error {
	if strings.HasPrefix(err.Error(), "sql: Scan error on column") {
		return corrupt(key)
	}
	return err
}

func ours(err error) bool {
	var own *ownError
	return errors.As(err, &own) ||
		errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrLimit)
}

// Drivers have no common way to say what is wrong. PostgreSQL's have this method;
// SQLite's have a code or only a text, and MySQL's have a text that begins with the
// server's number.
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

// transient says that the database has undone what failed, and that it may succeed
// when it is done again.
func transient(err error) bool {
	if errors.Is(err, errTouched) {
		return true
	}
	if server, ok := errors.AsType[hasSQLState](err); ok {
		switch server.SQLState() {
		case "40001", "40P01": // serialization_failure, deadlock_detected
			return true
		}
		return false
	}
	text := leaf(err).Error()
	if m := mysqlError.FindStringSubmatch(text); m != nil {
		switch m[1] {
		case "1205", "1213", "1020": // lock wait timeout, deadlock; MariaDB: changed since it was read
			return true
		}
		return false
	}
	return strings.Contains(text, "database is locked") || strings.Contains(text, "table is locked")
}

// lost says that the connection broke, and that what was to be done over it has not
// happened or can be done twice. A server that can not be reached is not asked again:
// that would only be another wait.
func lost(err error) bool {
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
		broken[leaf(err).Error()]
}

// An uncertainError is of something that may have happened all the same.
type uncertainError struct{ error }

func (e *uncertainError) Unwrap() error { return e.error }

func uncertain(err error) error {
	if err == nil {
		return nil
	}
	return &uncertainError{err}
}

// broken are the texts of connections that drivers have no type for.
var broken = map[string]bool{
	"invalid connection": true, // github.com/go-sql-driver/mysql
	"conn closed":        true, // github.com/jackc/pgx
}

// clean returns the part of an error that can not hold the connection string: what
// the server, the network or this process says. A driver may put it into anything
// else, so of that only the type is left, and nothing to unwrap.
func clean(err error) error {
	if ours(err) {
		return err
	}
	if server, ok := errors.AsType[hasSQLState](err); ok {
		return server
	}
	if database, ok := errors.AsType[hasCode](err); ok {
		// It quotes the statement that is wrong, which may be a PRAGMA of the
		// connection string.
		text := database.Error()
		if !strings.Contains(text, "sessionguard_") {
			text, _, _ = strings.Cut(text, ":")
		}
		if code := fmt.Sprintf("(%d)", database.Code()); !strings.Contains(text, code) {
			text += " " + code
		}
		return errors.New(text)
	}
	if misread(err) {
		return hidden(err)
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
	end := leaf(err)
	text := end.Error()
	if mysqlError.MatchString(text) || broken[text] || strings.HasPrefix(text, "sql: ") {
		return end
	}
	if text := noSuchTable.FindString(text); text != "" {
		return errors.New(text)
	}
	return hidden(err)
}

func hidden(err error) error {
	return fmt.Errorf("%T from the driver, whose text is left out since it may hold the connection string; db.PingContext returns it", leaf(err))
}

// misread says that something else than an address was taken for one: a part of the
// connection string, such as "ada:password@host".
func misread(err error) bool {
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

// noTable says that the server does not know a table.
func noTable(err error) bool {
	if server, ok := errors.AsType[hasSQLState](err); ok {
		return server.SQLState() == "42P01" // undefined_table
	}
	text := leaf(err).Error()
	if m := mysqlError.FindStringSubmatch(text); m != nil {
		return m[1] == "1146"
	}
	return noSuchTable.MatchString(text)
}

// leaf is the error that all others wrap.
func leaf(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
