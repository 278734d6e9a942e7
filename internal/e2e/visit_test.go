package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// A visit is one user's journey through the application, in one browser and with one
// protection. Its methods panic with a visitFailure if a step fails.
type visit struct {
	*testing.T
	*browser
	proxy      *testProxy
	protection protection
	first      string // the tab in which it began
}

const (
	secret = "Ada Lovelace" // appears on all of ada's pages, and on no others
	blank  = "/e2e/blank"
)

var passwords = map[string]string{"ada": "analytical-engine", "grace": "nanoseconds-matter"}

// visitFailure is the panic value of a failed step. failWithVisit and measureCell recover it.
type visitFailure struct{ error }

// failWithVisit is deferred, and fails the test if a step of a visit has failed.
func failWithVisit(t *testing.T) {
	switch p := recover().(type) {
	case nil:
	case visitFailure:
		t.Fatal(p.error)
	default:
		panic(p)
	}
}

func (v *visit) must(err error) {
	if err != nil {
		panic(visitFailure{err})
	}
}

func (v *visit) fail(format string, args ...any) { v.must(fmt.Errorf(format, args...)) }

// begin clears the traces of earlier visits.
func (v *visit) begin() {
	v.must(v.Open(v.proxy.URL + blank))
	v.must(v.Eval("localStorage.clear(); localStorage.secret = arguments[0]", nil, secret))
	var err error
	v.first, err = v.Tab()
	v.must(err)
}

// complete begins the visit, takes its steps, and ends it. A step that fails fails the test.
func (v *visit) complete(steps func(v *visit)) {
	defer failWithVisit(v.T)
	v.begin()
	steps(v)
	v.must(v.end())
}

// end leaves the browser with a single, empty tab.
func (v *visit) end() error {
	tabs, err := v.tabHandles()
	if err != nil {
		return err
	}
	keep := v.first
	if !slices.Contains(tabs, keep) { // it was closed, and reopened under another handle
		keep = tabs[0]
	}
	for _, tab := range tabs {
		if tab != keep {
			if err := v.Switch(tab); err != nil {
				return err
			}
			if err := v.CloseTab(); err != nil {
				return err
			}
		}
	}
	if err := v.Switch(keep); err != nil {
		return err
	}
	return v.Open("about:blank")
}

// waitForPage waits until the page at path is loaded.
func (v *visit) waitForPage(path string) { v.must(v.Until(pageLoaded, path)) }

// waitFor waits until happened returns true, for events outside the browser.
func (v *visit) waitFor(what string, timeout time.Duration, happened func() bool) {
	for end := time.Now().Add(timeout); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			at, _ := v.URL()
			v.fail("%s: timeout after %v: at %s, requests %v", what, timeout, at, v.proxy.Requests())
		}
	}
}

// runAsync runs a script that leaves the page, after which the page may not respond.
func (v *visit) runAsync(script string, args ...any) {
	waitForBFCache(v.browser)
	v.must(v.Eval("const args = arguments; setTimeout(() => {"+strings.ReplaceAll(script, "arguments", "args")+"})", nil, args...))
}

func (v *visit) open(path string) {
	v.must(v.Open(v.proxy.URL + path))
	v.waitForPage(path)
}

// followLink goes to path by a link. In WebKit it uses a real click, because there Back
// skips pages that were left without a user's action.
func (v *visit) followLink(path string) {
	const link = `const link = document.createElement("a")
		Object.assign(link, { href: arguments[0], textContent: "go on" })
		Object.assign(link.style, { position: "fixed", inset: "0", zIndex: "9" })
		document.body.append(link)`
	if v.engine == webkit {
		v.must(v.Eval(link, nil, path))
		v.must(v.Click(100, 100))
	} else {
		v.runAsync(link+"; link.click()", path)
	}
	v.waitForPage(path)
}

func (v *visit) back() {
	waitForBFCache(v.browser)
	v.must(v.Back())
}

// login logs ada in and opens her page.
func (v *visit) login() {
	v.must(v.Eval(`return fetch("/login", { method: "POST", redirect: "manual",
		body: new URLSearchParams({ username: "ada", password: arguments[0] }) }).then(() => null)`, nil, passwords["ada"]))
	v.open("/home")
}

// loginByForm logs ada in through the form, like a user. Chromium does not count the
// cookie that this sets as a change.
func (v *visit) loginByForm() {
	v.open("/login")
	v.must(v.Eval(`document.querySelector("#username").value = "ada"
		document.querySelector("#password").value = arguments[0]`, nil, passwords["ada"]))
	v.runAsync(`document.querySelector("main form button").click()`)
	v.waitForPage("/home")
}

// loginAs logs another user in, in the same browser.
func (v *visit) loginAs(name string) {
	v.submitForm("/login", "username", name, "password", passwords[name])
	v.waitForPage("/home")
}

// logout clicks the logout button.
func (v *visit) logout() {
	v.runAsync(`document.querySelector("form.logout button").click()`)
	v.waitForPage("/")
}

// logoutByFetch logs out without leaving the page.
func (v *visit) logoutByFetch() {
	v.must(v.Eval(`return fetch("/logout", { method: "POST" }).then(() => null)`, nil))
}

// submitForm submits a form from the current page. fields are name, value, name, value…
func (v *visit) submitForm(path string, fields ...string) {
	v.runAsync(`const form = document.createElement("form")
		Object.assign(form, { method: "post", action: arguments[0] })
		for (let i = 0; i < arguments[1].length; i += 2) {
			const input = document.createElement("input")
			Object.assign(input, { type: "hidden", name: arguments[1][i], value: arguments[1][i + 1] })
			form.append(input)
		}
		document.body.append(form)
		form.submit()`, path, fields)
}

// newTab opens path in a new tab and switches to it.
func (v *visit) newTab(path string) {
	handle, err := v.NewTab()
	v.must(err)
	v.must(v.Switch(handle))
	v.open(path)
}

// startWatching makes the sampler count every frame that shows the secret from now on,
// and forgets the recorded requests.
func (v *visit) startWatching() {
	v.proxy.ResetRequests()
	v.must(v.Eval("localStorage.watch = 'on'; dispatchEvent(new Event('watch'))", nil))
}

// outcome is what the sampler saw since startWatching.
type outcome struct {
	leaked    bool
	persisted bool // whether a page came out of the back/forward cache
	samplerResult
}

func (v *visit) outcome() (o outcome) {
	if v.protection != whole {
		// A restored page is visible at once. An error from the script is ignored,
		// because the browser's own error pages have no localStorage.
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			var leaked bool
			if v.driver.call(v.attemptTimeout, "ExecuteScript", object{"script": "return Number(localStorage.leaked ?? 0) > 0", "args": []any{}}, &leaked) == nil && leaked {
				break
			}
		}
	}
	v.proxy.SetOutage(false)
	v.must(v.Open(v.proxy.URL + blank))
	v.waitForPage(blank)
	o.samplerResult = readSampler(v.T, v.browser)
	o.leaked = o.Leaked > 0
	for _, show := range o.Shows {
		o.persisted = o.persisted || show.Persisted && show.Path != blank
	}
	return o
}

// requireNoPageServed fails if the server sent one of ada's pages since startWatching.
func (v *visit) requireNoPageServed() {
	for _, r := range v.proxy.Requests() {
		switch path, _, _ := strings.Cut(r.Path, "?"); path {
		case "/home", "/account", "/account/password":
			if r.Status == http.StatusOK || r.Status == http.StatusUnprocessableEntity {
				v.fail("the server sent %s", r.Path)
			}
		}
	}
}

// dialogContains is a condition: the guard script's dialog is open and contains a text.
const dialogContains = `const dialog = document.querySelector("sessionguard-dialog")?.shadowRoot.querySelector("dialog")
	return Boolean(dialog?.open && dialog.textContent.includes(arguments[0]))`

// dialogClosed is a condition: the guard script's dialog is not open.
const dialogClosed = `return !document.querySelector("sessionguard-dialog")?.shadowRoot.querySelector("dialog").open`
