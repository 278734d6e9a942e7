package sessionguard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/labels"
	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/store"
)

// defaultActingTimeout is the absolute timeout of a session of ActAs.
const defaultActingTimeout = 15 * time.Minute

// ActAs lets the user who is logged in act as target, as support staff do to see what a
// customer sees ("impersonation"). The browser gets a new session of target's, in which
// gates and handlers find target as the user. [Guard.Session], [Guard.Sessions] and every
// [Event] also name the actor, who acts. Show the actor on every page, with a button for
// [Guard.StopActing].
//
//	mux.Handle("POST /admin/users/{id}/act", guard.RequireFresh(5*time.Minute)(act))
//
//	if s, ok := guard.Session(r); ok && s.Actor != "" { … } // the banner
//
// Config.MayActAs decides who may do so, here and on every request that needs the user.
//
// The acting session is short: 15 minutes, unless the options [IdleTimeout] and
// [AbsoluteTimeout] say otherwise. It is never longer than the actor's own session would
// last without another request. ActAs counts as activity of the actor's session, and what
// follows does not. The acting session begins without values, needs and has no factor,
// and does not count for Config.MaxSessions. It is never fresh: [Guard.RequireFresh] and
// [Guard.RequireFactor] refuse it as forbidden. [Guard.EndOthers] returns an error in it.
// With [Remember] or [Factors], ActAs returns an error.
//
// What ends any session ends an acting session too, and target and administrators see it
// in [Guard.Sessions]. It also ends, with [store.ReasonActorEnded], as soon as the
// actor's own session has ended or has a new token (by another login). So it does as soon
// as the actor is inactive, has another SessionStamp, lacks a factor, or may not act any
// more. Each request that needs the user therefore loads the actor's session, too.
//
// The actor's own session stays as it is, under its own cookie. The browser does not have
// that cookie any more, but a copy of it works as before. [Guard.Logout], [Guard.End],
// and any Login in this browser end both sessions. If the acting session ends by itself,
// the actor logs in again. The actor's earlier session then lives until its timeouts, and
// counts until then. A Login of target in the acting session is one in person, without an
// actor. So a page that calls it, such as one that changes the password, must ask for the
// old password, or be behind RequireFresh.
//
// ActAs returns [ErrNoSession] if nobody is logged in. It returns [ErrMayNotAct] if
// MayActAs returns false, if target is the user, or if the user is already acting. Other
// errors are those of [Guard.Login]. Where Login would be undone, the browser goes on with
// the actor's session.
func (g *Guard[U]) ActAs(w http.ResponseWriter, r *http.Request, target U, options ...LoginOption) error {
	if isNil(target) {
		return ErrNoUser
	}
	if err := g.checkWriter(w, r); err != nil {
		return err
	}
	return g.actAs(r, target, options)
}

// StopActing ends a session of [Guard.ActAs]. The browser gets a new token of the actor's
// own session, which keeps its values, its ID, its timeouts and its last login. No
// earlier copy of the cookies of either session works any more. StopActing then responds
// as [Guard.Logout] does, with the path to, and accepts only what arrived as a POST:
//
//	mux.Handle("POST /act/stop", guard.StopActing("/admin"))
//
// Put no gate around it that requires the actor's role: until then the user is target. If
// the actor's own session or the acting session has ended, the response is the refusal of
// a client that is not logged in, with the [Guard.EndReason]. The second of two such
// requests gets that too. If nobody acts, nothing ends. If the backend fails, the
// response is a 503, and perhaps nobody is logged in afterwards. If the response cannot
// be sent, the actor's own session ends, as after a [Guard.Login].
func (g *core) StopActing(to string) http.Handler {
	return g.wrap(func(req *request, w http.ResponseWriter, r *http.Request) {
		if !req.accepts(w, http.MethodPost) {
			return
		}
		switch err := req.stopActing(r.Context()); {
		case err == nil:
			sendTo(w, r, to)
		case errors.Is(err, ErrUnavailable):
			g.refuse(req, w, r, unavailable)
		case errors.Is(err, ErrNoSession):
			g.refuse(req, w, r, loginRequired)
		} // otherwise an earlier handler's response has begun
	})
}

func (c *core) actAs(r *http.Request, target User, options []LoginOption) error {
	var o loginOptions
	for _, option := range options {
		option(&o)
	}
	if o.remember || o.factors != nil {
		return errors.New("sessionguard: ActAs: an acting session cannot have the options Remember and Factors")
	}
	var err error
	if o.label, err = labels.Clean(o.label); err != nil {
		return err
	}
	o.absolute = cmp.Or(o.absolute, min(defaultActingTimeout, c.absoluteTimeout))
	o.idle = cmp.Or(o.idle, min(c.idleTimeout, o.absolute))
	if err := checkTimeouts(o.idle, o.absolute); err != nil {
		return fmt.Errorf("sessionguard: ActAs: %w", err)
	}
	l, err := c.lockRequest(r)
	if err != nil {
		return err
	}
	defer l.unlock()
	return l.actAs(r.Context(), target, o)
}

func (l *locked) actAs(ctx context.Context, target User, o loginOptions) error {
	if l.committed {
		return l.tooLate()
	}
	if err := l.resolve(ctx); err != nil {
		return err
	}
	if l.user == nil {
		return ErrNoSession
	}
	if l.effects != nil && l.effects.session.Kind == cookie.Set {
		return errors.New("sessionguard: ActAs: the browser does not have the cookie of this request's login yet")
	}
	actor, _ := l.known()
	if l.user.UserID() == target.UserID() || isActing(l.rec) || !l.asksMayActAs(target) {
		l.core.emit(l.ctx(), Event{Name: EventRefused, UserID: target.UserID(), Actor: actor, Code: "may_not_act"}, store.Record{})
		return ErrMayNotAct
	}
	if err := l.core.checkLogin(&l.http, target, actor); err != nil {
		return err
	}
	if err := l.checkFound(ctx, target.UserID()); err != nil {
		return err
	}
	token, next, err := l.newActing(target, o)
	if err != nil {
		return err
	}
	d, cancel := detached(l.ctx())
	defer cancel()
	if _, err := l.core.backend.Create(d, next, store.Limit{}); err != nil {
		return l.loginFailed(&login{user: target, next: next}, err)
	}
	l.takeSession(token, next, target, false)
	l.core.emit(l.ctx(), Event{Name: EventActing}, next)
	return nil
}

// asksMayActAs asks the application whether the request's user may act as target.
func (l *locked) asksMayActAs(target User) bool {
	returned := false
	defer l.failUnless(&returned)
	may := l.core.mayActAs(l.user, target)
	returned = true
	return may
}

// newActing returns a session of target's in which the request's user acts, and its
// cookie's value. Before that it touches the user's own session, which the next request
// with its cookie may do a long time from now.
func (l *locked) newActing(target User, o loginOptions) (token string, next store.Record, err error) {
	l.now = store.TimeOf(time.Now()) // the request's body may have come in meanwhile
	if l.direct {                    // otherwise the browser has not used the new token, and may never get it
		d, cancel := detached(l.ctx())
		defer cancel()
		err := l.core.backend.Touch(d, l.rec.Key, l.now)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return "", next, ErrNoSession
		case err != nil:
			return "", next, l.fail(err)
		}
		l.rec.LastSeen = max(l.rec.LastSeen, l.now)
	}
	if phase, _ := phaseAt(l.rec, l.now); phase != alive {
		return "", next, ErrNoSession
	}
	token, next = l.newSession(target, owner.Uncounted)
	next.Details.Label = o.label
	next.Details.Actor = &store.Actor{Owner: l.rec.Owner, ID: l.rec.ID, Key: l.rec.Key}
	next.Expires = min(l.now.Add(o.absolute), l.rec.Deadline())
	next.IdleTimeout = min(o.idle, next.Expires.Sub(l.now))
	return token, next, nil
}

// checkActor decides whether the actor of a session may still act as its user. It returns the
// reason to end the session, or an error if that cannot be decided.
func (l *locked) checkActor(ctx context.Context, rec store.Record, user User) (store.Reason, error) {
	_, actor, err := l.core.actor(ctx, rec, l.now)
	switch ended := new(store.EndedError); {
	case errors.As(err, &ended):
		return ended.Reason, nil
	case err != nil:
		return "", err
	case !l.core.mayActAs(actor, user):
		return store.ReasonActorEnded, nil
	}
	return "", nil
}

// actor returns the own session of whoever acts in a session, and its user. If the session
// is no longer alive or the user may not use it, the error is a [store.EndedError].
func (c *core) actor(ctx context.Context, acting store.Record, now store.Time) (own store.Record, user User, err error) {
	own, err = c.actorSession(ctx, acting, now)
	if err != nil {
		return own, nil, err
	}
	user, err = c.findUser(ctx, c.userID(own))
	reason, err := checkUser(user, err, own.Stamp)
	if err == nil && reason == "" {
		var missing []string
		if missing, reason = c.checkFactors(user, own); missing != nil {
			reason = store.ReasonActorEnded
		}
	}
	if err == nil && reason != "" {
		err = &store.EndedError{Reason: store.ReasonActorEnded}
	}
	return own, user, err
}

// actorSession returns the own session of whoever acts in a session. It must have the token
// that it had when they began: otherwise a copy of a token that a login has replaced would
// still lead to it.
func (c *core) actorSession(ctx context.Context, acting store.Record, now store.Time) (store.Record, error) {
	actor := acting.Details.Actor
	own, err := c.backend.LoadByID(ctx, actor.Owner, actor.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return own, &store.EndedError{Reason: store.ReasonActorEnded}
	case err != nil:
		return own, err
	case !c.owns(own):
		return own, errForeign
	}
	if phase, _ := phaseAt(own, now); phase != alive || own.Key != actor.Key || isActing(own) || c.owners.KindOf(own.Owner) != owner.Counted {
		return own, &store.EndedError{Reason: store.ReasonActorEnded}
	}
	return own, nil
}

// endWithActor ends a presented session, and if somebody acts in it, their own session. It
// reads the session first: if a backend fails that has deleted it, nothing else tells who acts.
// may is whether there may be a session that an error has left alive.
func (l *locked) endWithActor(ctx context.Context, key store.Key, reason store.Reason) (ended store.Record, may bool, err error) {
	c, known := l.core, l.held()
	if known.Session == nil || known.Key != key {
		known, err = c.backend.Load(ctx, key)
	}
	may = mayLive(err)
	if moved := new(store.MovedError); errors.As(err, &moved) {
		ended, err = c.endMoved(ctx, moved, reason, "")
	} else {
		ended, err = c.end(ctx, key, reason, "")
	}
	if ended.Session == nil {
		ended = known
	}
	return ended, may, errors.Join(err, c.endActor(ctx, ended, reason))
}

// endActor ends the own session of whoever acts in a session that a logout or a login ends,
// of which rec may be all that is known.
func (c *core) endActor(ctx context.Context, rec store.Record, reason store.Reason) error {
	if !isActing(rec) || reason != store.ReasonLoggedOut && reason != store.ReasonReplaced {
		return nil
	}
	ends := []store.End{{Owner: rec.Details.Actor.Owner, ID: rec.Details.Actor.ID, Reason: reason}}
	end := func(ctx context.Context) error {
		ended, err := c.endByID(ctx, ends)
		c.emitEnded(ctx, ended, "")
		return err
	}
	err := end(ctx)
	if err != nil {
		c.streams.End(ends[0].ID, reason)
		// After a failed login too: the other session may have ended, and led here.
		c.unfinished.Add(ends[0], store.GroupOf(ends[0].Owner), err, end)
	}
	return err
}

func (req *request) stopActing(ctx context.Context) error {
	l := req.lock()
	defer l.unlock()
	return l.stopActing(ctx)
}

// stopActing ends the request's session and makes the actor's own one the request's, if it
// is a session of ActAs.
//
// The session moves to a key that nobody has a token of before it ends. Of several such
// requests only one can do that, and a logout at the same time still finds the session
// there and so the actor's.
func (l *locked) stopActing(ctx context.Context) error {
	if l.committed {
		return l.tooLate()
	}
	if err := l.loadSession(ctx); err != nil {
		return err
	}
	switch {
	case l.rec.Session == nil:
		return ErrNoSession
	case !isActing(l.rec):
		return nil
	}
	own, user, err := l.findActor(ctx)
	if err != nil {
		return err
	}
	d, cancel := detached(l.ctx())
	defer cancel()
	hidden, err := l.hide(d)
	if err != nil {
		return err
	}
	token, next, err := l.renew(d, own)
	if _, err := l.core.end(d, hidden.Key, store.ReasonLoggedOut, ""); err != nil {
		l.core.streams.End(hidden.ID, store.ReasonLoggedOut)
		l.core.endLater(hidden.Key, hidden, store.ReasonActorEnded, err) // not a logout, which would end both
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return l.lose(store.ReasonActorEnded)
	case err != nil:
		return l.fail(err)
	}
	l.core.streams.Moved(next)
	l.takeSession(token, next, user, false)
	return nil
}

// findActor returns the own session of whoever acts in the request's, and its user.
func (l *locked) findActor(ctx context.Context) (own store.Record, user User, err error) {
	returned := false
	defer l.failUnless(&returned)
	own, user, err = l.core.actor(ctx, l.rec, l.now)
	returned = true
	switch ended := new(store.EndedError); {
	case errors.As(err, &ended):
		_ = l.core.endOver(l.ctx(), l.rec, ended.Reason)
		err = l.lose(ended.Reason)
	case err != nil:
		err = l.fail(err)
	}
	return own, user, err
}

// hide moves the request's session, without its values, to a key that nobody has a token of.
func (l *locked) hide(ctx context.Context) (store.Record, error) {
	c, key := l.core, l.rec.Key
	_, hiddenKey := c.newToken(l.rec.Owner)
	latest, err := l.rec, error(nil)
	for range maxRenewalConflicts {
		session := *latest.Session
		session.Key, session.Values = hiddenKey, nil
		hidden := store.Record{Session: &session, LastSeen: latest.LastSeen}
		if err = c.backend.Replace(ctx, key, latest.Version, hidden); err == nil {
			return hidden, nil
		}
		if errors.Is(err, store.ErrConflict) { // a request that is under way has saved values
			latest, err = c.backend.Load(ctx, key)
		}
		if err != nil {
			break
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return store.Record{}, l.lose(l.endReasonOf(key))
	}
	if err != nil { // the backend may have moved it all the same
		c.endLater(hiddenKey, store.Record{}, store.ReasonActorEnded, err)
	}
	return store.Record{}, l.fail(cmp.Or(err, store.ErrConflict))
}
