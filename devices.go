package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/store"
)

// A Session is one of a user's logins, as listed by [Guard.Sessions].
type Session struct {
	// ID is for [Guard.EndSession]. It is not a secret: nobody can log in with it.
	ID      string
	Current bool // the session of the request that asks

	Created         time.Time
	Authenticated   time.Time // last login; the zero time if only a cookie has revived the session since
	LastSeen        time.Time // up to 1/30 of the idle timeout old with a remote backend
	Expires         time.Time // the absolute timeout
	RememberedUntil time.Time // until when [Remember] revives it after its idle timeout; the zero time if never

	// UserAgent names the client, such as "Firefox on Windows", and Address is where it
	// connected from (see Config.ClientAddr), both at the last login or revival. Clients
	// choose their User-Agent.
	UserAgent, Address string
}

// FreshUntil returns when [Guard.RequireFresh] with this age begins to require a new login.
func (s Session) FreshUntil(age time.Duration) time.Time {
	if s.Authenticated.IsZero() {
		return time.Time{}
	}
	return s.Authenticated.Add(age)
}

// Sessions lists a user's live sessions, the last active first. Users see where they are
// logged in and end what they do not recognise (OWASP ASVS 7.5.2 requires
// [Guard.RequireFresh] before that), and administrators see anyone's (7.4.5). If ctx
// derives from a request's context, that request's session is Current, unless the
// connection was hijacked. The error is [ErrUnavailable] (wrapped) if the backend fails, or
// [ErrInCallback].
func (g *core) Sessions(ctx context.Context, userID string) ([]Session, error) {
	current, err := g.currentRecord(ctx)
	if err != nil {
		return nil, err
	}
	now := store.TimeOf(time.Now())
	var sessions []Session
	for page, err := range g.ownedPages(ctx, userID) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		for _, rec := range page {
			if rec.GoneAt() <= now || g.isPending(rec) {
				continue
			}
			isCurrent := current.Session != nil && rec.ID == current.ID
			if isCurrent {
				rec.LastSeen = max(rec.LastSeen, current.LastSeen)
			}
			s := sessionOf(rec, now)
			s.Current = isCurrent
			sessions = append(sessions, s)
		}
	}
	slices.SortFunc(sessions, func(a, b Session) int {
		order := b.LastSeen.Compare(a.LastSeen)
		if order == 0 && a.Current {
			return -1
		}
		if order == 0 && b.Current {
			return 1
		}
		return order
	})
	return sessions, nil
}

// currentRecord returns the live session of the request that ctx derives from, if any.
func (c *core) currentRecord(ctx context.Context) (store.Record, error) {
	req := c.requestIn(ctx)
	if req == nil {
		return store.Record{}, nil
	}
	l, err := req.tryLock()
	if err != nil {
		return store.Record{}, err
	}
	defer l.unlock()
	if l.committed && l.exposure == public || l.loadSession(ctx) != nil {
		return store.Record{}, nil
	}
	rec := l.rec
	if l.activity < passive {
		rec.LastSeen = l.now
	}
	return rec, nil
}

func sessionOf(rec store.Record, now store.Time) Session {
	details := rec.Detail()
	s := Session{
		ID:        rec.ID,
		Created:   details.Created.Time(),
		LastSeen:  rec.LastSeen.Time(),
		Expires:   rec.Expires.Time(),
		UserAgent: details.UserAgent,
		Address:   details.Address,
	}
	if !rec.Revived() {
		s.Authenticated = rec.Authenticated.Time()
	}
	if details.RememberUntil > now {
		s.RememberedUntil = details.RememberUntil.Time()
	}
	return s
}

// EndSession ends one session of a user, by its public ID ([Guard.Sessions] lists them).
// It takes the user's ID as well, so that a handler cannot be tricked into ending another
// user's. It returns [ErrNoSession] if this user has no such session, [ErrInCallback], or
// [ErrUnavailable] (wrapped): the guard then goes on trying, as after a [Guard.Logout].
//
// If ctx derives from the context of a request whose user is known, as behind a gate, the
// next page of the ended session says whether that user or somebody else ended it. On a
// hijacked connection that is not known.
func (g *core) EndSession(ctx context.Context, userID, id string) error {
	reasonFor, actor, err := g.endingActor(ctx, userID)
	if err != nil {
		return err
	}
	if !isPublicID(id) { // a backend may fail for what a client makes up, and again at each attempt
		return ErrNoSession
	}
	d, cancel := detached(ctx)
	defer cancel()
	var ends []store.End
	for _, kind := range owner.Kinds {
		ends = append(ends, store.End{Owner: g.owners.Of(kind, userID), ID: id, Reason: reasonFor(id)})
	}
	ended, err := g.endByID(d, ends)
	g.emitEnded(ctx, ended, actor)
	if err != nil {
		if g.mayLiveByID(d, ends) {
			g.unfinished.Add(ends[0], err, func(ctx context.Context) error {
				ended, err := g.endByID(ctx, ends)
				g.emitEnded(ctx, ended, actor)
				return err
			})
		}
		return errors.Join(ErrUnavailable, err)
	}
	if countLive(ended) == 0 {
		return ErrNoSession
	}
	return nil
}

// mayLiveByID is mayLive for sessions by their IDs.
func (c *core) mayLiveByID(ctx context.Context, ends []store.End) bool {
	return slices.ContainsFunc(ends, func(end store.End) bool {
		_, err := c.backend.LoadByID(ctx, end.Owner, end.ID)
		return !errors.Is(err, store.ErrNotFound)
	})
}
