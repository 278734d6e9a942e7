package servers

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
)

// MariaDB starts a MariaDB server with database "test" and user "root" without a password.
func MariaDB(t T) *Server {
	t.Helper()
	return startMariaDB(t)
}

// MariaDBWithBinaryLog is MariaDB with a binary log, which it syncs at its own discretion.
func MariaDBWithBinaryLog(t T) *Server {
	t.Helper()
	return startMariaDB(t, "--log-bin=binlog", "--sync-binlog=0")
}

// MariaDBWithReplication is MariaDB with what semi-synchronous replication takes. A client
// has to set up the replication, and to enable the primary's part of it.
func MariaDBWithReplication(t T, id int) *Server {
	t.Helper()
	return startMariaDB(t, "--server-id="+strconv.Itoa(id), "--log-bin=binlog", "--log-slave-updates", "--gtid-strict-mode",
		"--sync-binlog=1", "--rpl-semi-sync-slave-enabled", "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
		"--rpl-semi-sync-master-timeout=3600000",
		"--max-connections=2000") // those that clients have given up wait for the replica too
}

func startMariaDB(t T, args ...string) *Server {
	t.Helper()
	install := findProgram(t, "mariadb-install-db", "mariadb-server", "/usr/bin")
	path := findProgram(t, "mariadbd", "mariadb-server", "/usr/sbin")
	user := lookupUser("mysql")
	return launch(t, func(port int) *Server {
		dir, addr := makeDataDir(t, user), loopback(port)
		data, setup := filepath.Join(dir, "data"), filepath.Join(dir, "setup.sql")
		err := run(program{dir: dir, user: user, path: install, args: []string{
			"--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal",
			"--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=8M",
		}})
		if err == nil {
			err = os.WriteFile(setup, []byte("SET sql_log_bin=0;\nCREATE DATABASE IF NOT EXISTS test;\n"+
				"CREATE USER IF NOT EXISTS root@127.0.0.1;\nGRANT ALL ON *.* TO root@127.0.0.1;\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return &Server{
			Addr:  addr,
			dsn:   func(addr string) string { return "root@tcp(" + addr + ")/test" },
			ready: func(ctx context.Context) error { return checkMariaDB(ctx, addr) },
			program: program{dir: dir, user: user, path: path, args: append([]string{
				"--no-defaults", "--datadir=" + data, "--socket=" + filepath.Join(dir, "socket"),
				"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(port), "--skip-name-resolve", "--init-file=" + setup,
				// Commits reach the kernel: they survive a kill of the process, but not a power loss.
				"--innodb-flush-log-at-trx-commit=2",
				"--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--max-connections=200",
			}, args...)},
		}
	})
}

// checkMariaDB reads the server's greeting, of protocol version 10. The server sends it once
// it accepts connections, which is after crash recovery and setup.
func checkMariaDB(ctx context.Context, addr string) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return expectByte(conn, 4, 10, "MariaDB is not ready")
}
