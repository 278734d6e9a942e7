package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// RedisOptions configure a Redis server.
type RedisOptions struct {
	// Keeps makes the data survive a kill, with an append-only file that is synced after
	// each command. Otherwise the server starts again empty.
	Keeps bool
	// Password is required of clients. Default: none.
	Password string
	// Valkey starts a Valkey server instead.
	Valkey bool
	// TLS makes the server accept TLS connections only, with [Server.CA].
	TLS bool
}

// Redis starts a Redis server.
func Redis(t T, o RedisOptions) *Server {
	t.Helper()
	return startRedis(t, o, o.args()...)
}

func (o RedisOptions) args() []string {
	if o.Keeps {
		// Rewriting the file would fork a process.
		return []string{"--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"}
	}
	return []string{"--appendonly", "no"}
}

func (o RedisOptions) program(t T) string {
	t.Helper()
	if o.Valkey {
		return findProgram(t, "valkey-server", "valkey-server")
	}
	return findProgram(t, "redis-server", "redis-server")
}

func startRedis(t T, o RedisOptions, args ...string) *Server {
	t.Helper()
	path := o.program(t)
	if o.Password != "" {
		args = append(args, "--requirepass", o.Password, "--masterauth", o.Password)
	}
	return launch(t, func(port int) *Server {
		dir, addr := makeDataDir(t, nil), loopback(port)
		s := &Server{
			Addr: addr,
			dsn: func(addr string) string {
				u := url.URL{Scheme: "redis", Host: addr}
				if o.TLS {
					u.Scheme = "rediss"
				}
				if o.Password != "" {
					u.User = url.UserPassword("", o.Password)
				}
				return u.String()
			},
			program: program{dir: dir, path: path, args: append([]string{
				"--bind", "127.0.0.1", "--dir", dir, "--save", "", "--shutdown-timeout", "0",
			}, args...)},
			ready: func(ctx context.Context) error {
				_, err := sendCommand(ctx, addr, o.Password, "PING")
				return err
			},
		}
		if o.TLS {
			c := makeCertificate(t, dir, nil)
			s.CA = c.authority
			s.program.args = append(s.program.args, "--port", "0", "--tls-port", strconv.Itoa(port),
				"--tls-cert-file", c.certificate, "--tls-key-file", c.key, "--tls-auth-clients", "no")
			s.ready = func(ctx context.Context) error {
				conn, err := dialTLS(ctx, addr, c.authority, nil)
				if err == nil {
					_, err = converse(conn, o.Password, "PING")
				}
				return err
			}
		} else {
			s.program.args = append(s.program.args, "--port", strconv.Itoa(port))
		}
		return s
	})
}

// sendCommand sends one command to a Redis server, on a connection of its own. It returns
// the simple string, bulk string or integer of the reply.
func sendCommand(ctx context.Context, addr, password string, command ...string) (string, error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return "", err
	}
	return converse(conn, password, command...)
}

// converse is sendCommand on a connection, which it closes.
func converse(conn net.Conn, password string, command ...string) (string, error) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	if password != "" {
		if _, err := roundTrip(conn, r, "AUTH", password); err != nil {
			return "", err
		}
	}
	return roundTrip(conn, r, command...)
}

func roundTrip(w io.Writer, r *bufio.Reader, command ...string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, arg := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return "", err
	}
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch line[0] {
	case '-':
		return "", errors.New(line[1:])
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", err
		}
		bulk := make([]byte, n)
		_, err = io.ReadFull(r, bulk)
		return string(bulk), err
	}
	return line[1:], nil
}
