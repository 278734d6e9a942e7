package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// onlyBuilt lists the pages whose programs are not run, because they need a server of another
// kind, such as a database.
var onlyBuilt = []string{}

var (
	mainClause    = regexp.MustCompile(`(?m)^package main$`)
	listenAddress = regexp.MustCompile(`"(?:localhost|127\.0\.0\.1)?:\d+"`)
)

// The programs on the pages run, and servers respond.
func TestProgramsOnThePagesRun(t *testing.T) {
	eachPage(t, readPages(t), func(t *testing.T, p *page) {
		for _, b := range p.blocks {
			if b.language == "go" && packageClause.MatchString(b.code) && mainClause.MatchString(b.code) {
				require.NoError(t, runProgram(t, b.code, !slices.Contains(onlyBuilt, p.name)), "%s:%d", p.name, b.line)
			}
		}
	})
}

// runProgram vets and builds a program, and runs it unless it is only to be built.
func runProgram(t *testing.T, source string, run bool) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String() // which is free in a moment
	require.NoError(t, listener.Close())

	directory := t.TempDir()
	name, program := filepath.Join(directory, "main.go"), filepath.Join(directory, "program")
	serves := listenAddress.MatchString(source)
	source = listenAddress.ReplaceAllString(source, `"`+address+`"`)
	require.NoError(t, os.WriteFile(name, []byte(source), 0o600))
	for _, arguments := range [][]string{{"vet", name}, {"build", "-o", program, name}} {
		if output, err := exec.Command("go", arguments...).CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w: %s", arguments[0], err, output)
		}
	}
	if !run {
		return nil
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, program)
	command.Dir = directory // in which it may make files
	command.Env = append(os.Environ(), "SESSION_KEY="+strings.Repeat("0123456789abcdef", 4))
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	require.NoError(t, command.Start())
	ended := make(chan struct{})
	go func() { err = command.Wait(); close(ended) }()
	if serves {
		problem := visit(ctx, address, ended)
		cancel() // which kills it
		<-ended
		if problem != nil {
			return fmt.Errorf("%w: it printed: %s", problem, &output)
		}
		return nil
	}
	if <-ended; err != nil {
		return fmt.Errorf("%w: it printed: %s", err, &output)
	}
	return nil
}

// visit requests the pages that most applications have, once a server listens.
func visit(ctx context.Context, address string, ended <-chan struct{}) error {
	for {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
			break
		}
		select {
		case <-ended:
			return errors.New("the program ended before it served anything")
		case <-time.After(20 * time.Millisecond): // until it is there
		}
	}
	pages := 0
	for _, path := range []string{"/", "/login"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Accept", "text/html")
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode >= http.StatusInternalServerError {
			return fmt.Errorf("%s: %s", path, response.Status)
		}
		if response.StatusCode < http.StatusBadRequest {
			pages++
		}
	}
	if pages == 0 {
		return errors.New("there is neither / nor /login")
	}
	return nil
}

// Programs that do not run are found.
func TestBadProgramsAreFound(t *testing.T) {
	const begin = "package main\n\nimport (\n\t\"fmt\"\n\t\"log\"\n\t\"net/http\"\n)\n\nfunc main() {\n"
	serve := func(code string) string {
		return begin + "\tfmt.Println(1)\n\thttp.HandleFunc(\"/\", func(w http.ResponseWriter, r *http.Request) { " + code + " })\n" +
			"\tlog.Fatal(http.ListenAndServe(\"localhost:8080\", nil))\n}\n"
	}
	ends := begin + "\tfmt.Println(1)\n\tlog.Println(\"localhost:8080\", http.MethodGet)\n}\n"
	for name, test := range map[string]struct{ source, want string }{
		"a server":                    {serve(""), ""},
		"one that fails":              {serve("w.WriteHeader(500)"), "/: 500"},
		"one without pages":           {serve("w.WriteHeader(404)"), "neither / nor /login"},
		"one that ends":               {ends, "ended before"},
		"a program":                   {strings.Replace(ends, "localhost:8080", "", 1), ""},
		"one with an error":           {strings.Replace(ends, "log.Println(\"localhost:8080\",", "log.Fatalln(", 1), "exit status 1"},
		"one that vet refuses":        {strings.Replace(ends, "fmt.Println(1)", "fmt.Printf(\"%d\", \"x\")", 1), "go vet"},
		"one with an unused variable": {strings.Replace(ends, "fmt.Println(1)", "x := fmt.Sprint(1)", 1), "go vet"},
	} {
		t.Run(name, func(t *testing.T) {
			err := runProgram(t, test.source, true)
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}
