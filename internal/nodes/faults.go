package nodes

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// A Faulty is a server, and the network in front of it, that fail on demand, such as
// servers.Remote. Start returns when the server responds again.
type Faulty interface {
	Kill() error // by SIGKILL
	Start() error
	Pause() error // it accepts connections but does not respond
	Resume() error
	Cut() error // closes every connection and refuses new ones
	Restore() error
}

// Expect describes what a backend promises about its server's failures.
type Expect struct {
	// Keeps reports whether everything that the server has confirmed survives a kill.
	// Otherwise the server comes back empty.
	Keeps bool
	// Within limits how long a response may take while the server is away. It must allow
	// for twice the timeout of the backend, because the guard calls the backend again to
	// undo what failed, and some slack. Default: 3 seconds.
	Within time.Duration
	// Caches reports whether a node may accept a session from its cache for a while when
	// the server is away. It must notice the end of a session all the same.
	Caches bool
}

// Faults checks two nodes, each with a backend from newNode, under load while their server
// is killed and started again, paused and resumed, cut off and restored. During and after
// that, no ended session is accepted, no other session ends, no session that is bound to a
// device is accepted without it, and a request that needs the server while it is away gets a
// 503 in time. A logout with a 503 may or may not have happened. Faults takes about ten seconds
// longer than Within.
func Faults(t *testing.T, s Faulty, newNode func(t *testing.T) store.Backend, expect Expect) {
	faults(t, s, newNode(t), newNode(t), expect, 16)
}

// recovery limits the time until every request succeeds again.
const recovery = 10 * time.Second

func faults(t T, s Faulty, a, b store.Backend, expect Expect, users int) {
	within := cmp.Or(expect.Within, 3*time.Second)
	// Short enough that sessions are touched during the test: once per 1/30 of it.
	short := func(c *config) { c.IdleTimeout = 2 * time.Minute }
	a, b = later(a, nil), later(b, nil)
	l := &load{t: t, nodes: []*node{newNode(t, a, short, withDevices), newNode(t, b, short, withDevices)}, within: within, caches: expect.Caches, users: users}
	ctx := t.Context()
	l.during(func() { pause(ctx, time.Second) })
	require.NotEmpty(t, l.ended, "no logout has succeeded")
	l.requireNoProblems("before anything went wrong")
	bound := l.hasBound()

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
			l.lostBefore.Store(l.epoch.Load() + away)
		}
		l.unavailable.Store(0)
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
			pause(ctx, time.Second) // delayed commands may still arrive
		})
		bound = bound || l.hasBound()
		require.NoError(t, errors.Join(began, ended), fault.name)
		l.verify(ctx)
		l.requireNoProblems("the server was " + fault.name)
		require.NotZero(t, l.unavailable.Load(), "no response shows that the server was "+fault.name)
	}
	require.True(t, bound, "no session was bound")
}

// hasBound reports whether one of the sessions that live needs its device.
func (l *load) hasBound() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.live, func(s *session) bool { return s.bound })
}

// during lets users send requests while f runs, and waits for the last responses.
func (l *load) during(f func()) {
	ctx, stop := context.WithCancel(l.t.Context())
	var running sync.WaitGroup
	for i := range l.users {
		running.Go(func() {
			if i%4 == 0 {
				l.runReader(ctx)
			} else {
				l.runUser(ctx)
			}
		})
	}
	f()
	stop()
	running.Wait()
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
