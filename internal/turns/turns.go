// Package turns keeps requests that change one thing from making each other's attempts fail:
// those of one process take turns, and those of several wait for random times.
package turns

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Turns are taken by key, one at a time. Whoever has the turn passes on a value to the next,
// such as the thing's latest state. The zero value is ready to use, and holds no more than
// those who have a turn or wait for one. Its lock is held only for moments.
type Turns[K comparable, V any] struct {
	mu    sync.Mutex
	lines map[K]*line[V]
}

// A line is those who have or want the turn of one key.
type line[V any] struct {
	turn   chan struct{} // full while somebody has the turn
	length int           // guarded by Turns.mu
	latest V             // belongs to whoever has the turn
}

// Do waits for the turn of key, and calls do with what its predecessor in the line has
// returned, or with first if there is none. It returns the error of do, or of ctx if that
// ends before. If do returns an error, its successor gets what it got itself.
func (t *Turns[K, V]) Do(ctx context.Context, key K, first V, do func(V) (V, error)) error {
	l := t.enter(key, first)
	defer t.leave(key, l)
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.turn }()
	latest, err := do(l.latest)
	if err == nil {
		l.latest = latest
	}
	return err
}

func (t *Turns[K, V]) enter(key K, first V) *line[V] {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[key]
	if l == nil {
		if t.lines == nil {
			t.lines = map[K]*line[V]{}
		}
		l = &line[V]{turn: make(chan struct{}, 1), latest: first}
		t.lines[key] = l
	}
	l.length++
	return l
}

func (t *Turns[K, V]) leave(key K, l *line[V]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.length--; l.length == 0 {
		delete(t.lines, key)
	}
}

const (
	firstPause = 2 * time.Millisecond
	maxPause   = 250 * time.Millisecond
)

// BackOff waits before another attempt, after so many attempts that have met with a change
// by another process. After the first it does not wait: what was read when the request began
// has changed since, which need not happen again. After that, processes wait for random
// times, so that they do not go on meeting.
func BackOff(ctx context.Context, attempts int) {
	if attempts <= 1 {
		return
	}
	timer := time.NewTimer(rand.N(min(firstPause<<min(attempts-1, 16), maxPause)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
