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

// process is a running program in a process group of its own, so that stopping it also
// stops everything it started, and nothing else.
type process struct {
	command *exec.Cmd
	log     string // the file with its output
	exited  chan struct{}
}

// startProcess starts a program with dir as its home directory, so that it neither reads
// nor writes the user's own browser profile. If pass is not nil, the program inherits it
// as descriptor 3.
func startProcess(dir string, env []string, pass *os.File, program string, args ...string) (*process, error) {
	log, err := os.CreateTemp(dir, filepath.Base(program)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &process{exec.Command(program, args...), log.Name(), make(chan struct{})}
	p.command.Dir, p.command.Env = dir, append(environment(dir), env...)
	p.command.Stdout, p.command.Stderr = log, log
	if pass != nil {
		p.command.ExtraFiles = []*os.File{pass}
	}
	// Pdeathsig stops the program if the test binary is killed or panics on its timeout.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.command.Wait()
		close(p.exited)
	}()
	return p, nil
}

// environment returns this process's environment without the variables that would lead a
// browser to a proxy, to the desktop's display, or to a browser that already runs there.
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

// ended returns a value that is not empty once the program has ended, as await expects.
func (p *process) ended() string {
	select {
	case <-p.exited:
		return "ended"
	default:
		return ""
	}
}

// await polls ready until it returns a value that is not empty.
func (p *process) await(what string, ready func() string) (string, error) {
	for end := time.Now().Add(launchTimeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if value := ready(); value != "" {
			return value, nil
		}
		select {
		case <-p.exited:
			return "", p.waitError(what, "the process exited")
		default:
		}
	}
	return "", p.waitError(what, fmt.Sprintf("timeout after %v", launchTimeout))
}

func (p *process) waitError(what, why string) error {
	output, _ := os.ReadFile(p.log)
	if len(output) > 2000 {
		output = output[len(output)-2000:]
	}
	return fmt.Errorf("%s: waiting for %s: %s; its output:\n%s", filepath.Base(p.command.Path), what, why, bytes.TrimSpace(output))
}

// stop terminates the process group. It sends SIGTERM first, because a killed browser
// leaves its lock files in /tmp.
func (p *process) stop() error {
	group := -p.command.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(2 * time.Second):
	}
	// Other processes of the group may outlive the first and still write to the profile.
	// The wait is short because in containers without an init that reaps orphans, a
	// group of zombies never disappears.
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if errors.Is(syscall.Kill(group, syscall.SIGKILL), syscall.ESRCH) {
			break
		}
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(time.Second):
		return fmt.Errorf("%s (process %d) cannot be killed", p.command.Path, p.command.Process.Pid)
	}
}

// removeDir deletes a directory. It retries, because a process outside the group, such as
// a crash handler, may still be writing to it.
func removeDir(dir string) error {
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := os.RemoveAll(dir); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// findProgram returns the path of a program, given its name or a pattern that matches its
// path, or "" if there is none.
func findProgram(program string) string {
	if strings.Contains(program, "*") {
		if paths, _ := filepath.Glob(program); paths != nil {
			return paths[0]
		}
		return ""
	}
	path, _ := exec.LookPath(program)
	return path
}
