package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/internal/stamp"
	"github.com/sessionguard-go/sessionguard/store"
)

// An identity is the result of resolving a request: whose request it is, and with which session.
type identity struct {
	user    User // nil: nobody is logged in
	rec     store.Record
	now     store.Time
	arrived store.Time // when a proof of the device has to count
	err     error      // whose request it is cannot be known
	pending bool       // nobody is, but a login waits for the factors that it lacks
}

// authenticate resolves the identity for a response that is only for a logged-in user.
func (req *request) authenticate(ctx context.Context) identity {
	l := req.lock()
	defer l.unlock()
	l.revalidate()
	return l.authenticate(ctx)
}

// identityOf is authenticate for a handler's request.
func (c *core) identityOf(r *http.Request) identity {
	l, err := c.lockRequest(r)
	if err != nil {
		return identity{err: err}
	}
	defer l.unlock()
	return l.authenticate(r.Context())
}

func (l *locked) authenticate(ctx context.Context) identity {
	err := l.resolve(ctx)
	if err == nil {
		raise(&l.exposure, protected)
	}
	return identity{l.user, l.rec, l.now, l.arrival(), err, l.pendingUser() != nil}
}

// resolve resolves the request's session and user, once. ctx is the caller's context,
// which may end before the request's.
func (l *locked) resolve(ctx context.Context) error {
	if l.committed && l.exposure == public {
		return l.tooLate()
	}
	if err := l.loadSession(ctx); err != nil {
		return err
	}
	return l.loadUser(ctx)
}

// tooLate returns [ErrHeadersSent], which it also logs: a handler may ignore it, and its user
// would not learn why nothing has happened.
func (l *locked) tooLate() error {
	l.core.logError("use the session before writing: this response has begun, and sets no cookie any more",
		"path", truncate(l.caller.URL.Path))
	return ErrHeadersSent
}

// loadSession resolves the cookie and makes what it stands for the request's.
func (l *locked) loadSession(ctx context.Context) error {
	raise(&l.exposure, personal)
	if l.stage >= loaded {
		return l.failure()
	}
	raise(&l.stage, loaded)
	l.now = store.TimeOf(time.Now())
	returned := false
	defer l.failUnless(&returned)

	res := l.core.resolveCookie(ctx, query{&l.http, l.cookies, l.now, l.arrival(), l.activity, (*request)(l).authResponse() != nil})
	returned = true
	return l.apply(&res)
}

// apply makes a resolution the request's.
func (l *locked) apply(res *resolution) error {
	switch res.kind {
	case noSession:
	case current:
		l.rec, l.direct = res.rec, true
	case superseded:
		l.rec = res.rec
		raise(&l.activity, passive) // the browser has not used the new token yet
	case rotated, revived:
		l.rec = res.rec
		e := l.needEffects()
		e.session = cookie.Change{Kind: cookie.Rotate, Value: res.token}
		e.revived = res.kind == revived
	case unproven:
		return l.takeUnproven(res)
	case waiting:
		e := l.needEffects()
		e.endReason, e.dormantOwner = store.ReasonRemembered, res.rec.Owner
	case ended:
		if res.reason.Retained() {
			l.needEffects().endReason = res.reason
		}
	case unknown:
		return l.fail(res.err)
	}
	l.setAsidePending()
	return nil
}

// loadUser finds the session's user as the user is now.
func (l *locked) loadUser(ctx context.Context) error {
	if l.stage == resolved || l.held().Session == nil {
		return l.failure()
	}
	raise(&l.stage, resolved)
	return l.askForUser(ctx)
}

func (l *locked) askForUser(ctx context.Context) error {
	rec := l.held()
	returned := false
	defer l.failUnless(&returned)
	user, err := l.core.findUser(ctx, l.core.userID(rec))
	reason, err := checkUser(user, err, rec.Stamp)
	var missing []string
	if err == nil && reason == "" && (l.core.factors != nil || l.core.owners.KindOf(rec.Owner) == owner.Uncounted) {
		missing, reason, err = l.checkFactorsOrActor(ctx, rec, user)
	}
	returned = true
	switch {
	case err != nil:
		return l.fail(err)
	case reason != "":
		_ = l.endNow(reason)
	case missing != nil:
		l.setPending(rec, user, missing)
	default:
		l.user = user
		if l.effects != nil && l.effects.revived {
			l.effects.revived = false
			l.core.emit(l.ctx(), Event{Name: EventRevived}, l.rec)
		}
	}
	return nil
}

// checkUser decides whether what findUser returned may use a session issued under a stamp.
// It returns the reason to end the session, or an error if that cannot be decided.
func checkUser(user User, err error, issued string) (store.Reason, error) {
	switch {
	case errors.Is(err, ErrNoUser):
		return store.ReasonNoUser, nil
	case err != nil:
		return "", err
	case !user.IsActive():
		return store.ReasonDeactivated, nil
	case stamp.Of(user) != issued:
		return store.ReasonCredentialsChanged, nil
	}
	return "", nil
}

// setEnded records that the cookie's session has ended, and why.
func (l *locked) setEnded(reason store.Reason) {
	l.rec, l.user = store.Record{}, nil
	if l.rotatesToken() {
		l.effects.session = cookie.Change{}
	}
	if l.effects != nil {
		l.effects.pending = pendingLogin{}
	}
	if reason.Retained() {
		l.needEffects().endReason = reason
	}
}

// fail records that the session or its user cannot be known, so that every response that
// depends on them becomes a 503.
func (l *locked) fail(err error) error {
	e := l.needEffects()
	e.failure = fmt.Errorf("%w: %w", ErrUnavailable, err)
	l.user = nil
	l.core.emitUnavailable(l.ctx(), err, l.rec)
	return e.failure
}

// failUnless records a failure if a callback panicked. Otherwise a middleware that recovers
// would see the request as a visitor's.
func (l *locked) failUnless(returned *bool) {
	if !*returned {
		_ = l.fail(errors.New("a panic"))
	}
}

func (l *locked) failure() error {
	if l.effects == nil {
		return nil
	}
	return l.effects.failure
}

// A query is what resolveCookie needs of a request.
type query struct {
	request  *http.Request
	cookies  *string // as they came
	now      store.Time
	arrived  store.Time // when a proof of the device has to count
	activity activity
	auth     bool // of AuthRequest: a proxy drops the response's cookies
}

// A resolution is what a request's session cookie stands for. It fits into the registers
// in which Go returns values, which a protected request notices.
type resolution struct {
	kind   resolutionKind
	rec    store.Record
	token  string       // of rotated and revived: the cookie value that the browser gets instead
	reason store.Reason // of ended
	err    error        // of unknown, and of unproven if the browser will try again
}

type resolutionKind uint8

const (
	noSession  resolutionKind = iota // none of ours, or none any more for this token
	current                          // rec is alive, and the cookie carries its current token
	rotated                          // rec is alive, the cookie's token is superseded by token
	superseded                       // the same, but the response cannot set the cookie
	revived                          // rec was dormant; this request has revived it under token
	waiting                          // rec is dormant, and waits for the request of a person
	unproven                         // rec is not ended, but the request is not from the device that it is bound to
	ended                            // the session has ended, for reason
	unknown                          // it cannot be known: err
)

// maxConflicts is how often a revival is tried again after another request has changed
// the session.
const maxConflicts = 20

// errForeign is returned for a session that belongs to another guard.
var errForeign = errors.New("the backend returned a session of another guard")

// resolveCookie finds the session of a request's cookie, follows it where it has moved,
// revives it if the request may, and ends it if it is over. Of several cookies the one of a
// live session counts.
func (c *core) resolveCookie(ctx context.Context, q query) resolution {
	value, n := cookie.Unique(q.cookies, c.cookies.Session.Name)
	if n == 0 {
		return resolution{}
	}
	if n > 1 {
		var err error
		value, err = c.cookies.Choose(ctx, c.backend, c.owners, q.now, q.cookies)
		if errors.Is(err, cookie.ErrSeveral) {
			return c.severalCookies(ctx)
		} else if err != nil {
			return resolution{kind: unknown, err: err}
		}
	}
	if !cookie.Plausible(value) {
		return c.unverifiedCookie(ctx, q.now)
	}
	key := c.cookies.Key(value)
	for range maxConflicts {
		rec, found := c.cached(key)
		if !found {
			if !c.shouldLoad(value) {
				return c.unverifiedCookie(ctx, q.now)
			}
			var err error
			if rec, err = c.backend.Load(ctx, key); err != nil {
				return c.resolveMissing(ctx, q, value, err)
			}
		}
		if !c.owns(rec) {
			return resolution{kind: unknown, err: errForeign}
		}
		phase, reason := phaseAt(rec, q.now)
		if phase == over {
			_ = c.endOver(ctx, rec, reason)
			return resolution{kind: ended, reason: reason}
		}
		if c.devices != nil {
			if res, ok := c.checkDevice(ctx, q, rec); !ok {
				return res
			}
		}
		switch {
		case phase == alive:
			return resolution{kind: current, rec: rec}
		case !c.mayRevive(q):
			return resolution{kind: waiting, rec: rec} // and is not deleted
		}
		res, err := c.revive(ctx, q, rec, value)
		if err == nil {
			return res
		}
		if !errors.Is(err, store.ErrConflict) {
			return c.resolveMissing(ctx, q, value, err)
		}
		// A touch or a save of an earlier request has only now reached the backend.
	}
	return resolution{kind: unknown, err: store.ErrConflict}
}

// resolveMissing explains a cookie for which the backend has no session: the session has
// moved or ended, was never ours, or the backend failed.
func (c *core) resolveMissing(ctx context.Context, q query, value string, err error) resolution {
	if moved, ok := errors.AsType[*store.MovedError](err); ok {
		if !moved.Revived {
			return resolution{} // by a new login: the token before it is dead at once
		}
		var rec store.Record
		if rec, err = c.followMove(ctx, moved); err == nil {
			return c.resolveSuperseded(ctx, q, value, moved, rec)
		}
	}
	end, isEnd := errors.AsType[*store.EndedError](err)
	switch {
	case isEnd:
		return resolution{kind: ended, reason: end.Reason}
	case !errors.Is(err, store.ErrNotFound):
		return resolution{kind: unknown, err: err}
	case c.cookies.Verify(value):
		c.emitThrottledAt(ctx, q.now, Event{Name: EventUnknownCookie}, &c.unknownCookies)
		return resolution{kind: ended, reason: store.ReasonExpired}
	}
	return c.unverifiedCookie(ctx, q.now)
}
