package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// RedisClusterReplica starts a replica of one of the servers of a [RedisCluster]. It takes
// over when that one has been down for two seconds, or at the command CLUSTER FAILOVER.
func RedisClusterReplica(t T, o RedisOptions, cluster []*Server, of *Server) *Server {
	t.Helper()
	replica := startRedis(t, o, append(o.args(), "--repl-diskless-sync-delay", "0",
		"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000")...)
	send := func(command ...string) error {
		_, err := sendCommand(context.Background(), replica.Addr, o.Password, command...)
		return err
	}
	id, err := sendCommand(context.Background(), of.Addr, o.Password, "CLUSTER", "MYID")
	if err == nil {
		err = send(append([]string{"CLUSTER", "MEET"}, strings.Split(of.Addr, ":")...)...)
	}
	if err == nil {
		known := responseContains(replica.Addr, o.Password, []string{"CLUSTER", "INFO"},
			"cluster_state:ok", fmt.Sprint("cluster_known_nodes:", len(cluster)+1))
		err = replica.process.awaitReady(known)
	}
	if err == nil {
		err = send("CLUSTER", "REPLICATE", id)
	}
	if err == nil {
		linked := responseContains(replica.Addr, o.Password, []string{"INFO", "replication"}, "role:slave", "master_link_status:up")
		err = replica.process.awaitReady(linked)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append([]*Server{replica}, cluster...) {
		s.ready = responseContains(s.Addr, o.Password, []string{"CLUSTER", "INFO"}, "cluster_state:ok")
	}
	return replica
}

// PostgreSQLStandby starts a server that receives what the primary has committed, a moment
// later, and takes over with the function pg_promote.
func PostgreSQLStandby(t T, primary *Server) *Server {
	t.Helper()
	_, primaryPort, _ := strings.Cut(primary.Addr, ":")
	return launch(t, func(port int) *Server {
		s := *primary
		s.program.dir, s.Addr, s.process = makeDataDir(t, primary.program.user), loopback(port), nil
		s.ready = func(ctx context.Context) error { return checkPostgreSQL(ctx, s.Addr, "") }
		s.program.args = nil
		for _, arg := range primary.program.args {
			switch arg {
			case primaryPort:
				arg = strconv.Itoa(port)
			case filepath.Join(primary.program.dir, "data"):
				arg = filepath.Join(s.program.dir, "data")
			}
			s.program.args = append(s.program.args, arg)
		}
		if err := s.copyPostgreSQL(primary); err != nil {
			t.Fatal(err)
		}
		return &s
	})
}

// PostgreSQLRejoin starts a server that was killed as a standby of the one that has taken
// over from it. What it had committed is lost.
func PostgreSQLRejoin(s, primary *Server) error {
	if err := os.RemoveAll(filepath.Join(s.program.dir, "data")); err != nil {
		return err
	}
	if err := s.copyPostgreSQL(primary); err != nil {
		return err
	}
	return s.Start()
}

// copyPostgreSQL makes the data of a server that is not running those of a standby.
func (s *Server) copyPostgreSQL(primary *Server) error {
	host, port, _ := strings.Cut(primary.Addr, ":")
	return run(program{dir: s.program.dir, user: s.program.user, path: filepath.Join(filepath.Dir(primary.program.path), "pg_basebackup"), args: []string{
		"--host", host, "--port", port, "--username", "postgres", "--pgdata", filepath.Join(s.program.dir, "data"),
		"--write-recovery-conf", "--checkpoint", "fast", "--no-sync",
	}})
}
