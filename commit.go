package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/store"
)

// Commit implements [response.Hooks]: it stores what the request has changed before the
// first byte of the response goes out, or replaces the response by a refusal.
//
// It runs a second time while that refusal is written, since a handler from
// Config.Refusals may leave a flash.
func (req *request) Commit(status int) bool {
	v := req.commit(status)
	if v != allow {
		req.replace(v)
	}
	return v == allow
}

// replace responds with a refusal in place of the handler.
func (req *request) replace(v verdict) {
	defer req.writer.Discard() // also if the refusal panics: a middleware may recover, and the handler go on
	h := req.writer.Unwrap().Header()
	req.core.takeBackCookies(req, h)
	clearForRefusal(h, req.writer.Encoded())
	req.core.refuse(req, &req.writer, &req.http, v)
}

// BeforeHeader implements [response.Hooks]. It sets the no-store headers again, because
// http.ServeFile deletes caching headers when it reports an error.
func (req *request) BeforeHeader(h http.Header) {
	l := req.lockToRespond((*request).lock)
	if l == nil {
		new(noStoreValues).enforce(h)
		return
	}
	defer l.unlock()
	l.enforceNoStore()
}

// BeforeInformational implements [response.Hooks]. Whatever the response depends on so far,
// the handler may use the session later, and a proxy may take a 103 for the final response.
func (req *request) BeforeInformational(h http.Header) bool {
	return informational(h, req.caller)
}

// BeforeHijack implements [response.Hooks]: a hijacked connection sets no cookies.
func (req *request) BeforeHijack() error {
	l := req.lock()
	defer l.unlock()
	if l.setsCookie() {
		return errors.New("sessionguard: the connection cannot be hijacked, because the response has to set a cookie")
	}
	return nil
}

// Context implements [response.Hooks].
func (req *request) Context() context.Context { return req.parent }

func (l *locked) setsCookie() bool {
	e := l.effects
	return e != nil && (e.session.Kind != cookie.Keep || e.visitor.Kind != cookie.Keep || len(e.secrets) > 0)
}

func (req *request) commit(status int) verdict {
	l := req.lockToRespond((*request).lock)
	if l == nil {
		new(noStoreValues).enforce(req.writer.Unwrap().Header())
		return allow
	}
	defer l.unlock()
	v := l.commit(status)
	if v == allow {
		l.forbidBuffering()
		l.enforceNoStore()
	}
	return v
}

// forbidBuffering tells nginx not to hold back the events of a stream behind CancelOnEnd.
func (l *locked) forbidBuffering() {
	if l.effects == nil || l.effects.derived == nil {
		return
	}
	if h := l.writer.Unwrap().Header(); strings.HasPrefix(h.Get("Content-Type"), "text/event-stream") && h.Get("X-Accel-Buffering") == "" {
		h.Set("X-Accel-Buffering", "no")
	}
}

// commit stores the request's effects and writes its cookies, once, or returns the
// refusal that replaces the response.
//
// That the session has ended meanwhile is found if a touch, changed values or a rotated
// token have to be stored. If none of them has, because the request is passive or the
// last touch was a moment ago, a response that was allowed when the request came is sent.
func (l *locked) commit(status int) verdict {
	if l.committed {
		return allow
	}
	if l.exposure > public {
		l.noteStatus(status)
		if v := l.saveEffects(); v != allow && l.outcome != failed {
			raise(&l.outcome, failed)
			return v
		}
		l.writeCookies()
	}
	l.committed = true
	return allow
}

// noteStatus draws from the status what the guard has not seen itself: whether a refusal
// inside somebody else's ResponseWriter was sent.
func (l *locked) noteStatus(status int) {
	switch inner := l.inner(); {
	case inner == failed && status >= 500:
		raise(&l.outcome, failed)
	case inner >= denied && status >= 300 && status < 500:
		raise(&l.outcome, denied)
	}
}

// saveEffects sends the request's activity and changed values to the backend.
func (l *locked) saveEffects() verdict {
	err := l.failure()
	if err == nil && l.loginIsLost() {
		err = fmt.Errorf("the client or a middleware has given up waiting for the login: %w", context.Canceled) // also if time is up: no backend has failed
	} else if err == nil {
		err = l.revalidateRotation()
	} else if l.rotatesToken() {
		// It cannot be revalidated. Without it the browser keeps the old cookie, which is
		// accepted until the new one has been used.
		l.effects.session = cookie.Change{}
	}
	switch {
	case err != nil:
	case l.rec.Session == nil:
		if l.hasOpen() {
			err = l.saveVisitor()
		}
	case l.outcome != failed:
		if err = l.touch(); err == nil && l.hasOpen() {
			err = l.saveSession()
		}
	}
	if err == nil {
		return allow
	}
	return l.saveFailed(err)
}

// loginIsLost reports whether this request has logged in, and its client has gone or an
// outer http.TimeoutHandler has given up: the session would live with nobody's cookie, and
// count within the user's limit.
func (l *locked) loginIsLost() bool {
	return l.effects != nil && l.effects.session.Kind == cookie.Set && l.parent.Err() != nil
}

// saveFailed returns the refusal for a request whose effects could not be saved.
func (l *locked) saveFailed(err error) verdict {
	switch {
	case errors.Is(err, store.ErrNotFound):
		// The session ended while the request was in flight: nothing of the request is
		// saved, and its response is no longer for whoever sent it.
		key := l.rec.Key
		l.rec, l.user, l.effects = store.Record{}, nil, nil
		l.setEnded(l.endReasonOf(key))
		return loginRequired
	case errors.Is(err, errUnsaveable):
		l.core.logError("the response was replaced", "error", err)
		l.undoLogin()
		l.effects.open.Forget()
		return unsaveable
	case l.failure() == nil:
		_ = l.fail(err)
	}
	l.undoLogin()
	if l.effects.session.Kind == cookie.Delete {
		return logoutIncomplete
	}
	return unavailable
}

// touches reports whether the commit moves the idle deadline. If the session has ended while
// the body was read, the commit asks in any case, and the request is refused.
func (l *locked) touches() bool {
	return l.user != nil && (touchDue(l.rec, l.now, l.core.local) || l.overtaken()) && l.isActivity() &&
		l.direct // otherwise the browser has not used the new token yet
}

// touch moves the idle deadline, if the request is activity. The first request with a
// rotated token is reported to the backend in any case, because that ends the time in which
// the superseded token is accepted: if it is no activity, with the time of the rotation.
func (l *locked) touch() error {
	seen := l.now
	if !l.touches() {
		if l.user == nil || !l.direct || !l.rec.Revived() || !tokenUnused(l.rec) {
			return nil
		}
		seen = l.rec.Detail().Rotated
	}
	ctx := l.ctx()
	if !l.core.local {
		d, cancel := detached(ctx)
		defer cancel()
		ctx = d
	}
	err := l.core.backend.Touch(ctx, l.rec.Key, seen)
	if err == nil {
		l.rec.LastSeen = max(l.rec.LastSeen, seen)
	}
	if errors.Is(err, store.ErrNotFound) && l.exposure < protected {
		return nil // the page does not need a session
	}
	return err
}

// rotatesToken reports whether the response gives the browser a new token for a session
// that goes on.
func (l *locked) rotatesToken() bool {
	return l.effects != nil && l.effects.session.Kind == cookie.Rotate
}

// revalidateRotation drops the rotated token if the session was ended or replaced while
// this request ran; otherwise its Set-Cookie could overwrite a newer one.
func (l *locked) revalidateRotation() error {
	if !l.rotatesToken() {
		return nil
	}
	ctx, cancel := detached(l.ctx())
	defer cancel()
	_, err := l.core.backend.Load(ctx, l.rec.Key)
	if err != nil {
		l.effects.session.Kind = cookie.Keep
	}
	if errors.Is(err, store.ErrNotFound) && l.exposure < protected {
		return nil // the page does not need a session
	}
	return err
}

// dropRotatedCookie repeats revalidateRotation for a response that outer middleware has
// buffered, and removes the cookie from its header.
func (l *locked) dropRotatedCookie() {
	if !l.rotatesToken() {
		return
	}
	if _ = l.revalidateRotation(); l.effects.session.Kind == cookie.Keep {
		h := l.writer.Unwrap().Header()
		h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(line string) bool {
			return strings.HasPrefix(line, l.core.cookies.Session.Name+"="+l.effects.session.Value)
		})
	}
}

// writeCookies adds the changed cookies to the response.
func (l *locked) writeCookies() {
	e := l.effects
	if e == nil {
		return
	}
	w, cookies := l.writer.Unwrap(), &l.core.cookies
	if e.session.Kind != cookie.Keep {
		l.core.takeBackCookies(l.ctx(), w.Header())
	}
	if e.visitor.Kind != cookie.Keep {
		cookie.Remove(w.Header(), cookies.Visitor.Name)
	}
	maxAge := time.Duration(0) // until the browser is closed
	if l.rec.Session != nil && l.rec.Detail().RememberUntil > 0 {
		// Longer than RememberUntil: an active session lives on, and after its end the
		// cookie lets the login page say why it ended.
		maxAge = l.rec.Expires.Add(store.TombstoneLifetime).Sub(l.now)
	}
	cookies.WriteSession(w, l.cookies, e.session, maxAge)
	e.visitor.Write(w, l.cookies, cookies.Visitor, 0)
	l.writeSecrets(w)
	l.writeBinding(w)
}

// takeBackCookies removes the session cookies from a header that has not been sent, and
// ends the sessions that were created with them: their browser will not get the cookie.
// They were set by another state of the guard for the same response: see request.is.
func (c *core) takeBackCookies(ctx context.Context, h http.Header) {
	for _, value := range cookie.Remove(h, c.cookies.Session.Name) {
		d, cancel := detached(ctx)
		defer cancel()
		key := c.cookies.Key(value)
		if err := c.undoLoginOf(d, key); err != nil {
			c.undos.Add(key, key.Group(), err, func(ctx context.Context) error { return c.undoLoginOf(ctx, key) })
		}
	}
}

// undoLoginOf ends a session whose cookie will not be sent.
func (c *core) undoLoginOf(ctx context.Context, key store.Key) error {
	rec, err := c.backend.Load(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case !c.owns(rec) || rec.Revived(): // after a revival the browser may keep the old cookie
		return nil
	}
	_, err = c.end(ctx, key, store.ReasonLoginIncomplete, "")
	return err
}

// finish ends the response of a handler that has returned. It reports whether there may be
// something left to save.
func (req *request) finish() (late bool) {
	bypassed := req.writer.Bypassed()
	req.writer.Finish()
	l := req.lockToRespond((*request).lockAtEnd)
	if l == nil {
		new(noStoreValues).enforce(req.writer.Unwrap().Header())
		return false
	}
	defer l.unlock()
	return l.finish(bypassed)
}

func (l *locked) finish(bypassed bool) (late bool) {
	l.goesOn()
	if bypassed && l.exposure > public {
		l.undoLogin()
		l.core.logBypass(l.caller)
	}
	// An outer handler that buffers, such as http.TimeoutHandler, reads the headers only now.
	l.dropRotatedCookie()
	l.undoLostLogin()
	l.enforceNoStore()
	return l.hasOpen()
}

// undoLostLogin undoes a login whose response nobody gets.
func (l *locked) undoLostLogin() {
	if l.loginIsLost() {
		cookie.Remove(l.writer.Unwrap().Header(), l.core.cookies.Session.Name)
		l.undoLogin()
	}
}

// hasOpen reports whether handlers have opened values.
func (l *locked) hasOpen() bool { return l.effects != nil && !l.effects.open.Empty() }

// cleanUp runs however the handler has ended. After a panic nothing is saved, a login is
// undone, and the page that an outer recoverer makes is not cached.
func (req *request) cleanUp(returned *bool) {
	req.writer.Release()
	giveBack(req.caller, &req.http)
	if *returned {
		return
	}
	if req.writer.Discarding() {
		// httputil.ReverseProxy panics when its response is replaced, which would abort
		// the refusal as well.
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			defer panic(p)
		}
	}
	l := req.lockToRespond((*request).lockAtEnd)
	if l == nil {
		new(noStoreValues).enforce(req.writer.Unwrap().Header())
		req.writer.Abandon()
		return
	}
	defer l.unlock()
	l.abandon()
}

// giveBack copies to caller what a handler has set in its copy of the request: the server
// removes uploaded files by way of its own request, and outer middleware reads the route
// from it.
func giveBack(caller, handlers *http.Request) {
	caller.MultipartForm, caller.Pattern = handlers.MultipartForm, handlers.Pattern
}

// abandon gives up the response of a handler that has panicked.
func (l *locked) abandon() {
	l.enforceNoStore()
	h := l.writer.Unwrap().Header()
	l.core.cookies.RemoveSecrets(h)
	if undone := l.undoLogin(); undone || !l.committed {
		l.core.takeBackCookies(l.ctx(), h)
		cookie.Remove(h, l.core.cookies.Visitor.Name)
	}
	l.committed = true
	l.writer.Abandon()
}
