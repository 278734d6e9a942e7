package servers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// oldPgBouncer is one that does not know max_prepared_statements.
var oldPgBouncer = regexp.MustCompile(`PgBouncer 1\.(1?\d|20)\.`)

// PgBouncer starts a PgBouncer in front of a PostgreSQL server. Its pool is in transaction
// mode: a connection to the server serves a client for one transaction. settings are lines of
// its configuration.
func PgBouncer(t T, of *Server, settings ...string) *Server {
	t.Helper()
	path := findProgram(t, "pgbouncer", "pgbouncer", "/usr/local/bin", "/usr/sbin")
	version, _ := exec.Command(path, "--version").Output()
	if oldPgBouncer.Match(version) {
		t.Skip("pgbouncer is older than 1.21")
	}
	user := lookupUser("postgres")
	host, ofPort, _ := strings.Cut(of.Addr, ":")
	return launch(t, func(port int) *Server {
		dir, addr := makeDataDir(t, user), loopback(port)
		file := filepath.Join(dir, "pgbouncer.ini")
		text := fmt.Sprintf("[databases]\n* = host=%s port=%s user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"+
			"unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 20\nmax_client_conn = 500\n%s\n",
			host, ofPort, port, strings.Join(settings, "\n"))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return &Server{
			Addr:    addr,
			dsn:     of.dsn,
			ready:   func(ctx context.Context) error { return checkPostgreSQL(ctx, addr, "") },
			program: program{dir: dir, user: user, path: path, args: []string{file}},
		}
	})
}
