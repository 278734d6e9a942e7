package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/examples/dashboard/app"
	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

func TestSessionsInSQLite(t *testing.T) {
	testCluster(t, cluster{db: filepath.Join(t.TempDir(), "which sessions? 100%.db")})
}

func TestSessionsInRedis(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	testCluster(t, cluster{redis: server.Addr, keys: filepath.Join(t.TempDir(), "keys")})
}

func TestSessionsInRedisByURL(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{Password: "a secret/with @ and #"})
	c := cluster{redis: server.DSN(server.Addr), keys: filepath.Join(t.TempDir(), "keys")}
	testLoginAndLogoutOnAllNodes(t, c.ofThree())
}

// ofThree returns c with three nodes and the options that the flags would set.
func (c cluster) ofThree() cluster {
	c.addr, c.nodes = "127.0.0.1:0", 3
	c.options = app.Options{
		Idle:     30 * time.Minute,
		Absolute: 12 * time.Hour,
		Fresh:    5 * time.Minute,
		Remember: 14 * 24 * time.Hour,
		Sessions: 3,
		Log:      slog.New(slog.DiscardHandler),
	}
	return c
}

func testLoginAndLogoutOnAllNodes(t *testing.T, c cluster) {
	urls := serve(t, c).urls
	b := testbrowser.New(t, urls[0], nil)
	apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
	for i, url := range urls {
		b.At(url).Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace", fmt.Sprintf("Node %d of 3", i+1))
	}
	copied := b.Copy()
	b.At(urls[2]).PostForm("/logout").Expect(http.StatusSeeOther, "/")
	b.At(urls[1]).Get("/").Contains("You have been logged out.")
	for _, url := range urls {
		expectLoggedOut(b.At(url))
		expectLoggedOut(copied.At(url))
	}
}

// testCluster runs the tests that must pass on every node, wherever sessions are stored.
func testCluster(t *testing.T, c cluster) {
	c = c.ofThree()

	t.Run("a login and a logout count on all nodes", func(t *testing.T) { testLoginAndLogoutOnAllNodes(t, c) })

	t.Run("a restart logs nobody out", func(t *testing.T) {
		before := serve(t, c)
		b, loggedOut := testbrowser.New(t, before.urls[0], nil), testbrowser.New(t, before.urls[0], nil)
		apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
		apptest.Login(loggedOut, "ada").Expect(http.StatusSeeOther, "/home")
		copied := loggedOut.Copy()
		loggedOut.At(before.urls[1]).PostForm("/logout").Expect(http.StatusSeeOther, "/")
		before.stop()

		for _, url := range serve(t, c).urls {
			b.At(url).Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace")
			expectLoggedOut(copied.At(url))
		}
	})

	t.Run("an administrator ends a session on another node", func(t *testing.T) {
		c := c
		if c.db != "" {
			// SQLite does not report endings. The stream notices at the idle deadline.
			c.options.Idle = 8 * time.Second
		}
		urls := serve(t, c).urls
		grace, ada := testbrowser.New(t, urls[2], nil), testbrowser.New(t, urls[0], nil)
		apptest.Login(grace, "grace").Expect(http.StatusSeeOther, "/home")
		apptest.Login(ada, "ada").Expect(http.StatusSeeOther, "/home")
		stream, next := apptest.Stream(ada.At(urls[1]))
		time.AfterFunc(20*time.Second, func() { stream.Body.Close() }) // if the end is not reported
		if _, err := time.Parse(time.RFC3339, next()); err != nil {
			t.Fatal(err)
		}
		grace.PostForm("/admin/users/ada/sessions/"+apptest.Session(ada)+"/end").
			Expect(http.StatusSeeOther, "/admin/users/ada/sessions")

		ada.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=ended")
		ada.At(urls[1]).Get("/login").Contains("An administrator ended your session.")
		last, data := "", next()
		for data != "" {
			last, data = data, next()
		}
		if last != "ended" {
			t.Errorf("the last data of the stream is %q", last)
		}
	})

	t.Run("the session limit counts all nodes", func(t *testing.T) {
		urls := serve(t, c).urls
		first := testbrowser.New(t, urls[0], nil)
		apptest.Login(first, "ada").Expect(http.StatusSeeOther, "/home")
		for _, url := range urls {
			apptest.Login(testbrowser.New(t, url, nil), "ada").Expect(http.StatusSeeOther, "/home")
		}
		first.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=too_many_sessions")
	})

	t.Run("two processes share their sessions", func(t *testing.T) {
		first, second := serve(t, c).urls, serve(t, c).urls
		b := testbrowser.New(t, first[0], nil)
		apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
		b.At(second[0]).Get("/home").Expect(http.StatusOK, "")
		b.At(second[1]).PostForm("/logout").Expect(http.StatusSeeOther, "/")
		expectLoggedOut(b.At(first[1]))
	})
}

// expectLoggedOut expects a redirect to the login page, with or without a reason.
func expectLoggedOut(b *testbrowser.Browser) {
	b.T.Helper()
	resp := b.Get("/home")
	if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, "/login?next=%2Fhome") {
		b.T.Errorf("got %d to %q", resp.StatusCode, to)
	}
}

// running is a cluster that runs.
type running struct {
	urls []string // of the nodes
	stop func()
}

var nodeLine = regexp.MustCompile(`^Node \d+ on (https?://127\.0\.0\.1:[1-9]\d*)$`)

// serve runs a cluster until stop is called, or until the test ends.
func serve(t *testing.T, c cluster) running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	read, out := io.Pipe()
	stopped := make(chan error, 1)
	go func() {
		err := c.run(ctx, out)
		out.CloseWithError(err)
		stopped <- err
	}()
	var r running
	lines := bufio.NewScanner(read)
	for lines.Scan() && lines.Text() != "Ctrl-C stops." {
		if found := nodeLine.FindStringSubmatch(lines.Text()); found != nil {
			r.urls = append(r.urls, found[1])
		}
	}
	go io.Copy(io.Discard, read)
	if len(r.urls) != c.nodes {
		cancel()
		t.Fatalf("the nodes are %v: %v", r.urls, <-stopped)
	}
	alreadyStopped := false
	r.stop = func() {
		if alreadyStopped {
			return
		}
		alreadyStopped = true
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(r.stop)
	return r
}
