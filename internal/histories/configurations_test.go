package histories

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/histories/check"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/store/redisstore"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

type configuration struct {
	name  string
	start func(t *testing.T) setup
	alone bool // no other runs at the same time
}

var configurations = []configuration{
	{name: "Redis", start: func(t *testing.T) setup { return redisSetup(t, nodeConfig{}) }},
	{name: "Redis, CacheFor 1 s", start: func(t *testing.T) setup {
		s := redisSetup(t, nodeConfig{CacheFor: time.Second})
		s.policy.CacheFor = time.Second
		return s
	}},
	{name: "Redis, clocks a minute apart", start: clocksSetup},
	{name: "Redis, a node frozen", start: frozenSetup},
	{name: "PostgreSQL", start: func(t *testing.T) setup { return sqlSetup(t, servers.PostgreSQL(t), sqlstore.PostgreSQL) }},
	{name: "MariaDB", start: func(t *testing.T) setup { return sqlSetup(t, servers.MariaDB(t), sqlstore.MySQL) }},
	{name: "SQLite, a node killed", start: func(t *testing.T) setup { return sqliteSetup(t, t.TempDir()) }},
	{name: "Redis, disk full", start: redisDiskSetup, alone: true},
	{name: "PostgreSQL, disk full", start: postgresDiskSetup, alone: true},
	{name: "SQLite, disk full", start: sqliteDiskSetup, alone: true},
	{name: "Redis Cluster, slots moving", start: func(t *testing.T) setup { return slotsSetup(t, nodeConfig{}) }},
	{name: "Redis Cluster, slots moving, CacheFor 1 s", start: func(t *testing.T) setup {
		s := slotsSetup(t, nodeConfig{CacheFor: time.Second})
		s.policy.CacheFor = time.Second
		return s
	}},
	{name: "Redis Cluster, promotion", start: promotionSetup},
	{name: "Redis Sentinel, failover with a lag of 100 ms", start: func(t *testing.T) setup {
		return sentinelSetup(t, redisstore.WaitReplicas{})
	}},
	{name: "Redis Sentinel, failover, WaitReplicas", start: func(t *testing.T) setup {
		return sentinelSetup(t, redisstore.WaitReplicas{Number: 1})
	}},
	{name: "Redis Sentinel, failover, WaitReplicas after every write", start: func(t *testing.T) setup {
		return sentinelSetup(t, redisstore.WaitReplicas{Number: 1, EveryWrite: true})
	}},
	{name: "PostgreSQL, failover with a lag of 100 ms", start: func(t *testing.T) setup { return standbySetup(t, false) }},
	{name: "PostgreSQL, failover, synchronous standby", start: func(t *testing.T) setup { return standbySetup(t, true) }},
	{name: "MariaDB, failover, semi-synchronous", start: semiSyncSetup},
}

// redisSetup keeps the sessions on a Redis server that loses nothing when it is killed.
func redisSetup(t *testing.T, config nodeConfig) setup {
	server := servers.Redis(t, servers.RedisOptions{Keeps: true})
	return serverSetup(t, server, func(network *servers.Proxy) nodeConfig {
		c := config
		c.Redis = []string{network.Addr}
		return c
	})
}

func sqlSetup(t *testing.T, server *servers.Server, dialect sqlstore.Dialect) setup {
	return serverSetup(t, server, func(network *servers.Proxy) nodeConfig {
		return nodeConfig{Dialect: dialect, DSN: server.DSN(network.Addr)}
	})
}

// serverSetup has one server, and a network of its own for each node.
func serverSetup(t *testing.T, server *servers.Server, config func(network *servers.Proxy) nodeConfig) setup {
	t.Helper()
	var networks []*servers.Proxy
	f := startFleet(t, func(n int) nodeConfig {
		networks = append(networks, servers.NewProxy(t, server.Addr))
		return config(networks[n])
	})
	all := func(do func(*servers.Proxy) error) func() error {
		return func() error { return errors.Join(do(networks[0]), do(networks[1]), do(networks[2])) }
	}
	const short, longerThanTimeout = 500 * time.Millisecond, backendTimeout * 3 / 2
	return setup{fleet: f, faults: []fault{
		{name: "server killed", begin: server.Kill, end: server.Start, lasts: short},
		{name: "server paused", begin: server.Pause, end: server.Resume, lasts: longerThanTimeout},
		{name: "server cut off", begin: all((*servers.Proxy).Cut), end: all((*servers.Proxy).Restore), lasts: short},
		{name: "one node cut off", begin: networks[0].Cut, end: networks[0].Restore, lasts: short},
		{name: "one node's packets lost", begin: networks[1].Stall, end: networks[1].Restore, lasts: longerThanTimeout},
	}}
}

// clocksSetup has three nodes whose clocks are half a minute apart.
func clocksSetup(t *testing.T) setup {
	server := servers.Redis(t, servers.RedisOptions{})
	f := startFleet(t, func(n int) nodeConfig {
		return nodeConfig{Redis: []string{server.Addr}, Ahead: time.Duration(n-1) * 30 * time.Second}
	})
	nothing := func() error { return nil }
	return setup{
		fleet:  f,
		faults: []fault{{name: "clocks apart", begin: nothing, end: nothing, lasts: 4 * time.Second}},
		policy: check.Policy{Skew: time.Minute, Exceptions: check.Exceptions{TheftSuspected: true}},
	}
}

// frozenSetup stops a node, between what its requests have loaded and their commits, for
// longer than RememberGrace.
func frozenSetup(t *testing.T) setup {
	server := servers.Redis(t, servers.RedisOptions{})
	f := startFleet(t, func(int) nodeConfig {
		return nodeConfig{Redis: []string{server.Addr}, RememberGrace: 300 * time.Millisecond}
	})
	var faults []fault
	for n, node := range f.nodes {
		faults = append(faults, fault{
			name:  "node frozen",
			begin: func() error { return node.freeze(time.Duration(700+500*n) * time.Millisecond) },
			end:   func() error { return nil },
		})
	}
	// A request that was held for longer than RememberGrace may make its honest browser look
	// like a thief. Without the exception, this configuration shows whether that is mended.
	return setup{fleet: f, faults: faults, policy: check.Policy{Exceptions: check.Exceptions{TheftSuspected: true}}}
}

// sqliteSetup has three processes that share a file in a directory, and kills one.
func sqliteSetup(t *testing.T, dir string) setup {
	file := "file:" + filepath.Join(dir, "sessions.db") + "?_pragma=journal_mode(WAL)"
	f := startFleet(t, func(int) nodeConfig { return nodeConfig{Dialect: sqlstore.SQLite, DSN: file} })
	var faults []fault
	for n, node := range f.nodes[:2] {
		faults = append(faults, fault{name: "node killed", kills: n + 1, begin: node.kill, end: node.start, lasts: 500 * time.Millisecond})
	}
	// The requests of a node that was killed get no response.
	return setup{fleet: f, faults: faults, policy: check.Policy{Exceptions: check.Exceptions{Unanswered: true}}}
}
