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

// A rowError is one whose text is ours to the last word.
type rowError struct{ error }

func (e *rowError) Unwrap() error { return e.error }

func corrupt(key []byte) error {
	return &rowError{fmt.Errorf("sqlstore: the row of key %x: %w", key, record.ErrCorrupt)}
}

func ours(err error) bool {
	var row *rowError
	return errors.As(err, &row) ||
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

// plain are the texts of errors that drivers and database/sql have no type for.
var plain = map[string]bool{
	"invalid connection":       true,
	"conn closed":              true,
	"sql: database is closed":  true,
	"unexpected EOF":           true,
	"connection reset by peer": true,
	"sql: statement is closed": true,
	"commands out of sync. You can't run this command now": true,
}

// clean returns the part of an error that can not hold the connection string: what
// the server, the network or this process says. A driver may put it into anything
// else, so of that only the type is left, and nothing to unwrap.
func clean(err error) error {
	if server, ok := errors.AsType[hasSQLState](err); ok {
		return server
	}
	if database, ok := errors.AsType[hasCode](err); ok {
		return database
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network
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
	err = leaf(err)
	if text := err.Error(); mysqlError.MatchString(text) || plain[text] {
		return err
	}
	return fmt.Errorf("%T from the driver, whose text may hold the connection string", err)
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
