package servers

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
)

// MySQL starts a MySQL server with database "test" and user "root" without a password.
func MySQL(t T) *Server {
	t.Helper()
	path := findProgram(t, "mysqld", "mysql-server-core", "/usr/local/bin", "/usr/sbin")
	if target, _ := filepath.EvalSymlinks(path); filepath.Base(target) == "mariadbd" {
		t.Skip("mysqld is MariaDB's: MySQL has to be installed")
	}
	user := lookupUser("mysql")
	return launch(t, func(port int) *Server {
		dir, addr := makeDataDir(t, user), loopback(port)
		data, setup := filepath.Join(dir, "data"), filepath.Join(dir, "setup.sql")
		// Nothing is synced: commits reach the kernel, which survives a kill of the process.
		common := []string{"--no-defaults", "--datadir=" + data, "--skip-log-bin", "--innodb-flush-method=nosync",
			"--innodb-redo-log-capacity=64M", "--innodb-doublewrite=OFF", "--secure-file-priv=NULL"}
		err := run(program{dir: dir, user: user, path: path, args: append(common, "--initialize-insecure")})
		if err == nil {
			err = os.WriteFile(setup, []byte("CREATE DATABASE IF NOT EXISTS test;\n"+
				"CREATE USER IF NOT EXISTS root@127.0.0.1;\nGRANT ALL ON *.* TO root@127.0.0.1;\n"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return &Server{
			Addr:  addr,
			dsn:   func(addr string) string { return "root@tcp(" + addr + ")/test" },
			ready: func(ctx context.Context) error { return checkMariaDB(ctx, addr) },
			program: program{dir: dir, user: user, path: path, args: append(common,
				"--socket="+filepath.Join(dir, "socket"), "--pid-file="+filepath.Join(dir, "pid"), "--mysqlx=OFF",
				"--bind-address=127.0.0.1", "--port="+strconv.Itoa(port), "--skip-name-resolve", "--init-file="+setup,
				"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M", "--max-connections=200")},
		}
	})
}
