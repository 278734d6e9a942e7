package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// No call waits longer than the Timeout, whichever statement the server hangs at.
func endsOf(r store.Record) []store.End {
	return []store.End{{Owner: r.Owner, ID: r.ID, Reason: store.ReasonEnded}}
}

func TestTimeoutHoldsAtEveryStatement(t *testing.T) {
	for _, hangAt := range []string{"BEGIN", "SELECT kind", "SELECT id", "SELECT session_key", "SELECT owner_hash", "SELECT COUNT", "SELECT 1", "INSERT", "UPDATE", "DELETE", "COMMIT", "ROLLBACK"} {
		t.Run(hangAt, func(t *testing.T) {
			const timeout = 50 * time.Millisecond
			f := &fakeDriver{hangAt: hangAt, failure: func(text string) error {
				if strings.HasPrefix(text, "INSERT") && hangAt == "ROLLBACK" {
					return fakeSQLStateError("23505")
				}
				return nil
			}}
			s, r := f.newStore(t, Config{Timeout: timeout}), newRecord()
			for _, call := range []func() error{
				func() error { _, err := s.Create(t.Context(), r, store.Limit{}); return err },
				func() error { _, err := s.Create(t.Context(), r, store.Limit{Max: 1}); return err },
				func() error { _, err := s.Load(t.Context(), r.Key); return err },
				func() error { return s.Touch(t.Context(), r.Key, r.LastSeen) },
				func() error { return s.Save(t.Context(), atVersion(r, 1)) },
				func() error { return s.Replace(t.Context(), r.Key, 0, r) },
				func() error { _, err := s.Delete(t.Context(), r.Key, store.ReasonEnded); return err },
				func() error { _, err := s.ByOwner(t.Context(), r.Owner, "", store.MaxPage); return err },
				func() error { _, err := s.LoadByID(t.Context(), r.Owner, r.ID); return err },
				func() error { _, err := s.DeleteByID(t.Context(), endsOf(r)); return err },
				func() error {
					for _, err := range s.All(t.Context(), "session=") {
						return err
					}
					return nil
				},
				func() error { _, err := s.Count(t.Context(), "session="); return err },
				func() error { return s.Ping(t.Context()) },
				func() error { return s.sweep(t.Context()) },
			} {
				start := time.Now()
				_ = call()
				require.Less(t, time.Since(start), 5*time.Second)
			}
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			start := time.Now()
			_ = s.transact(ctx, func(context.Context, querier) error { return nil })
			require.Less(t, time.Since(start), 5*time.Second)
		})
	}
}

func TestRetriesOnlyWhatCannotHaveTakenEffect(t *testing.T) {
	const (
		save  = "UPDATE sessionguard_sessions SET version"
		touch = "UPDATE sessionguard_sessions SET\n\t\tlast_seen"
	)
	dropped := &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for _, c := range []struct {
		statement string
		failure   error // of the first attempt
		attempts  int
	}{
		{"INSERT", fakeSQLStateError("40001"), 2}, {"INSERT", fakeSQLStateError("40P01"), 2}, {"INSERT", fakeSQLStateError("23505"), 1},
		{"INSERT", errors.New("Error 1213 (40001): Deadlock found"), 2}, {"INSERT", errors.New("Error 1205: Lock wait"), 2},
		{"INSERT", errors.New("Error 1062 (23000): Duplicate entry 'database is locked'"), 1},
		{"INSERT", errors.New("database is locked (5) (SQLITE_BUSY)"), 2}, {"INSERT", errors.New("disk full"), 1},
		{"INSERT", dropped, 1}, {"INSERT", io.ErrUnexpectedEOF, 1}, {"INSERT", fakeSQLStateError("57P01"), 1},
		{save, dropped, 1}, {save, fakeSQLStateError("40001"), 2},
		{touch, dropped, 2}, {touch, refused, 1},
		{"SELECT kind", dropped, 2}, {"SELECT kind", refused, 1}, {"SELECT kind", errors.New("invalid connection"), 2},
		{"BEGIN", dropped, 2}, {"BEGIN", fakeSQLStateError("57P01"), 2}, {"BEGIN", refused, 1}, {"BEGIN", fakeSQLStateError("25006"), 1},
		{"COMMIT", dropped, 1}, {"COMMIT", io.EOF, 1}, {"COMMIT", fakeSQLStateError("57P01"), 1}, {"COMMIT", fakeSQLStateError("40001"), 2},
	} {
		t.Run(fmt.Sprintf("%.40s %v", c.statement, c.failure), func(t *testing.T) {
			attempts := 0
			f := &fakeDriver{failure: func(text string) error {
				if strings.HasPrefix(text, c.statement) {
					if attempts++; attempts == 1 {
						return c.failure
					}
				}
				return nil
			}}
			s, r := f.newStore(t, Config{}), newRecord()
			switch c.statement {
			case "INSERT":
				_, _ = s.Create(t.Context(), r, store.Limit{})
			case "SELECT kind":
				_, _ = s.Load(t.Context(), r.Key)
			case save:
				_ = s.Save(t.Context(), atVersion(r, 1))
			case touch:
				_ = s.Touch(t.Context(), r.Key, r.LastSeen)
			default:
				_ = s.transact(t.Context(), func(context.Context, querier) error { return nil })
			}
			require.Equal(t, c.attempts, attempts)
		})
	}
}

// A server that accepts connections and hangs up must not get hundreds of attempts from
// each request. Conflicts with other transactions are retried as long as there is time.
func TestRetryGivesUpOnRepeatedlyLostConnections(t *testing.T) {
	for _, c := range []struct {
		failure  error
		min, max int
	}{
		{io.EOF, maxLostConnections, maxLostConnections},
		{fakeSQLStateError("57P01"), maxLostConnections, maxLostConnections},
		{fakeSQLStateError("40001"), 200, 10000},
	} {
		synctest.Test(t, func(t *testing.T) {
			attempts := 0
			f := &fakeDriver{failure: func(string) error { attempts++; return c.failure }}
			_, err := f.newStore(t, Config{Timeout: 2 * time.Second}).Load(t.Context(), store.Key{})
			require.Error(t, err)
			require.NotErrorIs(t, err, store.ErrNotFound)
			require.GreaterOrEqual(t, attempts, c.min)
			require.LessOrEqual(t, attempts, c.max)
		})
	}
}

// atVersion returns a copy of r with another Version.
func atVersion(r store.Record, version uint64) store.Record {
	s := *r.Session
	s.Version = version
	r.Session = &s
	return r
}
