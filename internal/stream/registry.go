// Package stream ends responses that take long, such as server-sent events and
// WebSockets, when the session that they were begun with ends.
//
// It makes no decisions about sessions: a [Registry] is given a function that looks
// one up. A [Stream] learns of the end of its session in three ways: from the Registry's
// owner, which ends sessions in this process; from a [store.Watcher], which reports the
// endings of all nodes; and from looking the session up, regularly and at its deadline.
package stream

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// Config is the part of a guard that a Registry uses. Its functions must not lock what
// a caller of the Registry holds.
type Config struct {
	// Watcher reports the endings of all nodes. It is nil if the backend cannot.
	Watcher store.Watcher

	// Lookup returns the live session, also if it has moved to another key. Its deadline
	// has not passed. Lookup returns a [store.EndedError] or [store.ErrNotFound] if there
	// is none, and another error if that cannot be known.
	Lookup func(ctx context.Context, key store.Key, owner, id string) (store.Record, error)

	// Cause makes the error that the context of a stream is cancelled with.
	Cause func(store.Reason) error

	// Unavailable is the cause if the session's deadline passes while it cannot be
	// looked up.
	Unavailable error

	// Stopped is the error of writes after the grace.
	Stopped error

	// Closed is both for streams that Registry.Close has ended.
	Closed error

	// Timeout bounds each Lookup, and how long a new stream waits for Watch.
	Timeout time.Duration

	Logger *slog.Logger
}

// A Registry holds the open streams of one guard.
//
// Lock order: the caller's locks, such as a request's, then Registry.mu or Stream.mu. Code
// that holds one of these two never takes the other. Neither is held while Lookup or
// Watch runs, or while a response is stopped.
type Registry struct {
	config Config

	mu     sync.Mutex
	byID   map[string]map[*Stream]struct{} // by the public ID of the session, and of its actor's
	watch  *watch                          // nil unless the watcher is in use
	open   int                             // how many streams these are
	closed chan struct{}                   // by Close

	rechecking bool // recheckAll runs
	missed     bool // endings were missed after recheckAll last listed the streams
}

// New returns a Registry without streams.
func New(config Config) *Registry {
	return &Registry{config: config, byID: map[string]map[*Stream]struct{}{}, closed: make(chan struct{})}
}

// Close cuts all streams, also those that are opened later, and stops watching.
func (r *Registry) Close() {
	r.mu.Lock()
	if !r.isClosed() {
		close(r.closed)
	}
	w := r.watch
	r.mu.Unlock()
	if w != nil {
		r.dropWatch(w)
	}
	for _, s := range r.allStreams() {
		s.cut(r.config.Closed)
	}
}

func (r *Registry) isClosed() bool {
	select {
	case <-r.closed:
		return true
	default:
		return false
	}
}

// End cuts the streams of a session, and of those in which its user acts for another.
func (r *Registry) End(id string, reason store.Reason) {
	for _, s := range r.streamsOf(id) {
		if s.id == id {
			s.cut(r.config.Cause(reason))
		} else {
			s.cut(r.config.Cause(store.ReasonActorEnded))
		}
	}
}

// EndKeys cuts the streams of sessions that could not be deleted. After a logout, the
// client sees nothing more, even if the backend is down.
func (r *Registry) EndKeys(keys map[store.Key]bool, reason store.Reason) {
	for _, s := range r.allStreams() {
		if keys[s.currentKey()] {
			s.cut(r.config.Cause(reason))
		}
	}
}

// Moved informs the streams of a session that it goes on as rec, under another key and
// perhaps with another deadline. It cuts those in which its user has acted under the key before.
func (r *Registry) Moved(rec store.Record) {
	for _, s := range r.streamsOf(rec.ID) {
		if s.id == rec.ID {
			s.moved(rec)
		} else if s.actor.Key != rec.Key {
			s.cut(r.config.Cause(store.ReasonActorEnded))
		}
	}
}

// Backdated informs the streams of a session that it has moved back in time, as rec.
func (r *Registry) Backdated(rec store.Record) {
	for _, s := range r.streamsOf(rec.ID) {
		if s.id == rec.ID {
			s.backdated(rec)
		}
	}
}

func (r *Registry) streamsOf(id string) []*Stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.byID[id]))
}

func (r *Registry) allStreams() (all []*Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, streams := range r.byID {
		for s := range streams {
			if s.id == id {
				all = append(all, s)
			}
		}
	}
	return all
}

// Len returns the number of open streams.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.open
}

// add registers s, and waits until the backend is being watched.
func (r *Registry) add(ctx context.Context, s *Stream) error {
	r.mu.Lock()
	for _, id := range s.ids() {
		if r.byID[id] == nil {
			r.byID[id] = map[*Stream]struct{}{}
		}
		r.byID[id][s] = struct{}{}
	}
	r.open++
	if s.id != "" && !r.isClosed() {
		r.joinWatchLocked(s)
	}
	r.mu.Unlock()

	err := r.awaitWatch(ctx, s.watch)
	if err == nil || r.isClosed() {
		return nil
	}
	r.remove(s)
	return err
}

// remove closes s. Only the first call for a stream counts.
func (r *Registry) remove(s *Stream) {
	if !s.close() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range s.ids() {
		delete(r.byID[id], s)
		if len(r.byID[id]) == 0 {
			delete(r.byID, id)
		}
	}
	r.open--
	r.leaveWatchLocked(s)
}

// ids returns the IDs of the sessions with which s ends.
func (s *Stream) ids() []string {
	if s.actor == nil {
		return []string{s.id}
	}
	return []string{s.id, s.actor.ID}
}
