package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A unixUser is the user that a server runs as. nil means our own.
type unixUser struct{ uid, gid int }

// lookupUser returns a user for a server that refuses to run as root: the user called name,
// which the server's package creates, or else "nobody". It returns nil unless we are root.
func lookupUser(name string) *unixUser {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{name, "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			return &unixUser{uid, gid}
		}
	}
	return nil
}

// A process is the first process of a server, which starts the others.
type process struct {
	command       *exec.Cmd
	log           string // the file with its output
	cleanShutdown bool
	ended         chan struct{}
	watchdog      io.WriteCloser // set while paused
}

// newCommand prepares a command that receives deathSignal when the thread that starts it
// ends.
func newCommand(p program, deathSignal syscall.Signal) *exec.Cmd {
	c := exec.Command(p.path, p.args...)
	c.Dir = p.dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "TMPDIR=" + p.dir, "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: deathSignal}
	if p.user != nil {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.user.uid), Gid: uint32(p.user.gid)}
	}
	return c
}

// start starts a program that ends with the test binary, even if that is killed.
func start(p program) (*process, error) {
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	deathSignal := syscall.SIGKILL
	if p.cleanShutdown {
		deathSignal = syscall.SIGQUIT
	}
	c := newCommand(p, deathSignal)
	c.Stdout, c.Stderr = log, log
	if err := onStarterThread(c.Start); err != nil {
		return nil, err
	}
	running := &process{command: c, log: log.Name(), cleanShutdown: p.cleanShutdown, ended: make(chan struct{})}
	go func() {
		_ = c.Wait()
		close(running.ended)
	}()
	return running, nil
}

// run runs a program, such as one that creates a database, and waits for its end.
func run(p program) error {
	c := newCommand(p, syscall.SIGKILL)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := onStarterThread(c.Start); err != nil {
		return err
	}
	if err := c.Wait(); err != nil {
		return fmt.Errorf("%s: %w; it wrote:\n%s", p.path, err, out.Bytes())
	}
	return nil
}

// onStarterThread runs f on a thread that lives as long as the test binary, because
// Pdeathsig is sent when the thread that started the process ends
// (golang.org/issue/27505).
func onStarterThread(f func() error) error {
	err := make(chan error)
	starterThread() <- func() { err <- f() }
	return <-err
}

var starterThread = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// awaitReady calls ready until it succeeds.
func (p *process) awaitReady(ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return p.startError("it exited")
		case <-ctx.Done():
			return p.startError(fmt.Sprintf("not ready after %v: %v", startTimeout, err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (p *process) startError(problem string) error {
	output, _ := os.ReadFile(p.log)
	return fmt.Errorf("%s: %s; it wrote:\n%s", p.command.Path, problem, bytes.TrimSpace(output[max(0, len(output)-2000):]))
}

// kill kills the processes that a server has started before the server itself:
// PostgreSQL's are in process groups of their own, and would otherwise have to notice its
// end. While the server is stopped, it neither starts processes nor reaps them, so no
// process ID can be reused meanwhile.
func (p *process) kill() error {
	children, err := p.stop()
	if err != nil {
		return err
	}
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, pid := range children {
		if err := awaitState(pid, "Z"); err != nil {
			return err
		}
	}
	p.dismissWatchdog()
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

// shutDown ends the server, and lets it release what would outlive it.
func (p *process) shutDown() error {
	if p.cleanShutdown {
		_ = p.resume()
		_ = p.command.Process.Signal(syscall.SIGQUIT)
		select {
		case <-p.ended:
			return nil
		case <-time.After(5 * time.Second):
		}
	}
	return p.kill()
}

// stop stops the first process, and returns the IDs of those that it has started.
func (p *process) stop() (children []int, err error) {
	err = p.command.Process.Signal(syscall.SIGSTOP)
	if errors.Is(err, os.ErrProcessDone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	self := p.command.Process.Pid
	if err := awaitState(self, "TZ"); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			if _, parent := stat(pid); parent == self {
				children = append(children, pid)
			}
		}
	}
	return children, err
}

func (p *process) pause() error {
	children, err := p.stop()
	if err != nil {
		return err
	}
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	for _, pid := range children {
		if err := awaitState(pid, "TZ"); err != nil {
			return err
		}
	}
	return p.startWatchdog(append(children, p.command.Process.Pid))
}

// startWatchdog starts a shell that continues the stopped processes when the test binary
// ends, because a stopped process does not react to that. The shell reads from a pipe until
// then.
func (p *process) startWatchdog(pids []int) error {
	args := []string{"-c", `read -r resumed || kill -CONT "$@"`, "sh"}
	for _, pid := range pids {
		args = append(args, strconv.Itoa(pid))
	}
	shell := exec.Command("/bin/sh", args...)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := shell.StdinPipe()
	if err != nil {
		return err
	}
	if err := shell.Start(); err != nil {
		return err
	}
	go func() { _ = shell.Wait() }()
	p.dismissWatchdog()
	p.watchdog = stdin
	return nil
}

// dismissWatchdog ends the watchdog: the processes no longer need it.
func (p *process) dismissWatchdog() {
	if p.watchdog != nil {
		_, _ = io.WriteString(p.watchdog, "resumed\n")
		_ = p.watchdog.Close()
		p.watchdog = nil
	}
}

func (p *process) resume() error {
	children, err := p.stop()
	if err != nil {
		return err
	}
	p.dismissWatchdog()
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	return p.command.Process.Signal(syscall.SIGCONT)
}

// awaitState waits until a process is in one of the given states of proc(5), or gone.
func awaitState(pid int, states string) error {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if state, _ := stat(pid); state == "" || strings.Contains(states, state) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not react to a signal", pid)
}

// stat returns a process's state and parent, or "" if there is no such process.
func stat(pid int) (state string, parent int) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0
	}
	// The program name before these fields is in parentheses and may contain any character.
	fields := strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}
