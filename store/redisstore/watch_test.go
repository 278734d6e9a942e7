package redisstore

import (
	"context"
	"crypto/tls"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

// startWatch returns a channel that receives the endings that s reports.
func startWatch(t testing.TB, s *Store) <-chan store.Ending {
	t.Helper()
	endings := make(chan store.Ending, 100)
	require.NoError(t, s.Watch(t.Context(), func(e store.Ending) {
		select {
		case endings <- e:
		default: // the test no longer reads them
		}
	}))
	return endings
}

func requireEnding(t testing.TB, endings <-chan store.Ending, want store.Ending) {
	t.Helper()
	select {
	case e := <-endings:
		require.Equal(t, want, e)
	case <-time.After(10 * time.Second):
		require.Fail(t, "no ending reported", "want %v", want)
	}
}

func TestInterruptedWatchReportsAndResumes(t *testing.T) {
	config := Config{Timeout: 500 * time.Millisecond}
	for name, fault := range map[string]struct{ begin, end func(servers.Remote) error }{
		"killed": {servers.Remote.Kill, servers.Remote.Start},
		"cut":    {servers.Remote.Cut, servers.Remote.Restore},
		// Only a ping detects this. The message of an ending meanwhile arrives too late.
		"stalled": {servers.Remote.Stall, servers.Remote.Restore},
		"paused":  {servers.Remote.Pause, servers.Remote.Resume},
	} {
		t.Run(name, func(t *testing.T) {
			network, direct, remote := openRemote(t, config)
			endings := startWatch(t, remote)
			r := createSession(t, direct)
			_, err := direct.Delete(t.Context(), r.Key, store.ReasonEnded)
			require.NoError(t, err)
			requireEnding(t, endings, store.Ending{ID: r.ID, Reason: store.ReasonEnded})

			require.NoError(t, fault.begin(network))
			time.Sleep(2 * config.Timeout)
			require.NoError(t, fault.end(network))
			requireEnding(t, endings, store.Ending{})
			require.Eventually(t, func() bool {
				r = newSession(newOwner())
				_, err := direct.Create(t.Context(), r, store.Limit{})
				return err == nil
			}, 5*time.Second, 10*time.Millisecond)
			_, err = direct.Delete(t.Context(), r.Key, store.ReasonTheftSuspected)
			require.NoError(t, err)
			requireEnding(t, endings, store.Ending{ID: r.ID, Reason: store.ReasonTheftSuspected})
		})
	}
}

func TestWatchThatCannotSubscribeFailsWithinTimeout(t *testing.T) {
	network, _, s := openRemote(t, Config{Timeout: 500 * time.Millisecond})
	before := runtime.NumGoroutine()
	for name, begin := range map[string]func() error{"stalled": network.Stall, "cut": network.Cut} {
		require.NoError(t, begin())
		started := time.Now()
		require.Error(t, s.Watch(t.Context(), func(store.Ending) {}), name)
		require.Less(t, time.Since(started), s.timeout+slack, name)

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		err := s.Watch(ctx, func(store.Ending) {})
		require.Error(t, err, name)
		require.NotErrorIs(t, err, context.DeadlineExceeded, name)
	}
	requireGoroutinesAtMost(t, before)
}

func TestWatchIsBoundedEvenIfDialingIsNot(t *testing.T) {
	hang, release := atomic.Bool{}, make(chan struct{})
	s, err := New(rueidis.ClientOption{
		InitAddress: []string{sharedServer(t).Addr},
		DialCtxFn: func(ctx context.Context, address string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
			if hang.Load() {
				<-release
			}
			return dialer.DialContext(ctx, "tcp", address)
		},
	}, Config{Timeout: 200 * time.Millisecond})
	require.NoError(t, err)
	defer s.Close()
	defer close(release)
	hang.Store(true)
	started := time.Now()
	require.Error(t, s.Watch(t.Context(), func(store.Ending) {}))
	require.Less(t, time.Since(started), s.timeout+slack)
}

func TestCancelledWatchStopsAllGoroutines(t *testing.T) {
	s := openStore(t, Config{}, servers.Redis(t, servers.RedisOptions{}).Addr)
	require.NoError(t, s.Watch(t.Context(), func(store.Ending) {}))
	before := runtime.NumGoroutine()
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, s.Watch(ctx, func(store.Ending) {}))
		cancel()
	}
	requireGoroutinesAtMost(t, before)
	subscribers, err := s.client.Do(t.Context(), s.client.B().PubsubNumsub().Channel(s.channel()).Build()).ToArray()
	require.NoError(t, err)
	n, err := subscribers[1].AsInt64()
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

// Anyone with access to the server may publish on the channel.
func TestForeignMessagesAreIgnored(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	endings := startWatch(t, s)
	for _, message := range []string{"", "x", "E", "E\x01", "E\x01\x05abc", "E\x02\x01aid"} {
		runCommand(t, s, "PUBLISH", s.channel(), message)
	}
	r := createSession(t, s)
	_, err := s.Delete(t.Context(), r.Key, store.ReasonEnded)
	require.NoError(t, err)
	for e := range endings {
		if e.ID == r.ID {
			return
		}
		require.NotEmpty(t, e.Reason) // an ending of another test
		require.NotContains(t, []string{"a", "id", "aid"}, e.ID)
	}
}

// An empty Ending makes the caller check its sessions. The cache must not serve them: the
// invalidations on its own connection may arrive later.
func TestInterruptedWatchClearsTheCache(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	a, s := openStore(t, Config{}, server.Addr), openStore(t, Config{CacheFor: time.Hour}, server.Addr)
	r := createSession(t, a)
	require.NoError(t, load(t, s, r))
	_, cached := s.Cached(r.Key)
	require.True(t, cached)

	wasCached := make(chan bool, 1)
	require.NoError(t, s.Watch(t.Context(), func(store.Ending) {
		_, cached := s.Cached(r.Key)
		wasCached <- cached
	}))
	require.NoError(t, runOnServer(t, server, "CLIENT", "KILL", "TYPE", "pubsub").Error())
	require.False(t, <-wasCached, "the session is still served from the cache")
}

func TestWatchMayStartDuringClose(t *testing.T) {
	addr := sharedServer(t).Addr
	for range 20 {
		s := openStore(t, Config{}, addr)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			_ = s.Watch(t.Context(), func(store.Ending) {})
		}()
		s.Close()
		<-watched
	}
}
