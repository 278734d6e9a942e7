package e2e

import (
	"os"
	"strings"
	"testing"
)

// requireLibraries skips the test if the libraries are not installed. With CI set it fails
// the test instead.
func requireLibraries(t *testing.T) {
	t.Helper()
	for _, l := range libraries {
		if _, err := os.Stat(l.path()); err != nil {
			message := l.name + " is not installed: npm ci --ignore-scripts --prefix internal/e2e/testdata"
			if os.Getenv("CI") != "" {
				t.Fatal(message)
			}
			t.Skip(message)
		}
	}
}

// libraryFlows are the flows in which a library shows the pages. Their names begin with the
// library's. Those are left out that leak nothing without protection either: after a form
// Turbo drops all copies of pages, and htmx 4 has none.
var libraryFlows = []flow{
	{"Turbo: an administrator ends the session, a link, Back", defaultArgs, endedWithin(turbo), endsAtLogin("/account", "deactivated")},
	{"Turbo: another tab logs out, Back", defaultArgs, loggedOutElsewhere(turbo), nil},
	{"htmx 2: login as another, Back", defaultArgs, func(v *visit) {
		v.loginByForm()
		v.visitLink(htmx2, "/account")
		v.loginByLibrary(htmx2, "grace")
		v.startWatching()
		v.back()
	}, nil},
	{"htmx 2: another tab logs out, Back", defaultArgs, loggedOutElsewhere(htmx2), nil},
	{"htmx 4: logout, Back", defaultArgs, func(v *visit) {
		v.loginByForm()
		v.visitLink(htmx4, "/account")
		v.logout()
		v.startWatching()
		v.back()
	}, endsAtLogin("/account", "")},
	{"htmx 4: an administrator ends the session, a link, Back", defaultArgs, endedWithin(htmx4), endsAtLogin("/account", "deactivated")},
	{"htmx 4: another tab logs out, Back", defaultArgs, loggedOutElsewhere(htmx4), nil},
}

func endedWithin(l *library) func(v *visit) {
	return func(v *visit) {
		v.loginByForm()
		v.visitLink(l, "/account")
		v.deactivate()
		v.visitLinkTo(l, "/home", "/login")
		v.startWatching()
		v.back()
	}
}

func loggedOutElsewhere(l *library) func(v *visit) {
	return func(v *visit) {
		v.loginByForm()
		v.visitLink(l, "/account")
		v.newTab("/home")
		v.logout()
		v.waitForOtherTab()
		v.startWatching()
		v.must(v.Switch(v.first))
		v.back()
	}
}

// library returns the library of the flow. nil: none
func (f flow) library() *library {
	for _, l := range libraries {
		if strings.HasPrefix(f.name, l.name+": ") {
			return l
		}
	}
	return nil
}

// visitLink goes to path by a link that the library follows.
func (v *visit) visitLink(l *library, path string) { v.visitLinkTo(l, path, path) }

// visitLinkTo is visitLink for a link to path that leads to arrival.
func (v *visit) visitLinkTo(l *library, path, arrival string) {
	v.must(v.Eval(`const link = document.createElement("a")
		Object.assign(link, { href: arguments[0], textContent: "go on" })
		Object.assign(link.style, { position: "fixed", inset: "0", zIndex: "9" })
		document.body.append(link);`+l.follow, nil, path))
	v.must(v.Click(100, 100))
	v.waitForPage(arrival)
	v.must(v.Until(`return !Array.from(document.querySelectorAll("a")).some((link) => link.textContent === "go on")`))
}

// loginByLibrary logs another user in by a form that the library submits.
func (v *visit) loginByLibrary(l *library, name string) {
	v.runAsync(`const form = document.createElement("form"), link = form
		Object.assign(form, { method: "post", action: "/login" })
		form.innerHTML = '<input name="username"><input name="password">'
		form.elements.username.value = arguments[0]
		form.elements.password.value = arguments[1]
		document.body.append(form);
		`+l.follow+`
		form.requestSubmit()`, name, passwords[name])
	v.must(v.Until(pageLoaded, "/home"))
	v.must(v.Until(`return document.documentElement.innerText.includes("Grace Hopper")`))
}
