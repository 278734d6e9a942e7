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
func asked(t testing.TB, s *Store) (get, getex int) {
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
func requireAsks(t testing.TB, s *Store, get, getex int, f func()) {
	t.Helper()
	configure(t, s, "CONFIG", "RESETSTAT")
	f()
	gets, getexs := asked(t, s)
	require.Equal(t, [2]int{get, getex}, [2]int{gets, getexs}, "GET and GETEX")
}

func TestWithoutCachingEveryLoadAsksOnce(t *testing.T) {
	s := open(t, Config{}, servers.Redis(t, servers.RedisOptions{}).Addr)
	r := created(t, s)
	requireAsks(t, s, 0, 10, func() {
		for range 10 {
			require.NoError(t, loads(t, s, r))
		}
	})
}

func loads(t testing.TB, s *Store, r store.Record) error {
	_, err := s.Load(t.Context(), r.Key)
	return err
}

func TestWhatIsCachedIsNotAskedFor(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	a, b := open(t, Config{}, server.Addr), open(t, Config{CacheFor: time.Minute}, server.Addr)
	r := created(t, a)
	requireAsks(t, b, 1, 0, func() {
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
	require.NoError(t, loads(t, b, r))
	requireAsks(t, b, 0, 0, func() { require.NoError(t, loads(t, b, r)) })
}

func TestNothingThatHasEndedIsBelievedFromTheCache(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	a, b := open(t, Config{}, server.Addr), open(t, Config{CacheFor: time.Minute}, server.Addr)
	idle, moved, ended, absent := newSession(newOwner()), created(t, a), created(t, a), newSession(newOwner())
	idle.LastSeen = idle.LastSeen.Add(-idle.IdleTimeout) + store.Time(nearEnd.Milliseconds()/2)
	create1(t, a, idle)
	require.NoError(t, a.Replace(t.Context(), moved.Key, moved.Version, successor(moved)))
	_, err := a.Delete(t.Context(), ended.Key, store.ReasonEnded)
	require.NoError(t, err)
	for name, r := range map[string]store.Record{"about to end": idle, "moved": moved, "ended": ended, "absent": absent} {
		_ = loads(t, b, r)
		requireAsks(t, b, 3, 3, func() {
			for range 3 {
				require.Equal(t, name == "about to end", loads(t, b, r) == nil)
			}
		})
	}
}

func TestAnEndElsewhereIsHeardOfThoughCached(t *testing.T) {
	a, b := open(t, Config{}, shared(t).Addr), open(t, Config{CacheFor: time.Hour}, shared(t).Addr)
	for _, end := range []func(r store.Record) error{
		func(r store.Record) error { _, err := a.Delete(t.Context(), r.Key, store.ReasonEnded); return err },
		func(r store.Record) error { return a.Replace(t.Context(), r.Key, r.Version, successor(r)) },
		func(r store.Record) error {
			_, err := a.Create(t.Context(), newSession(r.Owner), store.Limit{Max: 1})
			return err
		},
	} {
		r := created(t, a)
		require.NoError(t, loads(t, b, r))
		require.NoError(t, end(r))
		require.Eventually(t, func() bool { return loads(t, b, r) != nil }, 5*time.Second, time.Millisecond)
		require.ErrorIs(t, loads(t, b, r), store.ErrNotFound)
	}
}

// remote is a node with a network to its server that a test can break, and another
// without.
func remote(t testing.TB, config Config) (servers.Remote, *Store, *Store) {
	t.Helper()
	r := servers.NewRemote(t, servers.Redis(t, servers.RedisOptions{}))
	return r, open(t, Config{}, r.Server.Addr), open(t, config, r.Proxy.Addr)
}

func TestNothingCachedIsServedWhenTheConnectionIsLost(t *testing.T) {
	network, a, b := remote(t, Config{CacheFor: time.Hour, Timeout: 500 * time.Millisecond})
	r, kept := created(t, a), created(t, a)
	for range 3 {
		require.NoError(t, loads(t, b, r))
		require.NoError(t, loads(t, b, kept))
	}
	require.NoError(t, network.Cut())
	_, err := a.Delete(t.Context(), r.Key, store.ReasonEnded)
	require.NoError(t, err)
	time.Sleep(50 * time.Millisecond) // for the reset to arrive
	requireUnknowing(t, loads(t, b, r), "ended")
	requireUnknowing(t, loads(t, b, kept), "kept")

	require.NoError(t, network.Restore())
	require.Eventually(t, func() bool { return loads(t, b, kept) == nil }, 5*time.Second, time.Millisecond)
	require.ErrorIs(t, loads(t, b, r), store.ErrNotFound)
}

// A connection that carries nothing any more is noticed by a ping, or the cache's time
// is up before.
func TestWhatIsCachedIsNotServedForLongWhenTheConnectionIsDead(t *testing.T) {
	const bound = 300 * time.Millisecond
	for name, config := range map[string]Config{
		"by CacheFor": {CacheFor: bound, Timeout: 2 * time.Second},
		"by a ping":   {CacheFor: time.Hour, Timeout: bound},
	} {
		t.Run(name, func(t *testing.T) {
			network, a, b := remote(t, config)
			r := created(t, a)
			require.NoError(t, loads(t, b, r))
			require.NoError(t, network.Stall())
			_, err := a.Delete(t.Context(), r.Key, store.ReasonEnded)
			require.NoError(t, err)

			ended, last := time.Now(), time.Duration(0)
			for time.Since(ended) < 3*bound {
				if started := time.Now(); loads(t, b, r) == nil {
					last = started.Sub(ended)
				}
			}
			require.Positive(t, last, "it was not cached")
			require.Less(t, last, bound+100*time.Millisecond)
			requireUnknowing(t, loads(t, b, r), "Load")
			require.NoError(t, network.Restore())
		})
	}
}

func TestWhatIsCachedIsNotServedForLongWhenTheServerHangs(t *testing.T) {
	const bound = 500 * time.Millisecond
	server := servers.Redis(t, servers.RedisOptions{})
	s := open(t, Config{CacheFor: bound}, server.Addr)
	r := newSession(newOwner())
	ask(t, s, "SET", s.keyOf(r.Key), encode(r))
	require.NoError(t, loads(t, s, r))
	require.NoError(t, server.Pause())
	defer server.Resume()
	time.Sleep(bound)
	requireUnknowing(t, loads(t, s, r), "Load")
}

// What one process has written may still be in its cache: the server tells each
// connection of it in its own time.
func TestWrittenIsKnownWhileOlderMayBeCached(t *testing.T) {
	w := newWritten(50 * time.Millisecond)
	a, b := newSession(newOwner()), newSession(newOwner())
	copy(b.Key[:2], a.Key[:2]) // so that they share a place
	requireSince := func(key store.Key, seen store.Time, ok bool) {
		t.Helper()
		gotSeen, gotOK := w.since(key)
		require.Equal(t, ok, gotOK)
		if ok {
			require.Equal(t, seen, gotSeen)
		}
	}
	requireSince(a.Key, 0, true)
	w.touch(a.Key, 7)
	requireSince(a.Key, 7, true)
	requireSince(b.Key, 0, false)
	w.touch(a.Key, 5)
	requireSince(a.Key, 7, true)
	w.add(a.Key)
	requireSince(a.Key, 0, false)
	w.touch(a.Key, 9)
	requireSince(a.Key, 0, false)

	time.Sleep(60 * time.Millisecond)
	requireSince(a.Key, 0, true)
	requireSince(b.Key, 0, true)

	w.add(a.Key)
	w.touch(b.Key, 3)
	w.touch(a.Key, 4) // may not make a's write forgotten
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
			here, there := open(b, Config{}, shared(b).Addr), open(b, Config{CacheFor: time.Minute}, shared(b).Addr)
			stop := make(chan struct{})
			defer close(stop)
			for range together {
				go func() {
					busy := created(b, here)
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
				r := created(b, here)
				require.NoError(b, loads(b, there, r))
				require.NoError(b, loads(b, there, r))
				_, err := here.Delete(b.Context(), r.Key, store.ReasonLoggedOut)
				require.NoError(b, err)
				ended := time.Now()
				last := time.Duration(0)
				for loads(b, there, r) == nil {
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

func TestAReadThatWasGivenUpLendsItsAgeToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(time.Minute, 1<<20).connect(rueidis.CacheStoreOption{}).(*connection)
		ask := func() rueidis.CacheEntry {
			_, entry := c.Flight("name", "GET", time.Minute, time.Now())
			return entry
		}
		require.Nil(t, ask())
		waiting := ask().(*read)
		c.Cancel("name", "GET", context.Canceled)
		<-waiting.done
		require.ErrorIs(t, waiting.err, context.Canceled)

		time.Sleep(time.Second)
		require.Nil(t, ask(), "it is asked for again")
		require.Zero(t, c.reads["name"].began, "the answer to the first may be taken for the second's")
		c.Cancel("name", "GET", context.Canceled)
		c.Cancel("name", "GET", context.Canceled)
		c.Close(context.Canceled)
	})
}

func TestTheCacheKeepsNothingLargerThanItself(t *testing.T) {
	c := newCache(time.Minute, 64*2*2000)
	conn := &connection{cache: c}
	r := newSession(newOwner())
	for values, want := range map[int]bool{1000: true, 3000: false} {
		r.Key = newSession(r.Owner).Key
		r.Values = make([]byte, values)
		c.put(r.Key, cached{r, time.Second, conn})
		_, ok := c.get(r.Key)
		require.Equal(t, want, ok, values)
	}
}
