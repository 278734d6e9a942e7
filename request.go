package sessionguard

import (
	"context"
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
