package sessionguard

import (
	"context"
	"errors"
	"net/http"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/store"
)

// A query is what resolve needs of a request.
type query struct {
	request  *http.Request
	now      store.Time
	activity activity
}

// mayRevive says whether a person seems to be asking, who can be given a cookie. It
// parses the URL, so it is asked only where there is something to revive.
func (c *core) mayRevive(q query) bool {
	return q.activity < noRevival && !upgrades(q.request) &&
		q.request.Header.Get("Sec-Purpose") == "" && requested(q.request).path != c.login.path
}

// A resolution is what the session cookie of a request stands for: nobody (the zero
// resolution), a live session (rec), one that has ended (reason), one that a person's
// request may revive (dormant), or nobody can tell (err).
type resolution struct {
	rec      store.Record
	current  bool   // the cookie is rec's own, not the one before
	token    string // the cookie that the browser is to get instead, or ""
	revived  bool   // by this request
	upgraded bool   // by the cookie before, and cannot be given the new one

	reason  store.Reason // why the session has ended, if that is kept
	dormant string       // the owner of a session that may be revived
	err     error
}

func ended(reason store.Reason) resolution {
	if !reason.Kept() {
		reason = ""
	}
	return resolution{reason: reason}
}

// maxConflicts is how often a revival is tried again after another request has changed
// the session meanwhile.
const maxConflicts = 20

// resolve finds the session of the cookie, follows it where it has moved, revives it if
// it may, and ends it if it is over.
func (c *core) resolve(ctx context.Context, q query) resolution {
	value, n := cookie.Single(q.request.Header, c.cookies.Session.Name)
	if n == 0 {
		return resolution{}
	}
	if n > 1 || !cookie.Plausible(value) {
		return c.forged(ctx)
	}
	key := c.cookies.Key(value)
	for range maxConflicts {
		rec, known := c.cached(key)
		if !known {
			if !c.mayName(value) {
				return c.forged(ctx)
			}
			var err error
			if rec, err = c.backend.Load(ctx, key); err != nil {
				return c.resolveGone(ctx, q, value, err)
			}
		}
		if !c.owns(rec) {
			return resolution{err: errForeign}
		}
		reason, over := expired(rec, q.now)
		switch {
		case !over:
			return resolution{rec: rec, current: true}
		case reason != store.Idle || q.now >= rec.Until():
			return c.endOver(ctx, rec, reason)
		case !c.mayRevive(q):
			return resolution{reason: store.Remembered, dormant: rec.Owner} // and is not deleted
		}
		res, err := c.revive(ctx, q, rec, value)
		if !errors.Is(err, store.ErrConflict) {
			if err != nil {
				return c.resolveGone(ctx, q, value, err)
			}
			return res
		}
		// A request that was accepted in time has only now been heard of.
	}
	return resolution{err: store.ErrConflict}
}

// resolveGone is for a cookie whose key the backend has no session for.
func (c *core) resolveGone(ctx context.Context, q query, value string, err error) resolution {
	var moved *store.MovedError
	if errors.As(err, &moved) {
		if !moved.Revived {
			return resolution{} // the person has logged in again: the token before is dead at once
		}
		var rec store.Record
		if rec, err = c.locate(ctx, moved); err == nil {
			return c.resolveMoved(ctx, q, value, moved, rec)
		}
	}
	var gone *store.EndedError
	switch {
	case errors.As(err, &gone):
		return ended(gone.Reason)
	case !errors.Is(err, store.ErrNotFound):
		return resolution{err: err}
	case c.cookies.Verify(value):
		c.emitOften(ctx, Event{Name: EventUnknown}, &c.unknown)
		return ended(store.Expired)
	}
	return c.forged(ctx)
}

// resolveMoved is for a token that a revival has replaced: it is the same person's for
// a while, and later a copy's.
func (c *core) resolveMoved(ctx context.Context, q query, value string, moved *store.MovedError, rec store.Record) resolution {
	if !c.owns(rec) {
		return resolution{err: errForeign}
	}
	reason, over := expired(rec, q.now)
	if over && q.now >= rec.Until() {
		return c.endOver(ctx, rec, reason)
	}
	details := rec.Detail()
	token, opened := c.cookies.OpenSuccessor(value, details.Handover)
	recent := q.now.Sub(details.Rotated) < c.rememberGrace
	lost := unused(rec) && !over && (moved.To == rec.Key || !rec.Revived())
	switch {
	case opened && !over && rec.Revived() && (recent || lost):
		if upgrades(q.request) {
			return resolution{rec: rec, upgraded: true}
		}
		return resolution{rec: rec, token: token}
	case recent || lost:
		return resolution{}
	}
	settled, cancel := settle(ctx)
	defer cancel()
	if err := c.end(settled, rec.Key, store.Theft, ""); err != nil {
		c.emitEnd(ctx, rec, store.Theft, "")
		return resolution{err: err}
	}
	return ended(store.Theft)
}

// revive lets a session that has idled out go on under a new token.
func (c *core) revive(ctx context.Context, q query, old store.Record, value string) (resolution, error) {
	token, key, err := c.mint(old.Owner)
	if err != nil {
		return resolution{}, err
	}
	details := old.Detail()
	details.Rotated = max(q.now, old.Authenticated+1)
	details.Handover = c.cookies.SealSuccessor(value, token)
	details.UserAgent, details.Address = c.device(q.request)
	session := *old.Session
	session.Key, session.Values, session.Details = key, nil, &details
	next := store.Record{Session: &session, LastSeen: details.Rotated - 1} // see unused

	settled, cancel := settle(ctx)
	defer cancel()
	if err := c.backend.Replace(settled, old.Key, old.Version, next); err != nil {
		return resolution{}, err
	}
	return resolution{rec: next, token: token, revived: true}, nil
}

// endOver ends a session that was found to be over. If the backend does not hear of
// it, the next request finds the same.
func (c *core) endOver(ctx context.Context, rec store.Record, reason store.Reason) resolution {
	settled, cancel := settle(ctx)
	defer cancel()
	if err := c.end(settled, rec.Key, reason, ""); err != nil {
		c.log.Error("sessionguard: could not delete an ended session", "reason", reason, "error", err)
	}
	return ended(reason)
}

func (c *core) forged(ctx context.Context) resolution {
	c.emitOften(ctx, Event{Name: EventForged}, &c.forgedCookies)
	return resolution{}
}
