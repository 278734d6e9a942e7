package servers

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { Main(m) }

// requireLifecycle checks that a server responds, except while it is killed or paused, and
// that its data survives a kill if it should, and only then.
func requireLifecycle(t *testing.T, s *Server, put, get func() string, persistent bool) {
	t.Helper()
	ready := func() error { return s.ready(t.Context()) }
	require.NoError(t, ready())
	require.Error(t, s.Start(), "it is already running")
	put()
	require.Equal(t, "17", get())

	require.NoError(t, s.Pause())
	require.Error(t, ready())
	require.NoError(t, s.Resume())
	require.NoError(t, ready())
	require.Equal(t, "17", get())

	for _, paused := range []bool{false, true} {
		if paused {
			put()
			require.NoError(t, s.Pause())
		}
		require.NoError(t, s.Kill())
		require.NoError(t, s.Kill(), "it is already gone")
		require.Error(t, s.Pause())
		require.Error(t, s.Resume())
		require.Error(t, ready())
		require.NoError(t, s.Start())
		require.NoError(t, ready())
		if persistent {
			require.Equal(t, "17", get())
		} else {
			require.Empty(t, get())
		}
	}
}

func TestRedisLifecycle(t *testing.T) {
	for name, o := range map[string]RedisOptions{
		"in memory":     {},
		"persistent":    {Keeps: true},
		"with password": {Keeps: true, Password: "secret"},
		"with TLS":      {Keeps: true, Password: "secret", TLS: true},
		"Valkey":        {Keeps: true, Password: "secret", Valkey: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Redis(t, o)
			connect := func() (net.Conn, error) { return dial(t.Context(), s.Addr) }
			if o.TLS {
				conn, err := connect()
				require.NoError(t, err)
				_, err = converse(conn, o.Password, "PING")
				require.Error(t, err, "it accepts connections without TLS")
				connect = func() (net.Conn, error) { return dialTLS(t.Context(), s.Addr, s.CA, nil) }
			}
			run := func(command ...string) func() string {
				return func() string {
					conn, err := connect()
					require.NoError(t, err)
					reply, err := converse(conn, o.Password, command...)
					require.NoError(t, err)
					return reply
				}
			}
			requireLifecycle(t, s, run("SET", "k", "17"), run("GET", "k"), o.Keeps)
			if o.Password != "" {
				conn, err := connect()
				require.NoError(t, err)
				_, err = converse(conn, "", "GET", "k")
				require.ErrorContains(t, err, "NOAUTH")
			}
		})
	}
}

func TestPostgreSQLLifecycle(t *testing.T) {
	psql := func(t *testing.T, dsn string) func(string) string {
		return queryFunc(t, findProgram(t, "psql", "postgresql", "/usr/lib/postgresql/*/bin"),
			"--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--dbname", dsn, "--command")
	}
	for name, start := range map[string]func(T) *Server{"without TLS": PostgreSQL, "with TLS": PostgreSQLWithTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			query := psql(t, s.DSN(s.Addr))
			query("CREATE TABLE kept (v int)")
			requireLifecycle(t, s,
				func() string { return query("TRUNCATE kept; INSERT INTO kept VALUES (17)") },
				func() string { return query("SELECT v FROM kept") }, true)
			if s.CA != "" {
				require.Error(t, checkPostgreSQL(t.Context(), s.Addr, ""), "it accepts connections without TLS")
			}
		})
	}
	t.Run("PgBouncer", func(t *testing.T) {
		t.Parallel()
		s := PgBouncer(t, PostgreSQL(t))
		query := psql(t, s.DSN(s.Addr))
		query("CREATE TABLE kept (v int)")
		requireLifecycle(t, s,
			func() string { return query("TRUNCATE kept; INSERT INTO kept VALUES (17)") },
			func() string { return query("SELECT v FROM kept") }, true)
	})
}

func TestMariaDBLifecycle(t *testing.T) {
	t.Parallel()
	s := MariaDB(t)
	_, port, _ := strings.Cut(s.Addr, ":")
	query := queryFunc(t, findProgram(t, "mariadb", "mariadb-server", "/usr/bin"),
		"--no-defaults", "--host=127.0.0.1", "--port="+port, "--user=root",
		"--skip-column-names", "--database=test", "--execute")
	query("CREATE TABLE kept (v int) ENGINE=InnoDB")
	requireLifecycle(t, s,
		func() string { return query("DELETE FROM kept; INSERT INTO kept VALUES (17)") },
		func() string { return query("SELECT v FROM kept") }, true)
}

// queryFunc returns a function that runs a statement with a server's own client program.
func queryFunc(t *testing.T, program string, args ...string) func(statement string) string {
	t.Helper()
	return func(statement string) string {
		t.Helper()
		out, err := exec.Command(program, append(args, statement)...).CombinedOutput()
		require.NoError(t, err, string(out))
		return strings.TrimSpace(string(out))
	}
}

func TestRedisClusterRecoversFromAKill(t *testing.T) {
	t.Parallel()
	nodes := RedisCluster(t, RedisOptions{Keeps: true})
	require.NoError(t, nodes[1].Kill())
	require.NoError(t, nodes[1].Start())
	for _, n := range nodes {
		require.NoError(t, n.process.awaitReady(n.ready))
	}
}

func TestRedisFailsOver(t *testing.T) {
	t.Parallel()
	f := RedisFailover(t, RedisOptions{Password: "secret"})
	require.NoError(t, f.Primary.Kill())
	_, port, _ := strings.Cut(f.Replica.Addr, ":")
	promoted := responseContains(f.Sentinel.Addr, "", []string{"INFO", "sentinel"}, "address=127.0.0.1:"+port)
	require.NoError(t, f.Sentinel.process.awaitReady(promoted))
	primary := responseContains(f.Replica.Addr, "secret", []string{"INFO", "replication"}, "role:master")
	require.NoError(t, f.Replica.process.awaitReady(primary))
}

var sharedRedis = Shared(func(t T) *Server { return Redis(t, RedisOptions{}) })

func TestSharedServerOutlivesItsTest(t *testing.T) {
	findProgram(t, "redis-server", "redis-server")
	var first *Server
	t.Run("first", func(t *testing.T) { first = sharedRedis(t) })
	require.Same(t, first, sharedRedis(t))
	require.NoError(t, first.ready(t.Context()))
}

// A test binary that is killed leaves no server behind, not even a paused one.
func TestServersEndWithTheTestBinary(t *testing.T) {
	if started := os.Getenv("SERVERS_TEST_STARTED"); started != "" {
		running := PostgreSQL(t)
		paused := PostgreSQL(t)
		require.NoError(t, paused.Pause())
		require.NoError(t, os.WriteFile(started, []byte(running.program.dir+"\n"+paused.program.dir), 0o600))
		<-t.Context().Done()
		return
	}
	findProgram(t, "initdb", "postgresql", "/usr/lib/postgresql/*/bin")
	started := filepath.Join(t.TempDir(), "started")
	binary := exec.Command(os.Args[0], "-test.run=^TestServersEndWithTheTestBinary$")
	binary.Env = append(os.Environ(), "SERVERS_TEST_STARTED="+started)
	require.NoError(t, binary.Start())
	var dirs []string
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(started)
		dirs = strings.Fields(string(b))
		return len(dirs) == 2
	}, startTimeout, 10*time.Millisecond)
	for _, dir := range dirs {
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	require.NotEmpty(t, processesIn(t, dirs[0]))
	require.NotEmpty(t, processesIn(t, dirs[1]))
	require.NoError(t, binary.Process.Kill())
	_ = binary.Wait()
	require.Eventually(t, func() bool { return len(processesIn(t, dirs...)) == 0 }, startTimeout, 10*time.Millisecond)
}

// processesIn returns the processes whose working directory is in one of dirs.
func processesIn(t *testing.T, dirs ...string) (pids []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(t, err)
	for _, link := range links {
		cwd, _ := os.Readlink(link)
		for _, dir := range dirs {
			if strings.HasPrefix(cwd, dir) {
				pids = append(pids, link)
			}
		}
	}
	return pids
}

// A skipRecorder is a T that records why a test was skipped.
type skipRecorder struct {
	T
	skipped string
}

func (t *skipRecorder) Skip(args ...any) {
	t.skipped, _ = args[0].(string)
	runtime.Goexit()
}

func TestMissingServerSkipsTheTest(t *testing.T) {
	recorder := &skipRecorder{T: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		findProgram(recorder, "no-such-program", "nothing")
	}()
	<-done
	if runtime.GOOS == "linux" {
		require.Equal(t, "no-such-program is not installed: apt-get install nothing", recorder.skipped)
	} else {
		require.NotEmpty(t, recorder.skipped)
	}
}
