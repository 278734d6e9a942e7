package docs

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// needServers lists the pages whose programs need a server of another kind, such as a
// database, and are only built.
var needServers = []string{}

var (
	mainClause    = regexp.MustCompile(`(?m)^package main$`)
	listenAddress = regexp.MustCompile(`"(?:localhost|127\.0\.0\.1)?:\d+"`)
)

// The programs on the pages run, and servers respond.
func TestProgramsOnThePagesRun(t *testing.T) {
	covered(t, readPages(t), func(t *testing.T, p *page) {
		for _, b := range p.blocks {
			if b.language == "go" && packageClause.MatchString(b.code) && mainClause.MatchString(b.code) {
				testProgram(t, p.name, b.code)
			}
		}
	})
}

func testProgram(t *testing.T, page, source string) {
	t.Helper()
	// A port that was free a moment ago.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())

	directory := t.TempDir()
	name, program := filepath.Join(directory, "main.go"), filepath.Join(directory, "program")
	serves := listenAddress.MatchString(source)
	source = listenAddress.ReplaceAllString(source, `"`+address+`"`)
	require.NoError(t, os.WriteFile(name, []byte(source), 0o600))
	for _, command := range [][]string{{"go", "vet", name}, {"go", "build", "-o", program, name}} {
		output, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		require.NoError(t, err, "%s: %s: %s", page, strings.Join(command[:2], " "), output)
	}
	for _, needs := range needServers {
		if page == needs {
			return
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, program)
	run.Dir = directory // in which it may make files
	run.Env = append(os.Environ(), "SESSION_KEY="+strings.Repeat("0123456789abcdef", 4))
	var output bytes.Buffer
	run.Stdout, run.Stderr = &output, &output
	require.NoError(t, run.Start())
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	if !serves {
		require.NoError(t, <-ended, "%s: %s", page, &output)
		return
	}
	defer func() {
		cancel() // which kills it
		<-ended
		if t.Failed() {
			t.Logf("%s: %s", page, &output)
		}
	}()
	for ctx.Err() == nil {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			require.NoError(t, connection.Close())
			break
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s: the program ended before it served anything: %v", page, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	pages := 0
	for _, path := range []string{"/", "/login"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
		require.NoError(t, err)
		request.Header.Set("Accept", "text/html")
		response, err := http.DefaultTransport.RoundTrip(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Less(t, response.StatusCode, 500, path)
		if response.StatusCode < 400 {
			pages++
		}
	}
	require.NotZero(t, pages, "neither / nor /login")
}
