package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// RedisCluster starts three Redis servers that share the slots of one Redis Cluster,
// without replicas. If one of them is down for two seconds, the others refuse commands.
// [Server.Start] waits until the started server sees the whole cluster again.
func RedisCluster(t T, o RedisOptions) []*Server {
	t.Helper()
	var nodes []*Server
	for range 3 {
		nodes = append(nodes, startRedis(t, o, append(o.args(),
			"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000")...))
	}
	const slots = 16384
	for i, n := range nodes {
		commands := [][]string{
			{"CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i * slots / len(nodes)), strconv.Itoa((i+1)*slots/len(nodes) - 1)},
			{"CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i + 1)},
		}
		for _, other := range nodes[:i] {
			commands = append(commands, append([]string{"CLUSTER", "MEET"}, strings.Split(other.Addr, ":")...))
		}
		for _, command := range commands {
			if _, err := sendCommand(context.Background(), n.Addr, o.Password, command...); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range nodes {
		n.ready = responseContains(n.Addr, o.Password, []string{"CLUSTER", "INFO"},
			"cluster_state:ok", "cluster_known_nodes:3", "cluster_slots_ok:16384")
		if err := n.process.awaitReady(n.ready); err != nil {
			t.Fatal(err)
		}
	}
	return nodes
}

// A Failover is a Redis primary with a replica, and a Sentinel that promotes the replica
// when the primary has been down for half a second. Writes that have not reached the
// replica by then are lost.
type Failover struct {
	Primary, Replica, Sentinel *Server
	// Name is the Sentinel's name for the primary and its replica.
	Name string
}

// RedisFailover starts a primary, its replica and a Sentinel. The password applies to the
// primary and the replica; the Sentinel has none.
func RedisFailover(t T, o RedisOptions) Failover {
	t.Helper()
	primary := startRedis(t, o, append(o.args(), "--repl-diskless-sync-delay", "0")...)
	host, port, _ := strings.Cut(primary.Addr, ":")
	replica := startRedis(t, o, append(o.args(), "--replicaof", host+" "+port)...)
	f := Failover{primary, replica, startSentinel(t, primary, o), "sessions"}
	linked := responseContains(replica.Addr, o.Password, []string{"INFO", "replication"}, "master_link_status:up")
	if err := replica.process.awaitReady(linked); err != nil {
		t.Fatal(err)
	}
	if err := f.Sentinel.process.awaitReady(f.Sentinel.ready); err != nil {
		t.Fatal(err)
	}
	return f
}

func startSentinel(t T, primary *Server, o RedisOptions) *Server {
	t.Helper()
	path := o.program(t)
	host, primaryPort, _ := strings.Cut(primary.Addr, ":")
	return launch(t, func(port int) *Server {
		dir, addr := makeDataDir(t, nil), loopback(port)
		settings := []string{
			"bind 127.0.0.1", fmt.Sprint("port ", port), "dir " + dir,
			"sentinel monitor sessions " + host + " " + primaryPort + " 1",
			"sentinel down-after-milliseconds sessions 500",
			"sentinel failover-timeout sessions 3000",
		}
		if o.Password != "" {
			settings = append(settings, "sentinel auth-pass sessions "+o.Password)
		}
		file := filepath.Join(dir, "sentinel.conf")
		if err := os.WriteFile(file, []byte(strings.Join(settings, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return &Server{
			Addr:    addr,
			dsn:     func(addr string) string { return "redis://" + addr },
			program: program{dir: dir, path: path, args: []string{file, "--sentinel"}},
			ready:   responseContains(addr, "", []string{"INFO", "sentinel"}, "status=ok", "slaves=1"),
		}
	})
}

// responseContains returns a check that the response to a command contains all parts.
func responseContains(addr, password string, command []string, parts ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		response, err := sendCommand(ctx, addr, password, command...)
		for _, part := range parts {
			if err == nil && !strings.Contains(response, part) {
				err = fmt.Errorf("%s: no %s in %q", addr, part, response)
			}
		}
		return err
	}
}
