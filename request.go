package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

// request is everything the guard knows about one request. It is one
// allocation with three faces: the context that handlers find it by, the copy
// of the http.Request that has this context, and, as a *writer, the
// ResponseWriter. It is never pooled: a handler may outlive its response.
//
// A request goes through look (who is asking, at most once), commit (what must
// be stored and sent before the first byte of the answer) and finish.
type request struct {
	context.Context              // the caller's
	http            http.Request // what handlers get
	core            *core        // nil: only NoCache
	w               http.ResponseWriter
	caller          *http.Request

	mu         sync.Mutex // a handler under http.TimeoutHandler may still run while its answer is sent
	rec        store.Record
	user       User
	now        store.Time
	identified bool // rec is known: the live session, or none
	known      bool // user is known
	looked     bool // the answer depends on who is asking: never cached
	gated      bool // the answer is only for someone logged in
	passive    bool
	direct     bool                   // the cookie is that of rec, not of one before
	noRevival  bool                   // it is no person's doing that it comes
	refused    bool                   // a refusal is the answer: no activity
	hidden     bool                   // a refusal was written to somebody else's writer: the answer only if such a status goes out
	hiddenDown bool                   // the same, of a refusal for a failure
	asking     bool                   // a refusal of the application's is running
	encoded    bool                   // the caller set Content-Encoding, and encodes whatever comes
	replacing  bool                   // the refusal that replaces the handler's answer is being written
	replaced   bool                   // it has been, and what the handler still writes is dropped
	sent       bool                   // committed: nothing more can be stored in a cookie
	started    bool                   // the final status has gone to w
	done       bool                   // the handler returned; false behind a panic
	answer     atomic.Pointer[answer] // nil: nobody will stop it
	slow       *pending
	noStore    noStoreValues
}

// pending is what only a request that does more than pass a gate needs.
type pending struct {
	failure   error        // why nobody can tell who is asking
	loggedIn  bool         // rec was made by this request: undone if the answer cannot be sent
	reason    store.Reason // why the session that the cookie names has ended
	waiting   string       // whose it is, if it can be revived
	revived   bool         // by this request, and nobody has been told
	conflicts int          // how often reviving met another request

	session, anonymous           cookieChange
	sessionValue, anonymousValue string

	views  []*view
	cuts   map[<-chan struct{}]<-chan struct{} // contexts of CancelOnEnd, and what they were made from
	gaveUp bool                                // the answer is that of http.TimeoutHandler, whose handler may run on
	bag    values.Bag                          // what the views were opened from: rec's values, or the anonymous cookie's
}

type cookieChange uint8

const (
	keepCookie cookieChange = iota
	setCookie
	deleteCookie
)

func (st *request) pending() *pending {
	if st.slow == nil {
		st.slow = new(pending)
	}
	return st.slow
}

// Value lets a guard find its own request in any context derived from it.
func (st *request) Value(key any) any {
	if key == any(st.core) {
		return st
	}
	return st.Context.Value(key)
}

// of finds this guard's part of r, if a wrapper of it came before.
func (c *core) of(r *http.Request) *request { return c.in(r.Context()) }

// in finds it in a context derived from a request's.
func (c *core) in(ctx context.Context) *request {
	st, _ := ctx.Value(c).(*request)
	return st
}

// wrapped is of for what cannot do without. Its error is easily ignored, as in
// session, _ := guard.Get(r, "cart"), so it is logged, once.
func (c *core) wrapped(r *http.Request) (*request, error) {
	st := c.of(r)
	if st != nil {
		return st, nil
	}
	c.unwrapped.Do(func() {
		c.log.Error("sessionguard: this request did not come through guard.Handler: nobody is logged in and nothing is stored",
			"path", r.URL.Path)
	})
	return nil, ErrNotWrapped
}

// wrap makes a handler of serve. The outermost one of a request attaches the
// guard to it, and the others find it there.
func (c *core) wrap(serve func(*request, http.ResponseWriter, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if st := c.of(r); st != nil {
			serve(st, w, r)
		} else {
			c.attach(w, r, serve)
		}
	})
}

// attach is a function of its own so that [http.Request.WithContext] is inlined
// into it, which keeps its copy of the request off the heap.
func (c *core) attach(w http.ResponseWriter, r *http.Request, serve func(*request, http.ResponseWriter, *http.Request)) {
	st := &request{Context: r.Context(), core: c, w: w, caller: r}
	st.http = *r.WithContext(st)
	_, st.encoded = w.Header()["Content-Encoding"]
	defer st.leave()
	if c.crossOriginAllowed(r) {
		serve(st, (*writer)(st), &st.http)
	} else {
		c.refuse(st, (*writer)(st), &st.http, crossOrigin)
	}
	st.finish()
}

// look finds out who is asking. ctx is that of whoever wants to know, which may
// be done before the request's own.
func (st *request) look(ctx context.Context) error {
	if st.sent && !st.looked {
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
func (st *request) identify(ctx context.Context) error {
	st.looked = true
	if st.identified {
		return st.failure()
	}
	st.identified = true
	st.now = store.TimeOf(time.Now())
	returned := false
	defer st.failUnless(&returned)

	err := st.find(ctx)
	returned = true
	return err
}

// find loads the session of the cookie, brings a remembered one back, and ends one
// that is over.
func (st *request) find(ctx context.Context) error {
	c := st.core
	value, n := sole(st.http.Header, c.cookies.session.Name)
	if n == 0 {
		return nil
	}
	if n > 1 || !plausible(value) {
		c.emitOften(st, Event{Name: EventForged}, &c.forged)
		return nil
	}
	key := c.cookies.key(value)
	rec, known := c.cached(key)
	if !known {
		if !c.mayName(value) {
			c.emitOften(st, Event{Name: EventForged}, &c.forged)
			return nil
		}
		var err error
		if rec, err = c.backend.Load(ctx, key); err != nil {
			return st.missing(ctx, value, err)
		}
	}
	if !c.owns(rec) {
		return st.fail(errForeign)
	}
	reason, over := expired(rec, st.now)
	if reason == store.Idle && st.now < rec.Until() {
		return st.revive(ctx, rec, value)
	}
	st.rec, st.direct = rec, true
	if over {
		_ = st.endNow(reason)
	}
	return nil
}

var errForeign = errors.New("the backend returned a session that is not this guard's")

func (c *core) owns(rec store.Record) bool {
	return rec.Session != nil && len(rec.Owner) > len(c.ownerPrefix) && rec.Owner[:len(c.ownerPrefix)] == c.ownerPrefix
}

// missing is for a cookie that the backend has no session for.
func (st *request) missing(ctx context.Context, value string, err error) error {
	var moved *store.MovedError
	var ended *store.EndedError
	switch {
	case errors.As(err, &moved):
		return st.moved(ctx, value, moved)
	case errors.As(err, &ended):
		st.over(ended.Reason)
	case !errors.Is(err, store.ErrNotFound):
		return st.fail(err)
	case st.core.cookies.verify(value):
		st.over(store.Expired)
		st.core.emitOften(st, Event{Name: EventUnknown}, &st.core.unknown)
	default:
		st.core.emitOften(st, Event{Name: EventForged}, &st.core.forged)
	}
	return nil
}

// over notes that the session of the cookie has ended, and why.
func (st *request) over(reason store.Reason) {
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
	return plausible(value) && (c.local || c.cookies.verify(value))
}

// cached returns what the backend knows without asking anyone.
func (c *core) cached(key store.Key) (store.Record, bool) {
	if c.cacher == nil {
		return store.Record{}, false
	}
	return c.cacher.Cached(key)
}

// authenticate finds the session's user as the user is now.
func (st *request) authenticate(ctx context.Context) error {
	if st.known || st.rec.Session == nil {
		return st.failure()
	}
	st.known = true
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
			st.core.emit(st, Event{Name: EventRemembered}, st.rec)
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
func (st *request) endNow(reason store.Reason) error {
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
func (st *request) fail(err error) error {
	p := st.pending()
	p.failure = fmt.Errorf("%w: %w", ErrUnavailable, err)
	st.user = nil
	st.core.emit(st, Event{Name: EventFailed, Err: err}, st.rec)
	return p.failure
}

// failUnless is for a callback that panicked: if somebody recovers, it must not
// pass for "nobody is logged in".
func (st *request) failUnless(returned *bool) {
	if !*returned {
		_ = st.fail(errors.New("a panic"))
	}
}

func (st *request) failure() error {
	if st.slow == nil {
		return nil
	}
	return st.slow.failure
}

// settle is the context of what is finished even if the client hangs up.
func (st *request) settle() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(st), settleTimeout)
}

// sight is what a look saw.
type sight struct {
	user User // nil: nobody is logged in
	rec  store.Record
	now  store.Time
	err  error
}

// admit looks on behalf of what is only for someone logged in.
func (st *request) admit(ctx context.Context) sight {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gated = true
	err := st.look(ctx)
	return sight{st.user, st.rec, st.now, err}
}
