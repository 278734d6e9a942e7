package redisstore

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

// readCounts returns how often the server has executed each command that reads a session.
func readCounts(t testing.TB, s *Store) (get, getex int) {
	t.Helper()
	info, err := s.client.Do(t.Context(), s.client.B().Info().Section("commandstats").Build()).ToString()
	require.NoError(t, err)
	count := func(command string) (n int) {
		_, rest, found := strings.Cut(info, "cmdstat_"+command+":calls=")
		for _, digit := range strings.SplitN(rest, ",", 2)[0] {
			n = 10*n + int(digit-'0')
		}
		if !found {
			return 0
		}
		return n
	}
	return count("get"), count("getex")
}

// requireReads checks how often f makes s read a session. Nothing else may use the server.
func requireReads(t testing.TB, s *Store, get, getex int, f func()) {
	t.Helper()
	runCommand(t, s, "CONFIG", "RESETSTAT")
	f()
	gets, getexs := readCounts(t, s)
	require.Equal(t, [2]int{get, getex}, [2]int{gets, getexs}, "GET and GETEX")
}

func TestWithoutCachingEveryLoadReadsOnce(t *testing.T) {
	s := openStore(t, Config{}, servers.Redis(t, servers.RedisOptions{}).Addr)
	r := createSession(t, s)
	requireReads(t, s, 0, 10, func() {
		for range 10 {
			require.NoError(t, load(t, s, r))
		}
	})
}

func TestCachedSessionIsLoadedWithoutTheServer(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	a, b := openStore(t, Config{}, server.Addr), openStore(t, Config{CacheFor: time.Minute}, server.Addr)
	r := createSession(t, a)
	requireReads(t, b, 1, 0, func() {
		for range 100 {
			got, err := b.Load(t.Context(), r.Key)
			require.NoError(t, err)
			require.Equal(t, string(r.Values), string(got.Values))
		}
	})

	// The touch is known without the server, also until its notification arrives.
	touched := r.LastSeen + 1
	require.NoError(t, b.Touch(t.Context(), r.Key, touched))
	for range 100 {
		got, err := b.Load(t.Context(), r.Key)
		require.NoError(t, err)
		require.Equal(t, touched, got.LastSeen)
	}
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, load(t, b, r))
	requireReads(t, b, 0, 0, func() { require.NoError(t, load(t, b, r)) })
}

func TestOnlyLiveSessionsAreServedFromTheCache(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	a, b := openStore(t, Config{}, server.Addr), openStore(t, Config{CacheFor: time.Minute}, server.Addr)
	idle, absent := newSession(newOwner()), newSession(newOwner())
	moved, ended := createSession(t, a), createSession(t, a)
	idle.LastSeen = idle.LastSeen.Add(-idle.IdleTimeout) + store.Time(cacheMargin.Milliseconds()/2)
	createRecord(t, a, idle)
	require.NoError(t, a.Replace(t.Context(), moved.Key, moved.Version, successor(moved)))
	_, err := a.Delete(t.Context(), ended.Key, store.ReasonEnded)
	require.NoError(t, err)
	for name, r := range map[string]store.Record{"about to end": idle, "moved": moved, "ended": ended, "absent": absent} {
		_ = load(t, b, r)
		requireReads(t, b, 3, 3, func() {
			for range 3 {
				require.Equal(t, name == "about to end", load(t, b, r) == nil)
			}
		})
	}
}

func TestEndOnAnotherNodeInvalidatesTheCache(t *testing.T) {
	a, b := openStore(t, Config{}, sharedServer(t).Addr), openStore(t, Config{CacheFor: time.Hour}, sharedServer(t).Addr)
	for _, end := range []func(r store.Record) error{
		func(r store.Record) error { _, err := a.Delete(t.Context(), r.Key, store.ReasonEnded); return err },
		func(r store.Record) error { return a.Replace(t.Context(), r.Key, r.Version, successor(r)) },
		func(r store.Record) error {
			_, err := a.Create(t.Context(), newSession(r.Owner), store.Limit{Max: 1})
			return err
		},
	} {
		r := createSession(t, a)
		require.NoError(t, load(t, b, r))
		require.NoError(t, end(r))
		require.Eventually(t, func() bool { return load(t, b, r) != nil }, 5*time.Second, time.Millisecond)
		require.ErrorIs(t, load(t, b, r), store.ErrNotFound)
	}
}

func TestLostConnectionInvalidatesTheCache(t *testing.T) {
	network, a, b := openRemote(t, Config{CacheFor: time.Hour, Timeout: 500 * time.Millisecond})
	r, kept := createSession(t, a), createSession(t, a)
	for range 3 {
		require.NoError(t, load(t, b, r))
		require.NoError(t, load(t, b, kept))
	}
	require.NoError(t, network.Cut())
	_, err := a.Delete(t.Context(), r.Key, store.ReasonEnded)
	require.NoError(t, err)
	time.Sleep(50 * time.Millisecond) // for the reset to arrive
	requireInconclusive(t, load(t, b, r), "ended")
	requireInconclusive(t, load(t, b, kept), "kept")

	require.NoError(t, network.Restore())
	require.Eventually(t, func() bool { return load(t, b, kept) == nil }, 5*time.Second, time.Millisecond)
	require.ErrorIs(t, load(t, b, r), store.ErrNotFound)
}

// A ping detects a connection that delivers nothing, unless CacheFor ends before.
func TestDeadConnectionServesCachedSessionsOnlyWithinTheBound(t *testing.T) {
	const bound = 300 * time.Millisecond
	for name, config := range map[string]Config{
		"by CacheFor": {CacheFor: bound, Timeout: 2 * time.Second},
		"by a ping":   {CacheFor: time.Hour, Timeout: bound},
	} {
		t.Run(name, func(t *testing.T) {
			network, a, b := openRemote(t, config)
			r := createSession(t, a)
			require.NoError(t, load(t, b, r))
			require.NoError(t, network.Stall())
			_, err := a.Delete(t.Context(), r.Key, store.ReasonEnded)
			require.NoError(t, err)

			ended, last := time.Now(), time.Duration(0)
			for time.Since(ended) < 10*bound {
				if started := time.Now(); load(t, b, r) == nil {
					last = started.Sub(ended)
				}
			}
			require.Positive(t, last, "the session was not cached")
			require.Less(t, last, 5*bound)
			requireInconclusive(t, load(t, b, r), "Load")
			require.NoError(t, network.Restore())
		})
	}
}

func TestHungServerServesCachedSessionsOnlyWithinCacheFor(t *testing.T) {
	const bound = 500 * time.Millisecond
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{CacheFor: bound}, server.Addr)
	r := newSession(newOwner())
	sendCommand(t, s, "SET", s.sessionKey(r.Key), encodeSession(r))
	require.NoError(t, load(t, s, r))
	require.NoError(t, server.Pause())
	defer server.Resume()
	time.Sleep(bound)
	requireInconclusive(t, load(t, s, r), "Load")
}

func TestCacheRejectsOversizedSessions(t *testing.T) {
	c := newCache(time.Minute, 64*2*2000)
	conn := &connection{cache: c}
	r := newSession(newOwner())
	for size, want := range map[int]bool{1000: true, 3000: false} {
		r.Key = newSession(r.Owner).Key
		r.Values = make([]byte, size)
		c.put(r.Key, cachedRecord{r, time.Second, conn})
		_, ok := c.get(r.Key)
		require.Equal(t, want, ok, "%d bytes of values", size)
	}
}

// BenchmarkRevocation measures how long another node accepts a session from its cache after
// it has ended on this one:
//
//	go test -run '^$' -bench Revocation -benchtime 2000x .
func BenchmarkRevocation(b *testing.B) {
	for name, busyClients := range map[string]int{"idle": 0, "busy": 4} {
		b.Run(name, func(b *testing.B) {
			addr := sharedServer(b).Addr
			here, there := openStore(b, Config{}, addr), openStore(b, Config{CacheFor: time.Minute}, addr)
			stop := make(chan struct{})
			defer close(stop)
			for range busyClients {
				busy := createSession(b, here)
				go func() {
					for {
						select {
						case <-stop:
							return
						default:
							_, _ = here.Load(b.Context(), busy.Key)
						}
					}
				}()
			}
			var delays []time.Duration
			for b.Loop() {
				r := createSession(b, here)
				require.NoError(b, load(b, there, r))
				require.NoError(b, load(b, there, r))
				_, err := here.Delete(b.Context(), r.Key, store.ReasonLoggedOut)
				require.NoError(b, err)
				ended := time.Now()
				last := time.Duration(0)
				for load(b, there, r) == nil {
					last = time.Since(ended)
					runtime.Gosched() // to the goroutine that receives the notification
				}
				delays = append(delays, last)
			}
			slices.Sort(delays)
			quantile := func(q float64) float64 {
				return float64(delays[int(q*float64(len(delays)-1))].Microseconds())
			}
			b.ReportMetric(quantile(0.5), "µs-median")
			b.ReportMetric(quantile(0.99), "µs-p99")
			b.ReportMetric(quantile(1), "µs-max")
		})
	}
}
