package redisstore

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

// asked is how often a server has been asked to read a session, by either command.
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

// requireAsks checks how often f makes its node read from a server that nobody else
// uses.
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

func load(t testing.TB, s *Store, r store.Record) error {
	_, err := s.Load(t.Context(), r.Key)
	return err
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

	// A touch is known without asking, and until the server has told of it.
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
	idle, moved, ended, absent := newSession(newOwner()), createSession(t, a), createSession(t, a), newSession(newOwner())
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

// remote is a node with a network to its server that a test can break, and another
// without.
func openRemote(t testing.TB, config Config) (servers.Remote, *Store, *Store) {
	t.Helper()
	r := servers.NewRemote(t, servers.Redis(t, servers.RedisOptions{}))
	return r, openStore(t, Config{}, r.Server.Addr), openStore(t, config, r.Proxy.Addr)
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

// A connection that carries nothing any more is noticed by a ping, or the cache's time
// is up before.
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
			for time.Since(ended) < 3*bound {
				if started := time.Now(); load(t, b, r) == nil {
					last = started.Sub(ended)
				}
			}
			require.Positive(t, last, "it was not cached")
			require.Less(t, last, bound+100*time.Millisecond)
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

// What one process has written may still be in its cache: the server tells each
// connection of it in its own time.
func TestRecentWritesOverrideTheCache(t *testing.T) {
	w := newRecentWrites(50 * time.Millisecond)
	a, b := newSession(newOwner()), newSession(newOwner())
	copy(b.Key[:2], a.Key[:2]) // so that they share a place
	requireSince := func(key store.Key, seen store.Time, ok bool) {
		t.Helper()
		gotSeen, gotOK := w.mayUseCache(key)
		require.Equal(t, ok, gotOK)
		if ok {
			require.Equal(t, seen, gotSeen)
		}
	}
	requireSince(a.Key, 0, true)
	w.addTouch(a.Key, 7)
	requireSince(a.Key, 7, true)
	requireSince(b.Key, 0, false)
	w.addTouch(a.Key, 5)
	requireSince(a.Key, 7, true)
	w.add(a.Key)
	requireSince(a.Key, 0, false)
	w.addTouch(a.Key, 9)
	requireSince(a.Key, 0, false)

	time.Sleep(60 * time.Millisecond)
	requireSince(a.Key, 0, true)
	requireSince(b.Key, 0, true)

	w.add(a.Key)
	w.addTouch(b.Key, 3)
	w.addTouch(a.Key, 4) // may not make a's write forgotten
	requireSince(a.Key, 0, false)
	requireSince(b.Key, 0, false)
}

// How long after a session has ended on one node another still accepts it from its
// cache:
//
//	go test -run '^$' -bench Revocation -benchtime 2000x .
func BenchmarkRevocation(b *testing.B) {
	for name, together := range map[string]int{"idle": 0, "busy": 4} {
		b.Run(name, func(b *testing.B) {
			here, there := openStore(b, Config{}, sharedServer(b).Addr), openStore(b, Config{CacheFor: time.Minute}, sharedServer(b).Addr)
			stop := make(chan struct{})
			defer close(stop)
			for range together {
				go func() {
					busy := createSession(b, here)
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
			var late []time.Duration
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
					runtime.Gosched() // to whoever hears of it
				}
				late = append(late, last)
			}
			slices.Sort(late)
			at := func(share float64) float64 { return float64(late[int(share*float64(len(late)-1))].Microseconds()) }
			b.ReportMetric(at(0.5), "µs-median")
			b.ReportMetric(at(0.99), "µs-p99")
			b.ReportMetric(at(1), "µs-max")
		})
	}
}

func TestReadAfterCancelledReadKeepsItsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(time.Minute, 1<<20).newConnection(rueidis.CacheStoreOption{}).(*connection)
		ask := func() rueidis.CacheEntry {
			_, entry := c.Flight("name", "GET", time.Minute, time.Now())
			return entry
		}
		require.Nil(t, ask())
		waiting := ask().(*pendingRead)
		c.Cancel("name", "GET", context.Canceled)
		<-waiting.done
		require.ErrorIs(t, waiting.err, context.Canceled)

		time.Sleep(time.Second)
		require.Nil(t, ask(), "it is asked for again")
		require.Zero(t, c.reads["name"].requestedAt, "the answer to the first may be taken for the second's")
		c.Cancel("name", "GET", context.Canceled)
		c.Cancel("name", "GET", context.Canceled)
		c.Close(context.Canceled)
	})
}

func TestCacheRejectsOversizedSessions(t *testing.T) {
	c := newCache(time.Minute, 64*2*2000)
	conn := &connection{cache: c}
	r := newSession(newOwner())
	for values, want := range map[int]bool{1000: true, 3000: false} {
		r.Key = newSession(r.Owner).Key
		r.Values = make([]byte, values)
		c.put(r.Key, cachedRecord{r, time.Second, conn})
		_, ok := c.get(r.Key)
		require.Equal(t, want, ok, values)
	}
}
