package sessionguard

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// streams are those of one guard that wait for the end of their sessions.
type streams struct {
	mu    sync.Mutex
	byID  map[string]map[*stream]struct{} // by the session's public ID
	watch *watch                          // nil while there are no streams

	asking, missed bool // see ask
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

	bounded, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	var err error
	select {
	case <-s.watch.ready:
		err = s.watch.err
	case <-bounded.Done():
		err = bounded.Err()
	}
	if err != nil {
		all.remove(s)
		if ctx.Err() == nil { // it is not the client that has gone
			all.drop(s.watch)
		}
	}
	return err
}

// begin watches the backend, without making anyone but the streams wait for it.
func (all *streams) begin(watcher store.Watcher) *watch {
	ctx, stop := context.WithCancel(context.Background())
	w := &watch{ready: make(chan struct{}), stop: stop}
	late := time.AfterFunc(settleTimeout, func() { all.drop(w) })
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
				all.drop(w)
			}
		}()
		w.err = watcher.Watch(ctx, all.told)
	}()
	return w
}

// drop gives a watch up. The next stream begins another.
func (all *streams) drop(w *watch) {
	w.stop()
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.watch == w {
		all.watch = nil
	}
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

// rest drops a watch that is still without streams.
func (all *streams) rest(w *watch) {
	all.mu.Lock()
	idle := w.streams == 0
	if idle && all.watch == w {
		all.watch = nil // so that no stream can come to it any more
	}
	all.mu.Unlock()
	if idle {
		w.stop()
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
	all.mu.Lock()
	defer all.mu.Unlock()
	all.missed = true
	if !all.asking {
		all.asking = true
		go all.ask()
	}
}

// ask checks all streams, a few at a time, until nothing more may have been missed.
func (all *streams) ask() {
	again := func() bool {
		all.mu.Lock()
		defer all.mu.Unlock()
		all.asking, all.missed = all.missed, false
		return all.asking
	}
	for again() {
		waiting := make(chan *stream)
		var workers sync.WaitGroup
		for range 16 {
			workers.Go(func() {
				for s := range waiting {
					s.check()
				}
			})
		}
		for _, s := range all.of("") {
			waiting <- s
		}
		close(waiting)
		workers.Wait()
	}
}

// moved tells the streams of a session that it goes on as rec.
func (all *streams) moved(rec store.Record) {
	for _, s := range all.of(rec.ID) {
		s.mu.Lock()
		s.key, s.end = rec.Key, rec.End()
		s.waitLocked()
		s.mu.Unlock()
	}
}
