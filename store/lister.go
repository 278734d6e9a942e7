package store

import (
	"context"
	"iter"
	"time"
)

// All implements [Lister]. It holds 1/1024 of the sessions at a time, but none of its locks
// while the caller handles one.
func (m *Memory) All(ctx context.Context, realm string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for i := range m.owners.shards {
			if err := ctx.Err(); err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range m.ofRealm(&m.owners.shards[i], realm) {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// Count implements [Lister].
func (m *Memory) Count(ctx context.Context, realm string) (n int, err error) {
	now := TimeOf(time.Now())
	for r, err := range m.All(ctx, realm) {
		if err != nil {
			return 0, err
		}
		if r.GoneAt() > now {
			n++
		}
	}
	return n, nil
}

// ofRealm returns the sessions whose owners are in a shard and of a realm.
func (m *Memory) ofRealm(s *ownerShard, realm string) (records []Record) {
	s.Lock()
	defer s.Unlock()
	for r := range s.refs() {
		if r := m.recordAt(r); RealmOf(r.Owner) == realm {
			records = append(records, r)
		}
	}
	return records
}
