package sqlstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// What a row is.
const (
	session = iota
	moved   // Replace left it: record is the key and where to
	ended   // Delete or a limit left it: record is the key and the reason
)

// A row is what is read of one. Of a session, record is what does not change.
type row struct {
	key               []byte
	kind              int
	version, lastSeen int64
	record, data      []byte
}

// parse returns the session, or says why there is none.
func (r *row) parse() (store.Record, error) {
	if len(r.key) != len(store.Key{}) {
		return store.Record{}, corrupt(r.key)
	}
	left, ofKey := bytes.CutPrefix(r.record, r.key)
	switch {
	case r.kind == session:
		s, err := record.Parse(store.Key(r.key), r.record)
		if err == nil {
			s.Version, s.Values = uint64(r.version), r.data
			return store.Record{Session: s, LastSeen: store.Time(r.lastSeen)}, nil
		}
	case r.kind == moved && ofKey:
		if m, err := record.ParseMove(left); err == nil {
			return store.Record{}, m
		}
	case r.kind == ended && ofKey:
		return store.Record{}, &store.EndedError{Reason: store.Reason(left)}
	}
	return store.Record{}, corrupt(r.key)
}

// read returns the session of a key.
func read(ctx context.Context, q querier, text string, key store.Key) (rec store.Record, err error) {
	missing := true
	err = each(ctx, q, text, []any{key[:]}, func(scan func(...any) error) error {
		missing = false
		r := row{key: key[:]}
		if err := scan(&r.kind, &r.version, &r.lastSeen, &r.record, &r.data); err != nil {
			return unread(r.key, err)
		}
		rec, err = r.parse()
		return err
	})
	if err == nil && missing {
		err = store.ErrNotFound
	}
	return rec, err
}

// readOwner returns the sessions of an owner.
func (s *Store) readOwner(ctx context.Context, q querier, text, owner string) (records []store.Record, err error) {
	err = each(ctx, q, text, []any{hashOf(owner)}, func(scan func(...any) error) error {
		var r row
		if err := scan(&r.key, &r.kind, &r.version, &r.lastSeen, &r.record, &r.data); err != nil {
			return unread(r.key, err)
		}
		rec, err := r.parse()
		if err == nil && rec.Owner != owner {
			err = corrupt(r.key)
		}
		records = append(records, rec)
		return err
	})
	return records, err
}

func hashOf(owner string) []byte {
	sum := sha256.Sum256([]byte(owner))
	return sum[:]
}

// add stores a session.
func (s *Store) add(ctx context.Context, q querier, r store.Record) error {
	later := r.LastSeen.Add(r.IdleTimeout).Add(r.IdleTimeout)
	forget := max(min(later, r.Expires), r.Detail().RememberUntil).Add(store.Grace)
	_, err := q.ExecContext(ctx, s.insert, r.Key[:], hashOf(r.Owner), int64(r.Version), int64(r.LastSeen),
		r.IdleTimeout.Milliseconds(), int64(r.Expires), int64(r.Detail().RememberUntil), int64(forget),
		record.Append(nil, r.Session), r.Values)
	return err
}

// end makes a session one that has ended, if it is still as it was read, and tells
// those who listen when the transaction is committed.
func (s *Store) end(ctx context.Context, q querier, was store.Record, reason store.Reason) (bool, error) {
	kept := store.Grace
	if reason.Retained() {
		kept = store.TombstoneLifetime
	}
	ok, err := s.replaceBy(ctx, q, was, ended, now().Add(kept), []byte(reason))
	if !ok || err != nil || s.notify == "" {
		return ok, err
	}
	_, err = q.ExecContext(ctx, s.notify, channel, payloadOf(store.Ending{ID: was.ID, Reason: reason}))
	return true, err
}

// endMany is end for some of an owner's sessions, in one statement. It says no if any
// is not as it was read; then the others have ended, unless the transaction is undone.
func (s *Store) endMany(ctx context.Context, q querier, was []store.Record, reason store.Reason) (bool, error) {
	if len(was) == 1 {
		return s.end(ctx, q, was[0], reason)
	}
	args := []any{ended, int64(now().Add(store.TombstoneLifetime)), []byte(reason)}
	payloads := make([]any, s.many)
	for i := range payloads {
		r := was[min(i, len(was)-1)] // to one text for any number, the last again does no harm
		args = append(args, r.Key[:], int64(r.Version), int64(r.LastSeen))
		payloads[i] = payloadOf(store.Ending{ID: r.ID, Reason: reason})
	}
	result, err := q.ExecContext(ctx, s.leaveMany, args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	if n != int64(len(was)) || err != nil || s.notify == "" {
		return n == int64(len(was)), err
	}
	_, err = q.ExecContext(ctx, s.notifyMany, payloads...)
	return true, err
}

// move makes a session one that has moved.
func (s *Store) move(ctx context.Context, q querier, was, to store.Record) (bool, error) {
	forget := now().Add(store.Grace)
	if to.Revived() {
		forget = max(forget, to.Expires)
	}
	return s.replaceBy(ctx, q, was, moved, forget, record.AppendMove(nil, &store.MovedError{
		To: to.Key, Owner: to.Owner, ID: to.ID, Revived: to.Revived(),
	}))
}

func (s *Store) replaceBy(ctx context.Context, q querier, was store.Record, kind int, forget store.Time, left []byte) (bool, error) {
	return changed(q.ExecContext(ctx, s.leave, kind, int64(forget), append(was.Key[:], left...),
		was.Key[:], int64(was.Version), int64(was.LastSeen)))
}

func now() store.Time { return store.TimeOf(time.Now()) }
