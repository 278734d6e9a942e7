package stream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/response"
	"github.com/sessionguard-go/sessionguard/store"
)

const (
	// grace is how long a stream may still write after its context is cancelled.
	grace = time.Second

	// pollInterval is how often a session is looked up if the backend is no
	// [store.Watcher].
	pollInterval = 30 * time.Second

	// watchedPollInterval applies if it is one: TRUNCATE reports nothing, so sessions
	// are still polled.
	watchedPollInterval = 5 * time.Minute
)

// A state is how far a Stream has come. It only rises.
type state uint8

const (
	// open: the session lives as far as is known. The timer is set for the next tick or,
	// while the session is looked up, for the moment when the stream no longer waits for
	// that. Every stream begins here.
	open state = iota

	// cut: the context was cancelled with its cause, and the handler may write for the
	// grace. The timer is set for its end, when the response is stopped. cutLocked
	// moves here, for every way in which a session ends.
	cut

	// closed: the stream has left the Registry, and neither cuts nor stops anything any
	// more. The timer is stopped. Registry.remove moves here: when the handler has
	// returned or its hijacked connection is closed, or if the backend could not be
	// watched.
	closed
)

// Proven returns until when the client of a stream has proven the device that the session is
// bound to: [Forever] if it is bound to none.
type Proven func(ctx context.Context, rec store.Record) (until store.Time, err error)

// Forever is what Proven returns if nothing has to be proven.
const Forever store.Time = math.MaxInt64

// A Stream is one response that ends with its session.
type Stream struct {
	registry  *Registry
	stopper   *response.Stopper
	cancel    context.CancelCauseFunc
	id, owner string       // "" without a session
	actor     *store.Actor // whoever acts for the user; nil: nobody does
	watch     *watch       // nil without a store.Watcher; set by Registry.add

	provenUntil Proven

	mu        sync.Mutex
	state     state
	key       store.Key   // changes when the user logs in again
	login     store.Time  // that made key
	end       store.Time  // the session's deadline, as far as is known
	proven    store.Time  // what provenUntil returned last
	checkedAt store.Time  // when the session was last looked up
	timer     *time.Timer // see state
}

// Open begins a stream: when the session of rec ends, it calls cancel and, after a
// grace, stops the response. Unless proven is nil, so it does when the device is not proven any
// more; it asks again whenever it looks the session up, which may have been bound meanwhile.
// Without a session only Registry.Close does. Call Close when the handler has returned. Open
// returns an error of proven, or if the backend could not be watched within the Timeout, or ctx
// is done before.
func (r *Registry) Open(ctx context.Context, rec store.Record, proven Proven, stopper *response.Stopper, cancel context.CancelCauseFunc) (*Stream, error) {
	s := &Stream{registry: r, provenUntil: proven, proven: Forever, stopper: stopper, cancel: cancel}
	if rec.Session != nil {
		s.actor = rec.Detail().Actor
		s.id, s.owner, s.key, s.login, s.end = rec.ID, rec.Owner, rec.Key, rec.Authenticated, rec.Deadline()
		if proven != nil {
			var err error
			if s.proven, err = proven(ctx, rec); err != nil {
				return nil, err
			}
		}
	}
	if err := r.add(ctx, s); err != nil {
		return nil, err
	}
	if r.isClosed() {
		s.cut(r.config.Closed)
	} else {
		s.check() // the session may have ended before the stream was registered
	}
	return s, nil
}

// Close ends the stream. If the connection was hijacked, the stream ends when that is
// closed: handlers of WebSockets often return and leave it to other goroutines.
func (s *Stream) Close() {
	if !s.stopper.AfterClose(func() { s.registry.remove(s) }) {
		s.registry.remove(s)
	}
}

// tick runs on the timer. Timers use the monotonic clock, which stops while the machine
// sleeps, so ticks are frequent, and most of them skip the backend if it is watched.
func (s *Stream) tick() {
	s.mu.Lock()
	now := store.TimeOf(time.Now())
	if s.id != "" && now >= s.proven {
		s.cutLocked(s.registry.config.Cause(store.ReasonDeviceUnproven))
		s.mu.Unlock()
		return
	}
	early := s.watch != nil && now < s.end && now.Sub(s.checkedAt) < watchedPollInterval
	if early {
		s.scheduleLocked()
	}
	s.mu.Unlock()
	if !early {
		s.check()
	}
}

// check looks up whether the session still lives, and until when.
func (s *Stream) check() {
	if s.id == "" {
		return
	}
	timeout := s.registry.config.Timeout
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.mu.Lock()
	key := s.key
	s.checkedAt = store.TimeOf(time.Now())
	if s.state == open {
		// The end of the stream does not wait for a backend that ignores ctx.
		s.afterLocked(max(0, s.end.Sub(s.checkedAt))+timeout, func() { s.cut(s.registry.config.Unavailable) })
	}
	s.mu.Unlock()
	rec, proven, err := s.lookup(ctx, key)

	s.mu.Lock()
	defer s.mu.Unlock()
	var ended *store.EndedError
	switch {
	case err == nil:
		s.proven = proven
		s.seeLocked(rec)
	case errors.As(err, &ended):
		s.cutLocked(s.registry.config.Cause(ended.Reason))
	case errors.Is(err, store.ErrNotFound):
		s.cutLocked(s.registry.config.Cause(store.ReasonExpired))
	case store.TimeOf(time.Now()) >= s.end:
		s.cutLocked(fmt.Errorf("%w: %w", s.registry.config.Unavailable, err))
	default:
		s.scheduleLocked()
	}
}

func (s *Stream) lookup(ctx context.Context, key store.Key) (rec store.Record, proven store.Time, err error) {
	defer func() {
		if p := recover(); p != nil { // nothing else recovers on a timer
			err = fmt.Errorf("the backend panicked: %v", p)
			s.registry.config.Logger.Error("sessionguard: could not load the session of a stream", "error", err)
		}
	}()
	rec, err = s.registry.config.Lookup(ctx, key, s.owner, s.id)
	proven = Forever
	if err == nil && s.provenUntil != nil {
		proven, err = s.provenUntil(ctx, rec)
	}
	return rec, proven, err
}

func (s *Stream) currentKey() store.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

func (s *Stream) moved(rec store.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seeLocked(rec)
}

func (s *Stream) backdated(rec store.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.login = rec.Authenticated
	s.seeLocked(rec)
}

// seeLocked notes the session as it is, unless it was read before a login that has moved it.
func (s *Stream) seeLocked(rec store.Record) {
	if rec.Authenticated >= s.login {
		s.key, s.login, s.end = rec.Key, rec.Authenticated, rec.Deadline()
	}
	s.scheduleLocked()
}

func (s *Stream) cut(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutLocked(cause)
}

func (s *Stream) cutLocked(cause error) {
	if s.raiseLocked(cut) {
		s.cancel(cause)
		stopped := s.registry.config.Stopped
		if s.registry.isClosed() {
			stopped = s.registry.config.Closed
		}
		s.afterLocked(grace, func() { s.stopper.Stop(stopped) })
	}
}

// close reports whether this call has closed the stream.
func (s *Stream) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.raiseLocked(closed) {
		return false
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	return true
}

// raiseLocked reports whether the state has risen to this one.
func (s *Stream) raiseLocked(to state) bool {
	if to <= s.state {
		return false
	}
	s.state = to
	return true
}

// scheduleLocked sets the timer for the next tick.
func (s *Stream) scheduleLocked() {
	if s.state == open {
		s.afterLocked(max(0, min(pollInterval, min(s.end, s.proven).Sub(store.TimeOf(time.Now())))), s.tick)
	}
}

func (s *Stream) afterLocked(d time.Duration, f func()) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(d, f)
}
