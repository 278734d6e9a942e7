package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"iter"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

var _ store.Lister = (*Store)(nil)

// All implements [store.Lister]. It reads pages of [store.MaxPage] sessions, each
// within [Config.Timeout]. A corrupt row does not hide the sessions after it: its
// error comes last.
func (s *Store) All(ctx context.Context, realm string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		place, corrupt := listPlace{hash: realmHash(realm)}, error(nil)
		for more := true; more; {
			var page []store.Record
			err := s.call(ctx, "listing all sessions", func(ctx context.Context) error {
				return s.byIndex(ctx, func(ctx context.Context, q querier) (err error) {
					page, more, err = s.readList(ctx, q, realm, &place, &corrupt)
					return err
				})
			})
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			for _, rec := range page {
				if !yield(rec, nil) {
					return
				}
			}
		}
		if corrupt != nil {
			yield(store.Record{}, corrupt)
		}
	}
}

// A listPlace is where a session is in a list: the columns owner_hash and session_id, which
// no Replace changes.
type listPlace struct{ hash, id []byte }

// readList returns the page after a place, and moves the place to the page's end. The first
// corrupt row goes to corrupt.
func (s *Store) readList(ctx context.Context, q querier, realm string, place *listPlace, corrupt *error) (page []store.Record, more bool, err error) {
	args := []any{place.hash, notNil(place.id)}
	if s.dialect == MySQL {
		args = append(args, place.hash)
	}
	rows, at, first := 0, *place, *corrupt
	err = forEachRow(ctx, q, s.sql.list, append(args, lastHash(realm)), func(scan func(...any) error) error {
		rows++
		rec, err := scanListed(scan, &at)
		if err == nil && store.RealmOf(rec.Owner) != realm {
			err = corruptRow(rec.Key[:])
		}
		switch {
		case err == nil:
			page = append(page, rec)
		case !errors.Is(err, record.ErrCorrupt):
			return err
		case first == nil:
			first = err
		}
		return nil
	})
	if err == nil {
		*place, *corrupt = at, first
	}
	return page, rows == store.MaxPage, err
}

// scanListed returns the session of a row of a list, and stores its place there.
func scanListed(scan func(...any) error, at *listPlace) (store.Record, error) {
	var r row
	if err := scan(&at.hash, &at.id, &r.key, &r.kind, &r.version, &r.lastSeen, &r.record); err != nil {
		return store.Record{}, scanError(r.key, err)
	}
	rec, err := r.parse()
	if err == nil && (rec.ID != string(at.id) || !bytes.Equal(at.hash, ownerHash(rec.Owner))) {
		err = corruptRow(r.key)
	}
	return rec, err
}

// lastHash returns the last owner_hash that an owner of a realm may have.
func lastHash(realm string) []byte {
	hash := realmHash(realm)
	return append(hash, bytes.Repeat([]byte{0xff}, cap(hash)-len(hash))...)
}

// notNil returns b, or an empty slice instead of nil, which would be NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Count implements [store.Lister]. It counts about two thousand sessions at a time, each time
// within [Config.Timeout].
func (s *Store) Count(ctx context.Context, realm string) (n int, err error) {
	at, last := now(), lastHash(realm)
	for start, end := realmHash(realm), []byte(nil); !bytes.Equal(end, last); start = end {
		counted := 0
		err := s.call(ctx, "counting sessions", func(ctx context.Context) error {
			return s.byIndex(ctx, func(ctx context.Context, q querier) error {
				end = last // unless there are more
				err := forEachRow(ctx, q, s.sql.countEnd, []any{start, last}, func(scan func(...any) error) error { return scan(&end) })
				if err != nil {
					return err
				}
				return forEachRow(ctx, q, s.sql.count, []any{start, end, int64(at)}, func(scan func(...any) error) error { return scan(&counted) })
			})
		})
		if err != nil {
			return 0, err
		}
		n += counted
	}
	return n, nil
}

// byIndex runs f, which only reads, where the database serves a part of the list from the
// index of owners, whatever it believes to be in the table.
func (s *Store) byIndex(ctx context.Context, f func(ctx context.Context, q querier) error) error {
	if s.sql.useIndex == "" {
		return s.retry(ctx, func() error { return f(ctx, s.db) })
	}
	return s.transact(ctx, func(ctx context.Context, q querier) error {
		if _, err := q.ExecContext(ctx, s.sql.useIndex); err != nil {
			return err
		}
		return f(ctx, q)
	})
}
