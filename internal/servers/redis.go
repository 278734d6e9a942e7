package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
}

// Redis starts a Redis server.
func Redis(t T, o RedisOptions) *Server {
	t.Helper()
	return startRedis(t, o.Password, o.args()...)
}

func (o RedisOptions) args() []string {
	if o.Keeps {
		// Rewriting the file would fork a process.
		return []string{"--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"}
	}
	return []string{"--appendonly", "no"}
}

func startRedis(t T, password string, args ...string) *Server {
	t.Helper()
	path := findProgram(t, "redis-server", "redis-server")
	if password != "" {
		args = append(args, "--requirepass", password, "--masterauth", password)
	}
	return launch(t, func(port int) *Server {
		dir, addr := makeDataDir(t, nil), loopback(port)
		return &Server{
			Addr: addr,
			dsn: func(addr string) string {
				u := url.URL{Scheme: "redis", Host: addr}
				if password != "" {
					u.User = url.UserPassword("", password)
				}
				return u.String()
			},
			program: program{dir: dir, path: path, args: append([]string{
				"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--shutdown-timeout", "0",
			}, args...)},
			ready: func(ctx context.Context) error {
				_, err := sendCommand(ctx, addr, password, "PING")
				return err
			},
		}
	})
}

// sendCommand sends one command to a Redis server, on a connection of its own. It returns
// the simple string, bulk string or integer of the reply.
func sendCommand(ctx context.Context, addr, password string, command ...string) (string, error) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return "", err
	}
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
