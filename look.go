package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
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
	if reason.Kept() {
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
			st.core.emit(st.ctx(), Event{Name: EventRemembered}, st.rec)
		}
	}
	return nil
}

// judge decides whether what FindUser returned for id may use a session issued
// under stamp; if not, why the session ends, or an error if nobody can tell.
func judge(user User, err error, id, stamp string) (store.Reason, error) {
	switch {
	case errors.Is(err, ErrNoUser):
		return store.NoUser, nil
	case err != nil:
		return "", fmt.Errorf("FindUser (for no such user it returns ErrNoUser): %w", err)
	case user.UserID() != id:
		return "", fmt.Errorf("FindUser returned user %q for %q", user.UserID(), id)
	case !user.IsActive():
		return store.Inactive, nil
	case stampOf(user) != stamp:
		return store.Restamped, nil
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
	st.core.emit(st.ctx(), Event{Name: EventFailed, Err: err}, st.rec)
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
