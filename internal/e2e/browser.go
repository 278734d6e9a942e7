// Package e2e drives real browsers through the example application. What a user sees
// after Back depends on the browser's history, its HTTP cache and its back/forward
// cache, which differ between engines.
//
// It requires Linux and Debian's packages of the browsers. It implements the W3C
// WebDriver protocol and Firefox's Marionette itself, because the usual libraries turn
// the back/forward cache off or hang on it.
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
	// launchTimeout is for a busy machine: only a failing test waits that long.
	launchTimeout   = time.Minute
	pageLoadTimeout = 10 * time.Second
	scriptTimeout   = 10 * time.Second
	// commandTimeout is longer than the timeouts that the browser enforces itself.
	commandTimeout = 20 * time.Second
)

// engine describes a browser engine, of which any number of browsers can be launched.
type engine struct {
	name string
	// packages lists the Debian packages that the engine needs.
	packages []requirement
	start    func(b *browser) error
}

// requirement is a Debian package and the program that it is needed for: a name, or a
// pattern that matches its path.
type requirement struct{ pkg, program string }

var engines = []*engine{chromium, firefox, webkit}

// missingPackages returns the required Debian packages that are not installed.
func (e *engine) missingPackages() []string {
	var packages []string
	for _, n := range e.packages {
		if findProgram(n.program) == "" {
			packages = append(packages, n.pkg)
		}
	}
	return packages
}

// launch starts a browser with a new, empty profile. If that fails it tries once more, because
// WebKit's driver has waited for a minute for the browser that it had started.
func (e *engine) launch(configure ...func(*browser)) (*browser, error) {
	if missing := e.missingPackages(); missing != nil {
		return nil, fmt.Errorf("%s is not installed: apt-get install --no-install-recommends %s", e.name, strings.Join(missing, " "))
	}
	b, err := e.tryToLaunch(configure)
	if err == nil {
		return b, nil
	}
	b, again := e.tryToLaunch(configure)
	if again != nil {
		return nil, errors.Join(err, again)
	}
	return b, nil
}

func (e *engine) tryToLaunch(configure []func(*browser)) (*browser, error) {
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return nil, err
	}
	b := &browser{engine: e, dir: dir, tabType: "tab", attemptTimeout: commandTimeout}
	for _, c := range configure {
		c(b)
	}
	if err := e.start(b); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", e.name, err), b.Quit())
	}
	return b, nil
}

// browser is one running browser. Its methods must not be called concurrently, but
// several browsers may run at once: each has its own profile, ports and display.
type browser struct {
	engine    *engine
	version   string
	driver    driver
	dir       string
	processes []*process // in the order in which they were started
	// thirdParty is the user's choice about third-party cookies: "allowed", "blocked", or "" if
	// there was none.
	thirdParty string
	// features are those of Chromium that are on besides its own choice.
	features string
	// driverWaits reports whether the driver itself waits until a page is loaded.
	driverWaits bool
	// attemptTimeout bounds each run of the script in Until.
	attemptTimeout time.Duration
	navigations    int    // the number begun by navigate
	tabType        string // what NewTab opens: a "tab", or a "window" where background tabs stay hidden
	// undoCloseTab reopens the tab that was closed last. It is nil if the engine cannot.
	undoCloseTab func() error
}

// driver sends W3C WebDriver commands, under Marionette's names for them. result may
// be nil.
type driver interface {
	call(timeout time.Duration, command string, parameters, result any) error
	close()
}

// object is a JSON object.
type object map[string]any

func (b *browser) call(command string, parameters, result any) error {
	return b.driver.call(commandTimeout, command, parameters, result)
}

// startProcess starts a program that Quit stops.
func (b *browser) startProcess(env []string, pass *os.File, program string, args ...string) (*process, error) {
	p, err := startProcess(b.dir, env, pass, program, args...)
	if err == nil {
		b.processes = append(b.processes, p)
	}
	return p, err
}

// beginSession begins the WebDriver session. b.driver must be set.
func (b *browser) beginSession(capabilities any) error {
	var session struct {
		Capabilities struct {
			Version string `json:"browserVersion"`
		} `json:"capabilities"`
	}
	if err := b.driver.call(launchTimeout, "NewSession", capabilities, &session); err != nil {
		return err
	}
	b.version = session.Capabilities.Version
	return b.call("SetTimeouts", object{
		"pageLoad": pageLoadTimeout.Milliseconds(),
		"script":   scriptTimeout.Milliseconds(),
	}, nil)
}

// Version returns the engine's name and version, to be quoted with a measurement.
func (b *browser) Version() string { return b.engine.name + " " + b.version }

// DevTools runs a command of Chromium's DevTools protocol in the current tab.
func (b *browser) DevTools(command string, parameters object, result any) error {
	if parameters == nil {
		parameters = object{}
	}
	return b.call("DevTools", object{"cmd": command, "params": parameters}, result)
}

// URL returns the URL of the current tab.
func (b *browser) URL() (url string, err error) {
	err = b.call("GetCurrentURL", object{}, &url)
	return
}

// Eval runs script in the page, as the body of a function whose arguments are args, and
// decodes the returned value into result unless that is nil. If the value is a promise,
// Eval waits for it.
func (b *browser) Eval(script string, result any, args ...any) error {
	if args == nil {
		args = []any{}
	}
	return b.call("ExecuteScript", object{"script": script, "args": args}, result)
}

// Until runs a script like Eval, repeatedly, until it returns true. The tab may change
// to another page meanwhile, for example after a click.
func (b *browser) Until(script string, args ...any) error {
	if args == nil {
		args = []any{}
	}
	var lastErr error
	for end := time.Now().Add(pageLoadTimeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var done bool
		lastErr = b.driver.call(b.attemptTimeout, "ExecuteScript", object{"script": script, "args": args}, &done)
		if lastErr == nil && done {
			return nil
		}
	}
	url, _ := b.URL()
	return errors.Join(fmt.Errorf("at %s: still not true after %v: %s", url, pageLoadTimeout, script), lastErr)
}

// Resize sets the size of the window, including its frame.
func (b *browser) Resize(width, height int) error {
	return b.call("SetWindowRect", object{"width": width, "height": height}, nil)
}

// Screenshot returns a PNG of the visible part of the page. It returns errUnsupported in
// WebKit, which waits for the next frame, and an idle page draws none.
func (b *browser) Screenshot() (png []byte, err error) {
	if b.engine == webkit {
		return nil, errUnsupported
	}
	err = b.call("TakeScreenshot", object{"full": false}, &png)
	return
}

// Restart closes the browser, as a user does, and starts it again with the same profile.
func (b *browser) Restart() error {
	_ = b.DevTools("Browser.close", nil, nil) // the driver loses the browser before it can answer
	program := b.processes[0]
	if _, err := program.await("its end", program.ended); err != nil {
		return err
	}
	b.driver.close()
	for _, p := range slices.Backward(b.processes) {
		if err := p.stop(); err != nil {
			return err
		}
	}
	b.processes = nil
	return b.engine.start(b)
}

// Quit stops everything that launch has started and deletes the profile.
func (b *browser) Quit() error {
	if b.driver != nil {
		b.driver.close()
	}
	var errs []error
	for _, p := range slices.Backward(b.processes) {
		errs = append(errs, p.stop())
	}
	return errors.Join(append(errs, removeDir(b.dir))...)
}

// driverError is an error reported by the browser's driver.
type driverError struct {
	Code    string `json:"error"`
	Message string `json:"message"`
}

func (e *driverError) Error() string {
	message, _, _ := strings.Cut(e.Message, "\n") // a stack trace follows
	return e.Code + ": " + message
}

func decodeResult(value json.RawMessage, result any) error {
	if result == nil {
		return nil
	}
	return json.Unmarshal(value, result)
}
