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

// freePort returns a port on which nothing listens. The port 10000 higher is free too: a
// node of a Redis Cluster uses it to talk to the others. Both are below the kernel's range
// for clients. Otherwise a client could be given the port of a server that is down, which
// could then not start again.
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

// expectByte reads up to the byte at offset, and returns an error with text failure unless
// that byte is want.
func expectByte(r io.Reader, offset int, want byte, failure string) error {
	b := make([]byte, offset+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if b[offset] != want {
		return errors.New(failure)
	}
	return nil
}
