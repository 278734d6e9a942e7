package servers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// PostgreSQL starts a PostgreSQL server with database "postgres" and user "postgres" without
// a password.
func PostgreSQL(t T) *Server {
	t.Helper()
	return startPostgreSQL(t, false)
}

// PostgreSQLWithTLS is PostgreSQL that accepts TLS connections only. Clients verify its
// certificate.
func PostgreSQLWithTLS(t T) *Server {
	t.Helper()
	return startPostgreSQL(t, true)
}

func startPostgreSQL(t T, withTLS bool) *Server {
	t.Helper()
	bin := filepath.Dir(findProgram(t, "initdb", "postgresql", "/usr/lib/postgresql/*/bin"))
	user := lookupUser("postgres")
	return launch(t, func(port int) *Server {
		dir, addr := makeDataDir(t, user), loopback(port)
		data := filepath.Join(dir, "data")
		if err := run(program{dir: dir, user: user, path: filepath.Join(bin, "initdb"), args: []string{
			"--pgdata", data, "--auth", "trust", "--username", "postgres", "--encoding", "UTF8", "--no-locale", "--no-sync",
		}}); err != nil {
			t.Fatal(err)
		}
		// Commits reach the kernel: they survive a kill of the process, but not a power loss. A
		// test can change this with ALTER SYSTEM.
		if err := appendTo(filepath.Join(data, "postgresql.conf"), "fsync = off\n"); err != nil {
			t.Fatal(err)
		}
		s := &Server{
			Addr:  addr,
			dsn:   func(addr string) string { return "postgres://postgres@" + addr + "/postgres?sslmode=disable" },
			ready: func(ctx context.Context) error { return checkPostgreSQL(ctx, addr, "") },
			program: program{dir: dir, user: user, cleanShutdown: true, path: filepath.Join(bin, "postgres"), args: []string{
				"-D", data, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-c", "unix_socket_directories=",
				"-c", "max_connections=200", "-c", "shared_buffers=32MB", "-c", "dynamic_shared_memory_type=mmap",
			}},
		}
		if withTLS {
			s.requireTLS(t, data)
		}
		return s
	})
}

// requireTLS configures PostgreSQL to refuse connections without TLS.
func (s *Server) requireTLS(t T, data string) {
	t.Helper()
	c := makeCertificate(t, s.program.dir, s.program.user)
	err := errors.Join(
		appendTo(filepath.Join(data, "postgresql.conf"), fmt.Sprintf("ssl = on\nssl_cert_file = '%s'\nssl_key_file = '%s'\n", c.certificate, c.key)),
		os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte("hostssl all all 127.0.0.1/32 trust\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	s.CA = c.authority
	s.dsn = func(addr string) string {
		return "postgres://postgres@" + addr + "/postgres?sslmode=verify-full&sslrootcert=" + c.authority
	}
	s.ready = func(ctx context.Context) error { return checkPostgreSQL(ctx, s.Addr, c.authority) }
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// checkPostgreSQL logs in, because a server that recovers from a crash already accepts
// connections but refuses logins. authority is "" for a connection without TLS.
func checkPostgreSQL(ctx context.Context, addr, authority string) error {
	connect := dial
	if authority != "" {
		connect = func(ctx context.Context, addr string) (net.Conn, error) {
			return dialTLS(ctx, addr, authority, requestTLS)
		}
	}
	conn, err := connect(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Protocol 3.0, https://www.postgresql.org/docs/15/protocol-message-formats.html
	startup := binary.BigEndian.AppendUint32(nil, 3<<16)
	startup = append(startup, "user\x00postgres\x00database\x00postgres\x00\x00"...)
	if _, err := conn.Write(slices.Concat(binary.BigEndian.AppendUint32(nil, uint32(len(startup)+4)), startup)); err != nil {
		return err
	}
	return expectByte(conn, 0, 'R', "PostgreSQL is not ready")
}

// requestTLS sends PostgreSQL's SSLRequest, to which the server says S.
func requestTLS(conn net.Conn) error {
	request := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), 80877103)
	if _, err := conn.Write(request); err != nil {
		return err
	}
	return expectByte(conn, 0, 'S', "PostgreSQL has no TLS")
}
