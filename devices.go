package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/labels"
	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/internal/testhook"
	"github.com/sessionguard-go/sessionguard/internal/turns"
	"github.com/sessionguard-go/sessionguard/store"
)

// A Session is one of a user's logins, as returned by [Guard.Session] and listed by
// [Guard.Sessions] and [Guard.AllSessions].
type Session struct {
	UserID string
	// ID is for [Guard.EndSession]. It is not a secret: nobody can log in with it.
	ID      string
	Current bool // the session of this request

	Created         time.Time
	Authenticated   time.Time // the last login; the zero time after a revival, and with an Actor
	LastSeen        time.Time // the last activity; with a remote backend up to 1/30 of the idle timeout earlier
	Expires         time.Time // the absolute timeout
	RememberedUntil time.Time // until when it can be revived ([Remember]); the zero time if it cannot

	// Client names the client, such as "Firefox on Windows", and Address is its address
	// (see Config.ClientAddr), both at the last login or revival. Clients choose their
	// User-Agent.
	Client, Address string

	Label   string   // what a person calls the device: see [Label]; "" if nothing
	Factors []Factor // how the user has proven who they are; none after a revival
	Actor   string   // the ID of the user who acts for this one; "" for the user's own session

	// Bound is when the session was bound to the device that logged in (Config.DeviceProof).
	// It is the zero time if the session is not bound.
	Bound time.Time
}

// A Factor is one way in which a user has proven who they are.
type Factor struct {
	Name string    // as in RFC 8176: "pwd", "otp", "hwk", …
	At   time.Time // when it was last proven
}

// FreshUntil returns when [Guard.RequireFresh] with this age begins to require a new login.
func (s Session) FreshUntil(age time.Duration) time.Time {
	if s.Authenticated.IsZero() {
		return time.Time{}
	}
	return s.Authenticated.Add(age)
}

// Session returns the session of the user who is logged in. It is valid right after Login in
// the same request too. It returns false where [Guard.User] does.
func (g *core) Session(r *http.Request) (Session, bool) {
	l, err := g.lockRequest(r)
	if err != nil {
		return Session{}, false
	}
	defer l.unlock()
	if l.resolve(r.Context()) != nil || l.user == nil {
		return Session{}, false
	}
	s := g.sessionOf(l.seenRecord(), l.now)
	s.Current = true
	return s, true
}

// Sessions lists a user's live sessions, the last active first. Users see where they are
// logged in and end what they do not recognise: OWASP ASVS 7.5.2 requires
// [Guard.RequireFresh] before that. Administrators see anyone's (7.4.5). If ctx derives
// from a request's context, that request's session is Current, unless the connection was
// hijacked. The error is [ErrUnavailable] (wrapped) if the backend fails, or
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
			if !g.isListed(rec, now) {
				continue
			}
			isCurrent := current.Session != nil && rec.ID == current.ID
			if isCurrent {
				rec.LastSeen = max(rec.LastSeen, current.LastSeen)
			}
			s := g.sessionOf(rec, now)
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
	return l.seenRecord(), nil
}

// seenRecord returns the request's session, with the request as activity if it is one.
func (l *locked) seenRecord() store.Record {
	rec := l.rec
	if l.activity < passive {
		rec.LastSeen = l.now
	}
	return rec
}

// isActing reports whether somebody acts for the session's user.
func isActing(rec store.Record) bool {
	return rec.Session != nil && rec.Details != nil && rec.Details.Actor != nil
}

// actorID returns the ID of the user who acts for rec's user, or "".
func (c *core) actorID(rec store.Record) string {
	if !isActing(rec) || !c.owners.Has(rec.Details.Actor.Owner) {
		return ""
	}
	return c.owners.UserID(rec.Details.Actor.Owner)
}

// isListed reports whether a session is shown to people: it is live, and a login of the
// user's own or of somebody who acts for the user.
func (c *core) isListed(rec store.Record, now store.Time) bool {
	return rec.GoneAt() > now && !c.isPending(rec)
}

func (c *core) sessionOf(rec store.Record, now store.Time) Session {
	details := rec.Detail()
	s := Session{
		UserID:   c.userID(rec),
		ID:       rec.ID,
		Created:  rec.Created.Time(),
		LastSeen: rec.LastSeen.Time(),
		Expires:  rec.Expires.Time(),
		Client:   rec.Client,
		Address:  rec.Address,
		Label:    details.Label,
	}
	for _, f := range provenFactors(rec) {
		s.Factors = append(s.Factors, Factor{f.Name, f.At.Time()})
	}
	switch {
	case details.Actor != nil:
		s.Actor = c.actorID(rec)
	case !rec.Revived():
		s.Authenticated = rec.Authenticated.Time()
	}
	if device := c.boundDevice(rec); device != nil {
		s.Bound = device.Proven.Time()
	}
	if details.RememberUntil > now {
		s.RememberedUntil = details.RememberUntil.Time()
	}
	return s
}

// ErrInvalidLabel is returned (wrapped, with what is wrong) for a label that [Label] does
// not allow.
var ErrInvalidLabel = labels.ErrInvalid

// Label gives the device of a login the name that a person calls it by, such as "work
// laptop". [Guard.Session] and [Guard.Sessions] return it, and [Guard.SetLabel] changes
// it. A re-authentication with an empty label or none keeps it. If a login takes several
// steps ([Factors]), pass the label to the step that completes it.
//
// A label has at most 100 visible characters, with spaces between them. It has no control
// characters, and none that change the direction of the text around it. Spaces at its
// ends are dropped. With any other label Login returns an [ErrInvalidLabel], and nobody
// is logged in. Pages must escape a label like all that users write.
func Label(label string) LoginOption {
	return func(o *loginOptions) { o.label = label }
}

// SetLabel changes the [Label] of one session of a user, by its public ID
// ([Guard.Sessions] lists them). An empty label removes it. SetLabel takes the user's ID
// as well, so that a handler cannot be tricked into changing another user's session. It
// keeps values that other requests save meanwhile. It returns [ErrNoSession] if this user
// has no such session, [ErrInvalidLabel], [ErrInCallback], or [ErrUnavailable] (wrapped).
//
// If ctx derives from the context of a request of that session, [Guard.Session] returns
// the new label for the rest of the request too.
func (g *core) SetLabel(ctx context.Context, userID, id, label string) error {
	label, err := labels.Clean(label)
	if err != nil {
		return err
	}
	req := g.requestIn(ctx)
	if req != nil {
		l, err := req.tryLock()
		if err != nil {
			return err
		}
		l.unlock()
	}
	if !isPublicID(id) { // see EndSession
		return ErrNoSession
	}
	d, cancel := detached(ctx)
	defer cancel()
	for _, kind := range owner.Kinds {
		saved, err := g.saveLabel(d, g.owners.Of(kind, userID), id, label)
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue
		case err != nil:
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if req != nil {
			if l, err := req.tryLock(); err == nil {
				l.setSaved(saved)
				l.unlock()
			}
		}
		return nil
	}
	return ErrNoSession
}

// saveLabel stores the label of an owner's session, and returns the session as it is then.
func (c *core) saveLabel(ctx context.Context, owner, id, label string) (*store.Session, error) {
	rec, err := c.changeDetails(ctx, owner, id, func(rec store.Record, details *store.Details) (changed bool, err error) {
		if !c.isListed(rec, store.TimeOf(time.Now())) {
			return false, store.ErrNotFound
		}
		changed = details.Label != label
		details.Label = label
		return changed, nil
	})
	return rec.Session, err
}

// changeDetails changes the details of an owner's session, wherever and however others change
// it meanwhile, and returns the session as it is then. change gets a copy of the details.
func (c *core) changeDetails(ctx context.Context, owner, id string, change func(store.Record, *store.Details) (changed bool, err error)) (store.Record, error) {
	for attempts := 1; ; attempts++ {
		rec, err := c.backend.LoadByID(ctx, owner, id)
		if err != nil {
			return rec, err
		}
		details := rec.Detail()
		if changed, err := change(rec, &details); err != nil || !changed {
			return rec, err
		}
		session := *rec.Session
		session.Details = &details
		session.Version++
		saved := store.Record{Session: &session, LastSeen: rec.LastSeen}
		err = c.backend.Save(ctx, saved)
		if err == nil {
			return saved, nil
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			return rec, err
		}
		turns.BackOff(ctx, attempts) // saved, or moved to another key: see LoadByID
		if ctx.Err() != nil {
			return rec, ctx.Err()
		}
	}
}

// setSaved makes what was saved of the request's session known to the request.
func (l *locked) setSaved(saved *store.Session) {
	if l.rec.Session != nil && l.rec.Key == saved.Key && l.rec.Version < saved.Version {
		l.rec.Session = saved
	}
}

// EndSession ends one session of a user, by its public ID ([Guard.Sessions] lists them).
// It takes the user's ID as well, so that a handler cannot be tricked into ending another
// user's. It returns [ErrNoSession] if this user has no such session, [ErrInCallback], or
// [ErrUnavailable] (wrapped). After the last, the guard goes on trying as after a
// [Guard.Logout], but spares a later login.
//
// Its reason says whether the user or somebody else ended it, if ctx derives from the context
// of a request whose user is known, as behind a gate. On a hijacked connection that is not
// known.
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
		failed := store.TimeOf(time.Now())
		if len(ended) > 0 || g.mayLiveByID(d, ends) {
			g.unfinished.Add(ends[0], store.GroupOf(ends[0].Owner), err, func(ctx context.Context) error {
				for _, end := range ends {
					if rec, err := g.backend.LoadByID(ctx, end.Owner, id); err == nil && rec.Authenticated > failed {
						return nil
					}
				}
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

// mayLiveByID is mayLive for sessions that are loaded by their IDs.
func (c *core) mayLiveByID(ctx context.Context, ends []store.End) bool {
	return slices.ContainsFunc(ends, func(end store.End) bool {
		_, err := c.backend.LoadByID(ctx, end.Owner, end.ID)
		return !errors.Is(err, store.ErrNotFound)
	})
}

func init() {
	testhook.Backdate = func(guard any, w http.ResponseWriter, r *http.Request, shift testhook.Shift) error {
		return guard.(interface{ self() *core }).self().backdate(w, r, shift)
	}
}

func (c *core) self() *core { return c }

// backdate is testhook.Backdate. It moves the session, since a backend changes the times of
// no other.
func (c *core) backdate(w http.ResponseWriter, r *http.Request, shift testhook.Shift) error {
	rec, err := c.presented(r)
	if err != nil {
		return err
	}
	token, key := c.newToken(rec.Owner)
	shift.Active = shift.Active && !c.isPending(rec) // no request moves the deadline of a pending login
	next := shift.Of(rec)
	next.Key = key
	if err := c.backend.Replace(r.Context(), rec.Key, rec.Version, next); err != nil {
		return err
	}
	c.streams.Backdated(next)
	cookie.Change{Kind: cookie.Set, Value: token}.Write(w, cookie.Header(r.Header), c.cookies.Session, 0)
	return nil
}

// presented returns the session of the cookie of r, which no handler has seen.
func (c *core) presented(r *http.Request) (store.Record, error) {
	value, n := cookie.Unique(cookie.Header(r.Header), c.cookies.Session.Name)
	if n != 1 {
		return store.Record{}, ErrNoSession
	}
	return c.loadMoved(r.Context(), c.cookies.Key(value))
}
