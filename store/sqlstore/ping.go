package sqlstore

import (
	"context"
	"crypto/rand"

	"github.com/sessionguard-go/sessionguard/store"
)

// Ping returns an error if the Store could not serve a login now:
//
//   - the database is unreachable or slower than [Config.Timeout], or no connection of the
//     pool becomes free
//   - the tables are missing, or the database user has too few rights
//   - the server or the file is read-only (a standby, a replica), or the disk is full
//   - a synchronous standby does not respond
//
// It is for the readiness probe of a node:
//
//	if err := sessions.Ping(r.Context()); err != nil {
//		http.Error(w, "not ready", http.StatusServiceUnavailable)
//	}
//
// Ping does what a login does: it inserts a row, and deletes it in the same transaction, so
// that nobody ever sees it. That costs one small commit, so let no stranger call it, and do
// not restart nodes because of it: all nodes fail it while the database is down. It says
// nothing about the next moment, nor about values that are too large.
func (s *Store) Ping(ctx context.Context) error {
	return s.call(ctx, "pinging the database", func(ctx context.Context) error {
		return s.transact(ctx, func(ctx context.Context, q querier) error {
			complete := false
			err := forEachRow(ctx, q, s.sql.findSchema, nil, func(func(...any) error) error {
				complete = true
				return nil
			})
			if err == nil && !complete {
				err = errNoSchema
			}
			if err != nil {
				return err
			}
			r := store.Record{Session: &store.Session{}}
			rand.Read(r.Key[:])
			if err := s.insertSession(ctx, q, r); err != nil {
				return err
			}
			_, err = q.ExecContext(ctx, s.sql.deleteRow, r.Key[:])
			return err
		})
	})
}
