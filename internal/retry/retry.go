// Package retry does again, in the background, what has failed.
package retry

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// The waits between two rounds: the next one is twice as long as the last, unless a task
// has succeeded.
const (
	minDelay = time.Second
	maxDelay = 15 * time.Second
)

// maxFailures is how many tasks in a row may fail in a round. What they need is then taken
// to be down, and the others wait for the next round.
const maxFailures = 3

// A Queue does its tasks one at a time, until each has succeeded or is too old. It has a
// goroutine only while it has tasks. Its lock is held only for moments.
type Queue struct {
	Max      int             // tasks
	MaxShare int             // tasks of one share
	Lifetime time.Duration   // of a task
	Timeout  time.Duration   // of an attempt
	GiveUp   func(err error) // is called with the last error of a task that is too old, or one too many

	mu      sync.Mutex
	running bool // the goroutine
	tasks   map[any]*task
	order   []any // their keys; the goroutine takes the first, and Add appends
}

// NoShare is the share of tasks that only Max bounds.
const NoShare = -1

type task struct {
	share int
	do    func(context.Context) error
	ends  time.Time
	err   error // of the last attempt
}

// Add adds what has failed with err. It replaces a task with the same key. If the Queue or
// the share is full, it gives the new task up at once: nobody takes all places who can only
// make tasks of one share.
func (q *Queue) Add(key any, share int, err error, do func(context.Context) error) {
	if !q.add(key, &task{share, do, time.Now().Add(q.Lifetime), err}) {
		q.GiveUp(err)
	}
}

func (q *Queue) add(key any, t *task) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.tasks[key] == nil {
		if len(q.tasks) >= q.Max || t.share != NoShare && q.inShare(t.share) >= q.MaxShare {
			return false
		}
		q.order = append(q.order, key)
	}
	if q.tasks == nil {
		q.tasks = map[any]*task{}
	}
	q.tasks[key] = t
	if !q.running {
		q.running = true
		go q.run()
	}
	return true
}

func (q *Queue) inShare(share int) (n int) {
	for _, t := range q.tasks {
		if t.share == share {
			n++
		}
	}
	return n
}

// Len returns the number of tasks.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.tasks)
}

func (q *Queue) run() {
	for delay := minDelay; !q.stop(); {
		time.Sleep(delay)
		delay = min(2*delay, maxDelay)
		if q.round() {
			delay = minDelay
		}
	}
}

// stop reports whether the goroutine has nothing left to do and ends.
func (q *Queue) stop() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running = len(q.tasks) > 0
	return !q.running
}

// round does the tasks that there are, until several in a row have failed, and gives up
// those that are too old. It reports whether one has succeeded.
func (q *Queue) round() (succeeded bool) {
	for n, failures := q.Len(), 0; n > 0 && failures < maxFailures; n-- {
		key, t := q.first()
		if err := q.attempt(t); err != nil {
			failures++
			q.putLast(key, t, err)
		} else {
			succeeded, failures = true, 0
			q.remove(key, t)
		}
	}
	for _, t := range q.takeOld(time.Now()) {
		q.GiveUp(t.err)
	}
	return succeeded
}

func (q *Queue) first() (any, *task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.order[0], q.tasks[q.order[0]]
}

func (q *Queue) putLast(key any, t *task, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t.err = err
	q.order = append(q.order[1:], key)
}

// remove removes the first task, unless Add has replaced it.
func (q *Queue) remove(key any, t *task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.order = q.order[1:]
	if q.tasks[key] == t {
		delete(q.tasks, key)
	} else {
		q.order = append(q.order, key)
	}
}

func (q *Queue) takeOld(now time.Time) (old []*task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.order = slices.DeleteFunc(q.order, func(key any) bool {
		t := q.tasks[key]
		if now.Before(t.ends) {
			return false
		}
		old = append(old, t)
		delete(q.tasks, key)
		return true
	})
	return old
}

// attempt turns a panic into an error: it would end the process.
func (q *Queue) attempt(t *task) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), q.Timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a panic: %v", p)
		}
	}()
	return t.do(ctx)
}
