package histories

import (
	"context"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// ahead makes a node's clock look fast or slow to the others: it shifts every time that the
// node stores or loads. (libfaketime cannot do that: Go reads the clock without the C
// library. Nor can Linux's time namespaces, which leave the real-time clock alone.) The
// expiry of keys in Redis, which a node reckons from now, shifts with them.
type ahead struct {
	store.Backend
	by time.Duration
}

func (a ahead) Create(ctx context.Context, r store.Record, limit store.Limit) ([]store.Record, error) {
	return shiftAll(-a.by)(a.Backend.Create(ctx, shift(r, a.by), limit))
}

func (a ahead) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	return a.Backend.Replace(ctx, old, version, shift(r, a.by))
}

func (a ahead) Load(ctx context.Context, key store.Key) (store.Record, error) {
	r, err := a.Backend.Load(ctx, key)
	return shift(r, -a.by), err
}

func (a ahead) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	return a.Backend.Touch(ctx, key, seen.Add(a.by))
}

func (a ahead) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	r, err := a.Backend.Delete(ctx, key, reason)
	return shift(r, -a.by), err
}

func (a ahead) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	r, err := a.Backend.LoadByID(ctx, owner, id)
	return shift(r, -a.by), err
}

func (a ahead) ByOwner(ctx context.Context, owner, after string, max int) ([]store.Record, error) {
	return shiftAll(-a.by)(a.Backend.ByOwner(ctx, owner, after, max))
}

func (a ahead) DeleteByID(ctx context.Context, ends []store.End) ([]store.Record, error) {
	return shiftAll(-a.by)(a.Backend.DeleteByID(ctx, ends))
}

func shiftAll(by time.Duration) func([]store.Record, error) ([]store.Record, error) {
	return func(records []store.Record, err error) ([]store.Record, error) {
		shifted := make([]store.Record, len(records))
		for n, r := range records {
			shifted[n] = shift(r, by)
		}
		return shifted, err
	}
}

// shift returns r with other times. 0 means that there is none.
func shift(r store.Record, by time.Duration) store.Record {
	if r.Session == nil {
		return r
	}
	session, details := *r.Session, r.Session.Detail()
	for _, t := range []*store.Time{
		&r.LastSeen, &session.Authenticated, &session.Expires, &session.Created, &details.RememberUntil, &details.Rotated,
	} {
		if *t != 0 {
			*t = t.Add(by)
		}
	}
	session.Details = &details
	return store.Record{Session: &session, LastSeen: r.LastSeen}
}
