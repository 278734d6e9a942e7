package sessionguard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/stream"
	"github.com/sessionguard-go/sessionguard/store"
)

// A phase is what a session is at a moment.
type phase uint8

const (
	alive   phase = iota
	dormant       // idle for too long, but a person's request may revive it (Remember)
	over
)

// phaseAt decides what a session is at now and, unless it is alive, the reason. The
// deadline itself is too late, and a record without times is over.
func phaseAt(r store.Record, now store.Time) (phase, store.Reason) {
	switch {
	case now >= r.Expires:
		return over, store.ReasonAbsolute
	case now < r.LastSeen.Add(r.IdleTimeout):
		return alive, ""
	case now < r.GoneAt():
		return dormant, store.ReasonRemembered
	}
	return over, store.ReasonIdle
}

// touchDue decides whether a request accepted at now is recorded. With the in-process
// backend every request is. Otherwise recording costs a round trip, so it happens at most
// once per 1/30 of the idle timeout, and a session may end that much early.
func touchDue(r store.Record, now store.Time, local bool) bool {
	since := now.Sub(r.LastSeen)
	if local {
		return since > 0
	}
	return since >= r.IdleTimeout/30 || r.Revived() && tokenUnused(r)
}

// fresh decides whether the last login is younger than age.
func fresh(r store.Record, now store.Time, age time.Duration) bool {
	return now.Sub(r.Authenticated) < age && !r.Revived()
}

// Passive serves requests that are not a person's activity: polling, an event stream, a
// status check. They are refused like any other once the session has ended, and neither
// keep it alive nor revive it ([Remember]). Put it outside of whatever needs the session.
func (g *core) Passive(next http.Handler) http.Handler {
	return g.wrap(func(req *request, w http.ResponseWriter, r *http.Request) {
		req.raiseActivity(passive)
		next.ServeHTTP(w, r)
	})
}

func (req *request) raiseActivity(to activity) {
	l := req.lock()
	defer l.unlock()
	raise(&l.activity, to)
}

// status is the response of Status. Seconds are rounded down, so that no client believes
// that a session lasts longer than the server does.
type status struct {
	Authenticated   bool         `json:"authenticated"`
	Session         string       `json:"session,omitempty"`
	IdleSeconds     int64        `json:"idle_seconds"`
	AbsoluteSeconds int64        `json:"absolute_seconds"`
	Reason          store.Reason `json:"reason,omitempty"`
}

// status returns the session's status now. The request itself counts as activity if it
// will be recorded.
func (l *locked) status() status {
	if l.user == nil {
		return status{Reason: l.endReason()}
	}
	rec := l.rec
	if l.touches() && l.inner == served {
		rec.LastSeen = l.now
	}
	return status{
		Authenticated:   true,
		Session:         rec.ID,
		IdleSeconds:     int64(rec.Deadline().Sub(l.now) / time.Second),
		AbsoluteSeconds: int64(rec.Expires.Sub(l.now) / time.Second),
	}
}

// Status responds with how long the session has to live, as JSON:
//
//	{"authenticated":true,"session":"…","idle_seconds":1799,"absolute_seconds":43199}
//
// "session" is the session's public ID, which stays the same through re-authentication
// and changes with any other login. If nobody is logged in, "reason" is the
// [Guard.EndReason], if there is one. A request of Status is not activity
// ([Guard.Passive]), and the response is never cached. Activity that has not been sent to
// a remote backend yet is not counted. Methods other than GET and HEAD get 405.
func (g *core) Status() http.Handler {
	return g.Passive(g.statusHandler(http.MethodGet, http.MethodHead))
}

// statusHandler responds to methods with the status.
func (c *core) statusHandler(methods ...string) http.Handler {
	return c.wrap(func(req *request, w http.ResponseWriter, r *http.Request) {
		req.raiseActivity(noRevival) // a script may ask a little too late
		if !req.accepts(w, methods...) {
			return
		}
		if req.authenticate(r.Context()).err != nil {
			c.refuse(req, w, r, unavailable)
			return
		}
		l := req.lock()
		s := l.status()
		l.unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s) // an error here means that the client has gone
	})
}

// ErrSessionEnded is the cause of a context that [Guard.CancelOnEnd] has cancelled.
var ErrSessionEnded = errors.New("sessionguard: the session has ended")

// A SessionEndedError is an [ErrSessionEnded] with the reason.
type SessionEndedError struct{ Reason store.Reason }

func (e *SessionEndedError) Error() string { return ErrSessionEnded.Error() + ": " + string(e.Reason) }

func (e *SessionEndedError) Unwrap() error { return ErrSessionEnded }

// CancelOnEnd ends a long response, such as server-sent events or a WebSocket, when the
// session that it was begun with ends: by a logout, from elsewhere, or by a timeout.
//
//	mux.Handle("GET /events", guard.Passive(guard.RequireLogin(guard.CancelOnEnd(events))))
//
// It cancels the context of next's request. [context.Cause] is then a
// [*SessionEndedError] with the reason, so that next can tell the client. A second later
// writing fails, whatever next does: the response is aborted, and a hijacked connection is
// closed, even if next has returned since. A middleware around the guard that buffers
// responses must not send half of one, and one whose ResponseWriter has no Unwrap method
// prevents the interruption of a write that waits for its client.
//
// Sessions that end in this process end their streams at once; on other nodes it takes as
// long as the backend takes to notify them ([store.Watcher]), or 30 seconds. If the
// backend fails when the session should end, the cause is [ErrUnavailable]. A lost role, a
// changed SessionStamp, or a user who was deactivated without [Guard.EndUser] ends no
// stream until the session is next used.
//
// A response of type text/event-stream gets the header X-Accel-Buffering: no, unless next
// sets another value: nginx would hold it back until it ends.
//
// A stream is one request: it counts as activity once, at its start, and not at all
// behind [Guard.Passive]. Routes with CancelOnEnd cost one backend call at the start and
// one every 5 minutes, or every 30 seconds without a Watcher. If nobody is logged in, next
// is called as it is.
func (g *core) CancelOnEnd(next http.Handler) http.Handler {
	return g.wrap(func(req *request, w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		rec, err := req.sessionToWatch(r.Context(), ctx)
		var s *stream.Stream
		if err == nil && rec.Session != nil {
			s, err = req.openStream(r.Context(), rec, cancel)
		}
		switch {
		case errors.Is(err, ErrUnavailable):
			g.refuse(req, w, r, unavailable)
		case s == nil:
			next.ServeHTTP(w, r)
		default:
			defer s.Close()
			watched := r.WithContext(ctx)
			defer giveBack(r, watched)
			next.ServeHTTP(w, watched)
		}
	})
}

// sessionToWatch returns the session of a logged-in user, or none. It records that derived
// was made from parent.
func (req *request) sessionToWatch(parent, derived context.Context) (store.Record, error) {
	l := req.lock()
	defer l.unlock()
	return l.sessionToWatch(parent, derived)
}

func (l *locked) sessionToWatch(parent, derived context.Context) (store.Record, error) {
	if err := l.resolve(parent); err != nil {
		return store.Record{}, err
	}
	e := l.needEffects()
	if e.derived == nil {
		e.derived = map[<-chan struct{}]<-chan struct{}{}
	}
	if derived.Done() != parent.Done() { // contexts that end before Done is called share one channel
		e.derived[derived.Done()] = parent.Done()
	}
	if l.user == nil {
		return store.Record{}, nil
	}
	return l.rec, nil
}

func (req *request) openStream(ctx context.Context, rec store.Record, cancel context.CancelCauseFunc) (*stream.Stream, error) {
	s, err := req.core.streams.Open(ctx, rec, req.writer.Stopper(), cancel)
	if err != nil {
		l := req.lock()
		defer l.unlock()
		return nil, l.fail(err)
	}
	return s, nil
}

// newStreams makes the registry of the guard's streams. watcher is nil if the backend is none.
func (c *core) newStreams(watcher store.Watcher) *stream.Registry {
	return stream.New(stream.Config{
		Watcher:     watcher,
		Lookup:      c.streamSession,
		Cause:       func(reason store.Reason) error { return &SessionEndedError{reason} },
		Unavailable: ErrUnavailable,
		Stopped:     ErrSessionEnded,
		Timeout:     detachedTimeout,
		Logger:      c.log,
	})
}

// streamSession finds a live session wherever it has moved. It deletes nothing, since a
// request that was accepted in time may still be running.
func (c *core) streamSession(ctx context.Context, key store.Key, owner, id string) (store.Record, error) {
	rec, err := c.loadMoved(ctx, key)
	var ended *store.EndedError
	if errors.Is(err, store.ErrNotFound) && !errors.As(err, &ended) {
		rec, err = c.backend.LoadByID(ctx, owner, id) // it may have moved too long ago
	}
	if err != nil {
		return rec, err
	}
	if phase, reason := phaseAt(rec, store.TimeOf(time.Now())); phase != alive {
		return rec, &store.EndedError{Reason: reason}
	}
	return rec, nil
}

// revalidate is for a gate around a request that is over: somebody has kept it, it has taken
// the connection, or its response has not waited for its handler. The session may have ended
// since the request was accepted, and the user may have changed.
func (l *locked) revalidate() {
	if !l.writer.Over() || l.rec.Session == nil {
		return
	}
	ctx, cancel := detached(l.ctx())
	defer cancel()
	l.now = store.TimeOf(time.Now())
	_, err := l.core.streamSession(ctx, l.rec.Key, l.rec.Owner, l.rec.ID)
	switch ended := new(store.EndedError); {
	case err == nil:
		if l.stage == resolved { // otherwise resolve asks
			_ = l.askForUser(ctx)
		}
	case errors.As(err, &ended):
		l.setEnded(ended.Reason)
	case errors.Is(err, store.ErrNotFound):
		l.setEnded("")
	default:
		_ = l.fail(err)
	}
}

// IdleTimeout gives one login an idle timeout of its own: an administrator may get ten
// minutes where others get thirty. A login without it that re-authenticates the user keeps
// the session's own if that is shorter than the guard's, so that a page that asks for the
// password again need not know of it. Where a first login with a short timeout waits for a
// second step, the login that completes it gives the longer one:
//
//	err := guard.Login(w, r, user, sessionguard.IdleTimeout(30*time.Minute), sessionguard.AbsoluteTimeout(12*time.Hour))
func IdleTimeout(d time.Duration) LoginOption {
	return func(o *loginOptions) { o.idle = explicit(d) }
}

// AbsoluteTimeout gives one login an absolute timeout of its own. As with [IdleTimeout], a
// re-authentication without it keeps a shorter one.
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
