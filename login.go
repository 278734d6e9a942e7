package sessionguard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/factor"
	"github.com/sessionguard-go/sessionguard/internal/labels"
	"github.com/sessionguard-go/sessionguard/internal/stamp"
	"github.com/sessionguard-go/sessionguard/store"
)

// Login logs user in, after the application has verified who it is. The browser gets a
// new token, whatever cookie it sent, and the session of that cookie ends (session
// fixation; OWASP ASVS 7.2.4). A visitor's values move into the session. Those of another
// user never do.
//
// If the same user logs in again, that is a re-authentication, with a new token and new
// timeouts. The session keeps its values, and timeouts that are shorter than the guard's.
// No earlier token works any more, also for requests that are still running with it.
//
// If the session lacks a factor that Config.Factors requires, Login returns nil, but
// nobody is logged in until another call completes the login: see [Factors]. Ask
// [Guard.Pending], which knows it from then on.
//
// With Config.DeviceProof, the response offers to bind the session to the browser's
// device. No other response does. A re-authentication keeps the device.
//
// Call Login before the response begins. With any error, it has not logged user in:
//
//   - [ErrInactive], and [ErrNoUser] for a nil user or an empty ID
//   - [ErrTooManySessions] if Config.MaxSessions refuses the login
//   - [ErrUnavailable] (wrapped) if the backend or FindUser fails: then nobody is logged in
//   - [ErrNoSession] if another call has completed the pending login: see [Factors]
//   - [ErrHeadersSent] if the response has begun
//   - [ErrNotWrapped], [ErrInCallback], and errors of the options
//   - another error if FindUser returns a user with a different ID, if only in its spelling
//
// If FindUser does not find the user yet, because a transaction is still open, the user
// is logged in all the same. But FindUser must not wait for that transaction, as it does
// with a pool of one connection.
//
// A login is undone if the guard has to replace the response, or if the handler panics
// and nothing inside the guard recovers. It is also undone if the context of the guard's
// request ends before the handler returns: the client has gone, or a middleware around
// the guard has given up. The same holds if the guard notices that a framework has
// written the response to its own ResponseWriter. An [http.TimeoutHandler] inside the
// guard undoes nothing: if it gives up after Login has returned, its 503 sets the cookie,
// and the user is logged in.
func (g *Guard[U]) Login(w http.ResponseWriter, r *http.Request, user U, options ...LoginOption) error {
	if isNil(user) {
		return ErrNoUser
	}
	if err := g.checkWriter(w, r); err != nil {
		return err
	}
	return g.logIn(r, user, options)
}

// A LoginOption configures one login. See [Factors], [IdleTimeout], [AbsoluteTimeout],
// [Remember] and [Label].
type LoginOption func(*loginOptions)

type loginOptions struct {
	idle, absolute time.Duration // 0: not given
	remember       bool
	label          string
	factors        []string
}

// checkTimeouts checks the timeouts of a guard or of one login.
func checkTimeouts(idle, absolute time.Duration) error {
	switch {
	case idle < 0:
		return errors.New("the IdleTimeout must be positive")
	case absolute < 0:
		return errors.New("the AbsoluteTimeout must be positive")
	case idle < time.Second:
		return fmt.Errorf("an IdleTimeout of %v is shorter than a second", idle)
	case idle > absolute:
		return fmt.Errorf("an IdleTimeout of %v is longer than the AbsoluteTimeout of %v", idle, absolute)
	}
	return nil
}

// IdleTimeout gives one login an idle timeout of its own: an administrator may get ten
// minutes where others get thirty. A re-authentication without this option keeps the
// session's own timeout, if that is shorter than the guard's. So a page that asks for the
// password again need not know of it. If a login with a short timeout waits for a second
// step, the step that completes it gives the longer timeout. With [Factors] that is not
// needed, because nothing of a pending login's options is kept.
//
//	err := guard.Login(w, r, user, sessionguard.IdleTimeout(30*time.Minute), sessionguard.AbsoluteTimeout(12*time.Hour))
func IdleTimeout(d time.Duration) LoginOption {
	return func(o *loginOptions) { o.idle = explicit(d) }
}

// AbsoluteTimeout gives one login an absolute timeout of its own. As with [IdleTimeout],
// a re-authentication without it keeps a shorter one.
func AbsoluteTimeout(d time.Duration) LoginOption {
	return func(o *loginOptions) { o.absolute = explicit(d) }
}

// explicit prevents that a computed zero means the default.
func explicit(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func (c *core) logIn(r *http.Request, user User, options []LoginOption) error {
	n := &login{user: user}
	o := &n.loginOptions
	for _, option := range options {
		option(o)
	}
	if err := checkTimeouts(cmp.Or(o.idle, c.idleTimeout), cmp.Or(o.absolute, c.absoluteTimeout)); err != nil {
		return fmt.Errorf("sessionguard: Login: %w", err)
	}
	var err error
	if o.label, err = labels.Clean(o.label); err != nil {
		return err
	}
	if err := factor.Check(o.factors); err != nil {
		return fmt.Errorf("sessionguard: Login: %w", err)
	}
	if err := c.checkLogin(r, user, ""); err != nil {
		return err
	}
	l, err := c.lockRequest(r)
	if err != nil {
		return err
	}
	defer l.unlock()
	return l.logIn(r.Context(), n)
}

// checkLogin checks whether there may be a session for user, in which actor acts, or "".
func (c *core) checkLogin(r *http.Request, user User, actor string) error {
	if err := stamp.Check(reflect.TypeOf(user)); err != nil { // U may be an interface
		return err
	}
	if user.UserID() == "" {
		return ErrNoUser
	}
	if !user.IsActive() {
		c.emitLoginRefused(r.Context(), user, actor, store.ReasonDeactivated)
		return ErrInactive
	}
	c.warnOfHTTP(r)
	return nil
}

// logIn stores a new session, or moves the user's present one to a new token, and makes
// it the request's.
func (l *locked) logIn(ctx context.Context, n *login) error {
	if l.committed {
		return l.tooLate()
	}
	raise(&l.activity, noRevival) // a login needs none
	if err := l.logInUnproven(l.loadSession(ctx)); err != nil {
		return err
	}
	if err := l.checkFound(ctx, n.user.UserID()); err != nil {
		return err
	}
	l.now = store.TimeOf(time.Now()) // the request's body may have come in meanwhile
	err := l.newLogin(n)
	if err != nil {
		return err
	}
	d, cancel := detached(l.ctx())
	defer cancel()
	if l.isReauthentication(n.next) {
		err = l.reauthenticate(d, n)
	} else {
		l.addToPending(n)
		l.setLimits(n.next, n.loginOptions, nil, 0)
		if l.rec.Session == nil {
			n.next.Values = l.visitorValues()
		}
	}
	if err == nil && !n.reauthenticated {
		if err = l.checkWhole(n); err == nil {
			err = l.create(d, n)
		}
	}
	if err != nil {
		return l.loginFailed(n, err)
	}
	l.completeLogin(n)
	return nil
}

// checkFound checks that FindUser does not find a user of another ID, such as the same one
// in another spelling: every request after the login would fail. It may not find the user
// yet, whom a transaction that is still open has created.
func (l *locked) checkFound(ctx context.Context, id string) error {
	if (l.user != nil || l.pendingUser() != nil) && l.core.userID(l.held()) == id {
		return nil
	}
	returned := false
	defer l.failUnless(&returned)
	_, err := l.core.findUser(ctx, id)
	switch {
	case errors.Is(err, ErrNoUser):
		err = nil
	case errors.Is(err, errOtherUser):
		err = fmt.Errorf("sessionguard: Login: %w", err)
	case err != nil:
		err = l.fail(err)
	}
	returned = true
	return err
}

// isReauthentication reports whether next's user is the one who is logged in, in person.
func (l *locked) isReauthentication(next store.Record) bool {
	held := l.held()
	return held.Session != nil && !isActing(held) && held.Owner == next.Owner && (l.user != nil || held.Stamp == next.Stamp)
}

// setLimits sets the timeouts of next. It inherits from old, if it re-authenticates that,
// the shorter timeouts, and rememberUntil.
func (l *locked) setLimits(next store.Record, o loginOptions, old *store.Session, rememberUntil store.Time) {
	idle, absolute := l.core.idleTimeout, l.core.absoluteTimeout
	if old != nil {
		idle = min(idle, old.IdleTimeout)
		absolute = min(absolute, old.Expires.Sub(old.Authenticated))
	}
	if o.remember {
		rememberUntil = l.now.Add(l.core.rememberFor)
	}
	next.IdleTimeout = cmp.Or(o.idle, idle)
	if o.absolute != 0 {
		next.Expires = l.now.Add(o.absolute)
	} else {
		next.Expires = max(l.now.Add(absolute), rememberUntil)
	}
	next.Details.RememberUntil = min(rememberUntil, next.Expires)
}

// reauthenticate moves the request's session, as and where it is by now, to next's key. Of
// the old session, next gets the ID, the values, the label, the factors, when it was created
// and, if there is one, RememberUntil; all else is of this login. If the session has ended
// meanwhile, reauthenticate takes that back, and next is a new session. So it is, with what it
// got but the ID, if the session never stays the same for long enough.
func (l *locked) reauthenticate(ctx context.Context, n *login) error {
	held, next := l.held(), n.next
	old := held.Detail()
	next.ID, next.Created = held.ID, held.Created
	rememberUntil := old.RememberUntil
	if rememberUntil <= l.now {
		rememberUntil = 0
	}
	err := l.core.renewals.Do(ctx, held.ID, held, func(latest store.Record) (store.Record, error) {
		return next, l.core.retryMoved(ctx, latest, func(latest store.Record) error {
			next.Values, next.Version, next.Details.Rotated = latest.Values, latest.Version, l.now
			next.Details.Label, next.Details.Device = cmp.Or(n.label, latest.Detail().Label), latest.Detail().Device
			next.Details.Factors = factor.Add(provenFactors(latest), n.factors, l.now)
			n.missing = factor.Missing(next.Details.Factors, n.needs)
			limits := n.loginOptions
			limits.remember = limits.remember && n.missing == nil
			l.setLimits(next, limits, held.Session, rememberUntil)
			return l.core.backend.Replace(ctx, latest.Key, latest.Version, next)
		})
	})
	switch {
	case errors.Is(err, store.ErrConflict):
		// Somebody keeps saving values, perhaps a thief who would lose the session. As it was
		// last seen it becomes a new one, and create ends the old one however it changes.
		next.ID, next.Version, next.Details.Rotated, next.Details.Device = newPublicID(), 0, 0, nil
		return nil
	case errors.Is(err, store.ErrNotFound):
		next.ID, next.Values, next.Version, next.Details.Device = newPublicID(), nil, 0, nil
		next.Created, next.Details.Rotated, next.Details.Label = l.now, 0, n.label
		next.Details.Factors = factor.Add(nil, n.factors, l.now)
		l.setLimits(next, n.loginOptions, held.Session, 0)
		return nil
	case err == nil:
		n.reauthenticated = true
		l.core.streams.Moved(next)
	}
	return err
}

// create stores a new session within the user's limit, and ends the session whose cookie
// the browser sent.
func (l *locked) create(ctx context.Context, n *login) error {
	c, next := l.core, n.next
	var limit store.Limit
	if c.maxSessions != nil && n.missing == nil {
		limit = c.maxSessions(n.user)
	}
	if limit.Max < 0 {
		return fmt.Errorf("Config.MaxSessions returned a Max of %d", limit.Max)
	}
	presented := l.needEffects().dormantOwner
	if held := l.held(); held.Session != nil {
		presented = held.Owner
	}
	if limit.Refuse && presented != next.Owner && !l.presents(ctx, next.Owner) {
		// A login that is refused must not end another user's session.
		if err := c.createWithin(ctx, limit, next); err != nil {
			return err
		}
		return l.endReplaced(ctx, n) // if it fails, loginFailed deletes next
	}
	if err := l.endReplaced(ctx, n); err != nil {
		return err
	}
	return c.createWithin(ctx, limit, next)
}

// createWithin stores a new session within a limit, and ends those that exceed it.
func (c *core) createWithin(ctx context.Context, limit store.Limit, next store.Record) error {
	ended, err := c.backend.Create(ctx, next, limit)
	if errors.Is(err, store.ErrLimit) {
		// Sessions from before a password change are dead, but count until somebody
		// presents their cookie.
		n, endErr := c.endOwned(ctx, c.userID(next), "", func(s *store.Session) (store.Reason, bool) {
			return store.ReasonCredentialsChanged, s.Stamp != next.Stamp
		})
		if endErr != nil {
			return endErr
		}
		if n > 0 {
			ended, err = c.backend.Create(ctx, next, limit)
		}
	}
	for _, rec := range ended {
		c.streams.End(rec.ID, store.ReasonTooManySessions)
		c.emitEnd(ctx, rec, store.ReasonTooManySessions, "")
	}
	return err
}

// loginFailed returns the error of a login that could not be stored.
func (l *locked) loginFailed(n *login, err error) error {
	if errors.Is(err, store.ErrLimit) {
		l.core.emitLoginRefused(l.ctx(), n.user, "", store.ReasonTooManySessions)
		return ErrTooManySessions
	}
	// The backend may have stored it all the same. Nobody has its token, but it would count.
	ctx, cancel := detached(l.ctx())
	defer cancel()
	if _, err := l.core.backend.Delete(ctx, n.next.Key, store.ReasonLoginIncomplete); err != nil {
		l.core.endLater(n.next.Key, store.Record{}, store.ReasonLoginIncomplete, err)
	}
	if errors.Is(err, ErrNoSession) {
		return err
	}
	return l.fail(err)
}

// completeLogin makes the stored session the request's.
func (l *locked) completeLogin(n *login) {
	if n.missing != nil {
		l.takePending(n)
		return
	}
	l.takeSession(n.token, n.next, n.user, n.reauthenticated)
	l.effects.loggedIn = true
	event := EventLogin
	if n.reauthenticated {
		event = EventReauthenticated
	}
	l.emitLogin(event, n.next)
}

// takeSession makes a session the request's, under a token that the browser gets. goesOn is
// whether it is the one that the browser had.
func (l *locked) takeSession(token string, next store.Record, user User, goesOn bool) {
	e := l.needEffects()
	if (l.rec.Session != nil) != goesOn {
		l.clearOpen() // what is open was another user's, or a visitor's
	}
	e.session = cookie.Change{Kind: cookie.Set, Value: token}
	e.endReason, e.dormantOwner, e.stored, e.pending = "", "", nil, pendingLogin{}
	l.rec, l.user, l.direct = next, user, false
	raise(&l.stage, resolved)
	for range cookie.Values(l.cookies, l.core.cookies.Visitor.Name) {
		e.visitor = cookie.Change{Kind: cookie.Delete}
	}
}
