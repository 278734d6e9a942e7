package sessionguard

import (
	"context"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/authrequest"
	"github.com/sessionguard-go/sessionguard/internal/callstack"
	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/response"
	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

// request is everything that the guard knows about one HTTP request. It is one
// allocation with three faces: the context by which handlers find it, the copy of the
// http.Request that carries this context, and, in writer, the ResponseWriter. It is never
// pooled, because a handler may outlive its response.
//
// wrap attaches it, [locked.resolve] fills it when a handler or a gate first needs the
// session, [request.Commit] stores what has changed before the first byte of the
// response, and finish and cleanUp end it. internal/README.md draws the way.
type request struct {
	parent context.Context // of the caller's request, whose own may become one derived from this
	http   http.Request    // what handlers get
	writer response.Writer[*request]
	core   *core
	caller *http.Request

	cookies *string // the Cookie header that came: see cookie.Header

	mu sync.Mutex // guards all that follows but isolated, which does not change; see locked

	stage    stage
	exposure exposure
	activity activity
	outcome  outcome // of what was written to writer

	isolated        bool // a page of another origin loads it: see isolate
	direct          bool // the cookie carries rec's current token, not a superseded one
	defaultRefusals bool // not those of Config.Refusals: one of these is running, or AuthRequest
	committed       bool // the response's cookies are final: nothing more can be stored in one

	rec  store.Record // the live session, if stage says so
	user User         // its user, or nil
	now  store.Time   // when the session was first needed: the request counts as accepted then

	effects *effects // nil for a request that only passes gates
	noStore noStoreValues
}

// A stage is how much is known of the client. resolve raises it, and so do Login and End,
// after which everything is known.
type stage uint8

const (
	unresolved stage = iota // nothing has needed the session yet
	loaded                  // rec is the cookie's live session, or zero: there is none
	resolved                // user is the session's user, or nil: nobody is logged in
)

// exposure is what the response depends on, and so who may keep a copy of it. Gates,
// methods of the guard and refusals raise it.
type exposure uint8

const (
	public    exposure = iota // not on the session: its own caching headers stay
	personal                  // on whose request it is: never cached
	protected                 // on a live session: refused if the commit finds that it has ended (see commit)
)

// activity is what the request does to the life of its session. Passive, Login, the guard
// script's routes and an upgrade with a superseded token raise it, before the session is
// resolved where that matters.
type activity uint8

const (
	active    activity = iota // moves the idle deadline, and revives a remembered session
	noRevival                 // sent by a script or a login form: only moves the deadline
	passive                   // sent by no person: does neither
)

// outcome is what has become of the request. refuse raises it, and so does a commit that
// fails, or that learns from the status what was written to somebody else's ResponseWriter.
type outcome uint8

const (
	served outcome = iota // by the handler
	denied                // refused with 3xx or 4xx: the request is no activity
	failed                // refused with 5xx, or by a commit that failed: nothing is saved
)

// raise moves a state machine of a request. None of them ever falls.
func raise[T ~uint8](state *T, to T) { *state = max(*state, to) }

// effects is what only a request that does more than pass gates needs.
type effects struct {
	failure      error        // why the session or its user cannot be known; all that depends on them is a 503
	endReason    store.Reason // why the session named by the cookie has ended
	pending      pendingLogin // of a login that lacks a factor; rec and user are then zero
	dormantOwner string       // the owner of a session that idled out and may be revived
	uselessProof string       // the ID of the session whose bound cookie came and does not count
	arrived      store.Time   // when its handler began to read the body: see noteArrival
	inner        outcome      // of a refusal written to a ResponseWriter of somebody else, who may drop it
	revived      bool         // this request revived the session, and no event has said so yet
	loggedIn     bool         // by Login
	touched      store.Time   // when the request was last recorded as activity since it was accepted
	touchErr     error        // what the backend said to that

	session, visitor cookie.Change
	secrets          cookie.SecretChanges

	open       values.OpenSessions
	stored     values.Bag    // what they are opened from: rec's values or the visitor cookie's; nil if not read yet
	visitorAge time.Duration // of the visitor cookie, if stored is from there
	// derived maps Done channels of contexts made by CancelOnEnd to those of their parents:
	// that a session ends does not mean that its handler was abandoned.
	derived map[<-chan struct{}]<-chan struct{}
}

// locked is a request whose mutex is held. The rule: lock, call one method of *locked,
// unlock. lock, tryLock and lockRequest are the ways to one; whatever needs the mutex is a
// method of *locked, so that forgetting it does not compile.
//
// Lock order: a request's mutex first. While it is held, one of these may be taken, which
// hold no other while they call out: the mutexes of internal/stream, of a
// response.Stopper, of a throttle, of a saver.Queue or a retry.Queue, and those of a backend. No two
// requests' mutexes are held at a time. A request that saves values may wait for the backend
// call of another that saves the same session, and a login that renews a session for those
// of another that renews it, but for nothing else of it.
//
// Application code runs while the mutex is held: FindUser, OnEvent, the Logger, ClientAddr,
// MaxSessions, Factors, the user's methods but HasRole, the encoders of stored values, an outer
// ResponseWriter's Header, and a middleware's context. If it uses the guard for the same
// request, it would wait for itself. tryLock notices that by the methods of *locked on the
// goroutine's own stack, which is why the function that locks must not call application
// code itself, not even log. The methods of Guard then return ErrInCallback (User false,
// EndReason ""), and its wrappers panic with it.
//
// The stack does not show which request's mutex is held. So a callback does not wait for
// another request's mutex either, and those of two guards cannot wait for each other. Nor
// does it show that a panic has released a mutex: a deferred function that recovers may
// be refused a mutex that another goroutine holds.
type locked request

// lock waits for the mutex. It panics with [ErrInCallback] where waiting would never end.
func (req *request) lock() *locked {
	if !req.mu.TryLock() {
		if err := req.waitForLock(); err != nil {
			panic(err)
		}
	}
	return (*locked)(req)
}

// tryLock is lock, but returns its error, or [ErrUnavailable] if the response did not wait.
func (req *request) tryLock() (*locked, error) {
	if !req.mu.TryLock() {
		if req.writer.Detached() {
			return nil, ErrUnavailable
		}
		if err := req.waitForLock(); err != nil {
			return nil, err
		}
	}
	return (*locked)(req), nil
}

func (req *request) waitForLock() error {
	if holdsLock() {
		return ErrInCallback
	}
	req.mu.Lock()
	return nil
}

// lockAtEnd is lock for the end of the request, which no callback reaches. While a panic
// unwinds, methods of *locked are still on the stack that no longer hold the mutex.
func (req *request) lockAtEnd() *locked {
	req.mu.Lock()
	return (*locked)(req)
}

// lockToRespond is lock for the goroutine that responds, which waits as wait does. But the
// response of a timeout middleware does not wait for a handler that is inside a callback or
// the backend. It goes out without the lock, kept out of caches and with nothing saved:
// lockToRespond then returns nil, and whoever has the lock gives up what was to be stored.
func (req *request) lockToRespond(wait func(*request) *locked) *locked {
	if req.mu.TryLock() {
		return (*locked)(req)
	}
	if !req.writer.TimedOut() || holdsLock() {
		return wait(req)
	}
	if !req.writer.Detached() && soon(req.mu.TryLock) {
		return (*locked)(req)
	}
	req.writer.Detach()
	if req.mu.TryLock() { // what unlock does may have come too early to see that
		return (*locked)(req)
	}
	return nil
}

// soon tries for longer than what only computes has the lock. If thousands of responses do
// that at once, each time that they let the others run takes long, and a few suffice.
func soon(try func() bool) bool {
	begun := time.Now()
	for i := 0; i < 1000 && (i < 20 || time.Since(begun) < time.Millisecond); i++ {
		runtime.Gosched()
		if try() {
			return true
		}
	}
	return false
}

func (l *locked) unlock() {
	l.mu.Unlock()
	if l.writer.Detached() {
		(*request)(l).giveUp()
	}
}

// giveUp gives up what a response that went out without the lock can no longer store.
func (req *request) giveUp() {
	req.mu.Lock()
	defer req.mu.Unlock()
	(*locked)(req).giveUp()
}

func (l *locked) giveUp() {
	if !l.committed {
		l.undoLogin()
		l.committed = true
	}
}

// lockedMethods is what the names of the methods of *locked begin with.
var lockedMethods = strings.TrimSuffix(runtime.FuncForPC(reflect.ValueOf((*locked).unlock).Pointer()).Name(), "unlock")

// holdsLock reports whether the calling goroutine is inside a method of *locked.
func holdsLock() bool { return callstack.Has(lockedMethods) }

// needEffects returns l.effects, which it makes if there are none.
func (l *locked) needEffects() *effects {
	if l.effects == nil {
		l.effects = new(effects)
	}
	return l.effects
}

// inner returns the outcome of what was written to a ResponseWriter of somebody else.
func (l *locked) inner() outcome {
	if l.effects == nil {
		return served
	}
	return l.effects.inner
}

func (l *locked) ctx() context.Context { return (*request)(l) } // by which events find the request

// Value implements [context.Context]: the key of a guard's own request is its core.
func (req *request) Value(key any) any {
	if key == any(req.core) {
		return req
	}
	return req.parent.Value(key)
}

// Deadline implements [context.Context].
func (req *request) Deadline() (time.Time, bool) { return req.parent.Deadline() }

// Done implements [context.Context].
func (req *request) Done() <-chan struct{} { return req.parent.Done() }

// Err implements [context.Context].
func (req *request) Err() error { return req.parent.Err() }

// requestOf returns the guard's state of r, or nil if r did not pass a wrapper.
func (c *core) requestOf(r *http.Request) *request {
	if req := c.requestFrom(r.Context()); req != nil && req.is(r) {
		return req
	}
	return nil
}

// is reports whether r is this request or a copy of it. Others have its context too, if a
// handler includes pages with it, or if a hijacked connection is served with it, as by
// golang.org/x/net/http2/h2c. They may be another client's, or come after the session's end.
func (req *request) is(r *http.Request) bool {
	return req.core.cookies.Same(req.cookies, r.Header) && (!req.writer.Hijacked() || req.hijackedBy(r))
}

// hijackedBy reports whether r is the request whose handler took the connection, or a
// shallow copy. It is not if the connection was taken to serve r as HTTP/2 (RFC 7540
// section 3.2).
func (req *request) hijackedBy(r *http.Request) bool {
	_, servedAnew := r.Header["Http2-Settings"]
	return !servedAnew && fetch.SameHeader(r.Header, req.http.Header)
}

// requestIn returns the guard's state of the request that ctx belongs to, or nil. Of a
// hijacked connection it is nil, since ctx may be that of any request served on it.
func (c *core) requestIn(ctx context.Context) *request {
	req := c.requestFrom(ctx)
	if req == nil || req.writer.Hijacked() {
		return nil
	}
	return req
}

// requestFrom returns the guard's state of the request that ctx derives from, or nil.
func (c *core) requestFrom(ctx context.Context) *request {
	req, _ := ctx.Value(c).(*request)
	return req
}

// lockRequest locks the guard's state of r. It returns [ErrNotWrapped] or
// [ErrInCallback]. Callers routinely ignore the error, as in
// session, _ := guard.Get(r, "cart"), so it is also logged, once.
func (c *core) lockRequest(r *http.Request) (*locked, error) {
	req := c.requestOf(r)
	if req == nil || req.madeUnsafe(r) {
		if c.logged.unwrapped.CompareAndSwap(false, true) {
			c.log.Error("sessionguard: this request did not come through guard.Handler, or a middleware has changed its cookies or its method since: nobody is logged in and nothing is stored",
				"path", truncate(r.URL.Path), "method", truncate(r.Method))
		}
		return nil, ErrNotWrapped
	}
	l, err := req.tryLock()
	if err != nil && c.logged.callback.CompareAndSwap(false, true) {
		c.log.Error("sessionguard: a callback used the guard for the request that it was called for", "path", truncate(r.URL.Path))
	}
	return l, err
}

// wrap returns a handler that calls serve with the guard's state of the request. The
// outermost wrapper of a request attaches the state, and the others find it. So does a
// handler that its response has not waited for or that has taken the connection, but not
// another request that is made later with the context of this one.
func (c *core) wrap(serve func(*request, http.ResponseWriter, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch req := c.requestFrom(r.Context()); {
		case req == nil || !req.is(r) || req.writer.Over() && !fetch.SameHeader(r.Header, req.http.Header) && r.Context().Err() == nil:
			c.attach(req, w, r, serve)
		case req.madeUnsafe(r):
			c.refuse(req, w, r, crossOrigin)
		default:
			if req.writer.BypassedBy(w) {
				c.logBypass(r)
			}
			serve(req, w, r)
		}
	})
}

// attach is a function of its own so that [http.Request.WithContext] is inlined into it,
// which keeps its copy of the request off the heap. other is the state of another request
// from whose context that of r derives, or nil.
func (c *core) attach(other *request, w http.ResponseWriter, r *http.Request, serve func(*request, http.ResponseWriter, *http.Request)) {
	req := &request{parent: r.Context(), core: c, caller: r, cookies: cookie.Header(r.Header)}
	req.writer.Init(w, req)
	req.http = *r.WithContext(req)
	req.countReading()
	if fetch.Prefetches(r) { // told now, because a handler may change the header while another goroutine asks for the user
		req.activity = passive
	}
	if other != nil {
		req.committed, req.exposure = other.hasBegun(w)
	}
	returned := false
	defer req.cleanUp(&returned)
	var allowed bool
	if allowed, req.isolated = c.checkOrigin(r); allowed {
		serve(req, &req.writer, &req.http)
	} else {
		c.warnOfNullOrigin(r)
		req.defaultRefusals = authrequest.Asks(r) // its own request may be refused on the way to AuthRequest
		c.refuse(req, &req.writer, &req.http, crossOrigin)
	}
	late := req.finish()
	returned = true
	if late {
		req.saveLate()
	}
}
