package retry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var errDown = errors.New("down")

// A recorder makes tasks that fail while it is down, and notes what becomes of them.
type recorder struct {
	down     atomic.Bool
	attempts names
	done     names
	givenUp  names
}

type names struct {
	mu  sync.Mutex
	all []string
}

func (n *names) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, name)
}

func (n *names) get() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.all)
}

func newRecorder(down bool) *recorder {
	r := &recorder{}
	r.down.Store(down)
	return r
}

// pass lets time pass, and everything happen that is due by then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *recorder) task(name string) func(context.Context) error {
	return func(context.Context) error {
		r.attempts.add(name)
		if r.down.Load() {
			return fmt.Errorf("%s: %w", name, errDown)
		}
		r.done.add(name)
		return nil
	}
}

// queue returns a Queue whose errors r notes.
func (r *recorder) queue(max int, lifetime time.Duration) *Queue {
	return &Queue{Max: max, Lifetime: lifetime, Timeout: time.Second, GiveUp: func(err error) { r.givenUp.add(err.Error()) }}
}

func TestTaskIsDoneOnceItsServerIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(true)
		q := r.queue(10, time.Hour)
		q.Add("a", NoShare, errDown, r.task("a"))
		require.Equal(t, 1, q.Len())
		pass(time.Minute)
		require.Len(t, r.attempts.get(), 1+1+1+1+3, "after 1, 3, 7, 15, 30, 45 and 60 seconds")
		r.down.Store(false)
		pass(maxDelay)
		require.Equal(t, []string{"a"}, r.done.get())
		require.Zero(t, q.Len())
		q.Add("b", NoShare, errDown, r.task("b")) // the goroutine has ended: there is a new one
		pass(minDelay)
		require.Equal(t, []string{"a", "b"}, r.done.get())
		require.Empty(t, r.givenUp.get())
	})
}

func TestTooOldTaskIsGivenUpWithItsLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(true)
		q := r.queue(10, time.Minute)
		for i := range 10 {
			q.Add(i, NoShare, errors.New("the first error"), r.task(fmt.Sprint(i)))
		}
		pass(time.Minute + maxDelay)
		require.Zero(t, q.Len())
		require.Len(t, r.givenUp.get(), 10, "also those whose turn does not come")
		require.Contains(t, r.givenUp.get(), "0: down", "the last error")
	})
}

func TestFullQueueGivesUpTheNewTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(false)
		q := r.queue(2, time.Minute)
		for _, name := range []string{"a", "b", "c", "a"} {
			q.Add(name, NoShare, errDown, r.task(name))
		}
		require.Equal(t, []string{"down"}, r.givenUp.get())
		pass(time.Minute)
		require.Equal(t, []string{"a", "b"}, r.done.get())
	})
}

// Who can make only the tasks of one share takes no place from others.
func TestFullShareGivesUpItsNewTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(true)
		q := r.queue(6, time.Minute)
		q.MaxShare = 2
		for _, task := range []struct {
			name  string
			share int
		}{{"a", 1}, {"b", 1}, {"too many", 1}, {"a", 1}, {"c", 2}, {"d", 2}, {"too many", 2}, {"e", NoShare}, {"f", NoShare}, {"too many", NoShare}, {"too many", 3}} {
			q.Add(task.name, task.share, errors.New(task.name), r.task(task.name))
		}
		require.Equal(t, []string{"too many", "too many", "too many", "too many"}, r.givenUp.get())
		r.down.Store(false)
		pass(minDelay)
		require.Equal(t, []string{"a", "b", "c", "d", "e", "f"}, r.done.get())
		q.Add("g", 1, errDown, r.task("g")) // the places are free again
		pass(minDelay)
		require.Contains(t, r.done.get(), "g")
	})
}

// A task that never succeeds, such as one for a record that cannot be read, holds up none.
func TestFailingTasksDoNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, up := newRecorder(true), newRecorder(false)
		q := down.queue(100, time.Minute)
		for i := range 10 {
			q.Add(i, NoShare, errDown, down.task("bad"))
		}
		q.Add("good", NoShare, errDown, up.task("good"))
		pass(minDelay)
		require.Len(t, down.attempts.get(), maxFailures, "a server that is down gets few calls")
		pass(time.Minute)
		require.Equal(t, []string{"good"}, up.done.get())
	})
}

func TestReplacedTaskIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(false)
		q := r.queue(10, time.Minute)
		var done []string
		q.Add("a", NoShare, errDown, func(context.Context) error {
			done = append(done, "old")
			q.Add("a", NoShare, errDown, r.task("replaced while it is being done"))
			return nil
		})
		q.Add("b", NoShare, errDown, r.task("old"))
		q.Add("b", NoShare, errDown, r.task("new"))
		pass(time.Minute)
		require.Equal(t, []string{"old"}, done)
		require.Equal(t, []string{"new", "replaced while it is being done"}, r.done.get())
	})
}

func TestPanicAndTimeoutAreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(false)
		q := r.queue(10, time.Minute)
		q.Add("a", NoShare, errDown, func(context.Context) error { panic("a backend's") })
		q.Add("b", NoShare, errDown, func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		pass(2 * time.Minute)
		require.Equal(t, []string{"a panic: a backend's", context.DeadlineExceeded.Error()}, r.givenUp.get())
	})
}
