package sessionguard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/store"
)

// look finds out who is asking. ctx is that of whoever wants to know, which may
// be done before the request's own.
func (st *locked) look(ctx context.Context) error {
	if st.committed && st.exposure == public {
		st.core.log.Error("sessionguard: look at the session before writing: the headers of this answer let it be cached",
			"path", st.caller.URL.Path)
		return ErrHeadersSent
	}
	if err := st.identify(ctx); err != nil {
		return err
	}
	return st.authenticate(ctx)
}

// identify loads the session that the cookie names.
func (st *locked) identify(ctx context.Context) error {
	st.exposure = max(st.exposure, personal)
	if st.stage >= identified {
		return st.failure()
	}
	st.stage = identified
	st.now = store.TimeOf(time.Now())
	returned := false
	defer st.failUnless(&returned)

	res := st.core.resolve(ctx, query{&st.http, st.now, st.activity})
	returned = true
	return st.apply(res)
}

// apply makes what the cookie stands for the request's.
func (st *locked) apply(res resolution) error {
	st.rec, st.current = res.rec, res.current
	if res.upgraded {
		st.activity = passive // its new token has not come back
	}
	if res.err == nil && res.token == "" && res.reason == "" {
		return nil
	}
	p := st.pending()
	p.reason, p.waiting, p.revived = res.reason, res.dormant, res.revived
	if res.token != "" {
		p.session, p.sessionValue = rotateCookie, res.token
	}
	if res.err != nil {
		return st.fail(res.err)
	}
	return nil
}

var errForeign = errors.New("the backend returned a session that is not this guard's")

func (c *core) owns(rec store.Record) bool {
	return rec.Session != nil && len(rec.Owner) > len(c.ownerPrefix) && rec.Owner[:len(c.ownerPrefix)] == c.ownerPrefix
}

// over notes that the session of the cookie has ended, and why.
func (st *locked) over(reason store.Reason) {
	st.rec, st.user = store.Record{}, nil
	if st.bringsToken() {
		st.slow.session = keepCookie
	}
	if reason.Retained() {
		st.pending().reason = reason
	}
}

// mayName says whether it is worth asking the backend for a cookie's session.
// In this process a hit proves the cookie; a remote backend is not bothered
// with what we have not signed.
func (c *core) mayName(value string) bool {
	return cookie.Plausible(value) && (c.local || c.cookies.Verify(value))
}

// cached returns what the backend knows without asking anyone.
func (c *core) cached(key store.Key) (store.Record, bool) {
	if c.cacher == nil {
		return store.Record{}, false
	}
	return c.cacher.Cached(key)
}

// authenticate finds the session's user as the user is now.
func (st *locked) authenticate(ctx context.Context) error {
	if st.stage == authenticated || st.rec.Session == nil {
		return st.failure()
	}
	st.stage = authenticated
	id := st.core.userOf(st.rec)
	returned := false
	defer st.failUnless(&returned)
	user, err := st.core.findUser(ctx, id)
	reason, err := judge(user, err, id, st.rec.Stamp)
	returned = true
	switch {
	case err != nil:
		return st.fail(err)
	case reason != "":
		_ = st.endNow(reason)
	default:
		st.user = user
		if st.slow != nil && st.slow.revived {
			st.slow.revived = false
			st.core.emit(st.ctx(), Event{Name: EventRevived}, st.rec)
		}
	}
	return nil
}

// judge decides whether what FindUser returned for id may use a session issued
// under stamp; if not, why the session ends, or an error if nobody can tell.
func judge(user User, err error, id, stamp string) (store.Reason, error) {
	switch {
	case errors.Is(err, ErrNoUser):
		return store.ReasonNoUser, nil
	case err != nil:
		return "", fmt.Errorf("FindUser (for no such user it returns ErrNoUser): %w", err)
	case user.UserID() != id:
		return "", fmt.Errorf("FindUser returned user %q for %q", user.UserID(), id)
	case !user.IsActive():
		return store.ReasonDeactivated, nil
	case stampOf(user) != stamp:
		return store.ReasonCredentialsChanged, nil
	}
	return "", nil
}

// endNow ends a session that was found to be over. If the backend does not
// hear of it, the next request finds the same.
func (st *locked) endNow(reason store.Reason) error {
	ctx, cancel := st.settle()
	defer cancel()
	err := st.core.end(ctx, st.rec.Key, reason, "")
	if err != nil {
		st.core.log.Error("sessionguard: could not delete an ended session", "reason", reason, "error", err)
	}
	st.over(reason)
	return err
}

// fail remembers that nobody can tell who is asking, so that every answer that
// depends on it becomes a 503.
func (st *locked) fail(err error) error {
	p := st.pending()
	p.failure = fmt.Errorf("%w: %w", ErrUnavailable, err)
	st.user = nil
	st.core.emit(st.ctx(), Event{Name: EventUnavailable, Err: err}, st.rec)
	return p.failure
}

// failUnless is for a callback that panicked: if somebody recovers, it must not
// pass for "nobody is logged in".
func (st *locked) failUnless(returned *bool) {
	if !*returned {
		_ = st.fail(errors.New("a panic"))
	}
}

func (st *locked) failure() error {
	if st.slow == nil {
		return nil
	}
	return st.slow.failure
}

// settle is the context of what is finished even if the client hangs up.
func settle(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
}

func (st *locked) settle() (context.Context, context.CancelFunc) { return settle(st.ctx()) }

// sight is what a look saw.
type sight struct {
	user User // nil: nobody is logged in
	rec  store.Record
	now  store.Time
	err  error
}

// admit looks on behalf of what is only for someone logged in.
func (st *request) admit(ctx context.Context) sight {
	l := st.lock()
	defer l.unlock()
	err := l.look(ctx)
	if err == nil {
		l.exposure = protected
	}
	return sight{l.user, l.rec, l.now, err}
}

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
		q.request.Header.Get("Sec-Purpose") == "" && localpath.Requested(q.request).Path != c.login.Path
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
	if !reason.Retained() {
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
	value, n := cookie.Unique(q.request.Header, c.cookies.Session.Name)
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
		case reason != store.ReasonIdle || q.now >= rec.GoneAt():
			return c.endOver(ctx, rec, reason)
		case !c.mayRevive(q):
			return resolution{reason: store.ReasonRemembered, dormant: rec.Owner} // and is not deleted
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
		c.emitOften(ctx, Event{Name: EventUnknownCookie}, &c.unknown)
		return ended(store.ReasonExpired)
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
	if over && q.now >= rec.GoneAt() {
		return c.endOver(ctx, rec, reason)
	}
	details := rec.Detail()
	token, opened := c.cookies.OpenSuccessor(value, details.SuccessorToken)
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
	if err := c.end(settled, rec.Key, store.ReasonTheftSuspected, ""); err != nil {
		c.emitEnd(ctx, rec, store.ReasonTheftSuspected, "")
		return resolution{err: err}
	}
	return ended(store.ReasonTheftSuspected)
}

// revive lets a session that has idled out go on under a new token.
func (c *core) revive(ctx context.Context, q query, old store.Record, value string) (resolution, error) {
	token, key, err := c.mint(old.Owner)
	if err != nil {
		return resolution{}, err
	}
	details := old.Detail()
	details.Rotated = max(q.now, old.Authenticated+1)
	details.SuccessorToken = c.cookies.SealSuccessor(value, token)
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
	c.emitOften(ctx, Event{Name: EventForgedCookie}, &c.forgedCookies)
	return resolution{}
}

// upgrades says that r asks for a connection, whose answer cannot set a cookie: a
// WebSocket's in HTTP/1.1, or in HTTP/2 (RFC 8441).
func upgrades(r *http.Request) bool {
	return r.Method == http.MethodConnect || isUpgrade(r.Header)
}

// unused says that nobody has come with the token of the last revival or login: a
// revival leaves LastSeen just before it for that.
func unused(rec store.Record) bool {
	return rec.LastSeen <= max(rec.Authenticated, rec.Detail().Rotated-1)
}

// follow finds a session by a key that it has or had.
func (c *core) follow(ctx context.Context, key store.Key) (store.Record, error) {
	rec, err := c.backend.Load(ctx, key)
	var moved *store.MovedError
	if errors.As(err, &moved) {
		return c.locate(ctx, moved)
	}
	return rec, err
}

// locate finds a session that has moved. After many moves it asks by owner: nobody
// may make us follow a chain of any length.
func (c *core) locate(ctx context.Context, moved *store.MovedError) (store.Record, error) {
	owner, id := moved.Owner, moved.ID
	for range 8 {
		rec, err := c.backend.Load(ctx, moved.To)
		if !errors.As(err, &moved) {
			var ended *store.EndedError
			if err == nil || !errors.Is(err, store.ErrNotFound) || errors.As(err, &ended) {
				return rec, err
			}
			break
		}
	}
	return c.byID(ctx, owner, id)
}

// byID finds an owner's session by its public ID.
func (c *core) byID(ctx context.Context, owner, id string) (store.Record, error) {
	records, err := c.backend.ByOwner(ctx, owner)
	if err != nil {
		return store.Record{}, err
	}
	for _, rec := range records {
		if rec.ID == id {
			return rec, nil
		}
	}
	return store.Record{}, store.ErrNotFound
}

// bringsToken says that the answer brings a new token for a session there was.
func (st *locked) bringsToken() bool {
	return st.slow != nil && st.slow.session == rotateCookie
}

// checkToken takes the new token out of an answer that a logout or another login has
// overtaken: its cookie would come after theirs.
func (st *locked) checkToken() error {
	if !st.bringsToken() {
		return nil
	}
	ctx, cancel := st.settle()
	defer cancel()
	_, err := st.core.backend.Load(ctx, st.rec.Key)
	if err != nil {
		st.slow.session = keepCookie
	}
	if errors.Is(err, store.ErrNotFound) && st.exposure < protected {
		return nil // the page is anybody's
	}
	return err
}

// takeBack is checkToken for an answer that somebody further out has kept until now.
func (st *locked) takeBack() {
	if !st.bringsToken() {
		return
	}
	if _ = st.checkToken(); st.slow.session == keepCookie {
		h := st.writer.Unwrap().Header()
		h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(c string) bool {
			return strings.HasPrefix(c, st.core.cookies.Session.Name+"="+st.slow.sessionValue)
		})
	}
}

// mint makes a new session cookie's value and the key it will be found under, of the
// owner's group unless the backend is in this process. A key is a hash, so it tries
// until it fits: 64 times on average, some tenths of a millisecond. The token loses 6 of
// its 256 bits to whoever knows the owner.
func (c *core) mint(owner string) (value string, key store.Key, err error) {
	group := store.GroupOf(owner)
	for {
		value, key, err = c.cookies.NewToken()
		if err != nil || c.local || key.Group() == group {
			return value, key, err
		}
	}
}

func newPublicID() string { return rand.Text() }
