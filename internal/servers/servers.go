// Package servers starts real servers for tests: Redis, Valkey, PostgreSQL, PgBouncer,
// MariaDB and MySQL, nginx, HAProxy, Caddy, Apache, Varnish and Squid, from Debian's packages. Each server listens on
// a free port of the loopback interface and has data of its own, which is deleted
// afterwards. It ends with the test, or at the latest with the test binary, even if that is
// killed. If a server is not installed, the test is skipped with a message that says how to
// install it.
//
// A test can kill a server, start it again on the same data and port, and pause it. A
// [Proxy] in front of it can cut its connections.
package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// T is the part of [testing.TB] that starting a server needs.
type T interface {
	Helper()
	Cleanup(func())
	Fatal(args ...any)
	Skip(args ...any)
}

// A Server is a server started for a test. Its methods are not safe for concurrent use.
type Server struct {
	// Addr is the server's host and port.
	Addr string
	// CA is the file with the certificate of the authority that has certified a server with
	// TLS, for 127.0.0.1 and localhost.
	CA string

	dsn     func(addr string) string
	program program
	ready   func(ctx context.Context) error
	process *process
}

// A program is the executable of a server, and how to run it.
type program struct {
	dir           string // holds its data and its log
	user          *unixUser
	path          string
	args          []string
	cleanShutdown bool // it needs SIGQUIT to release its shared memory
}

// DSN returns the data source name for a client: a URL for Redis and PostgreSQL, and for
// MariaDB the format of github.com/go-sql-driver/mysql. addr is the server's own, or that
// of a [Proxy] in front of it.
func (s *Server) DSN(addr string) string { return s.dsn(addr) }

// startTimeout bounds the time from the start of a server to its first response. It may
// have to recover from a crash, on a busy machine.
const startTimeout = 30 * time.Second

// Start starts a server that was killed, on the same data and port, and waits until it is
// ready.
func (s *Server) Start() error {
	if s.process != nil {
		return fmt.Errorf("%s is already running", s.program.path)
	}
	p, err := start(s.program)
	if err != nil {
		return err
	}
	s.process = p
	if err := p.awaitReady(s.ready); err != nil {
		s.process = nil
		_ = p.kill()
		return err
	}
	return nil
}

// Kill kills all processes of the server with SIGKILL, and waits until they are gone.
func (s *Server) Kill() error {
	if s.process == nil {
		return nil
	}
	err := s.process.kill()
	s.process = nil
	return err
}

// Pause stops the server: its connections stay open, but get no responses.
func (s *Server) Pause() error {
	if s.process == nil {
		return fmt.Errorf("%s is not running", s.program.path)
	}
	return s.process.pause()
}

// Resume continues a paused server.
func (s *Server) Resume() error {
	if s.process == nil {
		return fmt.Errorf("%s is not running", s.program.path)
	}
	return s.process.resume()
}

// remove ends the server and deletes its data.
func (s *Server) remove() {
	if s.process != nil {
		_ = s.process.shutDown()
		s.process = nil
	}
	_ = os.RemoveAll(s.program.dir)
}

// launch starts a server for a test. It calls configure with a free port, and again with
// another one if the server does not start, since something else may have taken the port.
func launch(t T, configure func(port int) *Server) *Server {
	t.Helper()
	var err error
	for range 3 {
		s := configure(freePort())
		if err = s.Start(); err == nil {
			t.Cleanup(s.remove)
			return s
		}
		_ = os.RemoveAll(s.program.dir)
	}
	t.Fatal(err)
	return nil
}

// findProgram returns the path of a program from a Debian package. It skips the test if the
// program is not installed. It also searches dirs, because PATH may lack some programs.
func findProgram(t T, name, pkg string, dirs ...string) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("servers are started on Linux only")
	}
	for _, dir := range append(dirs, filepath.SplitList(os.Getenv("PATH"))...) {
		found, _ := filepath.Glob(filepath.Join(dir, name))
		if len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Skip(name + " is not installed: apt-get install " + pkg)
	return ""
}

// makeDataDir creates a directory for a server that runs as user, nil for our own.
func makeDataDir(t T, user *unixUser) string {
	t.Helper()
	dir, err := os.MkdirTemp(parentDir(user), "sessionguard-*")
	if err == nil && user != nil {
		err = os.Chown(dir, user.uid, user.gid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// parentDir returns a directory for temporary files that user can reach.
func parentDir(user *unixUser) string {
	temp := os.TempDir()
	if user == nil {
		return temp
	}
	for dir := temp; ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&1 == 0 {
			return "/tmp"
		}
		if dir == filepath.Dir(dir) {
			return temp
		}
	}
}

// Shared returns a function for a server that all tests of a binary share. The first test
// that needs the server starts it, and [Main] ends it.
//
//	var postgres = servers.Shared(servers.PostgreSQL)
func Shared[S any](start func(T) *S) func(T) *S {
	var mu sync.Mutex
	var running *S
	return func(t T) *S {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if running == nil { // also if start skipped the earlier test: it then skips this one too
			running = start(binaryT{t})
		}
		return running
	}
}

// A binaryT is a T that defers cleanups to the end of the test binary.
type binaryT struct{ T }

var atExit struct {
	sync.Mutex
	cleanups []func()
}

func (binaryT) Cleanup(f func()) {
	atExit.Lock()
	defer atExit.Unlock()
	atExit.cleanups = append(atExit.cleanups, f)
}

// Main runs the tests, and then ends the servers of [Shared]. Call it from TestMain:
//
//	func TestMain(m *testing.M) { servers.Main(m) }
func Main(m *testing.M) {
	code := m.Run()
	atExit.Lock()
	for _, f := range atExit.cleanups {
		f()
	}
	os.Exit(code)
}
