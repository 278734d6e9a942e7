package stream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

const (
	// watchLinger is how long the backend is watched after the last stream was closed.
	// Streams come and go, and a guard has no Close.
	watchLinger = time.Minute

	// recheckWorkers is how many sessions are looked up at a time after endings were
	// missed.
	recheckWorkers = 16
)

// A watch is one call of [store.Watcher.Watch], for all streams of the Registry.
type watch struct {
	ready   chan struct{} // closed when Watch has returned
	err     error         // set before ready is closed
	stop    context.CancelFunc
	streams int         // guarded by Registry.mu, as is idle
	idle    *time.Timer // one, however often a client opens a stream and closes it; nil until the first is closed
}

// joinWatchLocked adds s to the watch, which the first stream starts.
func (r *Registry) joinWatchLocked(s *Stream) {
	if r.config.Watcher == nil {
		return
	}
	if r.watch == nil {
		r.watch = r.startWatch()
	}
	s.watch = r.watch
	s.watch.streams++
}

// leaveWatchLocked is joinWatchLocked undone.
func (r *Registry) leaveWatchLocked(s *Stream) {
	w := s.watch
	if w == nil {
		return
	}
	if w.streams--; w.streams > 0 {
		return
	}
	if w.idle == nil {
		w.idle = time.AfterFunc(watchLinger, func() { r.dropIdleWatch(w) })
	} else {
		w.idle.Reset(watchLinger)
	}
}

// startWatch calls Watch on another goroutine, so that only the streams wait for it.
func (r *Registry) startWatch() *watch {
	ctx, stop := context.WithCancel(context.Background())
	w := &watch{ready: make(chan struct{}), stop: stop}
	late := time.AfterFunc(r.config.Timeout, func() { r.dropWatch(w) })
	go func() {
		defer close(w.ready)
		defer func() {
			if p := recover(); p != nil { // nothing else recovers on this goroutine
				w.err = fmt.Errorf("the backend's Watch panicked: %v", p)
			}
			if !late.Stop() && w.err == nil {
				w.err = context.DeadlineExceeded
			}
			if w.err != nil {
				r.dropWatch(w)
			}
		}()
		w.err = r.config.Watcher.Watch(ctx, r.onEnding)
	}()
	return w
}

// awaitWatch waits until Watch has returned. A watch that fails or is late is dropped,
// unless it is the client of ctx that no longer waits.
func (r *Registry) awaitWatch(ctx context.Context, w *watch) error {
	if w == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, r.config.Timeout)
	defer cancel()
	var err error
	select {
	case <-r.closed:
		return nil
	case <-w.ready:
		err = w.err
	case <-bounded.Done():
		err = bounded.Err()
	}
	if err != nil && ctx.Err() == nil {
		r.dropWatch(w)
	}
	return err
}

// dropWatch stops w. The next stream starts another watch.
func (r *Registry) dropWatch(w *watch) {
	w.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watch == w {
		r.watch = nil
	}
}

// dropIdleWatch stops w if it has no streams.
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

// onEnding is called by the backend. An Ending without an ID reports that some may have
// been missed.
func (r *Registry) onEnding(e store.Ending) {
	if e.ID != "" {
		r.End(e.ID, e.Reason)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missed = true
	if !r.rechecking {
		r.rechecking = true
		go r.recheckAll()
	}
}

// recheckAll checks every stream, 16 at a time, and repeats if endings were missed
// meanwhile.
func (r *Registry) recheckAll() {
	for r.takeMissed() {
		waiting := make(chan *Stream)
		var workers sync.WaitGroup
		for range recheckWorkers {
			workers.Go(func() {
				for s := range waiting {
					s.check()
				}
			})
		}
		for _, s := range r.allStreams() {
			waiting <- s
		}
		close(waiting)
		workers.Wait()
	}
}

// takeMissed reports whether endings were missed since it was last called. If not,
// recheckAll ends.
func (r *Registry) takeMissed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rechecking, r.missed = r.missed, false
	return r.rechecking
}
