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
	promises(t, cluster{db: filepath.Join(t.TempDir(), "which sessions? 100%.db")})
}

func TestSessionsInRedis(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{})
	promises(t, cluster{redis: server.Addr, keys: filepath.Join(t.TempDir(), "keys")})
}

func TestSessionsInRedisByURL(t *testing.T) {
	server := servers.Redis(t, servers.RedisOptions{Password: "a secret/with @ and #"})
	c := cluster{redis: server.DSN(server.Addr), keys: filepath.Join(t.TempDir(), "keys")}
	oneLoginIsEnoughAndOneLogout(t, c.ofThree())
}

// ofThree adds what the flags would.
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

func oneLoginIsEnoughAndOneLogout(t *testing.T, c cluster) {
	at := serve(t, c).urls
	b := testbrowser.New(t, at[0], nil)
	apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
	for i, url := range at {
		b.At(url).Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace", fmt.Sprintf("Node %d of 3", i+1))
	}
	copied := b.Copy()
	b.At(at[2]).PostForm("/logout").Expect(http.StatusSeeOther, "/")
	b.At(at[1]).Get("/").Contains("You have been logged out.")
	for _, url := range at {
		isOut(b.At(url))
		isOut(copied.At(url))
	}
}

// promises are kept on every node, wherever sessions are.
func promises(t *testing.T, c cluster) {
	c = c.ofThree()

	t.Run("one login is enough, and one logout", func(t *testing.T) { oneLoginIsEnoughAndOneLogout(t, c) })

	t.Run("a restart logs nobody out", func(t *testing.T) {
		before := serve(t, c)
		b, out := testbrowser.New(t, before.urls[0], nil), testbrowser.New(t, before.urls[0], nil)
		apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
		apptest.Login(out, "ada").Expect(http.StatusSeeOther, "/home")
		copied := out.Copy()
		out.At(before.urls[1]).PostForm("/logout").Expect(http.StatusSeeOther, "/")
		before.stop()

		for _, url := range serve(t, c).urls {
			b.At(url).Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace")
			isOut(copied.At(url))
		}
	})

	t.Run("an administrator ends a session on another node", func(t *testing.T) {
		c := c
		if c.db != "" {
			// SQLite does not tell, and is asked when the session should end.
			c.options.Idle = 8 * time.Second
		}
		at := serve(t, c).urls
		grace, ada := testbrowser.New(t, at[2], nil), testbrowser.New(t, at[0], nil)
		apptest.Login(grace, "grace").Expect(http.StatusSeeOther, "/home")
		apptest.Login(ada, "ada").Expect(http.StatusSeeOther, "/home")
		stream, next := apptest.Stream(ada.At(at[1]))
		time.AfterFunc(20*time.Second, func() { stream.Body.Close() }) // if nobody tells
		if _, err := time.Parse(time.RFC3339, next()); err != nil {
			t.Fatal(err)
		}
		grace.PostForm("/admin/users/ada/sessions/"+apptest.Session(ada)+"/end").
			Expect(http.StatusSeeOther, "/admin/users/ada/sessions")

		ada.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=ended")
		ada.At(at[1]).Get("/login").Contains("An administrator ended your session.")
		last, data := "", next()
		for data != "" {
			last, data = data, next()
		}
		if last != "ended" {
			t.Errorf("the stream's last word was %q", last)
		}
	})

	t.Run("the limit is of all nodes together", func(t *testing.T) {
		at := serve(t, c).urls
		first := testbrowser.New(t, at[0], nil)
		apptest.Login(first, "ada").Expect(http.StatusSeeOther, "/home")
		for _, url := range at {
			apptest.Login(testbrowser.New(t, url, nil), "ada").Expect(http.StatusSeeOther, "/home")
		}
		first.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome&reason=too_many_sessions")
	})

	t.Run("two processes are one cluster", func(t *testing.T) {
		here, there := serve(t, c).urls, serve(t, c).urls
		b := testbrowser.New(t, here[0], nil)
		apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
		b.At(there[0]).Get("/home").Expect(http.StatusOK, "")
		b.At(there[1]).PostForm("/logout").Expect(http.StatusSeeOther, "/")
		isOut(b.At(here[1]))
	})
}

// isOut checks that a page leads to the login, whatever the backend knows of why.
func isOut(b *testbrowser.Browser) {
	b.T.Helper()
	a := b.Get("/home")
	if to := a.Header.Get("Location"); a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, "/login?next=%2Fhome") {
		b.T.Errorf("got %d to %q", a.StatusCode, to)
	}
}

type running struct {
	urls []string // of the nodes
	stop func()
}

var nodeLine = regexp.MustCompile(`^Node \d+ on (https?://127\.0\.0\.1:[1-9]\d*)$`)

// serve runs a cluster until the end of the test at the latest.
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
		t.Fatalf("nodes at %v: %v", r.urls, <-stopped)
	}
	ended := false
	r.stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(r.stop)
	return r
}
