package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

func TestMain(m *testing.M) { apptest.Main(m, main) }

// site is the program in this process.
type site struct {
	*testing.T
	url, provider string
}

var (
	urlLine      = regexp.MustCompile(`^Listening on (http://localhost:[1-9]\d*)$`)
	providerLine = regexp.MustCompile(`, is on (http://127\.0\.0\.1:[1-9]\d*) and`)
)

// start runs the program until the test ends.
func start(t *testing.T) *site {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	read, out := io.Pipe()
	stopped := make(chan error, 1)
	go func() {
		err := run(ctx, 0, 0, out)
		out.CloseWithError(err)
		stopped <- err
	}()
	s := &site{T: t}
	s.readAddresses(bufio.NewScanner(read))
	go io.Copy(io.Discard, read)
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	return s
}

// readAddresses reads what the program prints until it is ready.
func (s *site) readAddresses(lines *bufio.Scanner) (output string) {
	s.Helper()
	for lines.Scan() && lines.Text() != "Ctrl-C stops." {
		output += lines.Text() + "\n"
		if found := urlLine.FindStringSubmatch(lines.Text()); found != nil {
			s.url = found[1]
		}
		if found := providerLine.FindStringSubmatch(lines.Text()); found != nil {
			s.provider = found[1]
		}
	}
	if s.url == "" || s.provider == "" {
		s.Fatalf("the program printed\n%s", output)
	}
	return output
}

func (s *site) browse() *testbrowser.Browser {
	s.Helper()
	connections := &http.Transport{}
	s.Cleanup(connections.CloseIdleConnections) // a server waits for those that were never used
	return testbrowser.New(s.T, s.url, connections)
}

// follow follows redirects, to the provider and back, and returns the first page.
func (s *site) follow(b *testbrowser.Browser, resp testbrowser.Response) testbrowser.Response {
	s.Helper()
	for range 10 {
		to, err := resp.Location()
		if err != nil {
			return resp
		}
		resp = b.At(to.Scheme + "://" + to.Host).Get(to.RequestURI())
	}
	s.Fatalf("too many redirects, at last to %v", resp.Header.Get("Location"))
	return resp
}

var requestField = regexp.MustCompile(`name="request" value="([^"]*)"`)

// logInAtProvider logs in with the provider, whose login page must appear.
func (s *site) logInAtProvider(b *testbrowser.Browser, name string) testbrowser.Response {
	s.Helper()
	page := s.follow(b, b.PostForm("/openid/login")).Expect(http.StatusOK, "").Contains("Log in to Example ID")
	request := requestField.FindStringSubmatch(page.Body)
	if request == nil {
		s.Fatal(page.Body)
	}
	at := b.At(s.provider)
	at.PostForm("/login", "username", name, "password", "wrong", "request", request[1]).Expect(http.StatusUnprocessableEntity, "").Contains(request[1])
	return s.follow(b, at.PostForm("/login", "username", name, "password", apptest.Passwords[name], "request", request[1]))
}

// isIn reports whether somebody is logged in to the application.
func isIn(b *testbrowser.Browser) bool {
	b.T.Helper()
	return strings.Contains(b.Get("/session").Body, `"authenticated":true`)
}

func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
