package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// forEachEngine runs a test in every installed engine, in a browser that these tests
// share.
func forEachEngine(t *testing.T, test func(t *testing.T, b *browser)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			b := sharedBrowser(t, e)
			defer failWithVisit(t)
			test(t, b)
			must(t, b.Open("about:blank")) // so that the idle browser runs no page of a test
		})
	}
}

// sharedBrowser returns the browser of an engine that these tests share.
func sharedBrowser(t *testing.T, e *engine) *browser {
	t.Helper()
	requireEngine(t, e)
	if sharedBrowsers[e] == nil {
		b, err := e.launch()
		must(t, err)
		sharedBrowsers[e] = b
	}
	return sharedBrowsers[e]
}

var sharedBrowsers = map[*engine]*browser{}

// requireEngine skips the test if the engine is not installed. With CI set it fails the
// test instead.
func requireEngine(t *testing.T, e *engine) {
	t.Helper()
	if missing := e.missingPackages(); missing != nil {
		message := e.name + " is not installed: apt-get install --no-install-recommends " + strings.Join(missing, " ")
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, b := range sharedBrowsers {
		if err := b.Quit(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	if example.dir != "" {
		_ = os.RemoveAll(example.dir)
	}
	os.Exit(code)
}

var (
	exampleOnce sync.Once
	example     struct {
		dir, program string
		err          error
	}
)

// buildExample builds the example application once and returns the program's path.
func buildExample(t *testing.T) string {
	t.Helper()
	exampleOnce.Do(func() {
		if example.dir, example.err = os.MkdirTemp("", "e2e-example-"); example.err != nil {
			return
		}
		example.program = filepath.Join(example.dir, "dashboard")
		build := exec.Command("go", "build", "-o", example.program, "./examples/dashboard")
		build.Dir = filepath.Join("..", "..") // the example is in the root module
		if output, err := build.CombinedOutput(); err != nil {
			example.err = errors.New(string(output))
		}
	})
	must(t, example.err)
	return example.program
}

// startApplication starts the example, and a proxy in front of it.
func startApplication(t *testing.T, p protection, secure bool, args ...string) *testProxy {
	t.Helper()
	proxy, err := newTestProxy(startExample(t, secure, args...), p, secure)
	must(t, err)
	t.Cleanup(func() { _ = proxy.Close() })
	return proxy
}

// startExample starts the example, which stops at the end of the test, and returns its URL.
func startExample(t *testing.T, secure bool, args ...string) *url.URL {
	t.Helper()
	args = append([]string{"-addr", "127.0.0.1:0"}, args...)
	if secure {
		args = append(args, "-secure")
	}
	command := exec.Command(buildExample(t), args...)
	stdout, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	address, ok := strings.CutPrefix(lines.Text(), "Listening on ")
	if !ok {
		t.Fatalf("the example's first line is %q", lines.Text())
	}
	go func() {
		for lines.Scan() { // a full pipe would block the example
		}
	}()
	backend, err := url.Parse(address)
	must(t, err)
	return backend
}

// waitForBFCache gives Firefox the time that it needs before it puts a page into its
// back/forward cache.
func waitForBFCache(b *browser) {
	if b.engine == firefox {
		time.Sleep(250 * time.Millisecond)
	}
}

// pageLoaded is a condition for [browser.Until]: a path has finished loading.
const pageLoaded = `return location.pathname === arguments[0] && document.readyState === "complete"`

// samplerResult holds what the sampler recorded.
type samplerResult struct {
	Leaked   int // in frames
	LeakedAt []string
	Shows    []pageShow
}

// pageShow is a pageshow event.
type pageShow struct {
	Path      string
	Persisted bool // restored from the back/forward cache
}

func readSampler(t *testing.T, b *browser) (r samplerResult) {
	t.Helper()
	must(t, b.Eval(`return {leaked: Number(localStorage.leaked ?? 0),
		leakedAt: JSON.parse(localStorage.leakedAt ?? "[]"), shows: JSON.parse(localStorage.shows ?? "[]")}`, &r))
	return r
}

// persisted reports whether a page at path came out of the back/forward cache.
func (r samplerResult) persisted(path string) bool {
	return slices.Contains(r.Shows, pageShow{path, true})
}
