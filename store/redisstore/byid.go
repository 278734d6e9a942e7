package redisstore

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// LoadByID implements [store.Backend].
func (s *Store) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	group := store.GroupOf(owner)
	reply, err := s.runScript(ctx, loadByIDScript, s.indexKey(group), nil, owner, id)
	if err != nil {
		return store.Record{}, err
	}
	return s.record(group, reply[0], reply[1])
}

// ByOwner implements [store.Backend]. It takes one round trip, and another one for each
// page of entries of the index in which sessions have expired. If only replicas lag, it
// returns the page with the error, so that the caller can still end the sessions.
func (s *Store) ByOwner(ctx context.Context, owner, after string, max int) (page []store.Record, err error) {
	group, position := store.GroupOf(owner), ""
	if after, _, _ := strings.Cut(after, "\x00"); after != "" { // which is as great, as no ID has a zero byte
		position = after + "\x01" // entries of the ID itself have a zero byte there
	}
	for {
		reply, err := s.runScript(ctx, byOwnerScript, s.indexKey(group), nil, owner, position, strconv.Itoa(max-len(page)))
		if err != nil && !lags(err) {
			return nil, err
		}
		records, corrupt := s.records(group, reply[1:])
		if corrupt != nil {
			return nil, corrupt
		}
		page, position = append(page, records...), reply[0]
		if err != nil || position == "" || len(page) == max {
			return page, err
		}
	}
}

// DeleteByID implements [store.Backend]. It takes one round trip for each group of
// owners. If one fails, it ends the sessions of the other groups all the same.
func (s *Store) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	byGroup := map[int][]int{} // indexes of ends
	for i, end := range ends {
		group := store.GroupOf(end.Owner)
		byGroup[group] = append(byGroup[group], i)
	}
	ended := make([]store.Record, len(ends))
	var failed error
	for group, indexes := range byGroup {
		err := s.deleteGroup(ctx, group, ends, indexes, ended)
		failed = cmp.Or(failed, err)
		if err != nil && !lags(err) && s.isDown(ctx, err) {
			break
		}
	}
	if failed != nil && s.cache != nil {
		s.cache.invalidateAll() // it may hold what has ended all the same
	}
	return ended, failed
}

// deleteGroup ends those of ends whose owners are of a group.
func (s *Store) deleteGroup(ctx context.Context, group int, ends []store.End, indexes []int, ended []store.Record) error {
	var args []string
	for _, i := range indexes {
		end := ends[i]
		args = append(args, end.Owner, end.ID, encodeTombstone(end.Reason), tombstoneTTL(end.Reason))
	}
	reply, lag := s.runScript(ctx, deleteByIDScript, s.indexKey(group), nil, args...)
	if lag != nil && !lags(lag) {
		return lag
	}
	for ; len(reply) > 2; reply = reply[3:] {
		position, err := strconv.Atoi(reply[0])
		if err != nil || position < 0 || position >= len(indexes) {
			return s.withKey(s.indexKey(group), record.ErrCorrupt)
		}
		r, err := s.record(group, reply[1], reply[2])
		if err != nil {
			return err
		}
		ended[indexes[position]] = r
		s.noteWrite(r.Key)
	}
	return lag
}
