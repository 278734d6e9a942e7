package sessionguard

import (
	"context"
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
	var err error
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
