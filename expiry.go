package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	return since >= r.IdleTimeout/30 || r.Revived() && tokenUnused(r) || endsGrace(r, now)
}

// fresh decides whether the last login is younger than age.
func fresh(r store.Record, now store.Time, age time.Duration) bool {
	return now.Sub(r.Authenticated) < age && !r.Revived()
}

// Passive serves requests that are no activity: polling, an event stream, a status check.
// Once the session has ended they are refused like any other. However long they take,
// they neither keep the session alive nor revive it ([Remember]). Put Passive outside of
// whatever needs the session. [Guard.Active] records what a person does on such a stream.
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

// Active records activity on a request that is still running, such as a message on a
// WebSocket. It moves the idle deadline as a new request would:
//
//	for {
//		message, err := connection.Read(ctx)
//		if err != nil || errors.Is(guard.Active(r), sessionguard.ErrNoSession) {
//			return
//		}
//		…
//	}
//
// It counts behind [Guard.Passive] too. Call it with the handler's own request, also
// after the connection was hijacked or the handler has returned. You may call it for
// every message: as all activity, it is sent to a remote backend at most once per 1/30 of
// the idle timeout. The absolute timeout stays. Do not call it for pings and
// acknowledgements, which a client sends by itself: that client's session would never
// time out.
//
// Active returns [ErrNoSession] if nobody is logged in or the session has ended. It finds
// the end only when it calls the backend: [Guard.CancelOnEnd] notices it at once. It
// returns [ErrUnavailable] (wrapped) if the backend fails, and the session then lives
// until its deadline. Other errors are [ErrHeadersSent] if the response began without the
// session, [ErrNotWrapped], and [ErrInCallback].
func (g *core) Active(r *http.Request) error {
	l, err := g.lockRequest(r)
	if err != nil {
		return err
	}
	defer l.unlock()
	return l.recordPerson(r.Context())
}

func (l *locked) recordPerson(ctx context.Context) error {
	if err := l.resolve(ctx); err != nil {
		return err
	}
	if l.user == nil {
		return ErrNoSession
	}
	if now := store.TimeOf(time.Now()); l.againDue(now) {
		l.touchAgain(now, l.touchWherever)
	}
	switch {
	case l.overtaken():
		return ErrNoSession
	case l.effects != nil && l.effects.touchErr != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, l.effects.touchErr)
	}
	return nil
}

// A body is the body of a request. That a person's request is being read is activity: an
// upload may take longer than the idle timeout.
type body struct {
	io.ReadCloser
	request *request
}

// Read never waits for another goroutine that uses the guard: the next Read is soon enough.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if req := b.request; n > 0 && !req.writer.Over() && req.mu.TryLock() {
		l := (*locked)(req)
		defer l.unlock()
		l.goesOn()
	}
	return n, err
}

// countReading makes the reading of the body activity. A connection of HTTP/2 (RFC 8441) has
// a body too, in which not all is a person's: see Active.
func (req *request) countReading() {
	// In HTTP/2 a request without a body has one that is not http.NoBody.
	if r := &req.http; r.Body != nil && r.ContentLength != 0 && r.Method != http.MethodConnect {
		r.Body = &body{r.Body, req}
	}
}

// noteArrival notes when a handler began to read the body before it needed the session.
func (l *locked) noteArrival() {
	if l.core.devices != nil && l.stage == unresolved && l.needEffects().arrived == 0 {
		l.effects.arrived = store.TimeOf(time.Now())
	}
}

// arrival returns when a proof of the device has to count: an upload that a handler reads before
// it needs the session may take longer. Without one, and after the request, it is l.now.
func (l *locked) arrival() store.Time {
	if l.effects == nil || l.effects.arrived == 0 || l.writer.Over() {
		return l.now
	}
	return l.effects.arrived
}

// isActivity reports whether the request is a person's, for whom it was served.
func (l *locked) isActivity() bool {
	return l.user != nil && l.activity < passive && l.outcome == served
}

// goesOn records that a request goes on that was accepted earlier: its body is being read, or
// its handler has returned.
func (l *locked) goesOn() {
	if l.user == nil {
		l.noteArrival()
		return
	}
	if now := store.TimeOf(time.Now()); l.againDue(now) && l.isActivity() {
		l.touchAgain(now, l.touchUsed)
	}
}

// touchUsed touches the session, unless it has a new token that the browser has not used yet.
func (l *locked) touchUsed(ctx context.Context, now store.Time) error {
	if !l.direct {
		if rec, err := l.core.backend.Load(ctx, l.rec.Key); err != nil || tokenUnused(rec) {
			return err
		}
	}
	return l.core.backend.Touch(ctx, l.rec.Key, now)
}

// againDue decides whether activity at now is recorded, after what the request has recorded
// so far or will at its commit.
func (l *locked) againDue(now store.Time) bool {
	rec := l.rec
	rec.LastSeen = max(rec.LastSeen, rec.Detail().Rotated) // a revival is activity
	if l.effects != nil {
		rec.LastSeen = max(rec.LastSeen, l.effects.touched)
	}
	if !l.committed && l.touches() {
		rec.LastSeen = max(rec.LastSeen, l.now)
	}
	return touchDue(rec, now, l.core.local)
}

// touchAgain records activity at now. A backend that fails replaces no response then.
func (l *locked) touchAgain(now store.Time, touch func(context.Context, store.Time) error) {
	ctx := l.ctx()
	if !l.core.local {
		d, cancel := detached(ctx)
		defer cancel()
		ctx = d
	}
	err := touch(ctx, now)
	if err == nil && l.committed && l.effects == nil {
		l.rec.LastSeen = max(l.rec.LastSeen, now) // allocates nothing, as a request usually ends
		return
	}
	e := l.needEffects()
	if e.touched, e.touchErr = now, err; err == nil {
		return
	}
	e.touched = store.TimeOf(time.Now()) // the call may have taken long
	if !l.overtaken() {
		l.core.emitUnavailable(l.ctx(), err, l.rec)
	}
}

// touchWherever touches a session that another login of its user may have moved: a stream goes
// on then.
func (l *locked) touchWherever(ctx context.Context, now store.Time) error {
	rec := l.rec
	err := store.ErrNotFound
	if l.direct && !isActing(rec) {
		err = l.core.backend.Touch(ctx, rec.Key, now)
	}
	if errors.Is(err, store.ErrNotFound) {
		if rec, err = l.core.streamSession(ctx, rec.Key, rec.Owner, rec.ID); err != nil || tokenUnused(rec) {
			return err // a new token that the browser has not used yet stays unused
		}
		err = l.core.backend.Touch(ctx, rec.Key, now)
	}
	if err == nil {
		rec.LastSeen = now
		l.core.streams.Moved(rec) // they need not ask the backend, which may fail
	}
	return err
}

// overtaken reports whether the session has ended, or moved, since the request was accepted,
// as far as touchAgain has found.
func (l *locked) overtaken() bool {
	return l.effects != nil && errors.Is(l.effects.touchErr, store.ErrNotFound)
}

// CancelOnEnd ends a long response, such as server-sent events or a WebSocket, when the
// session that it began with ends: by a logout, from elsewhere, or by a timeout.
//
//	mux.Handle("GET /events", guard.Passive(guard.RequireLogin(guard.CancelOnEnd(events))))
//
// It cancels the context of next's request. [context.Cause] is then a
// [*SessionEndedError] with the reason, so that next can tell the client. A second later
// the response is aborted or the hijacked connection closed, even if next has returned. A
// middleware around the guard that buffers responses must not send half of one. If its
// ResponseWriter has no Unwrap method, a write that waits for its client cannot be
// interrupted.
//
// Sessions that end in this process end their streams at once. On other nodes it takes as
// long as the backend takes to notify them ([store.Watcher]), or 30 seconds. If the
// backend fails when the session should end, the cause is [ErrUnavailable]. Some changes
// end a stream only when the session is next used: a role that was lost, a changed
// SessionStamp, a user who was deactivated without [Guard.EndUser], and a factor that is
// now required (Config.Factors), which ends only streams on the same node. When the proof
// of a bound session's device runs out, its streams go on, unless they are behind
// [Guard.CancelUnproven].
//
// A stream is one request: its start and its end are activity, and not even these behind
// [Guard.Passive]. [Guard.Active] records what a person does on it, which prolongs the
// stream too. A stream causes one backend call at the start and one every 5 minutes, or
// every 30 seconds without a Watcher. If nobody is logged in, only [Guard.EndStreams]
// ends it. Pages of other origins are refused, as by a gate. A response of type
// text/event-stream gets the header X-Accel-Buffering: no, unless next sets another
// value, because nginx buffers it.
func (g *core) CancelOnEnd(next http.Handler) http.Handler { return g.cancelOnEnd(next, false) }

// cancelOnEnd serves streams, which with unproven also end if the device is not proven any more.
func (c *core) cancelOnEnd(next http.Handler, unproven bool) http.Handler {
	return c.isolate(func(req *request, w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		rec, err := req.sessionToWatch(r.Context(), ctx)
		var proven stream.Proven
		if unproven {
			proven = req.provenUntil
		}
		var s *stream.Stream
		if err == nil {
			s, err = req.openStream(r.Context(), rec, proven, cancel)
		}
		switch {
		case errors.Is(err, ErrUnavailable):
			c.refuse(req, w, r, unavailable)
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

// EndStreams ends all responses behind [Guard.CancelOnEnd]. [http.Server.Shutdown] would
// wait for them, and would leave WebSockets open:
//
//	server.RegisterOnShutdown(guard.EndStreams)
//
// The streams end as at the end of a session, but [context.Cause] is
// [http.ErrServerClosed]. No session ends: clients may go on with another node. Streams
// that begin later end at once, so call EndStreams only before the process ends. It logs
// how many sessions the backend has failed to end so far.
func (g *core) EndStreams() {
	g.streams.Close()
	if n := g.unfinished.Len() + g.undos.Len(); n > 0 {
		g.log.Error("sessionguard: the backend has not ended these sessions yet: if this process ends now, they live until they time out", "count", n)
	}
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

func (req *request) openStream(ctx context.Context, rec store.Record, proven stream.Proven, cancel context.CancelCauseFunc) (*stream.Stream, error) {
	s, err := req.core.streams.Open(ctx, rec, proven, req.writer.Stopper(), cancel)
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
		Closed:      http.ErrServerClosed,
		Timeout:     detachedTimeout,
		Logger:      c.log,
	})
}

// streamSession finds a live session wherever it has moved. That of an actor, if there is
// one, must live too. It deletes nothing, since a request that was accepted in time may still
// be running.
func (c *core) streamSession(ctx context.Context, key store.Key, owner, id string) (store.Record, error) {
	rec, err := c.loadMoved(ctx, key)
	var ended *store.EndedError
	if errors.Is(err, store.ErrNotFound) && !errors.As(err, &ended) {
		rec, err = c.backend.LoadByID(ctx, owner, id) // it may have moved too long ago
	}
	if err != nil {
		return rec, err
	}
	now := store.TimeOf(time.Now())
	if phase, reason := phaseAt(rec, now); phase != alive {
		return rec, &store.EndedError{Reason: reason}
	}
	if isActing(rec) {
		_, err = c.actorSession(ctx, rec, now)
	}
	return rec, err
}
