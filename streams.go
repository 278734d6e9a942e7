package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
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
// nothing can be written any more, and a hijacked connection is closed, whatever
// next does, also where next has hijacked it and returned. It happens at once for what ends in this process, and on other nodes as
// soon as the backend tells ([store.Watcher]), else within 30 seconds. If the backend
// cannot be asked when the session should end, the cause is [ErrUnavailable].
//
// A stream is one request: it keeps the session alive once, at its start, and not
// even that behind [Guard.Passive]. Only routes with CancelOnEnd pay for it, with one
// question to the backend at the start and one per idle timeout. Where nobody is
// logged in, next runs as it is. A role that is taken away, or a user that is
// deactivated without [Guard.EndUser], cuts nothing.
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
		s := &stream{request: st, ctx: ctx, cancel: cancel, id: rec.ID, owner: rec.Owner, key: rec.Key, end: rec.End()}
		if err := g.streams.add(g.backend, s); err != nil {
			st.mu.Lock()
			_ = st.fail(err)
			st.mu.Unlock()
			g.refuse(st, w, r, unavailable)
			return
		}
		defer func() {
			// Handlers of WebSockets often return and leave the connection to others.
			if c := st.hijacked.Load(); c == nil || !c.afterClose(func() { g.streams.remove(s) }) {
				g.streams.remove(s)
			}
		}()
		s.check() // it may have ended before there was a stream to tell
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// streams are those of one guard that wait for the end of their sessions.
type streams struct {
	mu   sync.Mutex
	byID map[string]map[*stream]struct{} // by the session's public ID

	watching sync.Mutex // held while the backend is asked to tell
	count    int        // of streams, guarded by watching
	unwatch  context.CancelFunc
}

// add makes s hear of its session's end. The first stream has the backend watched,
// the last one ends that: a guard has no Close.
func (all *streams) add(backend store.Backend, s *stream) error {
	if watcher, ok := backend.(store.Watcher); ok {
		all.watching.Lock()
		defer all.watching.Unlock()
		if all.count == 0 {
			ctx, cancel := context.WithCancel(context.Background())
			if err := watcher.Watch(ctx, all.told); err != nil {
				cancel()
				return err
			}
			all.unwatch = cancel
		}
		all.count++
		s.watched = true
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.byID == nil {
		all.byID = map[string]map[*stream]struct{}{}
	}
	if all.byID[s.id] == nil {
		all.byID[s.id] = map[*stream]struct{}{}
	}
	all.byID[s.id][s] = struct{}{}
	return nil
}

func (all *streams) remove(s *stream) {
	all.mu.Lock()
	delete(all.byID[s.id], s)
	if len(all.byID[s.id]) == 0 {
		delete(all.byID, s.id)
	}
	all.mu.Unlock()
	s.close()
	if s.watched {
		all.watching.Lock()
		defer all.watching.Unlock()
		if all.count--; all.count == 0 {
			all.unwatch()
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

// told hears of an ending from the backend.
func (all *streams) told(e store.Ending) {
	if e.ID != "" {
		all.end(e.ID, e.Reason)
		return
	}
	go func() {
		for _, s := range all.of("") {
			s.check()
		}
	}()
}

// A stream is one request behind CancelOnEnd.
type stream struct {
	request *request
	ctx     context.Context
	cancel  context.CancelCauseFunc
	id      string
	owner   string
	watched bool // the backend tells of the end, except by a timeout

	mu    sync.Mutex
	key   store.Key   // changes when the person logs in again
	end   store.Time  // of the session, as far as is known
	timer *time.Timer // the next check or, once it is cut, the end of its grace
	isCut bool
	done  bool // the handler has returned
}

// check looks whether the session still lives, and when to look again.
func (s *stream) check() {
	c := s.request.core
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), settleTimeout)
	defer cancel()
	rec, err := s.find(ctx)
	now := store.TimeOf(time.Now())
	if err == nil {
		if reason, over := expired(rec, now); over {
			if now >= rec.Until() {
				_ = c.end(ctx, rec.Key, reason, "") // if it fails, the next request finds the same
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
	case !s.isCut && !s.done:
		next := s.end.Sub(now)
		if !s.watched || err != nil {
			next = min(next, streamPoll)
		}
		s.after(next, s.check)
	}
}

// find loads the session, wherever logging in again has moved it.
func (s *stream) find(ctx context.Context) (store.Record, error) {
	c := s.request.core
	s.mu.Lock()
	key := s.key
	s.mu.Unlock()
	rec, err := c.follow(ctx, key)
	var ended *store.EndedError
	if !errors.Is(err, store.ErrNotFound) || errors.As(err, &ended) {
		return rec, err
	}
	// It may have moved so long ago that nobody remembers.
	records, failed := c.backend.ByOwner(ctx, s.owner)
	if failed != nil {
		return rec, failed
	}
	for _, rec := range records {
		if rec.ID == s.id {
			return rec, nil
		}
	}
	return rec, err
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
		s.after(streamGrace, s.force)
	}
}

// force ends the answer of a handler that did not.
func (s *stream) force() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done {
		s.request.stop()
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
