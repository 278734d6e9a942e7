package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a program with everything it starts: a process group of its own,
// so that ending it ends nobody else's browser.
type process struct {
	command *exec.Cmd
	log     string // the file it writes to
	ended   chan struct{}
}

// start runs a program with dir as its home: nothing of the user's own browser
// is read or written.
func start(dir string, env []string, pass *os.File, program string, args ...string) (*process, error) {
	log, err := os.CreateTemp(dir, filepath.Base(program)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{exec.Command(program, args...), log.Name(), make(chan struct{})}
	p.command.Dir, p.command.Env = dir, append(environment(dir), env...)
	p.command.Stdout, p.command.Stderr = log, log
	if pass != nil {
		p.command.ExtraFiles = []*os.File{pass} // descriptor 3
	}
	// Pdeathsig is for a test binary that is killed, or panics on its timeout.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// environment leaves out what would lead a browser elsewhere: to a proxy, to
// the desktop's display, or to a browser that already runs there.
func environment(home string) []string {
	env := []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + home, "XDG_CONFIG_HOME=" + home, "XDG_CACHE_HOME=" + home, "TMPDIR=" + home}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch upper := strings.ToUpper(name); {
		case strings.HasSuffix(upper, "_PROXY"), strings.HasPrefix(upper, "XDG_"), strings.HasPrefix(upper, "MOZ_"),
			upper == "HOME", upper == "TMPDIR", upper == "DISPLAY", upper == "WAYLAND_DISPLAY", upper == "DBUS_SESSION_BUS_ADDRESS":
		default:
			env = append(env, variable)
		}
	}
	return env
}

// await polls until ready, which it says by a non-empty value.
func (p *process) await(what string, ready func() string) (string, error) {
	for end := time.Now().Add(launchTimeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if value := ready(); value != "" {
			return value, nil
		}
		select {
		case <-p.ended:
			return "", p.failed(what, "it exited")
		default:
		}
	}
	return "", p.failed(what, fmt.Sprintf("nothing for %v", launchTimeout))
}

func (p *process) failed(what, why string) error {
	said, _ := os.ReadFile(p.log)
	if len(said) > 2000 {
		said = said[len(said)-2000:]
	}
	return fmt.Errorf("%s: waiting for %s: %s; it wrote:\n%s", filepath.Base(p.command.Path), what, why, bytes.TrimSpace(said))
}

// stop asks first, because what is killed leaves its lock files in /tmp.
func (p *process) stop() error {
	group := -p.command.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(2 * time.Second):
	}
	// The first process may have left others of its group behind, which write
	// to the profile until they are gone. Not for long: where nobody reaps
	// orphans, as in some containers, a group of zombies stays.
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if errors.Is(syscall.Kill(group, syscall.SIGKILL), syscall.ESRCH) {
			break
		}
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(time.Second):
		return fmt.Errorf("%s (process %d) cannot be killed", p.command.Path, p.command.Process.Pid)
	}
}

// remove deletes a directory that a process may still be writing to, outside
// of its group: a crash handler, say.
func remove(dir string) error {
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := os.RemoveAll(dir); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// find returns the path of a program, or the first that matches a pattern, or "".
func find(program string) string {
	if strings.Contains(program, "*") {
		if paths, _ := filepath.Glob(program); paths != nil {
			return paths[0]
		}
		return ""
	}
	path, _ := exec.LookPath(program)
	return path
}
