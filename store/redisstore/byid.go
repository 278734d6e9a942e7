package redisstore

import (
	"context"
	"strconv"
	"strings"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// LoadByID implements [store.Backend].
func (s *Store) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	reply, err := s.runScript(ctx, loadByIDScript, s.indexKey(owner), nil, owner, id)
	if err != nil {
		return store.Record{}, err
	}
	records, err := s.records(owner, reply)
	if err != nil {
		return store.Record{}, err
	}
	return records[0], nil
}

// ByOwner implements [store.Backend]. It takes one round trip, and another one for each page
// of entries of the index in which sessions have expired.
func (s *Store) ByOwner(ctx context.Context, owner, after string, max int) (page []store.Record, err error) {
	from := "-"
	if after, _, _ := strings.Cut(after, "\x00"); after != "" { // which is as great, as no ID has a zero byte
		from = "(" + after + "\x01" // entries of the ID itself have a zero byte there
	}
	for {
		reply, err := s.runScript(ctx, byOwnerScript, s.indexKey(owner), nil, owner, from, strconv.Itoa(max-len(page)))
		if err != nil {
			return nil, err
		}
		records, err := s.records(owner, reply[1:])
		if err != nil {
			return nil, err
		}
		page = append(page, records...)
		if reply[0] == "" || len(page) == max {
			return page, nil
		}
		from = "(" + reply[0]
	}
}

// DeleteByID implements [store.Backend]. It takes one round trip for each group of owners.
func (s *Store) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	byGroup := map[int][]int{} // indexes of ends
	for i, end := range ends {
		group := store.GroupOf(end.Owner)
		byGroup[group] = append(byGroup[group], i)
	}
	ended := make([]store.Record, len(ends))
	for _, indexes := range byGroup {
		if err := s.deleteGroup(ctx, ends, indexes, ended); err != nil {
			if s.cache != nil {
				s.cache.invalidateAll() // it may hold what has ended all the same
			}
			return ended, err
		}
	}
	return ended, nil
}

// deleteGroup ends those of ends whose owners are of the same group.
func (s *Store) deleteGroup(ctx context.Context, ends []store.End, indexes []int, ended []store.Record) error {
	var keys, args []string
	for _, i := range indexes {
		end := ends[i]
		keys = append(keys, s.indexKey(end.Owner))
		args = append(args, end.Owner, end.ID, encodeTombstone(end.Reason), tombstoneTTL(end.Reason))
	}
	reply, lag := s.runScript(ctx, deleteByIDScript, keys[0], keys[1:], args...)
	if lag != nil && !lags(lag) {
		return lag
	}
	for ; len(reply) > 2; reply = reply[3:] {
		position, err := strconv.Atoi(reply[0])
		if err != nil || position < 1 || position > len(indexes) {
			return s.withKey(keys[0], record.ErrCorrupt)
		}
		i := indexes[position-1]
		records, err := s.records(ends[i].Owner, reply[1:3])
		if err != nil {
			return err
		}
		ended[i] = records[0]
		s.noteWrite(ended[i].Key)
	}
	return lag
}
