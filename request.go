package sessionguard

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/response"
	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

// request is everything the guard knows about one request. It is one
// allocation with three faces: the context that handlers find it by, the copy
// of the http.Request that has this context, and the ResponseWriter. It is never pooled: a handler may outlive its response.
//
// A request goes through look (who is asking, at most once), commit (what must
// be stored and sent before the first byte of the answer) and finish.
type request struct {
	parent context.Context // the caller's
	http   http.Request    // what handlers get
	writer response.Writer
	core   *core
	caller *http.Request

	mu        sync.Mutex // a handler under http.TimeoutHandler may still run while its answer is sent
	rec       store.Record
	user      User
	now       store.Time
	stage     stage
	exposure  exposure
	activity  activity
	outcome   outcome // of what was written to writer
	inner     outcome // of a refusal written to somebody else's writer, who may not show it
	current   bool    // the cookie is that of rec, not of one before
	refusing  bool    // a refusal of the application's is running
	encoded   bool    // the caller set Content-Encoding, and encodes whatever comes
	committed bool    // nothing more can be stored in a cookie
	completed bool    // the handler returned; false behind a panic
	slow      *pending
	noStore   noStoreValues
}

// stage is how much is known of who sent the request. It only rises.
type stage uint8

const (
	unresolved    stage = iota // nobody has asked
	identified                 // rec is the live session of the cookie, or zero
	authenticated              // user is the session's user, or nil
)

// exposure is what the response depends on. It only rises.
type exposure uint8

const (
	public    exposure = iota // not on the session: its own caching headers stay
	personal                  // on who is asking: never cached
	protected                 // on a session: nobody may see it once that has ended
)

// activity is what the request does for the life of the session. It only rises.
type activity uint8

const (
	active    activity = iota // slides the idle deadline, and revives what is remembered
	noRevival                 // only slides the deadline
	passive                   // does neither
)

// outcome is what has become of the request. It only rises.
type outcome uint8

const (
	served outcome = iota
	denied         // refused by a gate: no activity
	failed         // a 5xx replaces the page: nothing is saved
)

// pending is what only a request that does more than pass a gate needs.
type pending struct {
	failure error        // why nobody can tell who is asking
	reason  store.Reason // why the session that the cookie names has ended
	waiting string       // whose it is, if it can be revived
	revived bool         // by this request, and nobody has been told

	session, anonymous           cookieChange
	sessionValue, anonymousValue string

	views  []*view
	cuts   map[<-chan struct{}]<-chan struct{} // contexts of CancelOnEnd, and what they were made from
	gaveUp bool                                // the answer is that of http.TimeoutHandler, whose handler may run on
	bag    values.Bag                          // what the views were opened from: rec's values, or the anonymous cookie's
}

type cookieChange uint8

const (
	keepCookie   cookieChange = iota
	setCookie                 // of the session: after a login, which is undone if the answer cannot be sent
	rotateCookie              // a new token for a session there was
	deleteCookie
)

func (st *locked) pending() *pending {
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
	return st.parent.Value(key)
}

func (st *request) Deadline() (time.Time, bool) { return st.parent.Deadline() }
func (st *request) Done() <-chan struct{}       { return st.parent.Done() }
func (st *request) Err() error                  { return st.parent.Err() }

// locked is a request whose mutex is held. What needs the mutex is a method of locked,
// and lock is the only way to one, so the compiler knows who holds it.
type locked request

func (st *request) lock() *locked {
	st.mu.Lock()
	return (*locked)(st)
}

func (l *locked) unlock() { l.mu.Unlock() }

// ctx is the request as a context, by which events find it.
func (l *locked) ctx() context.Context { return (*request)(l) }

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
	st := &request{parent: r.Context(), core: c, caller: r}
	st.writer.Init(w, st)
	st.http = *r.WithContext(st)
	_, st.encoded = w.Header()["Content-Encoding"]
	defer st.leave()
	if c.crossOriginAllowed(r) {
		serve(st, &st.writer, &st.http)
	} else {
		c.refuse(st, &st.writer, &st.http, crossOrigin)
	}
	st.finish()
}

// Commit implements [response.Hooks]: it stores what the request changed before the
// first byte goes out, or sends a refusal in place of the handler's response.
func (st *request) Commit(status int) bool {
	why := st.commit(status)
	if why == admitted {
		return true
	}
	clearAnswer(st.writer.Unwrap().Header(), st.encoded)
	st.core.refuse(st, &st.writer, &st.http, why)
	return false
}

// BeforeHeader implements [response.Hooks].
func (st *request) BeforeHeader(h http.Header) {
	l := st.lock()
	defer l.unlock()
	if l.exposure > public {
		l.noStore.enforce(h)
	}
}

// BeforeHijack implements [response.Hooks]: a hijacked connection cannot set cookies.
func (st *request) BeforeHijack() error {
	l := st.lock()
	defer l.unlock()
	if p := l.slow; p != nil && (p.session != keepCookie || p.anonymous != keepCookie) {
		return errors.New("sessionguard: a connection that sets a cookie cannot be hijacked")
	}
	return nil
}

// commit stores what the request changed and puts the cookies in place, once,
// or says what to answer instead.
func (st *request) commit(status int) refusal {
	l := st.lock()
	defer l.unlock()
	if l.committed {
		return admitted
	}
	if l.exposure > public {
		switch {
		case l.inner == failed && status >= 500:
			l.outcome = failed
		case l.inner >= denied && status >= 300 && status < 500:
			l.outcome = max(l.outcome, denied)
		}
		if status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout {
			l.pending().gaveUp = true
		}
		if why := l.store(); why != admitted && l.outcome != failed {
			l.outcome = failed
			return why
		}
		l.writeCookies()
	}
	l.committed = true
	return admitted
}

// store tells the backend of the activity and of changed values.
func (st *locked) store() refusal {
	err := st.failure()
	if err == nil {
		err = st.checkToken()
	} else if st.bringsToken() {
		st.slow.session = keepCookie // nobody can tell whether it has been overtaken; the last one is still good
	}
	switch {
	case err != nil:
	case st.rec.Session == nil:
		err = st.saveAnonymous()
	case st.outcome != failed:
		if err = st.touch(); err == nil {
			err = st.saveViews()
		}
	}
	switch {
	case err == nil:
		return admitted
	case errors.Is(err, store.ErrNotFound):
		// It ended while the request was in flight: nothing of it is saved,
		// and its page is no longer for whoever waits for it.
		key := st.rec.Key
		st.rec, st.user, st.slow = store.Record{}, nil, nil
		st.over(st.core.reasonAt(st, key))
		return noSession
	case errors.Is(err, errUnsaveable):
		st.core.log.Error("sessionguard: the answer was replaced", "error", err)
		st.undo()
		st.slow.views = nil
		return broken
	case st.failure() == nil:
		_ = st.fail(err)
	}
	st.undo()
	if st.slow.session == deleteCookie {
		return stillThere
	}
	return unavailable
}

// touches says whether the backend is to be told of this request.
func (st *locked) touches() bool {
	return st.user != nil && st.activity < passive && st.outcome == served && touchDue(st.rec, st.now, st.core.local) &&
		!st.bringsToken() // which has not come back yet
}

// touch slides the idle deadline. A new token that has come back is told of in any
// case, but is no activity.
func (st *locked) touch() error {
	seen := st.now
	if !st.touches() {
		if st.user == nil || !st.current || !st.rec.Revived() || !unused(st.rec) {
			return nil
		}
		seen = st.rec.Detail().Rotated
	}
	ctx := st.ctx()
	if !st.core.local {
		settled, cancel := st.settle()
		defer cancel()
		ctx = settled
	}
	err := st.core.backend.Touch(ctx, st.rec.Key, seen)
	if errors.Is(err, store.ErrNotFound) && st.exposure < protected {
		return nil // the page is anybody's
	}
	return err
}

// undo takes back a login whose answer will not be sent.
func (st *locked) undo() {
	if st.slow == nil || st.slow.session != setCookie {
		return
	}
	p := st.slow
	p.session, p.anonymous = keepCookie, keepCookie
	_ = st.endNow(store.ReasonLoginIncomplete)
}

// finish ends the request of a handler that returned.
func (st *request) finish() {
	st.writer.Finish()
	l := st.lock()
	defer l.unlock()
	// For a handler like http.TimeoutHandler further out, which reads the headers now.
	l.takeBack()
	if l.exposure > public {
		l.noStore.enforce(l.writer.Unwrap().Header())
	}
	l.completed = true
	l.saveLate()
}

// leave runs however the handler ended. Behind a panic nothing is saved, a
// login is undone, and the page that an outer recoverer makes is not cached.
func (st *request) leave() {
	st.writer.Release()
	// The server removes upload files by its own request, and outer
	// middleware reads the route from it.
	st.caller.MultipartForm = st.http.MultipartForm
	st.caller.Pattern = st.http.Pattern
	if st.completed {
		return
	}
	if st.writer.Discarding() {
		// httputil.ReverseProxy aborts when its page is taken away, which
		// would take the refusal away as well.
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			defer panic(p)
		}
	}
	st.BeforeHeader(st.writer.Unwrap().Header())
	l := st.lock()
	defer l.unlock()
	l.undo()
	l.committed = true
	l.writer.Discard()
}

// writeCookies adds what changed to the answer: one Set-Cookie per cookie, with
// every attribute also where it deletes, since browsers ignore a deletion that
// does not match.
func (st *locked) writeCookies() {
	if st.slow == nil {
		return
	}
	p, c := st.slow, &st.core.cookies
	add := func(ck http.Cookie, change cookieChange, value string, maxAge int) {
		switch change {
		case setCookie, rotateCookie:
			ck.Value, ck.MaxAge = value, maxAge
		case deleteCookie:
			ck.MaxAge = -1
		default:
			return
		}
		http.SetCookie(st.writer.Unwrap(), &ck)
	}
	remembered := 0 // until the browser is closed
	if st.rec.Session != nil && st.rec.Detail().RememberUntil > 0 {
		// Not only until Remember: while it is active, the session goes on.
		// And for a while after its end, to say why.
		remembered = int(st.rec.Expires.Add(store.TombstoneLifetime).Sub(st.now) / time.Second)
	}
	add(c.Session, p.session, p.sessionValue, remembered)
	add(c.Visitor, p.anonymous, p.anonymousValue, 0)
}
