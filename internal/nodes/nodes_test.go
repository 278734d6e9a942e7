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
		r := &recorder{ctx: ctx, servers: map[string]*pipeListener{}}
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
		time.Sleep(time.Minute) // until the last goroutines end
		failure = r.failure
	})
	return failure
}

// recorder is a T with a network in memory.
type recorder struct {
	ctx      context.Context
	failure  string
	cleanups []func()
	servers  map[string]*pipeListener
	mu       sync.Mutex
	conns    []net.Conn
}

func (r *recorder) Errorf(format string, args ...any) { r.failure += fmt.Sprintf(format, args...) }
func (r *recorder) FailNow()                          { runtime.Goexit() }
func (r *recorder) Helper()                           {}
func (r *recorder) Context() context.Context          { return r.ctx }
func (r *recorder) Cleanup(f func())                  { r.cleanups = append(r.cleanups, f) }

func (r *recorder) listen() net.Listener {
	l := &pipeListener{addr: fmt.Sprintf("127.0.0.1:%d", len(r.servers)+1), conns: make(chan net.Conn), closed: make(chan struct{})}
	r.servers[l.addr] = l
	return l
}

func (r *recorder) dial(_ context.Context, _, addr string) (net.Conn, error) {
	l := r.servers[addr]
	client, server := net.Pipe()
	r.mu.Lock()
	r.conns = append(r.conns, client)
	r.mu.Unlock()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

type pipeListener struct {
	addr   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return l }
func (*pipeListener) Network() string  { return "pipe" }
func (l *pipeListener) String() string { return l.addr }
