package sqlstore

import (
	"context"
	"errors"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// Load implements [store.Backend].
func (s *Store) Load(ctx context.Context, key store.Key) (rec store.Record, err error) {
	err = s.call(ctx, "loading a session", func(ctx context.Context) error {
		rec, err = s.loadSession(ctx, key)
		return err
	})
	return rec, err
}

// loadSession is Load for a caller that is within call already.
func (s *Store) loadSession(ctx context.Context, key store.Key) (rec store.Record, err error) {
	err = s.retry(ctx, func() error {
		q, err := s.load.querierOn(ctx, s.db)
		if err != nil {
			return err
		}
		rec, err = readSession(ctx, q, s.sql.load, key)
		return err
	})
	return rec, err
}

// Touch implements [store.Backend].
func (s *Store) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	return s.call(ctx, "touching a session", func(ctx context.Context) error {
		for range 3 {
			touched, err := s.touchSession(ctx, key, seen)
			if touched || err != nil {
				return err
			}
			// MySQL does not count a row that keeps its values, unless the connection
			// sets clientFoundRows.
			rec, err := s.loadSession(ctx, key)
			switch {
			case errors.Is(err, store.ErrNotFound), err == nil && seen >= rec.Deadline():
				return store.ErrNotFound
			case err != nil, seen <= rec.LastSeen:
				return err
			}
			// Another Touch has extended the deadline meanwhile.
		}
		return corruptRow(key[:]) // its columns contradict its record
	})
}

func (s *Store) touchSession(ctx context.Context, key store.Key, seen store.Time) (touched bool, err error) {
	at := int64(seen)
	err = s.write(ctx, func() error {
		q, err := s.touch.querierOn(ctx, s.db)
		if err != nil {
			return err
		}
		touched, err = affectedRows(q.ExecContext(ctx, s.sql.touch, at, at, at, key[:], at))
		return err
	})
	return touched, err
}

// Save implements [store.Backend].
func (s *Store) Save(ctx context.Context, r store.Record) error {
	return s.call(ctx, "saving a session", func(ctx context.Context) error {
		var saved bool
		err := s.write(ctx, func() error {
			q, err := s.save.querierOn(ctx, s.db)
			if err != nil {
				return err
			}
			saved, err = affectedRows(q.ExecContext(ctx, s.sql.save, record.Append(nil, r.Session), r.Values, r.Key[:], int64(r.Version-1)))
			return uncertain(err)
		})
		if saved || err != nil {
			return err
		}
		_, err = s.loadSession(ctx, r.Key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return store.ErrNotFound
		case err == nil: // versions only rise, so the version still differs
			return store.ErrConflict
		}
		return err
	})
}

var (
	errNoOwner    = &safeError{errors.New("sqlstore: a session needs an owner")}
	errOtherOwner = &safeError{errors.New("sqlstore: a session cannot be replaced by one of another owner; create a new one")}
)

// Create implements [store.Backend].
func (s *Store) Create(ctx context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	if r.Owner == "" {
		return nil, errNoOwner
	}
	err = s.call(ctx, "creating a session", func(ctx context.Context) error {
		if limit.Max <= 0 {
			return s.write(ctx, func() error { return uncertain(s.insertSession(ctx, s.db, r)) })
		}
		return s.transact(ctx, func(ctx context.Context, q querier) error {
			ended, err = s.makeRoom(ctx, q, r.Owner, limit)
			if err != nil {
				return err
			}
			return s.insertSession(ctx, q, r)
		})
	})
	if err != nil {
		ended = nil
	}
	return ended, err
}

// Replace implements [store.Backend].
func (s *Store) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	return s.call(ctx, "replacing a session", func(ctx context.Context) error {
		return s.transact(ctx, func(ctx context.Context, q querier) error {
			was, err := readSession(ctx, q, s.sql.loadForUpdate, old)
			switch {
			case err != nil:
				return err
			case was.Version != version:
				return store.ErrConflict
			case was.Owner != r.Owner:
				return errOtherOwner
			}
			unchanged, err := s.moveSession(ctx, q, was, r)
			if err != nil {
				return err
			}
			if !unchanged {
				return errRowNotLocked
			}
			return s.insertSession(ctx, q, r)
		})
	})
}

// errRowNotLocked is returned only if a database does not lock the rows of a SELECT FOR
// UPDATE.
var errRowNotLocked = &safeError{errors.New("sqlstore: a row changed although it was locked")}

// Delete implements [store.Backend].
func (s *Store) Delete(ctx context.Context, key store.Key, reason store.Reason) (was store.Record, err error) {
	err = s.call(ctx, "deleting a session", func(ctx context.Context) error {
		return s.transact(ctx, func(ctx context.Context, q querier) error {
			var moved *store.MovedError
			was, err = readSession(ctx, q, s.sql.loadForUpdate, key)
			switch {
			case errors.Is(err, store.ErrNotFound) && !errors.As(err, &moved):
				return s.awaitStandbys(ctx, q)
			case err != nil:
				return err
			}
			unchanged, err := s.endSession(ctx, q, was, reason)
			if err == nil && !unchanged {
				err = errRowNotLocked
			}
			return err
		})
	})
	if err != nil {
		was = store.Record{}
	}
	return was, err
}

// awaitStandbys makes the COMMIT of a call that has found nothing to end wait for synchronous
// standbys: an earlier call may have ended the session, and been cut short while it waited for
// them itself.
func (s *Store) awaitStandbys(ctx context.Context, q querier) error {
	if s.sql.writeNothing == "" {
		return nil
	}
	_, err := q.ExecContext(ctx, s.sql.writeNothing)
	return err
}
