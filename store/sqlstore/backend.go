package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/sessionguard-go/sessionguard/store"
)

// Load implements [store.Backend].
func (s *Store) Load(ctx context.Context, key store.Key) (rec store.Record, err error) {
	err = s.call(ctx, "loading a session", func(ctx context.Context) error {
		rec, err = s.loadOnce(ctx, key)
		return err
	})
	return rec, err
}

func (s *Store) loadOnce(ctx context.Context, key store.Key) (rec store.Record, err error) {
	err = s.retry(ctx, func() error {
		q, err := s.load.on(ctx, s.db)
		if err != nil {
			return err
		}
		rec, err = read(ctx, q, s.loadText, key)
		return err
	})
	return rec, err
}

// Touch implements [store.Backend].
func (s *Store) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	return s.call(ctx, "touching a session", func(ctx context.Context) error {
		for range 3 {
			var touched bool
			err := s.write(ctx, func() error {
				q, err := s.touch.on(ctx, s.db)
				if err != nil {
					return err
				}
				at := int64(seen)
				touched, err = changed(q.ExecContext(ctx, s.touchText, at, at, at, key[:], at))
				return err
			})
			if touched || err != nil {
				return err
			}
			// MySQL does not count a row that stays as it is, unless it is told to by
			// clientFoundRows.
			rec, err := s.loadOnce(ctx, key)
			switch {
			case errors.Is(err, store.ErrNotFound), err == nil && seen >= rec.Deadline():
				return store.ErrNotFound
			case err != nil, seen <= rec.LastSeen:
				return err
			}
			// Another Touch has moved the end meanwhile.
		}
		return corrupt(key[:]) // its columns say something else than its record
	})
}

// Save implements [store.Backend].
func (s *Store) Save(ctx context.Context, key store.Key, version uint64, values []byte) error {
	return s.call(ctx, "saving a session", func(ctx context.Context) error {
		var saved bool
		err := s.write(ctx, func() error {
			q, err := s.save.on(ctx, s.db)
			if err != nil {
				return err
			}
			saved, err = changed(q.ExecContext(ctx, s.saveText, values, key[:], int64(version)))
			return uncertain(err)
		})
		if saved || err != nil {
			return err
		}
		_, err = s.loadOnce(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return store.ErrNotFound
		case err == nil: // versions only rise, so it is not this one now either
			return store.ErrConflict
		}
		return err
	})
}

var (
	errNobody = &ownError{errors.New("sqlstore: a session needs an owner")}
	errOwner  = &ownError{errors.New("sqlstore: a session can not be replaced by one of another owner; create a new one")}
	errLocks  = &ownError{errors.New("sqlstore: the table sessionguard_locks is not complete; call EnsureSchema")}
)

// Create implements [store.Backend].
func (s *Store) Create(ctx context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	if r.Owner == "" {
		return nil, errNobody
	}
	err = s.call(ctx, "creating a session", func(ctx context.Context) error {
		if limit.Max <= 0 {
			return s.write(ctx, func() error { return uncertain(s.add(ctx, s.db, r)) })
		}
		return s.transact(ctx, func(ctx context.Context, q querier) error {
			ended, err = s.makeRoom(ctx, q, r.Owner, limit)
			if err != nil {
				return err
			}
			return s.add(ctx, q, r)
		})
	})
	if err != nil {
		ended = nil
	}
	return ended, err
}

// makeRoom ends sessions of an owner until there may be one more. Until the transaction
// is over nobody else creates any.
func (s *Store) makeRoom(ctx context.Context, q querier, owner string, limit store.Limit) (gone []store.Record, err error) {
	if s.lockGroup != "" {
		locked := false
		err := each(ctx, q, s.lockGroup, []any{store.GroupOf(owner)}, func(func(...any) error) error {
			locked = true
			return nil
		})
		if err != nil {
			return nil, err
		}
		if !locked {
			return nil, errLocks
		}
	}
	at := now()
	over := func(r store.Record) bool { return r.GoneAt() <= at }
	live, err := s.readOwner(ctx, q, s.byOwner, owner)
	if err != nil {
		return nil, err
	}
	dead := slices.ContainsFunc(live, over)
	if err == nil && dead { // they do not count, and a Touch that is heard of late must not make them
		_, err = q.ExecContext(ctx, s.drop, hashOf(owner), int64(at))
	}
	many := len(live) > limit.Max && !limit.Refuse
	if err == nil && many { // of which one is always being touched
		_, err = s.readOwner(ctx, q, s.byOwnerForEnd, owner)
	}
	if err == nil && (dead || many) {
		// Not what was locked: whoever waits for the lock of a session that moves sees
		// neither it nor where it is then.
		live, err = s.readOwner(ctx, q, s.byOwner, owner)
	}
	if err != nil {
		return nil, err
	}
	live = slices.DeleteFunc(live, over)
	if limit.Refuse && len(live) >= limit.Max {
		return nil, store.ErrLimit
	}
	slices.SortFunc(live, func(a, b store.Record) int { return cmp.Compare(a.LastSeen, b.LastSeen) })
	gone = live[:max(len(live)-limit.Max+1, 0)]
	for some := range slices.Chunk(gone, s.many) {
		same, err := s.endMany(ctx, q, some, store.ReasonTooManySessions)
		if err != nil {
			return nil, err
		}
		if !same {
			return nil, errTouched
		}
	}
	return gone, nil
}

// errTouched is not seen, but tried again: what was touched may no longer be the oldest.
var errTouched = &ownError{errors.New("sqlstore: a session that a limit was to end has changed")}

// Replace implements [store.Backend].
func (s *Store) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	return s.call(ctx, "replacing a session", func(ctx context.Context) error {
		return s.transact(ctx, func(ctx context.Context, q querier) error {
			was, err := read(ctx, q, s.loadForEnd, old)
			switch {
			case err != nil:
				return err
			case was.Version != version:
				return store.ErrConflict
			case was.Owner != r.Owner:
				return errOwner
			}
			same, err := s.move(ctx, q, was, r)
			if err != nil {
				return err
			}
			if !same {
				return errChanged
			}
			return s.add(ctx, q, r)
		})
	})
}

// errChanged is not seen unless a database does not lock what it was told to.
var errChanged = &ownError{errors.New("sqlstore: a row has changed although it was locked")}

// Delete implements [store.Backend].
func (s *Store) Delete(ctx context.Context, key store.Key, reason store.Reason) (was store.Record, err error) {
	err = s.call(ctx, "deleting a session", func(ctx context.Context) error {
		return s.transact(ctx, func(ctx context.Context, q querier) error {
			if was, err = read(ctx, q, s.loadForEnd, key); err != nil {
				return err
			}
			same, err := s.end(ctx, q, was, reason)
			if err == nil && !same {
				err = errChanged
			}
			return err
		})
	})
	var moved *store.MovedError
	if errors.Is(err, store.ErrNotFound) && !errors.As(err, &moved) {
		err = nil
	}
	if err != nil {
		was = store.Record{}
	}
	return was, err
}

// ByOwner implements [store.Backend].
func (s *Store) ByOwner(ctx context.Context, owner string) (records []store.Record, err error) {
	err = s.call(ctx, "listing an owner's sessions", func(ctx context.Context) error {
		return s.retry(ctx, func() (err error) {
			records, err = s.readOwner(ctx, s.db, s.byOwner, owner)
			return err
		})
	})
	if err != nil {
		records = nil
	}
	return records, err
}
