package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
// question to the backend at the start and one per idle timeout, or one in 30
// seconds where the backend does not tell. Where nobody is logged in, next runs as it
// is.
func (g *core) CancelOnEnd(next http.Handler) http.Handler {
	return g.wrap(func(st *request, w http.ResponseWriter, r *http.Request) {
		st.mu.Lock()
		err := st.look(r.Context())
		rec, anybody := st.rec, st.user != nil
		st.mu.Unlock()
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
		s := &stream{core: g, answer: st.cutAnswer(), cancel: cancel, id: rec.ID, owner: rec.Owner, key: rec.Key, end: rec.End()}
		if err := g.streams.add(r.Context(), g.backend, s); err != nil {
			st.mu.Lock()
			_ = st.fail(err)
			st.mu.Unlock()
			g.refuse(st, w, r, unavailable)
			return
		}
		defer func() {
			// Handlers of WebSockets often return and leave the connection to others.
			if !s.answer.afterClose(func() { g.streams.remove(s) }) {
				g.streams.remove(s)
			}
		}()
		s.check() // it may have ended before there was a stream to tell
		next.ServeHTTP(w, r.WithContext(ctx))
		if s.answer.stopped.Load() {
			panic(http.ErrAbortHandler) // or half an answer would pass for a whole one
		}
	})
}

// streams are those of one guard that wait for the end of their sessions.
type streams struct {
	mu    sync.Mutex
	byID  map[string]map[*stream]struct{} // by the session's public ID
	watch *watch                          // nil while there are no streams
}

// A watch is the backend being watched for all streams of a guard.
type watch struct {
	ready   chan struct{} // closed when Watch has returned
	err     error         // set before that
	stop    context.CancelFunc
	streams int // guarded by streams.mu
}

// watchLingers is how long the backend is watched after the last stream: they come
// and go, and a guard has no Close.
const watchLingers = time.Minute

// add makes s hear of its session's end.
func (all *streams) add(ctx context.Context, backend store.Backend, s *stream) error {
	all.mu.Lock()
	if all.byID == nil {
		all.byID = map[string]map[*stream]struct{}{}
	}
	if all.byID[s.id] == nil {
		all.byID[s.id] = map[*stream]struct{}{}
	}
	all.byID[s.id][s] = struct{}{}
	if watcher, ok := backend.(store.Watcher); ok {
		if all.watch == nil {
			all.watch = all.begin(watcher)
		}
		s.watch = all.watch
		s.watch.streams++
	}
	all.mu.Unlock()
	if s.watch == nil {
		return nil
	}

	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	err := ctx.Err()
	select {
	case <-s.watch.ready:
		err = s.watch.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		all.remove(s)
	}
	return err
}

// begin watches the backend, without making anyone but the streams wait for it.
func (all *streams) begin(watcher store.Watcher) *watch {
	ctx, stop := context.WithCancel(context.Background())
	w := &watch{ready: make(chan struct{}), stop: stop}
	go func() {
		defer close(w.ready)
		late := time.AfterFunc(settleTimeout, stop)
		w.err = watcher.Watch(ctx, all.told)
		if !late.Stop() && w.err == nil {
			w.err = context.DeadlineExceeded
		}
		if w.err != nil { // the next stream tries again
			stop()
			all.mu.Lock()
			if all.watch == w {
				all.watch = nil
			}
			all.mu.Unlock()
		}
	}()
	return w
}

func (all *streams) remove(s *stream) {
	s.close()
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.byID[s.id], s)
	if len(all.byID[s.id]) == 0 {
		delete(all.byID, s.id)
	}
	if w := s.watch; w != nil {
		if w.streams--; w.streams == 0 {
			time.AfterFunc(watchLingers, func() { all.rest(w) })
		}
	}
}

// rest ends a watch that is still without streams.
func (all *streams) rest(w *watch) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if w.streams == 0 {
		w.stop()
		if all.watch == w {
			all.watch = nil
		}
	}
}

// of returns the streams of a session, or all of them if id is "".
func (all *streams) of(id string) (found []*stream) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if id != "" {
		return slices.Collect(maps.Keys(all.byID[id]))
	}
	for _, same := range all.byID {
		found = slices.AppendSeq(found, maps.Keys(same))
	}
	return found
}

// end cuts the streams of a session.
func (all *streams) end(id string, reason store.Reason) {
	for _, s := range all.of(id) {
		s.cut(&EndedError{reason})
	}
}

// endKeys cuts the streams of sessions that could not be deleted: whoever logs out
// sees nothing more, whatever becomes of the backend.
func (all *streams) endKeys(keys map[store.Key]bool, reason store.Reason) {
	for _, s := range all.of("") {
		s.mu.Lock()
		ours := keys[s.key]
		s.mu.Unlock()
		if ours {
			s.cut(&EndedError{reason})
		}
	}
}

// told hears of an ending from the backend.
func (all *streams) told(e store.Ending) {
	if e.ID != "" {
		all.end(e.ID, e.Reason)
		return
	}
	// Some may have been missed: ask for all, a few at a time.
	todo := make(chan *stream)
	for range 16 {
		go func() {
			for s := range todo {
				s.check()
			}
		}()
	}
	go func() {
		defer close(todo)
		for _, s := range all.of("") {
			todo <- s
		}
	}()
}

// A stream is one request behind CancelOnEnd.
type stream struct {
	core   *core
	answer *answer
	cancel context.CancelCauseFunc
	id     string
	owner  string
	watch  *watch // nil if the backend does not tell

	mu    sync.Mutex
	key   store.Key   // changes when the person logs in again
	end   store.Time  // of the session, as far as is known
	timer *time.Timer // the next look or, once it is cut, the end of its grace
	isCut bool
	done  bool // the handler has returned
}

// look is what the timer does. Timers run on another clock than sessions, and stand
// still while a machine sleeps: so it is never far away, and mostly asks nobody.
func (s *stream) look() {
	s.mu.Lock()
	early := s.watch != nil && store.TimeOf(time.Now()) < s.end
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
	if store.TimeOf(time.Now()) >= s.end && !s.isCut && !s.done {
		// The end does not wait for a backend that does not heed ctx.
		s.after(settleTimeout, func() { s.cut(ErrUnavailable) })
	}
	s.mu.Unlock()
	rec, err := s.find(ctx, key)
	now := store.TimeOf(time.Now())
	if err == nil {
		// It is not deleted, since a request that was accepted in time may be
		// under way.
		if reason, over := expired(rec, now); over {
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
		s.after(streamGrace, s.answer.stop)
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

// An answer is what can be stopped of a request behind CancelOnEnd.
type answer struct {
	stopped atomic.Bool

	mu   sync.Mutex
	w    http.ResponseWriter // nil once the request is over: it may be another's
	conn *conn               // hijacked
}

// cutAnswer makes the answer of st one that can be stopped.
func (st *request) cutAnswer() *answer {
	st.answer.CompareAndSwap(nil, &answer{w: st.w})
	return st.answer.Load()
}

// isStopped says that nothing more may be written.
func (st *request) isStopped() bool {
	a := st.answer.Load()
	return a != nil && a.stopped.Load()
}

// stop keeps the handler from writing any more, also where it waits for its client.
func (a *answer) stop() {
	a.stopped.Store(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	past := time.Unix(1, 0)
	switch {
	case a.conn != nil:
		_ = a.conn.SetDeadline(past)
		go a.conn.Close() // which may wait for a client that does not read
	case a.w != nil:
		control := http.NewResponseController(a.w)
		_ = control.SetReadDeadline(past)
		_ = control.SetWriteDeadline(past)
	}
}

// release is for the end of the request, after which w is not ours any more.
func (a *answer) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.w = nil
}

// hijacked makes of a connection one that can be stopped.
func (a *answer) hijacked(raw net.Conn) net.Conn {
	a.mu.Lock()
	a.conn = &conn{Conn: raw}
	a.mu.Unlock()
	if a.stopped.Load() {
		a.stop()
	}
	return a.conn
}

// afterClose calls do when the connection that was hijacked is closed. It is false if
// there is none.
func (a *answer) afterClose(do func()) bool {
	a.mu.Lock()
	c := a.conn
	a.mu.Unlock()
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.after = append(c.after, do)
	}
	return !c.closed
}

// conn is a hijacked connection, which may outlive its handler.
type conn struct {
	net.Conn
	mu     sync.Mutex
	closed bool
	after  []func()
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.mu.Lock()
	after := c.after
	c.closed, c.after = true, nil
	c.mu.Unlock()
	for _, do := range after {
		do()
	}
	return err
}

// A stoppable is what a stream is copied from: io.Copy is one call, however long it
// takes.
type stoppable struct {
	io.Reader
	answer *answer
}

func (s stoppable) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if s.answer.stopped.Load() {
		return 0, ErrSessionEnded
	}
	return n, err
}
