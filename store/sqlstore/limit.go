package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/sessionguard-go/sessionguard/store"
)

// makeRoom ends an owner's least recently seen sessions, so that the limit allows one
// more, and returns them. Until the transaction ends, nobody else creates a session of this
// owner within a limit.
func (s *Store) makeRoom(ctx context.Context, q querier, owner string, limit store.Limit) (ended []store.Record, err error) {
	if err := s.lockOwnerGroup(ctx, q, owner); err != nil {
		return nil, err
	}
	live, err := s.liveSessions(ctx, q, owner, limit)
	if err != nil {
		return nil, err
	}
	if limit.Refuse && len(live) >= limit.Max {
		return nil, store.ErrLimit
	}
	slices.SortFunc(live, func(a, b store.Record) int { return cmp.Compare(a.LastSeen, b.LastSeen) })
	ended = live[:max(len(live)-limit.Max+1, 0)]
	for batch := range slices.Chunk(ended, store.MaxPage) {
		if err := s.endVictims(ctx, q, batch); err != nil {
			return nil, err
		}
	}
	return ended, nil
}

// endVictims ends sessions unless they have changed since they were read.
func (s *Store) endVictims(ctx context.Context, q querier, was []store.Record) error {
	if len(was) == 1 {
		unchanged, err := s.endSession(ctx, q, was[0], store.ReasonTooManySessions)
		if err == nil && !unchanged {
			err = errVictimChanged
		}
		return err
	}
	ends := make([]store.End, len(was))
	for i, r := range was {
		ends[i] = store.End{Owner: r.Owner, ID: r.ID}
	}
	locked, err := s.lockByID(ctx, q, ends)
	if err != nil {
		return err
	}
	for _, r := range was {
		now := locked[ownedID{r.Owner, r.ID}]
		if now.Session == nil || now.Key != r.Key || now.Version != r.Version || now.LastSeen != r.LastSeen {
			return errVictimChanged
		}
	}
	return s.endBatch(ctx, q, was, store.ReasonTooManySessions)
}

var (
	// errVictimChanged makes transact try again: the session may no longer be among the
	// least recently seen. No caller sees it.
	errVictimChanged = &safeError{errors.New("sqlstore: a session that a limit was to end has changed")}

	errLocksMissing = &safeError{errors.New("sqlstore: the table sessionguard_locks is incomplete; call EnsureSchema")}
)

// lockOwnerGroup makes this transaction wait for others that create a session within a limit
// for an owner of the same group.
func (s *Store) lockOwnerGroup(ctx context.Context, q querier, owner string) error {
	if s.sql.lockGroup == "" {
		return nil
	}
	locked := false
	err := forEachRow(ctx, q, s.sql.lockGroup, []any{store.GroupOf(owner)}, func(func(...any) error) error {
		locked = true
		return nil
	})
	if err == nil && !locked {
		err = errLocksMissing
	}
	return err
}

// liveSessions returns an owner's sessions that count towards a limit. It deletes those
// that are past their GoneAt.
func (s *Store) liveSessions(ctx context.Context, q querier, owner string, limit store.Limit) ([]store.Record, error) {
	at := now()
	isGone := func(r store.Record) bool { return r.GoneAt() <= at }
	records, err := readByOwner(ctx, q, s.sql.byOwner, owner)
	if err != nil {
		return nil, err
	}
	anyGone := slices.ContainsFunc(records, isGone)
	if anyGone { // otherwise a delayed Touch could revive one and exceed the limit
		if _, err := q.ExecContext(ctx, s.sql.deleteGone, ownerHash(owner), int64(at)); err != nil {
			return nil, err
		}
	}
	// Of several sessions to end, one may be touched all the time: lock them first.
	mustLock := len(records) > limit.Max && !limit.Refuse
	if mustLock {
		if _, err := readByOwner(ctx, q, s.sql.byOwnerForUpdate, owner); err != nil {
			return nil, err
		}
	}
	if anyGone || mustLock {
		// Read again instead of using the locked rows: a locking read that waited for a
		// session to move returns it neither at its old key nor at its new one.
		if records, err = readByOwner(ctx, q, s.sql.byOwner, owner); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(records, isGone), nil
}
