package redisstore

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/nodes"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

// What taken secrets leave in Redis, and for how long.
func TestMarksOfTakenSecretsInRedis(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	const marks = 32_000
	used := func() int {
		info, err := runOnServer(t, server, "INFO", "memory").ToString()
		require.NoError(t, err)
		n, err := strconv.Atoi(regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(info)[1])
		require.NoError(t, err)
		return n
	}
	nodes.TakeSecrets(t, s, 8)
	before := used()
	nodes.TakeSecrets(t, s, marks)
	size := (used() - before) / marks
	t.Logf("%d bytes for each", size)
	require.Less(t, size, 1000)
	for range 100 {
		key, err := runOnServer(t, server, "RANDOMKEY").ToString()
		require.NoError(t, err)
		ms, err := sendCommand(t, s, "PTTL", key).AsInt64()
		require.NoError(t, err)
		require.LessOrEqual(t, ms, (11*time.Minute + store.Grace + time.Second).Milliseconds(), key)
		require.Positive(t, ms, key)
	}
}
