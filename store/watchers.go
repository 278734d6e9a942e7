package store

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// watchers are who is told of endings in a [Memory].
type watchers struct {
	mu  sync.Mutex
	all map[*func(Ending)]struct{}
}

func (w *watchers) add(ctx context.Context, ended func(Ending)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[*func(Ending)]struct{}{}
	}
	f := func(e Ending) {
		if ctx.Err() == nil { // AfterFunc may be late
			ended(e)
		}
	}
	w.all[&f] = struct{}{}
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, &f)
	})
}

// tell is called without any other lock: a watcher may want to ask the backend.
func (w *watchers) tell(ended []Record, reason Reason) {
	if len(ended) == 0 { // as for most logins, which need not wait for this lock
		return
	}
	w.mu.Lock()
	all := slices.Collect(maps.Keys(w.all))
	w.mu.Unlock()
	for _, f := range all {
		for _, r := range ended {
			(*f)(Ending{r.ID, reason})
		}
	}
}
