package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sessionguard-go/sessionguard/store"
)

func (b *mapBackend) Create(_ context.Context, r store.Record, limit store.Limit) (ended []store.Record, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Key.Group() != store.GroupOf(r.Owner) {
		return nil, errors.New("the key is not of its owner's group")
	}
	if err := b.busyErr(); err != nil {
		return nil, err
	}
	notASCII := func(c rune) bool { return c > 127 }
	if b.makes("create: refuses an owner that is not ASCII") && strings.ContainsFunc(r.Owner, notASCII) ||
		b.makes("create: refuses empty values") && len(r.Values) == 0 {
		return nil, errors.New("refused")
	}
	r = b.asStored(r)
	if b.makes("limit: stores before it refuses") {
		b.sessions[r.Key] = r
	}
	others := b.othersWithinLimit(r, limit)
	b.pauseIf("limit: checks and acts in two steps")
	if ended, err = b.enforce(limit, others); err != nil {
		return nil, err
	}
	b.sessions[b.key(r.Key)] = r
	b.created = append(b.created, r)
	return ended, nil
}

// asStored returns the record that Create stores for r.
func (b *mapBackend) asStored(r store.Record) store.Record {
	s := *r.Session
	switch zero := bytes.IndexByte(s.Values, 0); {
	case b.makes("create: loses the stamp"):
		s.Stamp = ""
	case b.makes("create: loses the successor token"):
		s.Details = detailsWith(r, func(d *store.Details) { d.SuccessorToken = nil })
	case b.makes("create: truncates the successor token at a zero byte"):
		s.Details = detailsWith(r, func(d *store.Details) { d.SuccessorToken, _, _ = bytes.Cut(d.SuccessorToken, []byte{0}) })
	case b.makes("create: loses the details of a session without a stamp") && s.Stamp == "":
		s.Details = nil
	case b.makes("create: truncates values to 64 KB"):
		s.Values = s.Values[:min(len(s.Values), 64<<10)]
	case b.makes("create: truncates values at a zero byte") && zero >= 0:
		s.Values = s.Values[:zero]
	case b.makes("create: truncates LastSeen to seconds"):
		r.LastSeen -= r.LastSeen % 1000
	case b.makes("create: sets the version to 1"):
		s.Version = 1
	}
	r.Session = &s
	return r
}

// othersWithinLimit returns the owner's other sessions that count for a limit, in the order in
// which the limit ends them. It removes those that are gone if there is a limit.
func (b *mapBackend) othersWithinLimit(r store.Record, limit store.Limit) []store.Record {
	others := b.owned(r.Owner, "limit: ends sessions of an owner with the same prefix")
	others = slices.DeleteFunc(others, func(other store.Record) bool {
		gone := hasPassed(other.GoneAt()) || hasPassed(other.Deadline()) && b.makes("limit: ignores remembered sessions")
		if gone && b.makes("watch: reports expired sessions") {
			b.notify(other, store.ReasonIdle)
		}
		if gone && limit.Max > 0 && !b.makes("limit: keeps sessions past GoneAt") {
			delete(b.sessions, b.key(other.Key))
		}
		return gone && !b.makes("limit: counts sessions past GoneAt") || other.Key == r.Key
	})
	if b.makes("limit: counts deleted sessions") {
		others = slices.DeleteFunc(slices.Clone(b.created), func(other store.Record) bool { return other.Owner != r.Owner })
	}
	if !b.makes("limit: ends the first created") {
		slices.SortFunc(others, func(x, y store.Record) int { return int(x.LastSeen - y.LastSeen) })
	}
	if b.makes("limit: ends the most recently seen") {
		slices.Reverse(others)
	}
	return others
}

// enforce ends the first of others until there is room for one more session, or refuses.
func (b *mapBackend) enforce(limit store.Limit, others []store.Record) (ended []store.Record, err error) {
	if b.makes("limit: is one too high") {
		limit.Max++
	}
	if b.makes("limit: is one too low") {
		limit.Max = max(1, limit.Max-1)
	}
	excess := len(others) + 1 - limit.Max
	if limit.Max <= 0 || excess <= 0 {
		return nil, nil
	}
	if limit.Refuse && !b.makes("limit: ends sessions instead of refusing") {
		if b.makes("watch: reports a limit that refuses") {
			b.notify(others[0], store.ReasonTooManySessions)
		}
		return nil, store.ErrLimit
	}
	if b.makes("limit: ends at most one session") {
		excess = 1
	}
	for _, r := range others[:excess] {
		b.remove(r, store.ReasonTooManySessions)
		ended = append(ended, r)
		if b.makes("limit: keeps no reason") {
			delete(b.reasons, r.Key)
		}
	}
	if b.makes("limit: returns no ended sessions") {
		return nil, nil
	}
	return ended, nil
}
