package main

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

func TestMain(m *testing.M) { apptest.Main(m, main) }

func TestProgramRunsAndKeepsTheSessions(t *testing.T) {
	db := filepath.Join(t.TempDir(), "sessions.db")
	b := testbrowser.New(t, "http://127.0.0.1", nil)
	for run := range 2 {
		command := apptest.Program(t, "-addr", "127.0.0.1:0", "-nodes", "2", "-db", db)
		var stderr bytes.Buffer
		command.Stderr = &stderr
		stdout, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		var nodes []*testbrowser.Browser
		var output strings.Builder
		lines := bufio.NewScanner(stdout)
		for lines.Scan() && lines.Text() != "Ctrl-C stops." {
			output.WriteString(lines.Text() + "\n")
			if found := nodeLine.FindStringSubmatch(lines.Text()); found != nil {
				nodes = append(nodes, b.At(found[1]))
			}
		}
		if len(nodes) != 2 {
			t.Fatalf("the program printed\n%s\n%s", output.String(), &stderr)
		}
		for _, text := range []string{"ada    analytical-engine   Engineer", "grace  nanoseconds-matter  Admin", "\nTry: "} {
			if !strings.Contains(output.String(), text) {
				t.Errorf("%q is not in\n%s", text, output.String())
			}
		}

		if run == 0 {
			nodes[0].Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")
			apptest.Login(nodes[0], "ada").Expect(http.StatusSeeOther, "/home")
		}
		nodes[0].Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace", "Node 1 of 2")
		nodes[1].Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace", "Node 2 of 2")

		_, next := apptest.Stream(nodes[1])
		next()
		start := time.Now()
		if err := command.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		for next() != "" { // the stream ends
		}
		lines.Scan()
		if lines.Text() != "Stopped." {
			t.Errorf("the last line is %q", lines.Text())
		}
		if err := command.Wait(); err != nil {
			t.Errorf("%v\n%s", err, &stderr)
		}
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("the program took %v to stop", took)
		}
	}
}

func TestProgramReportsErrors(t *testing.T) {
	dir := t.TempDir()
	db, keys, broken := filepath.Join(dir, "sessions.db"), filepath.Join(dir, "keys"), filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("a secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct{ message, args string }{
		{"-db FILE or -redis ADDRESS", ""},
		{"exclude each other", "-db " + db + " -redis 127.0.0.1:6379 -keys " + keys},
		{"no-such-flag", "-no-such-flag"},
		{"unexpected argument", "-db " + db + " 8080"},
		{"cluster: -idle, -absolute and -fresh must be positive", "-db " + db + " -fresh 0s"},
		{"-nodes must be 1 or more", "-db " + db + " -nodes 0"},
		{"-addr: address 8080: missing port", "-db " + db + " -addr 8080"},
		{"missing/sessions.db: no such file or directory", "-db " + dir + "/missing/sessions.db"},
		{"not a database", "-db " + broken + " -keys " + keys},
		{"line 1 of " + broken + " is not a key", "-db " + db + " -keys " + broken},
		{"is a directory", "-db " + db + " -keys " + dir},
		{"node 1: listen tcp " + taken.Addr().String() + ": bind: address already in use", "-db " + db + " -addr " + taken.Addr().String()},
		{"-redis needs -keys", "-redis 127.0.0.1:1"},
		{"Redis at 127.0.0.1:1: ", "-redis 127.0.0.1:1 -keys " + keys},
		{"Redis at 127.0.0.1:1: ", "-redis redis://:secret@127.0.0.1:1 -keys " + keys},
		{"-redis: not host:port", "-redis 127.0.0.1 -keys " + keys},
		{"-redis: not host:port", "-redis :secret@127.0.0.1:6379 -keys " + keys},
		{"-redis: not host:port", "-redis http://:secret@127.0.0.1:6379 -keys " + keys},
		{"-redis: not a valid URL", "-redis redis://:secret/1@127.0.0.1:6379 -keys " + keys},
		{"-redis: not a valid URL", "-redis redis://secret:1?@127.0.0.1:6379 -keys " + keys},
		{"-redis: not a valid URL", "-redis redis://:secret@127.0.0.1:6379/secret -keys " + keys},
	} {
		args := append([]string{"-addr", "127.0.0.1:0"}, strings.Fields(test.args)...)
		out, err := apptest.Program(t, args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(out), test.message) || strings.Contains(string(out), "secret") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func TestProgramDoesNotPrintAWrongPassword(t *testing.T) {
	addr := servers.Redis(t, servers.RedisOptions{Password: "right"}).Addr
	keys := filepath.Join(t.TempDir(), "keys")
	for _, user := range []string{":secret", "secret:secret"} {
		out, err := apptest.Program(t, "-redis", "redis://"+user+"@"+addr, "-keys", keys).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(out), "WRONGPASS") || strings.Contains(string(out), "secret") {
			t.Errorf("%s: %v\n%s", user, err, out)
		}
	}
}
