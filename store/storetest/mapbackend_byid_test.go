package storetest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sessionguard-go/sessionguard/store"
)

func (b *mapBackend) LoadByID(_ context.Context, owner, id string) (store.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.byID(owner, id)
	switch {
	case b.makes("load by ID: fails for an unknown ID") && !ok:
		return r, errors.New("unknown")
	case !ok:
		return r, store.ErrNotFound
	case b.makes("load by ID: returns no values"):
		s := *r.Session
		s.Values = nil
		r.Session = &s
	case b.makes("load by ID: omits sessions past the deadline") && hasPassed(r.Deadline()):
		return r, store.ErrNotFound
	}
	return r, nil
}

// byID returns an owner's session by its ID.
func (b *mapBackend) byID(owner, id string) (store.Record, bool) {
	for _, r := range b.sessions {
		switch {
		case r.ID != id && !(b.makes("by ID: matches a prefix") && strings.HasPrefix(r.ID, id)) &&
			!(b.makes("by ID: ignores case") && strings.EqualFold(r.ID, id)),
			r.Owner != owner && !b.makes("by ID: ignores the owner"),
			b.makes("by ID: finds a session only at its first key") && b.asCreated(r.Key).Owner == "":
			continue
		}
		return r, true
	}
	return store.Record{}, false
}

func (b *mapBackend) ByOwner(_ context.Context, owner, after string, max int) ([]store.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	owned := b.owned(owner, "by owner: matches a prefix")
	if b.makes("by owner: omits sessions past the deadline") {
		owned = slices.DeleteFunc(owned, func(r store.Record) bool { return hasPassed(r.Deadline()) })
	}
	if b.makes("by owner: fails for an unknown owner") && len(owned) == 0 {
		return nil, store.ErrNotFound
	}
	place := func(r store.Record) string { return r.ID }
	switch {
	case b.makes("by owner: in the order of keys"):
		place = func(r store.Record) string { return string(r.Key[:]) }
		if i := slices.IndexFunc(owned, func(r store.Record) bool { return r.ID == after }); i >= 0 {
			after = place(owned[i])
		}
	case b.makes("by owner: in an order without case"):
		place = func(r store.Record) string { return strings.ToLower(r.ID) }
	}
	slices.SortFunc(owned, func(x, y store.Record) int { return cmp.Compare(place(x), place(y)) })
	owned = slices.DeleteFunc(owned, func(r store.Record) bool {
		return place(r) < after || place(r) == after && !b.makes("by owner: includes the last ID")
	})
	if b.makes("by owner: pages are too short") {
		max = (max + 1) / 2
	}
	if b.makes("by owner: pages are too long") {
		max++
	}
	return owned[:min(max, len(owned))], nil
}

func (b *mapBackend) DeleteByID(_ context.Context, ends []store.End) ([]store.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.busyErr(); err != nil {
		return nil, err
	}
	ended := make([]store.Record, len(ends))
	for i, end := range ends {
		r, ok := b.byID(end.Owner, end.ID)
		switch {
		case !ok && b.makes("delete by ID: fails if a session is gone"):
			return nil, store.ErrNotFound
		case !ok, b.makes("delete by ID: ends at most 100") && i >= 100:
			continue
		case b.makes("delete by ID: uses one reason"):
			end.Reason = ends[0].Reason
		}
		b.pauseIf("delete by ID: checks and acts in two steps")
		switch {
		case b.makes("delete by ID: keeps the session"):
		case b.makes("watch: omits sessions that DeleteByID ends"):
			delete(b.sessions, r.Key)
			b.reasons[r.Key] = end.Reason
		default:
			b.remove(r, end.Reason)
		}
		if b.makes("delete by ID: keeps no reason") {
			delete(b.reasons, r.Key)
		}
		ended[i] = r
	}
	switch {
	case b.makes("delete by ID: returns only what has ended"):
		ended = slices.DeleteFunc(ended, func(r store.Record) bool { return r.Session == nil })
	case b.makes("delete by ID: returns another order"):
		slices.Reverse(ended)
	case b.makes("delete by ID: returns no sessions"):
		clear(ended)
	}
	return ended, nil
}
