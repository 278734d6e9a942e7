package sessionguard

import (
	"context"
	"errors"

	"github.com/sessionguard-go/sessionguard/store"
)

// create ends what the browser presented and stores the new session, if the user
// may have one more.
func (st *locked) create(ctx context.Context, next store.Record, user User) error {
	c := st.core
	var limit store.Limit
	if c.maxSessions != nil {
		limit = c.maxSessions(user)
	}
	presented := st.pending().waiting
	if st.rec.Session != nil {
		presented = st.rec.Owner
	}
	if limit.Refuse && presented != next.Owner {
		// A login that is refused must not end another user's session.
		if err := st.createWithin(ctx, limit, next); err != nil {
			return err
		}
		err := st.purge(ctx, store.Replaced)
		if err != nil {
			_ = c.end(ctx, next.Key, store.Undone, "") // nobody has its token, but it would count
		}
		return err
	}
	if err := st.purge(ctx, store.Replaced); err != nil {
		return err
	}
	return st.createWithin(ctx, limit, next)
}

func (st *locked) createWithin(ctx context.Context, limit store.Limit, next store.Record) error {
	c := st.core
	ended, err := c.backend.Create(ctx, next, limit)
	if errors.Is(err, store.ErrLimit) {
		// Sessions from before a password change are dead, and take up room
		// until somebody comes by with them.
		n, failed := c.endOwned(ctx, c.userOf(next), "", func(s *store.Session) (store.Reason, bool) {
			return store.Restamped, s.Stamp != next.Stamp
		})
		if failed != nil {
			return failed
		}
		if n > 0 {
			ended, err = c.backend.Create(ctx, next, limit)
		}
	}
	for _, rec := range ended {
		c.streams.End(rec.ID, store.TooMany)
		c.emitEnd(ctx, rec, store.TooMany, "")
	}
	return err
}
