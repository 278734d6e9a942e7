package redisstore

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store"
)

func TestPingFailsWhereALoginWould(t *testing.T) {
	for name, c := range map[string]struct {
		begin, end string
		want       string // a regular expression
	}{
		"a replica":              {"REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "READONLY"},
		"out of memory":          {"CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"},
		"too few replicas":       {"CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "NOREPLICAS"},
		"no right to run it":     {"ACL SETUSER default -evalsha -eval", "ACL SETUSER default +evalsha +eval", "NOPERM"},
		"no right to write":      {"ACL SETUSER default -set", "ACL SETUSER default +set", "run (this|the 'set') command"},
		"no right to these keys": {"ACL SETUSER default resetkeys ~other:*", "ACL SETUSER default allkeys", "NOPERM"},
	} {
		failsAsALogin := func(t *testing.T, o servers.RedisOptions) {
			server := servers.Redis(t, o)
			s := openStore(t, Config{}, server.Addr)
			r := createSession(t, s)
			require.NoError(t, s.Ping(t.Context()))
			require.NoError(t, runOnServer(t, server, strings.Fields(c.begin)...).Error())
			err := s.Ping(t.Context())
			require.Error(t, err)
			require.Regexp(t, c.want, err.Error())
			_, loginErr := s.Create(t.Context(), newSession(r.Owner), store.Limit{})
			requireInconclusive(t, loginErr, "Create")
			require.NoError(t, runOnServer(t, server, strings.Fields(c.end)...).Error())
			require.NoError(t, s.Ping(t.Context()))
		}
		t.Run(name, func(t *testing.T) { failsAsALogin(t, servers.RedisOptions{}) })
		t.Run(name+", Valkey", func(t *testing.T) { failsAsALogin(t, servers.RedisOptions{Valkey: true}) })
	}
}

// A server that cannot save its data refuses writes.
func TestPingFailsWhereTheServerCannotSave(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	config, err := runOnServer(t, server, "CONFIG", "GET", "dir").AsStrMap()
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(config["dir"]))
	require.NoError(t, runOnServer(t, server, "CONFIG", "SET", "save", "3600 1").Error())
	require.NoError(t, s.Ping(t.Context()))
	require.NoError(t, runOnServer(t, server, "BGSAVE").Error())
	require.Eventually(t, func() bool { return s.Ping(t.Context()) != nil }, 10*time.Second, 10*time.Millisecond)
	require.ErrorContains(t, s.Ping(t.Context()), "MISCONF")
}

func TestPingChangesNothing(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	s := openStore(t, Config{}, server.Addr)
	for range 3 {
		require.NoError(t, s.Ping(t.Context()))
	}
	info, err := runOnServer(t, server, "INFO", "persistence").ToString()
	require.NoError(t, err)
	require.Contains(t, info, "rdb_changes_since_last_save:0\r\n")
}

func TestPingWaitsForReplicas(t *testing.T) {
	r := newReplication(t)
	config := Config{Timeout: 20 * time.Second, WaitReplicas: WaitReplicas{Number: 1, Timeout: time.Second}}
	s, careless := openStore(t, config, r.primary.Addr), openStore(t, Config{}, r.primary.Addr)
	require.NoError(t, s.Ping(t.Context()))
	require.NoError(t, r.link.Stall())
	require.True(t, lags(s.Ping(t.Context())))
	require.NoError(t, careless.Ping(t.Context()))
}

// A login of some users would fail.
func TestPingFailsWhereANodeOfAClusterDoes(t *testing.T) {
	c := newCluster(t)
	s := openStore(t, Config{Timeout: time.Second}, c.addresses()...)
	shared := openShared(t, newClient(t, rueidis.ClientOption{}, c[0].Addr), Config{Timeout: time.Second})
	requirePings := func(want string) {
		t.Helper()
		for _, s := range []*Store{s, shared} {
			if err := s.Ping(t.Context()); want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, want)
			}
		}
	}
	requirePings("")
	require.NoError(t, runOnServer(t, c[2], "CONFIG", "SET", "maxmemory", "1").Error())
	requirePings("OOM")
	require.NoError(t, runOnServer(t, c[2], "CONFIG", "SET", "maxmemory", "0").Error())
	requirePings("")

	slot := slotOfGroup(t, c, 0)
	slot.begin(t)
	requirePings("")
	slot.finish(t)
	slot.begin(t)
	slot.finish(t)

	for _, node := range c {
		require.NoError(t, runOnServer(t, node, "CONFIG", "SET", "cluster-require-full-coverage", "no").Error())
	}
	require.NoError(t, runOnServer(t, c[0], "CLUSTER", "DELSLOTS", slot.slot).Error())
	requirePings("CLUSTERDOWN")
	require.NoError(t, runOnServer(t, c[0], "CLUSTER", "ADDSLOTS", slot.slot).Error())
	require.Eventually(t, func() bool { return s.Ping(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
}
