package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// A visit is one person's way through the application, in one browser, under
// one protection. What goes wrong on it stops it.
type visit struct {
	*testing.T
	*browser
	front      *front
	protection protection
	first      string // the tab that it began in
	saw        []seen // what the server was asked for since watch
}

const (
	secret = "Ada Lovelace" // is on every page that ada sees, and on no other
	blank  = "/e2e/blank"
)

var passwords = map[string]string{"ada": "analytical-engine", "grace": "nanoseconds-matter"}

// stopped is what a visit panics with, and outcome recovers.
type stopped struct{ error }

func (v *visit) must(err error) {
	if err != nil {
		panic(stopped{err})
	}
}

func (v *visit) fail(format string, args ...any) { v.must(fmt.Errorf(format, args...)) }

// begin forgets earlier visits.
func (v *visit) begin() {
	v.must(v.Open(v.front.URL + blank))
	v.must(v.Eval("localStorage.clear(); localStorage.secret = arguments[0]", nil, secret))
	var err error
	v.first, err = v.Tab()
	v.must(err)
}

// end leaves the browser with one tab and nothing in it.
func (v *visit) end() error {
	tabs, err := v.tabs()
	if err != nil {
		return err
	}
	keep := v.first
	if !slices.Contains(tabs, keep) { // it was closed and came back as another
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

// at waits until a page is loaded.
func (v *visit) at(path string) { v.must(v.Until(arrived, path)) }

// until waits for something outside the browser.
func (v *visit) until(what string, within time.Duration, happened func() bool) {
	for end := time.Now().Add(within); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			at, _ := v.URL()
			v.fail("%s: not within %v: at %s, and the server saw %v", what, within, at, v.front.Seen())
		}
	}
}

// do runs a script that leaves the page, which may not answer any more.
func (v *visit) do(script string, args ...any) {
	settle(v.browser)
	v.must(v.Eval("const args = arguments; setTimeout(() => {"+strings.ReplaceAll(script, "arguments", "args")+"})", nil, args...))
}

func (v *visit) open(path string) {
	v.must(v.Open(v.front.URL + path))
	v.at(path)
}

// leave goes on by a link. WebKit skips a page on Back that was left without a
// person's doing, so there it is a real click.
func (v *visit) leave(path string) {
	const link = `const link = document.createElement("a")
		Object.assign(link, { href: arguments[0], textContent: "go on" })
		Object.assign(link.style, { position: "fixed", inset: "0", zIndex: "9" })
		document.body.append(link)`
	if v.engine == webkit {
		v.must(v.Eval(link, nil, path))
		v.must(v.Click(100, 100))
	} else {
		v.do(link+"; link.click()", path)
	}
	v.at(path)
}

func (v *visit) back() {
	settle(v.browser)
	v.must(v.Back())
}

// login logs ada in, and shows her page.
func (v *visit) login() {
	v.must(v.Eval(`return fetch("/login", { method: "POST", redirect: "manual",
		body: new URLSearchParams({ username: "ada", password: arguments[0] }) }).then(() => null)`, nil, passwords["ada"]))
	v.open("/home")
}

// loginByForm does so as people do, which makes the cookie that Chromium does
// not count as a change.
func (v *visit) loginByForm() {
	v.open("/login")
	v.must(v.Eval(`document.querySelector("#username").value = "ada"
		document.querySelector("#password").value = arguments[0]`, nil, passwords["ada"]))
	v.do(`document.querySelector("main form button").click()`)
	v.at("/home")
}

// loginAs is another person's login in the same browser.
func (v *visit) loginAs(name string) {
	v.post("/login", "username", name, "password", passwords[name])
	v.at("/home")
}

// logout clicks the button.
func (v *visit) logout() {
	v.do(`document.querySelector("form.logout button").click()`)
	v.at("/")
}

// logoutByFetch does it without leaving the page.
func (v *visit) logoutByFetch() {
	v.must(v.Eval(`return fetch("/logout", { method: "POST" }).then(() => null)`, nil))
}

// post sends a form from this page: name, value, name, value…
func (v *visit) post(path string, fields ...string) {
	v.do(`const form = document.createElement("form")
		Object.assign(form, { method: "post", action: arguments[0] })
		for (let i = 0; i < arguments[1].length; i += 2) {
			const input = document.createElement("input")
			Object.assign(input, { type: "hidden", name: arguments[1][i], value: arguments[1][i + 1] })
			form.append(input)
		}
		document.body.append(form)
		form.submit()`, path, fields)
}

// newTab opens another tab and goes there.
func (v *visit) newTab(path string) {
	handle, err := v.NewTab()
	v.must(err)
	v.must(v.Switch(handle))
	v.open(path)
}

// watch says that from now on nobody may see the secret, and forgets what the
// server was asked for.
func (v *visit) watch() {
	v.front.Reset()
	v.must(v.Eval("localStorage.watch = 'on'; dispatchEvent(new Event('watch'))", nil))
}

// outcome is what the sampler saw since watch.
type outcome struct {
	leaked    bool
	persisted bool // a page came out of the back/forward cache
	result
}

func (v *visit) outcome() (o outcome) {
	if v.protection != whole {
		// A page that comes back is there at once. Error pages of the
		// browser have no storage to look into.
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			var leaked bool
			if v.driver.call(v.attempt, "ExecuteScript", object{"script": "return Number(localStorage.leaked ?? 0) > 0", "args": []any{}}, &leaked) == nil && leaked {
				break
			}
		}
	}
	v.saw = v.front.Seen()
	v.front.Outage(false)
	v.must(v.Open(v.front.URL + blank))
	v.at(blank)
	o.result = sampled(v.T, v.browser)
	o.leaked = o.Leaked > 0
	for _, show := range o.Shows {
		o.persisted = o.persisted || show.Persisted && show.Path != blank
	}
	return o
}

// gaveNothing fails if the server has given out a page of ada's since watch.
func (v *visit) gaveNothing() {
	for _, s := range v.front.Seen() {
		switch path, _, _ := strings.Cut(s.Path, "?"); path {
		case "/home", "/account", "/account/password":
			if s.Status == http.StatusOK || s.Status == http.StatusUnprocessableEntity {
				v.fail("the server gave out %s", s.Path)
			}
		}
	}
}

// dialogIs is a condition on the guard script's dialog and its text.
const dialogSays = `const dialog = document.querySelector("sessionguard-dialog")?.shadowRoot.querySelector("dialog")
	return Boolean(dialog?.open && dialog.textContent.includes(arguments[0]))`

const noDialog = `return !document.querySelector("sessionguard-dialog")?.shadowRoot.querySelector("dialog").open`
