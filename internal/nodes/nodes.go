// Package nodes is what holds when several guards share one backend: it checks the
// guard's promises over real servers, and what becomes of them while the backend fails.
//
// It stands to a backend's tests as [storetest] does, which checks the backend alone.
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

// Run checks that what one node has done holds on the other at once. Each promise is a
// subtest with two backends from newNodes, which may all share one database: users are
// random. Streams are checked where a is a [store.Watcher]; where it is not, see
// [RunPolled].
func Run(t *testing.T, newNodes func(t *testing.T) (a, b store.Backend)) {
	a, _ := newNodes(t)
	for _, p := range promisesOf(a) {
		t.Run(p.name, func(t *testing.T) {
			a, b := newNodes(t)
			p.check(t, a, b)
		})
	}
}

// RunPolled checks that a stream on one node is cut when its session has ended on the
// other, for a backend that is not a [store.Watcher]: the guard asks every 30 seconds,
// so it takes that long. It is a parallel test.
func RunPolled(t *testing.T, newNodes func(t *testing.T) (a, b store.Backend)) {
	t.Parallel()
	a, b := newNodes(t)
	polled(t, a, b)
}

func polled(t T, a, b store.Backend) { requireStreamsCut(t, a, b, 35*time.Second) }

// A promise is checked through the part of testing.T that lets the package's own test
// see it fail on nodes that break it.
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

// A network is what a T may have for the package's own test, which moves the clock.
type network interface {
	listen() net.Listener
	dial(ctx context.Context, network, addr string) (net.Conn, error)
}

var promises = slices.Concat(endings, races)

func promisesOf(b store.Backend) []promise {
	if _, watches := b.(store.Watcher); watches {
		return append(slices.Clone(promises), promise{
			"a stream on one node is cut when its session ends on the other",
			func(t T, a, b store.Backend) { requireStreamsCut(t, a, b, 5*time.Second) },
		})
	}
	return promises
}
