// Package nodes is what holds when several guards share one backend: it checks the
// guard's promises over real servers, and what becomes of them while the backend fails.
//
// It stands to a backend's tests as [storetest] does, which checks the backend alone.
//
// [storetest]: https://pkg.go.dev/github.com/sessionguard-go/sessionguard/store/storetest
package nodes

import (
	"testing"

	"github.com/sessionguard-go/sessionguard/store"
)

// Run checks that what one node has done holds on the other at once. Each promise is a
// subtest with two backends from newNodes, which may all share one database: users are
// random. Streams are checked where a is a [store.Watcher]; where it is not, see
// [RunPolled].
func Run(t *testing.T, newNodes func(t *testing.T) (a, b store.Backend)) {}

// RunPolled checks that a stream on one node is cut when its session has ended on the
// other, for a backend that is not a [store.Watcher]: the guard asks every 30 seconds,
// so it takes that long. It is a parallel test.
func RunPolled(t *testing.T, newNodes func(t *testing.T) (a, b store.Backend)) {}
