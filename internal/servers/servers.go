// Package servers starts the real servers that tests need, from Debian's packages:
// Redis, PostgreSQL and MariaDB. Each is on a free port of the loopback interface,
// with data of its own that is thrown away, and ends with the test or, whatever
// happens to it, with the test binary. Where a server is not installed, the test is
// skipped and says how to get it.
//
// It can be killed, started again on the same data and port, and paused, and a [Proxy]
// in front of it can cut its connections.
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

// A Server is one that runs for a test. Its methods are not for several goroutines
// at once.
type Server struct {
	// Addr is its host and port.
	Addr string

	dsn     func(addr string) string
	program program
	ready   func(ctx context.Context) error
	process *process
}

// A program is what runs as a server.
type program struct {
	dir   string // its data and its log
	user    *unixUser
	path  string
	args  []string
	cleanShutdown bool // it has to give back shared memory when it ends
}

// DSN is how a client names the server: a URL for Redis and PostgreSQL, for MariaDB
// what github.com/go-sql-driver/mysql expects. addr is the server's own, or that of a
// [Proxy] in front of it.
func (s *Server) DSN(addr string) string { return s.dsn(addr) }

// startTimeout is how long a server may take until it answers: it may have a crash to
// recover from, on a busy machine.
const startTimeout = 30 * time.Second

// Start starts a server that was killed, on the same data and port, and waits until it
// answers.
func (s *Server) Start() error {
	if s.process != nil {
		return fmt.Errorf("%s runs already", s.program.path)
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

// Kill ends the server with all its processes by SIGKILL, and waits until they are
// gone.
func (s *Server) Kill() error {
	if s.process == nil {
		return nil
	}
	err := s.process.kill()
	s.process = nil
	return err
}

// Pause stops the server where it is: its connections stay open and nobody answers.
func (s *Server) Pause() error {
	if s.process == nil {
		return fmt.Errorf("%s does not run", s.program.path)
	}
	return s.process.pause()
}

// Resume lets a paused server go on.
func (s *Server) Resume() error {
	if s.process == nil {
		return fmt.Errorf("%s does not run", s.program.path)
	}
	return s.process.resume()
}

// end is how a server goes when nobody needs it any more.
func (s *Server) remove() {
	if s.process != nil {
		_ = s.process.shutDown()
		s.process = nil
	}
	_ = os.RemoveAll(s.program.dir)
}

// launch starts a server for a test. configure is called with a free port, again with
// another if somebody else took that meanwhile.
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

// find returns the path of a program of Debian's package, and skips the test if it is
// not there. Some are not in everybody's PATH.
func findProgram(t T, name, of string, dirs ...string) string {
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
	t.Skip(name + " is not installed: apt-get install " + of)
	return ""
}

// makeDir makes a directory for a server that runs as somebody.
func makeDataDir(t T, as *unixUser) string {
	t.Helper()
	dir, err := os.MkdirTemp(parentDir(as), "sessionguard-*")
	if err == nil && as != nil {
		err = os.Chown(dir, as.uid, as.gid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// parentFor is where a user who is not ourselves can get to.
func parentDir(as *unixUser) string {
	temp := os.TempDir()
	if as == nil {
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

// Shared is for a server that all tests of a binary use: it is started by the first
// one that needs it and ends in [Main].
//
//	var postgres = servers.Shared(servers.PostgreSQL)
func Shared[S any](start func(T) *S) func(T) *S {
	var mu sync.Mutex
	var running *S
	return func(t T) *S {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if running == nil { // also if that test was skipped: this one is too
			running = start(binaryT{t})
		}
		return running
	}
}

// lasting is a T whose cleanups wait for the end of the test binary.
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

// Main is for the TestMain of tests that use [Shared].
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
