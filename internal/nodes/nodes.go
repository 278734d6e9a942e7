// Package nodes checks what the guards of several servers promise when they share one
// backend. It runs real servers, also while the backend fails.
//
// The tests of a backend call it beside [storetest], which checks the backend alone.
//
// [storetest]: https://pkg.go.dev/github.com/sessionguard-go/sessionguard/store/storetest
package nodes

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// Run checks that what happens on one node takes effect on the other at once. Each promise
// is a subtest with two backends from newNodes. All subtests may share one database, since
// each has random users. Run checks streams only if a is a [store.Watcher]; if it is not,
// see [RunPolled].
func Run(t *testing.T, newNodes func(t *testing.T) (a, b store.Backend)) {
	a, _ := newNodes(t)
	for _, p := range promisesOf(a) {
		t.Run(p.name, func(t *testing.T) {
			a, b := newNodes(t)
			p.check(t, a, b)
		})
	}
}

// RunPolled checks that a stream on one node is cut when its session ends on the other, for
// a backend that is not a [store.Watcher]. It takes 30 seconds, because the guard polls at
// that interval. It is a parallel test.
func RunPolled(t *testing.T, newNodes func(t *testing.T) (a, b store.Backend)) {
	t.Parallel()
	a, b := newNodes(t)
	polled(t, a, b)
}

func polled(t T, a, b store.Backend) { requireStreamsCut(t, a, b, 35*time.Second) }

// A promise has a check, which gets a [T] so that the package's own test can see it fail on
// nodes that break the promise.
type promise struct {
	name  string
	check func(t T, a, b store.Backend)
}

// T is the part of [testing.T] that a check needs.
type T interface {
	require.TestingT
	Helper()
	Context() context.Context
	Cleanup(func())
}

// A network replaces the real one if a T implements it. The package's own test does, to run
// in a synctest bubble.
type network interface {
	listen() net.Listener
	dial(ctx context.Context, network, addr string) (net.Conn, error)
}

var promises = slices.Concat(endings, races, labels, secrets, factors, devices)

func promisesOf(b store.Backend) []promise {
	if _, watches := b.(store.Watcher); watches {
		return append(slices.Clone(promises), promise{
			"a stream on one node is cut when its session ends on the other",
			func(t T, a, b store.Backend) { requireStreamsCut(t, a, b, 5*time.Second) },
		})
	}
	return promises
}
