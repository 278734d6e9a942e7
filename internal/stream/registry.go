// Package stream ends responses that take long, such as server-sent events and
// WebSockets, when the session that they were begun with ends.
//
// It decides nothing about sessions: a [Registry] is told how to look one up.
package stream

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	// grace is how long a stream may still write after its context is cancelled.
	grace = time.Second
	// pollInterval is how often a session is looked up where the backend is no
	// [store.Watcher].
	pollInterval = 30 * time.Second
	// watchedPollInterval is the same where it is one: truncating a table tells nobody.
	watchedPollInterval = 5 * time.Minute
	// watchLinger is how long the backend is watched after the last stream. Streams
	// come and go, and a guard has no Close.
	watchLinger = time.Minute
)

// Config is what a Registry needs of the guard.
type Config struct {
	Backend store.Backend
	// Lookup returns the live session, wherever it has moved, or a
	// [store.EndedError] or [store.ErrNotFound].
	Lookup func(ctx context.Context, key store.Key, owner, id string) (store.Record, error)
	// Cause makes the error that a stream's context is cancelled with.
	Cause func(store.Reason) error
	// Unavailable and Stopped are the causes where nobody can tell, and of writes
	// after the grace.
	Unavailable, Stopped error
	// Timeout bounds each Lookup and the beginning of a Watch.
	Timeout time.Duration
	Logger  *slog.Logger
}

// A Registry holds the open streams of one guard.
type Registry struct {
	Config

	mu    sync.Mutex
	byID  map[string]map[*Stream]struct{} // by the session's public ID
	watch *watch                          // nil while there are no streams

	checking, recheck bool // see checkAll
}

// New returns a Registry without streams.
func New(config Config) *Registry {
	return &Registry{Config: config, byID: map[string]map[*Stream]struct{}{}}
}

// End cuts the streams of a session.
func (r *Registry) End(id string, reason store.Reason) {
	for _, s := range r.of(id) {
		s.cut(r.Cause(reason))
	}
}

// EndKeys cuts the streams of sessions that could not be deleted: whoever logs out
// sees nothing more, whatever becomes of the backend.
func (r *Registry) EndKeys(keys map[store.Key]bool, reason store.Reason) {
	for _, s := range r.all() {
		if keys[s.currentKey()] {
			s.cut(r.Cause(reason))
		}
	}
}

// Moved tells the streams of a session that it goes on as rec.
func (r *Registry) Moved(rec store.Record) {
	for _, s := range r.of(rec.ID) {
		s.moved(rec)
	}
}

func (r *Registry) of(id string) []*Stream {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.byID[id]))
}

func (r *Registry) all() (all []*Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, streams := range r.byID {
		all = slices.AppendSeq(all, maps.Keys(streams))
	}
	return all
}

// add registers s, and waits until the backend is being watched.
func (r *Registry) add(ctx context.Context, s *Stream) error {
	r.mu.Lock()
	if r.byID[s.id] == nil {
		r.byID[s.id] = map[*Stream]struct{}{}
	}
	r.byID[s.id][s] = struct{}{}
	if watcher, ok := r.Backend.(store.Watcher); ok {
		if r.watch == nil {
			r.watch = r.startWatch(watcher)
		}
		s.watch = r.watch
		s.watch.streams++
	}
	r.mu.Unlock()
	if s.watch == nil {
		return nil
	}

	bounded, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	var err error
	select {
	case <-s.watch.ready:
		err = s.watch.err
	case <-bounded.Done():
		err = bounded.Err()
	}
	if err != nil {
		r.remove(s)
		if ctx.Err() == nil { // it is not the client that has gone
			r.dropWatch(s.watch)
		}
	}
	return err
}

func (r *Registry) remove(s *Stream) {
	s.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byID[s.id], s)
	if len(r.byID[s.id]) == 0 {
		delete(r.byID, s.id)
	}
	if w := s.watch; w != nil {
		if w.streams--; w.streams == 0 {
			time.AfterFunc(watchLinger, func() { r.dropIdleWatch(w) })
		}
	}
}

// A watch is one call of [store.Watcher.Watch], for all streams of the Registry.
type watch struct {
	ready   chan struct{} // closed when Watch has returned
	err     error         // set before that
	stop    context.CancelFunc
	streams int // guarded by Registry.mu
}

// startWatch does not make anyone but the streams wait for the backend.
func (r *Registry) startWatch(watcher store.Watcher) *watch {
	ctx, stop := context.WithCancel(context.Background())
	w := &watch{ready: make(chan struct{}), stop: stop}
	late := time.AfterFunc(r.Timeout, func() { r.dropWatch(w) })
	go func() {
		defer close(w.ready)
		defer func() {
			if p := recover(); p != nil { // nobody else would
				w.err = fmt.Errorf("the backend's Watch panicked: %v", p)
			}
			if !late.Stop() && w.err == nil {
				w.err = context.DeadlineExceeded
			}
			if w.err != nil {
				r.dropWatch(w)
			}
		}()
		w.err = watcher.Watch(ctx, r.onEnding)
	}()
	return w
}

// dropWatch gives a watch up. The next stream starts another.
func (r *Registry) dropWatch(w *watch) {
	w.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watch == w {
		r.watch = nil
	}
}

func (r *Registry) dropIdleWatch(w *watch) {
	r.mu.Lock()
	idle := w.streams == 0
	if idle && r.watch == w {
		r.watch = nil // so that no stream can join it any more
	}
	r.mu.Unlock()
	if idle {
		w.stop()
	}
}

// onEnding is what the backend calls. One without an ID says that some were missed.
func (r *Registry) onEnding(e store.Ending) {
	if e.ID != "" {
		r.End(e.ID, e.Reason)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recheck = true
	if !r.checking {
		r.checking = true
		go r.checkAll()
	}
}

// checkAll looks up all sessions, 16 at a time, again as long as more were missed.
func (r *Registry) checkAll() {
	again := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.checking, r.recheck = r.recheck, false
		return r.checking
	}
	for again() {
		waiting := make(chan *Stream)
		var workers sync.WaitGroup
		for range 16 {
			workers.Go(func() {
				for s := range waiting {
					s.check()
				}
			})
		}
		for _, s := range r.all() {
			waiting <- s
		}
		close(waiting)
		workers.Wait()
	}
}
