package store

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// watchers are the callbacks of [Memory.Watch].
type watchers struct {
	mu        sync.Mutex
	callbacks map[*func(Ending)]struct{}
}

func (w *watchers) add(ctx context.Context, ended func(Ending)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.callbacks == nil {
		w.callbacks = map[*func(Ending)]struct{}{}
	}
	callback := func(e Ending) {
		if ctx.Err() == nil { // AfterFunc may be late
			ended(e)
		}
	}
	w.callbacks[&callback] = struct{}{}
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.callbacks, &callback)
	})
}

// notify must be called without any other lock: a callback may call the backend.
func (w *watchers) notify(ended []Record, reason Reason) {
	if len(ended) == 0 { // most logins end nothing, and need not wait for this lock
		return
	}
	w.mu.Lock()
	callbacks := slices.Collect(maps.Keys(w.callbacks))
	w.mu.Unlock()
	for _, callback := range callbacks {
		for _, r := range ended {
			(*callback)(Ending{r.ID, reason})
		}
	}
}
