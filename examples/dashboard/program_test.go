package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

func TestMain(m *testing.M) { apptest.Main(m, main) }

func TestProgramRunsAndStopsCleanly(t *testing.T) {
	for scheme, args := range map[string][]string{
		"http":  {"-addr", "127.0.0.1:0"},
		"https": {"-addr", "127.0.0.1:0", "-secure"},
	} {
		t.Run(scheme, func(t *testing.T) {
			command := apptest.Program(t, args...)
			var stderr bytes.Buffer
			command.Stderr = &stderr
			stdout, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stdout)
			lines.Scan()
			url, ok := strings.CutPrefix(lines.Text(), "Listening on ")
			if !ok || !strings.HasPrefix(url, scheme+"://127.0.0.1:") || strings.HasSuffix(url, ":0") {
				t.Fatalf("the first line is %q\n%s", lines.Text(), &stderr)
			}
			var output strings.Builder
			for lines.Scan() && lines.Text() != "Ctrl-C stops." {
				output.WriteString(lines.Text() + "\n")
			}
			for name, password := range apptest.Passwords {
				if !strings.Contains(output.String(), name) || !strings.Contains(output.String(), password) {
					t.Errorf("the output does not explain how to log in as %s", name)
				}
			}

			if !strings.Contains(output.String(), "log out, press Back") || !strings.Contains(output.String(), "-idle 30s") {
				t.Errorf("the output does not say what to try:\n%s", &output)
			}

			b := testbrowser.New(t, url, nil)
			b.Client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			b.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")
			resp := apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
			name := map[string]string{"http": "session", "https": "__Host-Http-session"}[scheme]
			if cookie := resp.Cookies()[0]; cookie.Name != name || cookie.Secure != (scheme == "https") || !cookie.HttpOnly {
				t.Errorf("the cookie is %v", cookie)
			}
			b.Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace")
			b.PostForm("/logout").Expect(http.StatusSeeOther, "/")
			b.Get("/").Contains("You have been logged out.")
			b.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")

			apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
			_, next := apptest.Stream(b)
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
		})
	}
}

func TestProgramReportsErrors(t *testing.T) {
	for message, args := range map[string][]string{
		"no-such-flag":         {"-no-such-flag"},
		"invalid value":        {"-idle", "soon"},
		"must be positive":     {"-addr", "127.0.0.1:0", "-fresh", "0s"},
		"must not be negative": {"-addr", "127.0.0.1:0", "-remember", "-1s"},
		"neither an address":   {"-addr", "127.0.0.1:0", "-behind-proxy", "localhost"},
		"-device needs https":  {"-addr", "127.0.0.1:0", "-device", "10m"},
		"BasePath":             {"-addr", "127.0.0.1:0", "-base-path", "app/"},
		"unexpected argument":  {"-addr", "127.0.0.1:0", "8080"},
		"listen tcp":           {"-addr", "127.0.0.1:99999"},
	} {
		out, err := apptest.Program(t, args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(out), message) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func TestProgramPrintsItsFlags(t *testing.T) {
	out, err := apptest.Program(t, "-h").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, text := range []string{"-remember", "(default 336h0m0s)", "-sessions", "the least recently active", "(default 5)"} {
		if !strings.Contains(string(out), text) {
			t.Errorf("%q is not in\n%s", text, out)
		}
	}
}
