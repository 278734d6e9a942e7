package servers

import (
	"bufio"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startEchoServer starts a server that sends back what it receives, and returns its address.
func startEchoServer(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(conn, conn)
		}
	}()
	return l.Addr().String()
}

// sendLine sends a line and returns the line that comes back within the given time.
func sendLine(conn net.Conn, line string, within time.Duration) (string, error) {
	if _, err := conn.Write([]byte(line + "\n")); err != nil {
		return "", err
	}
	return readLine(conn, within)
}

func readLine(conn net.Conn, within time.Duration) (string, error) {
	_ = conn.SetReadDeadline(time.Now().Add(within))
	return bufio.NewReader(conn).ReadString('\n')
}

func connect(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

const testTimeout = 10 * time.Second

func TestProxyCutResetsEveryConnection(t *testing.T) {
	p := NewProxy(t, startEchoServer(t))
	for range 2 {
		first, second := connect(t, p), connect(t, p)
		for _, conn := range []net.Conn{first, second} {
			reply, err := sendLine(conn, "hello", testTimeout)
			require.NoError(t, err)
			require.Equal(t, "hello\n", reply)
		}
		require.NoError(t, p.Cut())
		for _, conn := range []net.Conn{first, second} {
			_, err := readLine(conn, testTimeout)
			require.Error(t, err)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection must be closed, not silent")
		}
		_, err := net.Dial("tcp", p.Addr)
		require.Error(t, err)
		require.NoError(t, p.Restore())
	}
}

func TestStalledProxyDeliversLater(t *testing.T) {
	p := NewProxy(t, startEchoServer(t))
	earlier := connect(t, p)
	_, err := sendLine(earlier, "hello", testTimeout)
	require.NoError(t, err)
	require.NoError(t, p.Stall())
	stalled := connect(t, p)
	for _, conn := range []net.Conn{earlier, stalled} {
		_, err := sendLine(conn, "late", 50*time.Millisecond)
		require.Error(t, err)
	}
	require.NoError(t, p.Restore())
	for _, conn := range []net.Conn{earlier, stalled} {
		reply, err := readLine(conn, testTimeout)
		require.NoError(t, err)
		require.Equal(t, "late\n", reply)
	}

	require.NoError(t, p.Stall())
	lost := connect(t, p)
	require.NoError(t, p.Cut())
	for _, conn := range []net.Conn{earlier, stalled, lost} {
		_, err := readLine(conn, testTimeout)
		require.Error(t, err)
	}
	require.NoError(t, p.Restore())
	reply, err := sendLine(connect(t, p), "hello", testTimeout)
	require.NoError(t, err)
	require.Equal(t, "hello\n", reply)
}
