// Package saver stores changed values in a backend, also if many requests change one session
// at the same time. No change is lost, and the backend is not called once more for each
// request that came first.
package saver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sessionguard-go/sessionguard/internal/turns"
	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

// A Queue saves one session at a time. What other requests of this process want to save of
// the session meanwhile waits, and is then saved together. If other processes save the
// session too, the backend tells by its version.
//
// A Queue holds no more than what requests are waiting for. Its lock is held only for
// moments, and never while anything else is called.
type Queue struct {
	backend store.Backend
	limit   int // of a session's bytes

	mu    sync.Mutex
	lines map[store.Key]*line // of the sessions that are being saved
}

// A line is what waits for a session that is being saved.
type line struct {
	latest  *store.Session // as last seen, which saves a conflict
	waiting []*task
	first   task // of the request that has begun the line
}

// A task is the changes of one request, and what has become of them once done is closed.
type task struct {
	ctx     context.Context
	changes values.Changes
	done    chan struct{}
	saved   *store.Session
	err     error
}

// New returns a Queue that stores at most limit bytes for each session: see
// [values.Changes.Merge].
func New(backend store.Backend, limit int) *Queue {
	return &Queue{backend: backend, limit: limit, lines: map[store.Key]*line{}}
}

// Save stores changes in the session, which may have been saved since it was loaded. It
// returns the session as it is then, an error of [values.Changes.Merge] or the backend, or
// that of ctx. If ctx ends while the changes are being saved with those of other requests,
// they may be stored all the same.
func (q *Queue) Save(ctx context.Context, session *store.Session, changes values.Changes) (*store.Session, error) {
	l, t := q.enter(session, task{ctx: ctx, changes: changes})
	if t == &l.first {
		defer q.next(l) // also after a panic, such as an encoder's
		q.save(ctx, l, []*task{t})
		return t.saved, t.err
	}
	select {
	case <-t.done:
		return t.saved, t.err
	case <-ctx.Done():
		q.leave(l, t)
		return nil, ctx.Err()
	}
}

// enter puts a task in the line of its session. It waits there unless it is the first.
func (q *Queue) enter(session *store.Session, t task) (*line, *task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lines[session.Key]
	if l == nil {
		l = &line{latest: session, first: t}
		q.lines[session.Key] = l
		return l, &l.first
	}
	waits := t
	waits.done = make(chan struct{})
	l.waiting = append(l.waiting, &waits)
	l.see(session)
	return l, &waits
}

// see notes a state of the session, if it is newer.
func (l *line) see(session *store.Session) {
	if session.Version > l.latest.Version {
		l.latest = session
	}
}

// leave removes a task that nobody waits for any more.
func (q *Queue) leave(l *line, t *task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(other *task) bool { return other == t })
}

// next saves what waits, or closes the line.
func (q *Queue) next(l *line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	batch := l.waiting
	l.waiting = nil
	if len(batch) == 0 {
		delete(q.lines, l.latest.Key)
		return
	}
	go q.saveBatch(l, batch)
}

// saveBatch saves what several requests wait for. It does not run in the goroutine of one
// of them, which would have to wait for the others.
func (q *Queue) saveBatch(l *line, batch []*task) {
	defer q.next(l)
	defer func() {
		p := recover() // it would end the process
		for _, t := range batch {
			if t.saved == nil && t.err == nil {
				t.err = fmt.Errorf("saving values: panic: %v", p)
			}
			close(t.done)
		}
	}()
	last := batch[len(batch)-1].ctx // which waits longest
	ctx := context.WithoutCancel(last)
	if deadline, ok := last.Deadline(); ok {
		bounded, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		ctx = bounded
	}
	q.save(ctx, l, batch)
}

// save stores the changes of all tasks in one step.
func (q *Queue) save(ctx context.Context, l *line, batch []*task) {
	q.mu.Lock()
	latest := l.latest
	q.mu.Unlock()
	saved, err := q.saveMerged(ctx, latest, batch)
	for _, t := range batch {
		if t.err == nil {
			t.saved, t.err = saved, err
		}
	}
	if err == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		l.see(saved)
	}
}

// saveMerged saves the session with the changes of all tasks, and returns it as it is then.
// If another process has saved the session, saveMerged merges them into what that has saved.
func (q *Queue) saveMerged(ctx context.Context, latest *store.Session, batch []*task) (*store.Session, error) {
	for conflicts := 0; ; conflicts++ {
		merged, changed := q.merge(latest.Values, batch)
		if !changed {
			return latest, nil
		}
		saved := *latest
		saved.Values = merged
		saved.Version++
		err := q.backend.Save(ctx, store.Record{Session: &saved})
		if err == nil {
			return &saved, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return nil, err
		}
		turns.BackOff(ctx, conflicts+1)
		rec, err := q.backend.Load(ctx, latest.Key)
		if err != nil {
			return nil, err
		}
		latest = rec.Session
	}
}

// merge merges the changes of all tasks into the stored values. It sets the error of those
// whose changes cannot be stored, or whose request has given up, and reports whether there
// are others.
func (q *Queue) merge(stored []byte, batch []*task) (merged []byte, changed bool) {
	for _, t := range batch {
		if t.err = t.ctx.Err(); t.err != nil {
			continue
		}
		var next []byte
		if next, t.err = t.changes.Merge(stored, q.limit); t.err == nil {
			stored, changed = next, true
		}
	}
	return stored, changed
}
