package store

import (
	"context"
	"iter"
	"maps"
	"slices"
	"time"
)

// All implements [Lister]. It holds at most 1/1024 of the owners with one session at a time, or a
// page of another's, and none of its locks while the caller handles a session.
func (m *Memory) All(ctx context.Context, realm string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for i := range m.owners.shards {
			for page := range m.pages(&m.owners.shards[i]) {
				if err := ctx.Err(); err != nil {
					yield(Record{}, err)
					return
				}
				for _, r := range page {
					if RealmOf(r.Owner) == realm && !yield(r, nil) {
						return
					}
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

// pages yields all sessions whose owners are in a shard: first those that are alone in their
// list, and then each other list in pages, since nothing limits how long one is. A page is
// valid until the next.
func (m *Memory) pages(s *ownerShard) iter.Seq[[]Record] {
	return func(yield func([]Record) bool) {
		s.Lock()
		page := make([]Record, 0, len(s.single))
		for _, r := range s.single {
			page = append(page, m.recordAt(r))
		}
		several := slices.Collect(maps.Keys(s.several))
		s.Unlock()

		if !yield(page) {
			return
		}
		for _, hash := range several {
			list, after, more := ownerList{s, m, hash, ""}, "", true
			for more {
				page = list.appendAfter(page[:0], after)
				if !yield(page) {
					return
				}
				if more = len(page) == MaxPage; more {
					list.owner, after = page[MaxPage-1].Owner, page[MaxPage-1].ID
				}
			}
		}
	}
}

// appendAfter appends a page of a list that is not locked yet: the sessions after the owner's
// with this ID, also those of other owners.
func (l ownerList) appendAfter(page []Record, id string) []Record {
	l.Lock()
	defer l.Unlock()
	b := l.blocks()
	for p := l.search(b, id+"\x00", Key{}); !b.isEnd(p) && len(page) < MaxPage; p = b.next(p) {
		page = append(page, l.memory.recordAt(b.at(p)))
	}
	return page
}
