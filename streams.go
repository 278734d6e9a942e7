package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/response"
	"github.com/sessionguard-go/sessionguard/store"
)

// ErrSessionEnded is the cause of a context that [Guard.CancelOnEnd] has cancelled.
var ErrSessionEnded = errors.New("sessionguard: the session has ended")

// An EndedError is an [ErrSessionEnded] that says why.
type EndedError struct{ Reason store.Reason }

func (e *EndedError) Error() string { return ErrSessionEnded.Error() + ": " + string(e.Reason) }

func (e *EndedError) Unwrap() error { return ErrSessionEnded }

const (
	// streamGrace is how long a stream has to say goodbye.
	streamGrace = time.Second
	// streamPoll is how often the session of a stream is asked for, where the
	// backend does not tell.
	streamPoll = 30 * time.Second
	// streamAsk is the same where it does: what empties a database tells nobody.
	streamAsk = 5 * time.Minute
)

// CancelOnEnd cuts an answer that takes long, such as server-sent events or a
// WebSocket, when the session that it was begun with ends: by a logout, from
// elsewhere, or with its timeouts.
//
//	mux.Handle("GET /events", guard.Passive(guard.RequireLogin(guard.CancelOnEnd(events))))
//
// The context of next's request is then cancelled; [context.Cause] is an
// [*EndedError] with the reason, for a last word to the client. A second later
// nothing can be written any more, whatever next does: its answer is aborted, and a
// connection that it has hijacked is closed, also if it has returned since. A
// middleware around the guard that buffers answers must not send half of one, and
// one whose ResponseWriter has no Unwrap method keeps a write from being interrupted
// that waits for its client.
//
// It happens at once for what ends in this process, and on other nodes as soon as
// the backend tells ([store.Watcher]), else within 30 seconds. If the backend cannot
// be asked when the session should end, the cause is [ErrUnavailable]. A role that is
// taken away, another SessionStamp, or a user that is deactivated without
// [Guard.EndUser] cuts nothing until the session is next used.
//
// A stream is one request: it keeps the session alive once, at its start, and not
// even that behind [Guard.Passive]. Only routes with CancelOnEnd pay for it, with one
// question to the backend at the start and one in 5 minutes, or in 30 seconds where the
// backend does not tell. Where nobody is logged in, next runs as it
// is.
func (g *core) CancelOnEnd(next http.Handler) http.Handler {
	return g.wrap(func(st *request, w http.ResponseWriter, r *http.Request) {
		l := st.lock()
		err := l.look(r.Context())
		rec, anybody := l.rec, l.user != nil
		l.unlock()
		if errors.Is(err, ErrUnavailable) {
			g.refuse(st, w, r, unavailable)
			return
		}
		if !anybody {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		l = st.lock()
		if p := l.pending(); p.cuts == nil {
			p.cuts = map[<-chan struct{}]<-chan struct{}{}
		}
		l.slow.cuts[ctx.Done()] = r.Context().Done()
		l.unlock()
		s := &stream{core: g, response: st.writer.Stopper(), cancel: cancel, id: rec.ID, owner: rec.Owner, key: rec.Key, end: rec.End()}
		if err := g.streams.add(r.Context(), g.backend, s); err != nil {
			l = st.lock()
			_ = l.fail(err)
			l.unlock()
			g.refuse(st, w, r, unavailable)
			return
		}
		defer func() {
			// Handlers of WebSockets often return and leave the connection to others.
			if !s.response.AfterClose(func() { g.streams.remove(s) }) {
				g.streams.remove(s)
			}
		}()
		s.check() // it may have ended before there was a stream to tell
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// A stream is one request behind CancelOnEnd.
type stream struct {
	core     *core
	response *response.Stopper
	cancel   context.CancelCauseFunc
	id       string
	owner    string
	watch    *watch // nil if the backend does not tell

	mu    sync.Mutex
	key   store.Key   // changes when the person logs in again
	end   store.Time  // of the session, as far as is known
	asked store.Time  // when the backend was, last
	timer *time.Timer // the next look or, once it is cut, the end of its grace
	isCut bool
	done  bool // the handler has returned
}

// look is what the timer does. Timers run on another clock than sessions, and stand
// still while a machine sleeps: so it is never far away, and mostly asks nobody.
func (s *stream) look() {
	s.mu.Lock()
	now := store.TimeOf(time.Now())
	early := s.watch != nil && now < s.end && now.Sub(s.asked) < streamAsk
	if early {
		s.waitLocked()
	}
	s.mu.Unlock()
	if !early {
		s.check()
	}
}

// waitLocked sets the timer for the next look.
func (s *stream) waitLocked() {
	if !s.isCut && !s.done {
		s.after(max(0, min(streamPoll, s.end.Sub(store.TimeOf(time.Now())))), s.look)
	}
}

// check asks the backend whether the session still lives, and until when.
func (s *stream) check() {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	s.mu.Lock()
	key := s.key
	s.asked = store.TimeOf(time.Now())
	if !s.isCut && !s.done {
		// The end does not wait for a backend that does not heed ctx.
		s.after(max(0, s.end.Sub(s.asked))+settleTimeout, func() { s.cut(ErrUnavailable) })
	}
	s.mu.Unlock()
	rec, err := s.find(ctx, key)
	now := store.TimeOf(time.Now())
	if err == nil {
		// It is not deleted, since a request that was accepted in time may be
		// under way.
		if reason, over := expired(rec, now); over {
			if reason == store.Idle && now < rec.Until() {
				reason = store.Remembered
			}
			err = &store.EndedError{Reason: reason}
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.key, s.end = rec.Key, rec.End()
	}
	var ended *store.EndedError
	switch {
	case errors.As(err, &ended):
		s.cutLocked(&EndedError{ended.Reason})
	case errors.Is(err, store.ErrNotFound):
		s.cutLocked(&EndedError{store.Expired})
	case err != nil && now >= s.end:
		s.cutLocked(fmt.Errorf("%w: %w", ErrUnavailable, err))
	default:
		s.waitLocked()
	}
}

// find loads the session, wherever logging in again has moved it.
func (s *stream) find(ctx context.Context, key store.Key) (rec store.Record, err error) {
	defer func() {
		if p := recover(); p != nil { // nobody else would, on a timer
			err = fmt.Errorf("the backend panicked: %v", p)
			s.core.log.Error("sessionguard: looking for the session of a stream", "error", err)
		}
	}()
	rec, err = s.core.follow(ctx, key)
	var ended *store.EndedError
	if !errors.Is(err, store.ErrNotFound) || errors.As(err, &ended) {
		return rec, err
	}
	return s.core.byID(ctx, s.owner, s.id) // it may have moved so long ago that nobody remembers
}

func (s *stream) cut(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutLocked(cause)
}

func (s *stream) cutLocked(cause error) {
	if !s.isCut && !s.done {
		s.isCut = true
		s.cancel(cause)
		s.after(streamGrace, func() { s.response.Stop(ErrSessionEnded) })
	}
}

func (s *stream) after(d time.Duration, do func()) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(d, do)
}

func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
