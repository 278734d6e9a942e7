package redisstore

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

// A server, or a proxy in front of it, closes connections that are idle for too long.
func TestLogoutSucceedsAfterIdleConnectionsWereClosed(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{Timeout: 400 * time.Millisecond}, server.Addr)
	r := createSession(t, s)
	var calls sync.WaitGroup
	for range 4 * maxDirectCalls { // some of them at the same time, so that there are several connections
		calls.Go(func() {
			for range 50 {
				assert.NoError(t, load(t, s, r))
			}
		})
	}
	calls.Wait()
	require.NoError(t, runOnServer(t, server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Error())
	<-time.After(time.Second) // pings, where there are any, notice within a tenth of that
	require.NoError(t, load(t, s, r))
	ended, err := s.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
	require.NoError(t, err)
	require.NotNil(t, ended.Session)
}

// A call that bypasses the pipeline and fails is sent again through it, at once: it does not try
// the other idle connections, with a pause before each.
func TestOnlyThePipelineIsTriedAgain(t *testing.T) {
	s := openStore(t, Config{}, sharedServer(t).Addr)
	direct := s.client.B().Getex().Key("key").Build()
	require.Negative(t, retryDelay(1, direct, io.EOF))
	for attempt, pause := range map[int]time.Duration{1: 5 * time.Millisecond, 3: 45 * time.Millisecond} {
		require.Equal(t, pause, retryDelay(attempt, direct.ToPipe(), io.EOF))
	}
	require.Negative(t, retryDelay(4, direct.ToPipe(), io.EOF))

	answer := s.client.Do(t.Context(), s.client.B().Arbitrary("GETEX").Build()).Error()
	require.Equal(t, 5*time.Millisecond, retryDelay(1, direct, answer), "a server that answers may be loading, or moving a slot")
}

// A pool with few connections serves as many calls, and the pipeline the others.
func TestNoMoreDirectCallsThanConnections(t *testing.T) {
	require.Equal(t, maxDirectCalls, directCalls(rueidis.ClientOption{}))
	require.Equal(t, 3, directCalls(rueidis.ClientOption{BlockingPoolSize: 3}))
	require.Equal(t, maxDirectCalls, directCalls(rueidis.ClientOption{BlockingPoolSize: 300}))
}

// limitingClient is an application's client that fails calls which have been made.
type limitingClient struct {
	rueidis.Client
	fail  bool
	calls int
}

func (c *limitingClient) Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	result := c.Client.Do(ctx, cmd)
	if c.calls++; c.fail {
		return rueidis.NewErrorResult(errors.New("too slow"))
	}
	return result
}

// rueidis uses the memory of a command for others once it has succeeded.
func TestClientOfTheApplicationGetsEachCommandOnce(t *testing.T) {
	client := &limitingClient{Client: newClient(t, rueidis.ClientOption{DisableAutoPipelining: true}, sharedServer(t).Addr)}
	s := openShared(t, client, Config{})
	r := createSession(t, s)
	client.fail, client.calls = true, 0
	require.ErrorContains(t, load(t, s, r), "too slow")
	require.Equal(t, 1, client.calls)
	client.fail = false
}
