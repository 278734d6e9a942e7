package redisstore

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

// slack is the time that a busy machine may add to a bound. It is below the 10 seconds that
// rueidis waits by default for a server, and so tells a call that has no bound of ours.
const slack = 5 * time.Second

type fault struct{ begin, end func(servers.Remote) error }

var faults = map[string]fault{
	"killed":  {servers.Remote.Kill, servers.Remote.Start},
	"paused":  {servers.Remote.Pause, servers.Remote.Resume},
	"cut":     {servers.Remote.Cut, servers.Remote.Restore},
	"stalled": {servers.Remote.Stall, servers.Remote.Restore},
}

func TestUnreachableServerFailsWithinTimeout(t *testing.T) {
	config := Config{Timeout: 500 * time.Millisecond}
	for name, fault := range faults {
		for _, config.CacheFor = range []time.Duration{0, time.Minute} {
			t.Run(name, func(t *testing.T) {
				network, direct, remote := openRemote(t, config)
				r := createSession(t, direct)
				require.NoError(t, load(t, remote, createSession(t, remote)))
				requireFaultIsAnError(t, network, fault, remote, r)
			})
		}
	}
}

func requireFaultIsAnError(t *testing.T, network servers.Remote, f fault, remote *Store, r store.Record) {
	t.Helper()
	require.NoError(t, remote.Ping(t.Context()))
	require.NoError(t, f.begin(network))
	for range 2 { // on the existing connection, then without one
		requireAllFailInTime(t, remote, r)
	}
	require.NoError(t, f.end(network))
	require.Eventually(t, func() bool {
		_, err := remote.ByOwner(t.Context(), r.Owner, "", store.MaxPage)
		return err == nil
	}, 5*time.Second, 10*time.Millisecond, "the store must recover")
	require.NoError(t, remote.Ping(t.Context()))
}

func requireAllFailInTime(t *testing.T, s *Store, r store.Record) {
	t.Helper()
	var callers sync.WaitGroup
	calls := allCalls(t.Context(), s, r)
	calls["Ping"] = func() error { return s.Ping(t.Context()) }
	for name, f := range calls {
		callers.Go(func() {
			started := time.Now()
			err := f()
			limit := s.timeout
			if name == "All" && s.client.Mode() == rueidis.ClientModeCluster {
				limit *= store.Groups / 4 / 2 // it tries those groups that may be on other nodes
			}
			if took := time.Since(started); took > limit+slack {
				t.Errorf("%s took %v", name, took)
			}
			if !inconclusive(err) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	callers.Wait()
}

// The calls outnumber the places in a connection's queue, and rueidis waits for a place
// without regard to the context.
func TestManyCallsToAHungServerFailWithinTimeout(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	for _, cacheFor := range []time.Duration{0, time.Minute} {
		s := openStore(t, Config{Timeout: time.Second, CacheFor: cacheFor}, server.Addr)
		r := createSession(t, s)
		require.NoError(t, server.Pause())
		var callers sync.WaitGroup
		durations := make(chan time.Duration, 5000)
		for range cap(durations) {
			callers.Go(func() {
				started := time.Now()
				if load(t, s, r) == nil {
					t.Error("Load succeeded although the server hangs")
				}
				durations <- time.Since(started)
			})
		}
		callers.Wait()
		close(durations)
		var longest time.Duration
		for d := range durations {
			longest = max(longest, d)
		}
		require.NoError(t, server.Resume())
		require.Less(t, longest, time.Second+slack)
	}
}

func TestNewFailsWithinTimeout(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	require.NoError(t, server.Pause())
	defer server.Resume()
	for _, config := range []Config{{Timeout: time.Second}, {Timeout: time.Second, CacheFor: time.Minute}} {
		started := time.Now()
		_, err := New(rueidis.ClientOption{InitAddress: []string{server.Addr}}, config)
		require.Error(t, err)
		require.Less(t, time.Since(started), time.Second+slack)
	}
}

func TestCloseStopsAllGoroutines(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	before := runtime.NumGoroutine()
	for _, config := range []Config{{}, {CacheFor: time.Minute}} {
		s, err := New(rueidis.ClientOption{InitAddress: []string{server.Addr}}, config)
		require.NoError(t, err)
		require.NoError(t, s.Watch(t.Context(), func(store.Ending) {}))
		r := createSession(t, s)
		for range 2 {
			for _, f := range allCalls(t.Context(), s, r) {
				_ = f()
			}
		}
		s.Close()
		for name, f := range allCalls(t.Context(), s, r) {
			requireInconclusive(t, f(), name)
		}
		require.Error(t, s.Watch(t.Context(), func(store.Ending) {}))
	}
	requireGoroutinesAtMost(t, before)
}

func requireGoroutinesAtMost(t testing.TB, limit int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > limit; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines too many\n%s", runtime.NumGoroutine()-limit, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
