package main

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
)

func TestProgramRunsAndStopsCleanly(t *testing.T) {
	command := apptest.Program(t, "-port", "0", "-provider-port", "0")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines, s := bufio.NewScanner(stdout), &site{T: t}
	output := s.readAddresses(lines)
	if !strings.Contains(output, "ada    analytical-engine") {
		t.Errorf("the output does not explain how to log in:\n%s", output)
	}

	b := s.browse()
	b.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")
	apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
	b.PostForm("/logout").Expect(http.StatusSeeOther, "/")
	s.logInAtProvider(b, "ada").Contains("Good to see you, Ada Lovelace")
	b.At(s.provider).PostForm("/logout").Expect(http.StatusSeeOther, "/")
	if isIn(b) {
		t.Error("the logout at the provider ended nothing")
	}

	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	lines.Scan()
	if lines.Text() != "Stopped." {
		t.Errorf("the last line is %q", lines.Text())
	}
	if err := command.Wait(); err != nil {
		t.Errorf("%v\n%s", err, &stderr)
	}
}

func TestProgramReportsErrors(t *testing.T) {
	for message, args := range map[string][]string{
		"no-such-flag":        {"-no-such-flag"},
		"unexpected argument": {"-port", "0", "-provider-port", "0", "8080"},
		"listen tcp":          {"-port", "99999"},
		"invalid port":        {"-port", "0", "-provider-port", "99999"},
	} {
		out, err := apptest.Program(t, args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(out), message) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
