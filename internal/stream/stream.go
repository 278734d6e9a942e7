package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/response"
	"github.com/sessionguard-go/sessionguard/store"
)

// A Stream is one response that ends with its session.
type Stream struct {
	registry  *Registry
	stopper   *response.Stopper
	cancel    context.CancelCauseFunc
	id, owner string
	watch     *watch // nil if the backend does not tell

	mu        sync.Mutex
	key       store.Key   // changes when the person logs in again
	end       store.Time  // of the session, as far as is known
	checkedAt store.Time  // when it was last looked up
	timer     *time.Timer // the next check or, once cut, the end of the grace
	isCut     bool
	closed    bool
}

// Open begins a stream: when the session of rec ends, it calls cancel and, after a
// grace, stops the response. Call Close when the handler has returned.
func (r *Registry) Open(ctx context.Context, rec store.Record, stopper *response.Stopper, cancel context.CancelCauseFunc) (*Stream, error) {
	s := &Stream{registry: r, stopper: stopper, cancel: cancel, id: rec.ID, owner: rec.Owner, key: rec.Key, end: rec.Deadline()}
	if err := r.add(ctx, s); err != nil {
		return nil, err
	}
	s.check() // it may have ended before there was a stream to tell
	return s, nil
}

// Close ends the stream, or leaves that to a hijacked connection: handlers of
// WebSockets often return and leave it to others.
func (s *Stream) Close() {
	if !s.stopper.AfterClose(func() { s.registry.remove(s) }) {
		s.registry.remove(s)
	}
}

// tick is what the timer does. Timers run on another clock than sessions, and stand
// still while a machine sleeps: so it is never far away, and mostly asks nobody.
func (s *Stream) tick() {
	s.mu.Lock()
	now := store.TimeOf(time.Now())
	early := s.watch != nil && now < s.end && now.Sub(s.checkedAt) < watchedPollInterval
	if early {
		s.scheduleLocked()
	}
	s.mu.Unlock()
	if !early {
		s.check()
	}
}

// check asks the backend whether the session still lives, and until when.
func (s *Stream) check() {
	timeout := s.registry.Timeout
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.mu.Lock()
	key := s.key
	s.checkedAt = store.TimeOf(time.Now())
	if !s.isCut && !s.closed {
		// The end does not wait for a backend that does not heed ctx.
		s.afterLocked(max(0, s.end.Sub(s.checkedAt))+timeout, func() { s.cut(s.registry.Unavailable) })
	}
	s.mu.Unlock()
	rec, err := s.lookup(ctx, key)

	s.mu.Lock()
	defer s.mu.Unlock()
	var ended *store.EndedError
	switch {
	case err == nil:
		s.key, s.end = rec.Key, rec.Deadline()
		s.scheduleLocked()
	case errors.As(err, &ended):
		s.cutLocked(s.registry.Cause(ended.Reason))
	case errors.Is(err, store.ErrNotFound):
		s.cutLocked(s.registry.Cause(store.ReasonExpired))
	case store.TimeOf(time.Now()) >= s.end:
		s.cutLocked(fmt.Errorf("%w: %w", s.registry.Unavailable, err))
	default:
		s.scheduleLocked()
	}
}

func (s *Stream) lookup(ctx context.Context, key store.Key) (rec store.Record, err error) {
	defer func() {
		if p := recover(); p != nil { // nobody else would, on a timer
			err = fmt.Errorf("the backend panicked: %v", p)
			s.registry.Logger.Error("sessionguard: looking for the session of a stream", "error", err)
		}
	}()
	return s.registry.Lookup(ctx, key, s.owner, s.id)
}

func (s *Stream) currentKey() store.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

func (s *Stream) moved(rec store.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key, s.end = rec.Key, rec.Deadline()
	s.scheduleLocked()
}

func (s *Stream) cut(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutLocked(cause)
}

func (s *Stream) cutLocked(cause error) {
	if !s.isCut && !s.closed {
		s.isCut = true
		s.cancel(cause)
		s.afterLocked(grace, func() { s.stopper.Stop(s.registry.Stopped) })
	}
}

// scheduleLocked sets the timer for the next tick.
func (s *Stream) scheduleLocked() {
	if !s.isCut && !s.closed {
		s.afterLocked(max(0, min(pollInterval, s.end.Sub(store.TimeOf(time.Now())))), s.tick)
	}
}

func (s *Stream) afterLocked(d time.Duration, f func()) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(d, f)
}

func (s *Stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
