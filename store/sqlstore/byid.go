package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/sessionguard-go/sessionguard/store"
)

// LoadByID implements [store.Backend].
func (s *Store) LoadByID(ctx context.Context, owner, id string) (rec store.Record, err error) {
	err = s.call(ctx, "loading a session", func(ctx context.Context) error {
		return s.retry(ctx, func() error {
			rec = store.Record{}
			err := forEachRow(ctx, s.db, s.sql.loadByID, []any{ownerHash(owner), []byte(id)}, func(scan func(...any) error) error {
				var r row
				if err := scan(&r.key, &r.kind, &r.version, &r.lastSeen, &r.record, &r.values); err != nil {
					return scanError(r.key, err)
				}
				found, err := r.parse()
				if err == nil && (found.Owner != owner || found.ID != id) {
					err = corruptRow(r.key)
				}
				rec = found
				return err
			})
			if err == nil && rec.Session == nil {
				err = store.ErrNotFound
			}
			return err
		})
	})
	if err != nil {
		rec = store.Record{}
	}
	return rec, err
}

// ByOwner implements [store.Backend].
func (s *Store) ByOwner(ctx context.Context, owner, after string, max int) (page []store.Record, err error) {
	err = s.call(ctx, "listing an owner's sessions", func(ctx context.Context) error {
		return s.retry(ctx, func() (err error) {
			page, err = readByOwner(ctx, s.db, s.sql.page, owner, []byte(after), max)
			return err
		})
	})
	if err != nil {
		page = nil
	}
	return page, err
}

// DeleteByID implements [store.Backend], in one transaction.
func (s *Store) DeleteByID(ctx context.Context, ends []store.End) (ended []store.Record, err error) {
	if len(ends) == 0 {
		return nil, nil
	}
	err = s.call(ctx, "deleting sessions", func(ctx context.Context) error {
		return s.transact(ctx, func(ctx context.Context, q querier) error {
			ended = make([]store.Record, len(ends))
			byReason := map[store.Reason][]store.Record{}
			found, err := s.lockByID(ctx, q, ends)
			if err != nil {
				return err
			}
			for i, end := range ends {
				id := ownedID{end.Owner, end.ID}
				if rec, ok := found[id]; ok {
					ended[i] = rec
					byReason[end.Reason] = append(byReason[end.Reason], rec)
					delete(found, id) // ends may have it twice
				}
			}
			for reason, records := range byReason {
				if err := s.endBatch(ctx, q, records, reason); err != nil {
					return err
				}
			}
			if len(byReason) == 0 {
				return s.awaitStandbys(ctx, q)
			}
			return nil
		})
	})
	if err != nil {
		ended = nil
	}
	return ended, err
}

type ownedID struct{ owner, id string }

// lockByID returns those of the sessions that exist, and locks their rows: in the order of
// the IDs, as byOwnerForUpdate does, so that concurrent calls do not deadlock.
func (s *Store) lockByID(ctx context.Context, q querier, ends []store.End) (map[ownedID]store.Record, error) {
	ends = slices.SortedFunc(slices.Values(ends), func(a, b store.End) int {
		return cmp.Or(bytes.Compare(ownerHash(a.Owner), ownerHash(b.Owner)), cmp.Compare(a.ID, b.ID))
	})
	for {
		locked, err := s.readByID(ctx, q, s.sql.byIDsForUpdate, ends)
		if err != nil || len(locked) == len(ends) {
			return locked, err
		}
		// A locking read that waited for a session to move returns it neither at its old
		// key nor at its new one. This one does not wait.
		existing, err := s.readByID(ctx, q, s.sql.byIDs, ends)
		if err != nil || len(existing) == len(locked) {
			return locked, err
		}
	}
}

// readByID returns those of the sessions that exist. text is byIDs or byIDsForUpdate.
func (s *Store) readByID(ctx context.Context, q querier, text string, ends []store.End) (map[ownedID]store.Record, error) {
	wanted, args := map[ownedID]bool{}, make([]any, 0, 2*store.MaxPage)
	for i := range store.MaxPage { // one text serves any number: repeating the last does no harm
		end := ends[min(i, len(ends)-1)]
		wanted[ownedID{end.Owner, end.ID}] = true
		args = append(args, ownerHash(end.Owner), []byte(end.ID))
	}
	records, err := readHeads(ctx, q, text, args...)
	if err != nil {
		return nil, err
	}
	found := map[ownedID]store.Record{}
	for _, rec := range records {
		id := ownedID{rec.Owner, rec.ID}
		if !wanted[id] {
			return nil, corruptRow(rec.Key[:])
		}
		found[id] = rec
	}
	return found, nil
}
