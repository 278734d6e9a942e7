package nodes

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// A Faulty is a server and the network in front of it, which fail on demand:
// servers.Remote is one. Start returns when it answers again.
type Faulty interface {
	Kill() error // by SIGKILL
	Start() error
	Pause() error // it accepts connections and answers nobody
	Resume() error
	Cut() error // every connection, and no new ones
	Restore() error
}

// Expect is what a backend promises about its server's failures.
type Expect struct {
	// Keeps says that what the server has confirmed survives a kill. Otherwise it
	// comes back empty.
	Keeps bool
	// Within is how long an answer may take while the server is away: twice the
	// timeout of the backend, which is asked again to undo what failed, and some
	// slack. Default: 3 seconds.
	Within time.Duration
	// Caches says that for a while a node lets people in without asking the server,
	// while that is away. It is to know of every end all the same.
	Caches bool
}

// Faults checks two nodes with a backend each from newNode, under load, while their
// server is killed and started again, paused and resumed, cut off and restored.
// Meanwhile and after that, nobody who has logged out is let in, nobody else is logged
// out, and what cannot be answered is a 503 in time. A logout that was answered with
// 503 may have happened or not. It takes about ten seconds more than Within.
func Faults(t *testing.T, s Faulty, newNode func(t *testing.T) store.Backend, expect Expect) {
	faults(t, s, newNode(t), newNode(t), expect, 16)
}

// recovery is how long it may take until all is well again.
const recovery = 10 * time.Second

func faults(t T, s Faulty, a, b store.Backend, expect Expect, people int) {
	within := cmp.Or(expect.Within, 3*time.Second)
	// So short that sessions are touched, too: once in 1/30 of it.
	short := func(c *config) { c.IdleTimeout = 2 * time.Minute }
	l := &load{t: t, nodes: []*node{newNode(t, a, short), newNode(t, b, short)}, within: within, caches: expect.Caches, people: people}
	ctx := t.Context()
	l.during(func() { pause(ctx, time.Second) })
	require.NotEmpty(t, l.ended, "nobody has managed to log out")
	l.requireNoProblems("before anything went wrong")

	for _, fault := range []struct {
		name       string
		begin, end func() error
		lasts      time.Duration
		forgets    bool
	}{
		{"killed", s.Kill, s.Start, 1500 * time.Millisecond, !expect.Keeps},
		{"paused", s.Pause, s.Resume, within + 500*time.Millisecond, false},
		{"cut off", s.Cut, s.Restore, 1500 * time.Millisecond, false},
	} {
		if fault.forgets {
			l.forgets.Store(l.epoch.Load() + away)
		}
		l.noticed.Store(0)
		var began, ended error
		l.during(func() {
			pause(ctx, 500*time.Millisecond)
			held := l.hold()
			l.epoch.Add(1)
			began = fault.begin()
			l.epoch.Add(1)
			over := time.After(fault.lasts)
			l.release(held)
			<-over
			l.epoch.Add(1)
			ended = fault.end()
			l.epoch.Add(1)
			l.overtake(ctx, held)
			pause(ctx, time.Second) // what was on its way may still come
		})
		require.NoError(t, errors.Join(began, ended), fault.name)
		l.verify(ctx)
		l.requireNoProblems("the server was " + fault.name)
		require.NotZero(t, l.noticed.Load(), "nobody has noticed that the server was "+fault.name)
	}
}

// during lets people use the nodes while f runs, and waits for their last answers.
func (l *load) during(f func()) {
	ctx, stop := context.WithCancel(l.t.Context())
	var people sync.WaitGroup
	for i := range l.people {
		people.Go(func() {
			if i%4 == 0 {
				l.reader(ctx)
			} else {
				l.person(ctx)
			}
		})
	}
	f()
	stop()
	people.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (l *load) requireNoProblems(when string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Empty(l.t, strings.Join(l.problems, "\n"), when)
}
