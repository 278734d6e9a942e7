package e2e

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// clobberable returns the names of everything that a page's markup could replace: elements
// have precedence over the properties of document, and over those of window that
// EventTarget or Object has. It leaves out what the drivers and these tests need.
func clobberable(t *testing.T, b *browser) (names []string) {
	t.Helper()
	must(t, b.Open("about:blank"))
	must(t, b.Eval(`const names = new Set(["style", "constructor"]);
		for (const object of [document, window])
			for (let p = Object.getPrototypeOf(object); p; p = Object.getPrototypeOf(p))
				for (const name of Object.getOwnPropertyNames(p)) names.add(name);
		return [...names]`, &names))
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.Contains([]string{"readyState", "hasFocus", "defaultView"}, name)
	})
	for _, read := range []string{"body", "adoptedStyleSheets", "currentScript", "title", "activeElement", "createElement", "addEventListener"} {
		if !slices.Contains(names, read) {
			t.Fatalf("%q is missing among %q", read, names)
		}
	}
	return names
}

// elements returns markup for every name.
func elements(names []string, format string) string {
	var markup strings.Builder
	for _, name := range names {
		markup.WriteString(strings.ReplaceAll(format, "NAME", name))
	}
	return markup.String()
}

// These conditions are those of script_test.go and visit_test.go on a page whose document
// is clobbered.
const (
	ownDocument = `const get = (name) => Reflect.get(Document.prototype, name, document)
		const root = get("documentElement"), dialog = root.querySelector("sessionguard-dialog")?.shadowRoot.querySelector("dialog")
		`
	clobberedSecretVisible  = ownDocument + `return root.innerText.includes("the secret")`
	clobberedSecretHidden   = ownDocument + `return !root.innerText.includes("the secret")`
	clobberedDialogContains = ownDocument + `return Boolean(dialog?.open && dialog.textContent.includes(arguments[0]))`
	clobberedDialogClosed   = ownDocument + `return !dialog?.open && get("title") === "Secret"`
)

// C3: what users may write into a page, without scripts, does not stop the script ("DOM
// clobbering").
func TestMarkupCannotStopScript(t *testing.T) {
	const page = `<p>the secret</p><form tabindex="0" id="f"><input name="focus"></form>
		<a href="/e2e/blank" style="position: fixed; inset: 0; z-index: 9">go on</a>`
	forEachEngine(t, func(t *testing.T, b *browser) {
		names := clobberable(t, b)
		for kind, markup := range map[string]string{
			"images":      elements(names, `<img name="NAME" id="NAME">`),
			"collections": elements(names, `<img name="NAME" id="NAME"><embed name="NAME" id="NAME">`),
			"forms":       elements(names, `<form name="NAME" id="NAME"><input name="style"><input name="replaceChildren"><input name="call"></form>`),
			"frames":      elements([]string{"body", "adoptedStyleSheets", "title", "createElement", "addEventListener", "documentElement"}, `<iframe name="NAME"></iframe>`),
		} {
			for place, body := range map[string]string{
				"script in the head":      "<body>" + markup + page,
				"script after the markup": "<body>" + markup + "{script}" + page,
			} {
				t.Run(kind+", "+place, func(t *testing.T) { testHostilePage(t, b, body) })
			}
		}
	})
}

// testHostilePage checks that the script hides the page and shows it again, and that Back
// does not bring it back after the end of the session.
func testHostilePage(t *testing.T, b *browser, page string) {
	v, app := openPage(t, b, 2, scriptAttributes(2, ""), page)
	must(t, b.Eval(`localStorage.secret = "the secret"`, nil))
	must(t, b.Until(clobberedSecretVisible))
	must(t, b.Eval(`HTMLElement.prototype.focus.call(Document.prototype.querySelector.call(document, "#f"))`, nil))
	app.update(func() { app.down = true })
	must(t, b.Until(clobberedSecretHidden))
	must(t, b.Until(clobberedDialogContains, "hidden until the server confirms"))
	app.update(func() { app.down = false; app.endsAt = time.Now().Add(time.Hour) })
	must(t, b.Press("Enter")) // "Try again"
	must(t, b.Until(clobberedSecretVisible))
	must(t, b.Until(clobberedDialogClosed))

	for range 3 { // a browser may discard a page that it could have cached
		waitForBFCache(b)
		must(t, b.Click(100, 100))
		must(t, b.Until(pageLoaded, blank))
		app.update(func() { app.endsAt = time.Time{} })
		v.startWatching()
		v.back()
		r := readSampler(t, b)
		if r.persisted("/page") {
			must(t, b.Until(pageLoaded, "/login"))
			if r = readSampler(t, b); r.Leaked > 0 {
				t.Errorf("Back showed the secret in %d frames", r.Leaked)
			}
			return
		}
		app.update(func() { app.endsAt = time.Now().Add(time.Hour) })
		must(t, b.Open(v.proxy.URL+"/page"))
		must(t, b.Until(pageLoaded, "/page"))
	}
	t.Error("the page never came out of the back/forward cache")
}

// C3: nor does it lead the script to another server.
func TestMarkupCannotLeadScriptElsewhere(t *testing.T) {
	evil := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another server was asked for %s %s", r.Method, r.URL)
	}))
	defer evil.Close()
	forEachEngine(t, func(t *testing.T, b *browser) {
		for name, page := range map[string]string{
			"image":                `<body><img name="currentScript" src="EVIL/sessionguard/guard.js">{script}the secret`,
			"form":                 `<body><form name="currentScript"><input name="src" value="EVIL/"></form>{script}the secret`,
			"base":                 `<body>{script}<base href="EVIL/" target="_blank">the secret`,
			"base, script in head": `<body><base href="EVIL/" target="evil">the secret`,
		} {
			t.Run(name, func(t *testing.T) {
				page = strings.ReplaceAll(page, "EVIL", evil.URL)
				v, app := openPage(t, b, 9, scriptAttributes(9, `data-logout="/logout"`), page)
				if strings.HasPrefix(name, "base") {
					must(t, b.Until(dialogContains, "Log out"))
					must(t, b.Eval(`const dialog = document.querySelector("sessionguard-dialog").shadowRoot.querySelector("dialog")
						setTimeout(() => dialog.querySelectorAll("button")[1].click())`, nil))
					must(t, b.Until(pageLoaded, "/login"))
					if !v.proxy.Requested("/logout") {
						t.Errorf("not logged out by %v", v.proxy.Requests())
					}
					must(t, b.Open(v.proxy.URL+"/page"))
				}
				app.update(func() { app.endsAt = time.Time{} })
				must(t, b.Eval(`document.dispatchEvent(new Event("sessionguard:check"))`, nil))
				must(t, b.Until(`return location.pathname === "/login" && location.origin === arguments[0]`, v.proxy.URL))
			})
		}
	})
}

// C3: a script that cannot hide the page leaves it.
func TestScriptThatFailsLeavesPage(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		openPage(t, b, 2, scriptAttributes(2, ""), `<body>the secret`)
		must(t, b.Eval(`Object.defineProperty(Document.prototype, "adoptedStyleSheets", { get() { throw new Error("broken") } })`, nil))
		must(t, b.Until(pageLoaded, "/login"))
	})
}

// C3: every form that may have logged out takes the other tabs along, although it leads to
// a page without the script.
func TestEveryFormTakesOtherTabsAlong(t *testing.T) {
	forms := map[string]struct{ form, submit string }{
		"button":                 {`<form method="post" action="/logout"><button>Out</button></form>`, `form.querySelector("button").click()`},
		"method in capitals":     {`<form method="POST" action="/logout"><button>Out</button></form>`, `form.querySelector("button").click()`},
		"formmethod":             {`<form><button formmethod="post" formaction="/logout">Out</button></form>`, `form.querySelector("button").click()`},
		"formmethod of an input": {`<form method="get" action="/logout"><input type="submit" formmethod="post"></form>`, `form.querySelector("input").click()`},
		"button outside":         {`<form id="f"></form><button form="f" formmethod="post" formaction="/logout">Out</button>`, `document.querySelector("button").click()`},
		"requestSubmit":          {`<form method="post" action="/logout"></form>`, `form.requestSubmit()`},
		"submit":                 {`<form method="post" action="/logout"></form>`, `form.submit()`},
		"submit, and a field":    {`<form method="post" action="/logout"><input name="submit"></form>`, `HTMLFormElement.prototype.submit.call(form)`},
		"shadow tree": {`<div id="host"><template shadowrootmode="open"><form method="post" action="/logout"><button>Out</button></form></template></div>`,
			`document.querySelector("#host").shadowRoot.querySelector("button").click()`},
		"shadow tree, submit": {`<div id="host"><template shadowrootmode="open"><form method="post" action="/logout"></form></template></div>`,
			`document.querySelector("#host").shadowRoot.querySelector("form").submit()`},
		"field called getAttribute": {`<form method="post" action="/logout"><input name="getAttribute"><input name="method"><button>Out</button></form>`,
			`form.querySelector("button").click()`},
	}
	forEachEngine(t, func(t *testing.T, b *browser) {
		for name, form := range forms {
			t.Run(name, func(t *testing.T) {
				v, _ := openPage(t, b, 600, scriptAttributes(600, `data-poll="0"`), "<body>the secret"+form.form)
				first, err := b.Tab()
				must(t, err)
				v.first = first
				v.newTab("/other")
				must(t, b.Eval(`const form = document.querySelector("form"); setTimeout(() => { `+form.submit+` })`, nil))
				must(t, b.Until(pageLoaded, "/login"))
				must(t, b.Switch(first))
				left := b.Until(pageLoaded, "/login")
				must(t, v.end())
				must(t, left)
			})
		}
	})
}
