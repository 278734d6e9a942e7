package redisstore

import (
	"sync"
	"testing"
	"time"

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
