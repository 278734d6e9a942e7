package sqlstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// The values of the column kind.
const (
	kindSession    = iota
	kindMoveMarker // left by Replace; its record is the row's key and the session's new place
	kindTombstone  // left by Delete or a limit; its record is the row's key and the reason
)

// A row holds the columns that are read. The record of a session is the part that does not
// change while the session keeps its key.
type row struct {
	key               []byte
	kind              int
	version, lastSeen int64
	record, values    []byte
}

// parse returns the row's session. For a move marker, a tombstone or a corrupt row it
// returns the error that Load returns.
func (r *row) parse() (store.Record, error) {
	if len(r.key) != len(store.Key{}) {
		return store.Record{}, corruptRow(r.key)
	}
	rest, hasKey := bytes.CutPrefix(r.record, r.key)
	switch {
	case r.kind == kindSession:
		s, err := record.Parse(store.Key(r.key), r.record)
		if err == nil {
			s.Version, s.Values = uint64(r.version), r.values
			return store.Record{Session: s, LastSeen: store.Time(r.lastSeen)}, nil
		}
	case r.kind == kindMoveMarker && hasKey:
		if moved, err := record.ParseMove(rest); err == nil {
			return store.Record{}, moved
		}
	case r.kind == kindTombstone && hasKey:
		return store.Record{}, &store.EndedError{Reason: store.Reason(rest)}
	}
	return store.Record{}, corruptRow(r.key)
}

// readSession returns the session of a key. text is load or loadForUpdate.
func readSession(ctx context.Context, q querier, text string, key store.Key) (rec store.Record, err error) {
	found := false
	err = forEachRow(ctx, q, text, []any{key[:]}, func(scan func(...any) error) error {
		found = true
		r := row{key: key[:]}
		if err := scan(&r.kind, &r.version, &r.lastSeen, &r.record, &r.values); err != nil {
			return scanError(r.key, err)
		}
		rec, err = r.parse()
		return err
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return rec, err
}

// readHeads returns the sessions, without values, that a query finds.
func readHeads(ctx context.Context, q querier, text string, args ...any) (records []store.Record, err error) {
	err = forEachRow(ctx, q, text, args, func(scan func(...any) error) error {
		var r row
		var id []byte
		if err := scan(&r.key, &id, &r.kind, &r.version, &r.lastSeen, &r.record); err != nil {
			return scanError(r.key, err)
		}
		rec, err := r.parse()
		if err == nil && rec.ID != string(id) { // else a caller might never get to the last page
			err = corruptRow(r.key)
		}
		if err == nil {
			records = append(records, rec)
		}
		return err
	})
	return records, err
}

// readByOwner returns the sessions of an owner. text is page, byOwner or byOwnerForUpdate, and
// args are its arguments after the first.
func readByOwner(ctx context.Context, q querier, text, owner string, args ...any) ([]store.Record, error) {
	records, err := readHeads(ctx, q, text, append([]any{ownerHash(owner)}, args...)...)
	for _, rec := range records {
		if rec.Owner != owner {
			return nil, corruptRow(rec.Key[:])
		}
	}
	return records, err
}

// ownerHash returns the column owner_hash of an owner's sessions: a hash of the realm and then
// one of the owner, so that the sessions of a realm are a range of the index.
func ownerHash(owner string) []byte {
	sum := sha256.Sum256([]byte(owner))
	return append(realmHash(store.RealmOf(owner)), sum[:32-realmHashSize]...)
}

const realmHashSize = 8

// realmHash returns what the owner_hash of every owner of a realm begins with.
func realmHash(realm string) []byte {
	sum := sha256.Sum256([]byte(realm))
	return append(make([]byte, 0, 32), sum[:realmHashSize]...)
}

// insertSession stores a new session.
func (s *Store) insertSession(ctx context.Context, q querier, r store.Record) error {
	afterNextTouches := r.LastSeen.Add(r.IdleTimeout).Add(r.IdleTimeout) // see standard
	deleteAfter := max(min(afterNextTouches, r.Expires), r.Detail().RememberUntil).Add(store.Grace)
	_, err := q.ExecContext(ctx, s.sql.insert, r.Key[:], ownerHash(r.Owner), []byte(r.ID), int64(r.Version), int64(r.LastSeen),
		r.IdleTimeout.Milliseconds(), int64(r.Expires), int64(r.Detail().RememberUntil), int64(deleteAfter),
		record.Append(nil, r.Session), r.Values)
	return err
}

// endSession replaces a session with a tombstone, and notifies listeners when the
// transaction commits. It reports false if the session has changed since it was read.
func (s *Store) endSession(ctx context.Context, q querier, was store.Record, reason store.Reason) (bool, error) {
	lifetime := store.Grace
	if reason.Retained() {
		lifetime = store.TombstoneLifetime
	}
	ok, err := s.retire(ctx, q, was, kindTombstone, now().Add(lifetime), []byte(reason))
	if !ok || err != nil || s.sql.notify == "" {
		return ok, err
	}
	_, err = q.ExecContext(ctx, s.sql.notify, channel, encodeEnding(store.Ending{ID: was.ID, Reason: reason}))
	return true, err
}

// endBatch does the same for up to store.MaxPage sessions whose rows are locked.
func (s *Store) endBatch(ctx context.Context, q querier, was []store.Record, reason store.Reason) error {
	if s.sql.endBatch == "" {
		for _, r := range was {
			unchanged, err := s.endSession(ctx, q, r, reason)
			if err == nil && !unchanged {
				err = errRowNotLocked
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	args := []any{kindTombstone, int64(now().Add(store.TombstoneLifetime)), []byte(reason)}
	payloads := make([]any, store.MaxPage)
	for i := range payloads {
		r := was[min(i, len(was)-1)] // one text serves any number: repeating the last does no harm
		args = append(args, r.Key[:])
		payloads[i] = encodeEnding(store.Ending{ID: r.ID, Reason: reason})
	}
	result, err := q.ExecContext(ctx, s.sql.endBatch, args...)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n != int64(len(was)) {
		err = errRowNotLocked
	}
	if err != nil || s.sql.notify == "" {
		return err
	}
	_, err = q.ExecContext(ctx, s.sql.notifyBatch, payloads...)
	return err
}

// moveSession replaces a session with a move marker that names its new key. It reports
// false if the session has changed since it was read.
func (s *Store) moveSession(ctx context.Context, q querier, was, to store.Record) (bool, error) {
	deleteAfter := now().Add(store.Grace)
	if to.Revived() {
		deleteAfter = max(deleteAfter, to.Expires)
	}
	return s.retire(ctx, q, was, kindMoveMarker, deleteAfter, record.AppendMove(nil, &store.MovedError{
		To: to.Key, Owner: to.Owner, ID: to.ID, Revived: to.Revived(),
	}))
}

// retire turns a session into a tombstone or a move marker, unless it has changed.
func (s *Store) retire(ctx context.Context, q querier, was store.Record, kind int, deleteAfter store.Time, content []byte) (bool, error) {
	return affectedRows(q.ExecContext(ctx, s.sql.retire, kind, int64(deleteAfter), append(was.Key[:], content...),
		was.Key[:], int64(was.Version), int64(was.LastSeen)))
}

func now() store.Time { return store.TimeOf(time.Now()) }
