package nodes

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestMemoryKeepsEveryPromise(t *testing.T) {
	Run(t, func(*testing.T) (a, b store.Backend) {
		m := store.NewMemory()
		return m, m
	})
}

func TestRemoteBackendKeepsEveryPromise(t *testing.T) {
	for name, plain := range map[string]bool{"with a watcher": false, "without a watcher": true} {
		t.Run(name, func(t *testing.T) {
			Run(t, func(*testing.T) (a, b store.Backend) {
				m := store.NewMemory()
				if plain {
					return struct{ store.Backend }{m}, struct{ store.Backend }{m}
				}
				return wrong(m, ""), wrong(m, "")
			})
		})
	}
}

func TestStreamIsCutWithoutWatcher(t *testing.T) {
	on := func(mistake string) string {
		m := store.NewMemory()
		return failureOf(t, func(t T) {
			polled(t, struct{ store.Backend }{wrong(m, mistake)}, struct{ store.Backend }{wrong(m, mistake)})
		})
	}
	require.Empty(t, on(""))
	require.Contains(t, on(caches), "goes on")
	require.Contains(t, on(losesReasons), string(store.ReasonEnded))
}

// Each promise is seen broken by nodes with one mistake.
func TestEveryMistakeIsFound(t *testing.T) {
	for _, p := range promisesOf(store.NewMemory()) {
		require.NotEmpty(t, mistakes[p.name], "no mistake breaks the promise: %s", p.name)
		for _, mistake := range mistakes[p.name] {
			t.Run(mistake, func(t *testing.T) {
				m, other := store.NewMemory(), store.NewMemory()
				if mistake != separate {
					other = m
				}
				failure := failureOf(t, func(t T) { p.check(t, wrong(m, mistake), wrong(other, mistake)) })
				require.NotEmpty(t, failure, "nodes with this mistake pass for %s", p.name)
				t.Log(p.name, failure)
			})
		}
	}
}

// failureOf runs a check as the testing package would, and returns its failure message. In a
// synctest bubble, a timeout takes no time.
func failureOf(t *testing.T, check func(T)) (failure string) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &recorder{ctx: ctx, servers: map[string]*testbrowser.PipeListener{}}
		done := make(chan struct{})
		go func() {
			defer close(done)
			check(r)
		}()
		<-done
		cancel()
		// A server that closes its connections waits for clients to read that.
		for _, c := range r.conns {
			c.Close()
		}
		for _, f := range slices.Backward(r.cleanups) {
			f()
		}
		time.Sleep(15 * time.Minute) // until the last goroutines end
		failure = r.failure
	})
	return failure
}

// recorder is a T that records failures, with a network in memory.
type recorder struct {
	ctx      context.Context
	failure  string
	cleanups []func()
	servers  map[string]*testbrowser.PipeListener
	mu       sync.Mutex
	conns    []net.Conn
}

func (r *recorder) Errorf(format string, args ...any) { r.failure += fmt.Sprintf(format, args...) }
func (r *recorder) FailNow()                          { runtime.Goexit() }
func (r *recorder) Helper()                           {}
func (r *recorder) Context() context.Context          { return r.ctx }
func (r *recorder) Cleanup(f func())                  { r.cleanups = append(r.cleanups, f) }

func (r *recorder) listen() net.Listener {
	addr := fmt.Sprintf("127.0.0.1:%d", len(r.servers)+1)
	l := testbrowser.Listen(addr)
	r.servers[addr] = l
	return l
}

func (r *recorder) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	client, err := r.servers[addr].DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, client)
	return client, nil
}
