package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"image/png"
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

// eachEngine runs a test in every engine that is installed, in a browser that
// all such tests share.
func eachEngine(t *testing.T, test func(t *testing.T, b *browser)) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			needs(t, e)
			if shared[e] == nil {
				b, err := e.launch()
				must(t, err)
				shared[e] = b
			}
			test(t, shared[e])
			must(t, shared[e].Open("about:blank")) // it waits in peace
		})
	}
}

var shared = map[*engine]*browser{}

// needs skips a test without the engine, and fails it where everything is to be run.
func needs(t *testing.T, e *engine) {
	t.Helper()
	if missing := e.missing(); missing != nil {
		why := e.name + " is not installed: apt-get install --no-install-recommends " + strings.Join(missing, " ")
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	building sync.Once
	built    struct {
		dir, program string
		err          error
	}
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, b := range shared {
		if err := b.Quit(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// program is the example application, built.
func program(t *testing.T) string {
	t.Helper()
	building.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "e2e-example-"); built.err != nil {
			return
		}
		built.program = filepath.Join(built.dir, "dashboard")
		build := exec.Command("go", "build", "-o", built.program, "./examples/dashboard")
		build.Dir = filepath.Join("..", "..") // its module is another
		if said, err := build.CombinedOutput(); err != nil {
			built.err = errors.New(string(said))
		}
	})
	must(t, built.err)
	return built.program
}

// application starts the example, and a front before it.
func application(t *testing.T, p protection, secure bool, args ...string) *front {
	t.Helper()
	f, err := newFront(example(t, secure, args...), p, secure)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// example starts the example. It ends with the test.
func example(t *testing.T, secure bool, args ...string) *url.URL {
	t.Helper()
	args = append([]string{"-addr", "127.0.0.1:0"}, args...)
	if secure {
		args = append(args, "-secure")
	}
	command := exec.Command(program(t), args...)
	stdout, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	at, ok := strings.CutPrefix(lines.Text(), "Listening on ")
	if !ok {
		t.Fatalf("the example said %q", lines.Text())
	}
	go func() {
		for lines.Scan() { // or it stops when the pipe is full
		}
	}()
	backend, err := url.Parse(at)
	must(t, err)
	return backend
}

// settle gives Firefox the time without which it does not keep a page.
func settle(b *browser) {
	if b.engine == firefox {
		time.Sleep(250 * time.Millisecond)
	}
}

const arrived = `return location.pathname === arguments[0] && document.readyState === "complete"`

// result is what the sampler has found.
type result struct {
	Leaked   int
	LeakedAt []string
	Shows    []struct {
		Path      string
		Persisted bool
	}
}

func sampled(t *testing.T, b *browser) (r result) {
	t.Helper()
	must(t, b.Eval(`return {leaked: Number(localStorage.leaked ?? 0),
		leakedAt: JSON.parse(localStorage.leakedAt ?? "[]"), shows: JSON.parse(localStorage.shows ?? "[]")}`, &r))
	return r
}

func (r result) persisted(path string) bool {
	return slices.ContainsFunc(r.Shows, func(s struct {
		Path      string
		Persisted bool
	}) bool {
		return s.Path == path && s.Persisted
	})
}

func TestTheSamplerLooksOncePerFrame(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		v := &visit{T: t, browser: b, front: application(t, none, true)}
		v.begin()
		v.login()
		v.leave(blank)
		v.watch()
		v.back()
		v.at("/home")
		var samples int
		must(t, b.Eval(`return new Promise((done) => {
			const before = Number(localStorage.leaked);
			let frames = 0;
			const count = () => ++frames < 20 ? requestAnimationFrame(count) : done(Number(localStorage.leaked) - before);
			requestAnimationFrame(count);
		})`, &samples))
		if samples < 19 || samples > 21 {
			t.Errorf("%d samples in 20 frames after a restore", samples)
		}
		for name, hide := range map[string]string{
			"visibility": `document.documentElement.style.setProperty("visibility", "hidden", "important")`,
			"display":    `document.documentElement.style.display = "none"`,
			"body":       `document.body.style.display = "none"`,
			"opacity":    `document.documentElement.style.opacity = "0"`,
		} {
			must(t, b.Eval(hide+`; return new Promise((r) => requestAnimationFrame(() => { localStorage.leaked = 0; requestAnimationFrame(() => requestAnimationFrame(() => r(null))) }))`, nil))
			if r := sampled(t, b); r.Leaked > 0 {
				t.Errorf("%s: hidden, and seen %d times", name, r.Leaked)
			}
			must(t, b.Eval(`document.documentElement.removeAttribute("style"); document.body.removeAttribute("style")`, nil))
			must(t, b.Until(`return Number(localStorage.leaked) > 0`))
		}
	})
}

func TestBackReturnsAtErrorPages(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		f := application(t, whole, true)
		must(t, b.Open(f.URL+"/login"))
		must(t, b.Eval(`document.querySelector("#username").value = "ada"; document.querySelector("#password").value = "wrong";
			document.querySelector("main form button").click()`, nil))
		must(t, b.Until(`return document.querySelector("#error") !== null && document.readyState === "complete"`))
		settle(b)
		must(t, b.Open(f.URL+"/e2e/blank"))
		timed(t, "back to a form that was sent", b.Back)
		timed(t, "back", b.Back)
		timed(t, "forward to a form that was sent", b.Forward)
		timed(t, "forward", b.Forward)
		timed(t, "forward beyond the end", b.Forward)

		f.Outage(true)
		_ = b.Open(f.URL + "/account") // an error in some engines
		timed(t, "back in an outage", b.Back)
		must(t, b.Until(arrived, "/e2e/blank"))
		timed(t, "forward in an outage", b.Forward)
		f.Outage(false)
		f.Reset()
		timed(t, "reload", b.Reload)
		must(t, b.Until(arrived, "/login"))
		if !f.Asked("/account") {
			t.Errorf("asked for %+v", f.Seen())
		}
	})
}

func timed(t *testing.T, name string, step func() error) {
	t.Helper()
	begun := time.Now()
	if err := step(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	t.Logf("%s: %v", name, time.Since(begun).Round(time.Millisecond))
}

func TestHandsAndEyes(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		f := application(t, whole, true)
		must(t, b.Open(f.URL+"/e2e/blank"))
		must(t, b.Resize(700, 600))
		must(t, b.Eval(`document.body.innerHTML = "<input><button style='position: fixed; left: 300px; top: 200px; width: 100px; height: 50px'>";
			window.got = [];
			for (const name of ["keydown", "mousemove", "click"])
				addEventListener(name, (e) => e.isTrusted && got.push(name + " " + (e.key ?? e.clientX + "," + e.clientY)));
			document.querySelector("input").focus()`, nil))
		must(t, b.Press("ada", "Escape", "Tab", "Enter"))
		must(t, b.MovePointer(20, 100))
		must(t, b.Click(350, 220))
		var got []string
		must(t, b.Eval(`return [document.querySelector("input").value, outerWidth + "x" + outerHeight, ...got]`, &got))
		for _, want := range []string{"ada", "700x600", "keydown a", "keydown Escape", "keydown Tab", "keydown Enter", "mousemove 20,100", "click 350,220"} {
			if !slices.Contains(got, want) {
				t.Errorf("no %q in %q", want, got)
			}
		}
		if shot, err := b.Screenshot(); !errors.Is(err, errCannot) {
			must(t, err)
			if image, err := png.Decode(bytes.NewReader(shot)); err != nil || image.Bounds().Dx() < 500 {
				t.Errorf("a screenshot of %d bytes: %v", len(shot), err)
			}
		}
		var sum int
		must(t, b.Eval(`return new Promise((r) => setTimeout(() => r(arguments[0] + arguments[1]), 20))`, &sum, 1, 2))
		if err := b.Eval(`return Promise.reject(new Error("no"))`, nil); sum != 3 || err == nil {
			t.Errorf("promises: %d, %v", sum, err)
		}
	})
}

func TestTabs(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		f := application(t, none, true)
		first, err := b.Tab()
		must(t, err)
		must(t, b.Open(f.URL+"/e2e/blank"))
		second, err := b.NewTab()
		must(t, err)
		must(t, b.Switch(second))
		must(t, b.Open(f.URL+"/login"))
		must(t, b.Open(f.URL+"/"))
		must(t, b.Eval(`return new Promise((r) => requestAnimationFrame(() => r(null)))`, nil)) // it is drawn
		settle(b)

		must(t, b.CloseTab())
		must(t, b.Switch(first))
		switch err := b.ReopenTab(); {
		case errors.Is(err, errCannot):
			t.Log(err)
		case err != nil:
			t.Error(err)
		default:
			must(t, b.Until(arrived, "/"))
			must(t, b.Back())
			must(t, b.Until(arrived, "/login"))
			must(t, b.CloseTab())
			must(t, b.Switch(first))
		}
		must(t, b.Until(arrived, "/e2e/blank"))
	})
}
