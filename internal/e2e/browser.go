// Package e2e drives real browsers through the example application, because
// what a person sees after Back is decided by the browser: by its history, its
// HTTP cache and its back/forward cache, and differently in each engine.
//
// It needs Linux and Debian's packages of the browsers, and nothing else: the
// W3C WebDriver protocol and Firefox's Marionette are spoken here, because the
// usual libraries turn the back/forward cache off or hang on it.
package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	launchTimeout   = 20 * time.Second
	pageLoadTimeout = 10 * time.Second
	scriptTimeout   = 10 * time.Second
	// commandTimeout is longer than any that the browser keeps by itself.
	commandTimeout = 20 * time.Second
)

// engine is a browser engine that can be launched any number of times.
type engine struct {
	name string
	// packages are Debian's, with what each is needed for: the name of a
	// program, or a pattern that matches its path.
	packages []need
	start    func(b *browser) error
}

type need struct{ debian, program string }

var engines = []*engine{chromium, firefox, webkit}

// missing returns the Debian packages that are not installed.
func (e *engine) missing() []string {
	var packages []string
	for _, n := range e.packages {
		if find(n.program) == "" {
			packages = append(packages, n.debian)
		}
	}
	return packages
}

// launch starts a browser with an empty profile of its own.
func (e *engine) launch() (*browser, error) {
	if missing := e.missing(); missing != nil {
		return nil, fmt.Errorf("%s is not installed: apt-get install --no-install-recommends %s", e.name, strings.Join(missing, " "))
	}
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return nil, err
	}
	b := &browser{engine: e, dir: dir, tab: "tab", attempt: commandTimeout}
	if err := e.start(b); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", e.name, err), b.Quit())
	}
	return b, nil
}

// browser is one running browser. Its methods are not for concurrent use, but
// several browsers are: each has its own profile, ports and display.
type browser struct {
	engine    *engine
	version   string
	driver    driver
	dir       string
	processes []*process // in the order they were started
	// waits says that the driver itself waits until a page is loaded.
	waits bool
	// attempt is how long a script may take that Until runs.
	attempt time.Duration
	visits  int    // how many journeys have begun
	tab     string // what NewTab opens: a "tab", or where those stay hidden, a "window"
	// undoCloseTab reopens the tab that was closed last, nil if nothing can.
	undoCloseTab func() error
}

// driver sends the commands of W3C WebDriver, by the names that Marionette has
// for them. result may be nil.
type driver interface {
	call(within time.Duration, command string, parameters, result any) error
	close()
}

// object is a JSON object.
type object map[string]any

func (b *browser) call(command string, parameters, result any) error {
	return b.driver.call(commandTimeout, command, parameters, result)
}

// run starts a program that ends with the browser.
func (b *browser) run(env []string, pass *os.File, program string, args ...string) (*process, error) {
	p, err := start(b.dir, env, pass, program, args...)
	if err == nil {
		b.processes = append(b.processes, p)
	}
	return p, err
}

// session begins the WebDriver session, once b.driver is there.
func (b *browser) session(capabilities any) error {
	var session struct {
		Capabilities struct {
			Version string `json:"browserVersion"`
		} `json:"capabilities"`
	}
	if err := b.call("NewSession", capabilities, &session); err != nil {
		return err
	}
	b.version = session.Capabilities.Version
	return b.call("SetTimeouts", object{
		"pageLoad": pageLoadTimeout.Milliseconds(),
		"script":   scriptTimeout.Milliseconds(),
	}, nil)
}

// Version is what to write beside a measurement.
func (b *browser) Version() string { return b.engine.name + " " + b.version }

// URL is of the tab that commands go to.
func (b *browser) URL() (url string, err error) {
	err = b.call("GetCurrentURL", object{}, &url)
	return
}

// Eval runs the body of a function in the page and decodes what it returns, if
// it is a promise what that becomes, into result (nil: of no interest).
// arguments[0] is the first of args.
func (b *browser) Eval(script string, result any, args ...any) error {
	if args == nil {
		args = []any{}
	}
	return b.call("ExecuteScript", object{"script": script, "args": args}, result)
}

// Until runs a script as Eval does, again and again, until it returns true. It
// is for what happens after a click, which may be in another page.
func (b *browser) Until(script string, args ...any) error {
	if args == nil {
		args = []any{}
	}
	var failed error
	for end := time.Now().Add(pageLoadTimeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var done bool
		failed = b.driver.call(b.attempt, "ExecuteScript", object{"script": script, "args": args}, &done)
		if failed == nil && done {
			return nil
		}
	}
	url, _ := b.URL()
	return errors.Join(fmt.Errorf("at %s: not true after %v: %s", url, pageLoadTimeout, script), failed)
}

// Tab is the handle of the tab that commands go to.
func (b *browser) Tab() (handle string, err error) {
	err = b.call("GetWindowHandle", object{}, &handle)
	return
}

// NewTab opens a tab, and leaves it to [browser.Switch] to go there.
func (b *browser) NewTab() (string, error) {
	var tab struct {
		Handle string `json:"handle"`
	}
	err := b.call("NewWindow", object{"type": b.tab}, &tab)
	return tab.Handle, err
}

// Switch brings a tab to the front.
func (b *browser) Switch(handle string) error {
	return b.call("SwitchToWindow", object{"handle": handle}, nil)
}

// CloseTab closes this tab. Switch to another one after it.
func (b *browser) CloseTab() error { return b.call("CloseWindow", object{}, nil) }

// Resize sets the size of the window, its frame included.
func (b *browser) Resize(width, height int) error {
	return b.call("SetWindowRect", object{"width": width, "height": height}, nil)
}

// Screenshot is a PNG of what the tab shows. It returns errCannot in WebKit,
// which waits for the next frame, and a page at rest has none.
func (b *browser) Screenshot() (png []byte, err error) {
	if b.engine == webkit {
		return nil, errCannot
	}
	err = b.call("TakeScreenshot", object{"full": false}, &png)
	return
}

// Quit ends what launch has started and deletes the profile.
func (b *browser) Quit() error {
	if b.driver != nil {
		b.driver.close()
	}
	var failed []error
	for _, p := range slices.Backward(b.processes) {
		failed = append(failed, p.stop())
	}
	return errors.Join(append(failed, remove(b.dir))...)
}

// driverError is an error that the browser's driver answered with.
type driverError struct {
	Code    string `json:"error"`
	Message string `json:"message"`
}

func (e *driverError) Error() string {
	message, _, _ := strings.Cut(e.Message, "\n") // what follows is a stack
	return e.Code + ": " + message
}

func decode(value json.RawMessage, result any) error {
	if result == nil {
		return nil
	}
	return json.Unmarshal(value, result)
}
