package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// freePort finds one that nothing listens on, nor on the one 10000 higher, which is
// a Redis Cluster's for its own. They are below those that the kernel gives to
// clients: a client of a server that is down may otherwise be given the server's port,
// and the server cannot come back.
func freePort() int {
	for {
		port := 11000 + rand.IntN(10000)
		if isFree(port) && isFree(port+10000) {
			return port
		}
	}
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// dial connects to a server that may hang.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		deadline, _ := ctx.Deadline()
		_ = conn.SetDeadline(deadline)
	}
	return conn, err
}

// expect reads one byte at an offset.
func expectByte(r io.Reader, offset int, want byte, otherwise string) error {
	b := make([]byte, offset+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if b[offset] != want {
		return errors.New(otherwise)
	}
	return nil
}
