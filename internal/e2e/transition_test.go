package e2e

import (
	"slices"
	"testing"
	"time"
)

// slowTransition makes the view transition to a page, and within it, last for ever.
const slowTransition = `<style>@view-transition { navigation: auto }
	@keyframes never { to { color: red } }
	::view-transition-group(*), ::view-transition-old(*), ::view-transition-new(*) { animation: never 9999s !important }</style>`

// pictured reports whether a view transition shows pictures of the page.
const pictured = `document.getAnimations().some((animation) => animation.effect.pseudoElement?.startsWith("::view-transition"))`

// forEachTransition leaves out WebKitGTK, which crashes in a view transition when it draws
// without a GPU (2.50).
func forEachTransition(t *testing.T, test func(t *testing.T, b *browser)) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		if b.engine != webkit {
			test(t, b)
		}
	})
}

// C3: a view transition does not keep a picture of a hidden page on the screen.
func TestViewTransitionCannotShowHiddenPage(t *testing.T) {
	forEachTransition(t, func(t *testing.T, b *browser) {
		_, app := openPage(t, b, 3, scriptAttributes(3, ""), `<body>the secret`+slowTransition)
		const start = `document.startViewTransition(() => {}).ready.catch(() => {})`
		must(t, b.Eval(start, nil))
		must(t, b.Until("return "+pictured))
		app.update(func() { app.down = true })
		must(t, b.Until(secretHidden))
		must(t, b.Until("return !"+pictured))
	})
}

// C3: nor does it show one on the page after the logout.
func TestViewTransitionShowsNothingAfterLogout(t *testing.T) {
	const page = `<body>the secret` + slowTransition + `<form method="post" action="/logout"></form>
		<a style="position: fixed; inset: 0">go on</a>`
	forEachTransition(t, func(t *testing.T, b *browser) {
		for name, leave := range map[string]struct{ link, script string }{
			"form":                     {script: `document.querySelector("form").submit()`},
			"logout by fetch":          {script: `fetch("/logout", { method: "POST" }).then(() => location = "/login")`},
			"link, after a silent end": {link: "/gated"},
			"the script leaves":        {script: `fetch("/logout", { method: "POST" }).then(() => document.dispatchEvent(new Event("sessionguard:check")))`},
		} {
			t.Run(name, func(t *testing.T) {
				v, app := openPage(t, b, 600, scriptAttributes(600, ""), page)
				app.update(func() { app.login = slowTransition })
				if leave.link != "" {
					must(t, b.Eval(`document.querySelector("a").href = arguments[0]`, nil, leave.link))
					must(t, b.Click(100, 100))
				} else {
					v.runAsync(leave.script)
				}
				must(t, b.Until(pageLoaded, "/login"))
				var shown bool
				must(t, b.Eval("return new Promise((r) => requestAnimationFrame(() => r("+pictured+")))", &shown))
				if shown {
					t.Error("a picture of the page is on the next one")
				}
			})
		}
	})
}

// Links within the application keep their view transitions.
func TestViewTransitionOfLinksRemains(t *testing.T) {
	forEachTransition(t, func(t *testing.T, b *browser) {
		if b.engine == firefox {
			return // 153 has none between documents
		}
		attempts := 0
		for !showsTransitionOfLink(t, b) { // a busy browser may skip it
			if attempts++; attempts == 5 {
				t.Fatal("no picture of the page was ever on the next one")
			}
		}
	})
}

// showsTransitionOfLink goes to another page by a link. It reports whether a picture of the
// page is on the next one.
func showsTransitionOfLink(t *testing.T, b *browser) (shown bool) {
	openPage(t, b, 600, scriptAttributes(600, ""), `<body>the secret`+slowTransition+`<a style="position: fixed; inset: 0" href="/other">go on</a>`)
	must(t, b.Click(100, 100))
	must(t, b.Until(pageLoaded, "/other"))
	for end := time.Now().Add(3 * time.Second); !shown && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		must(t, b.Eval("return "+pictured, &shown))
	}
	return shown
}

// C3: a page that was prerendered while the session lived is not shown after its end.
func TestPrerenderedPageIsNotShownAfterEnd(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		if b.engine != chromium {
			return // the others do not prerender
		}
		for _, ended := range []bool{false, true} {
			attempts := 0
			for !showsPrerenderedPage(t, b, ended) { // the browser may discard it
				if attempts++; attempts == 5 {
					t.Fatal("the page was loaded again every time")
				}
			}
		}
	})
}

// showsPrerenderedPage goes to a prerendered page, whose session may have ended meanwhile.
// It reports whether that was the prerendered one, and not loaded again.
func showsPrerenderedPage(t *testing.T, b *browser, ended bool) bool {
	v, app := openPage(t, b, 600, scriptAttributes(600, ""), `<body>the secret`)
	must(t, b.Eval(`localStorage.secret = "the secret"`, nil))
	app.update(func() {
		app.login = `<a href="/page" style="position: fixed; inset: 0">go on</a><script type="speculationrules">
			{"prerender": [{"source": "list", "urls": ["/page"], "eagerness": "immediate"}]}</script>`
	})
	must(t, b.Eval(`localStorage.removeItem("shows")`, nil))
	must(t, b.Open(v.proxy.URL+"/login"))
	prerendered := func() bool { return slices.Contains(readSampler(t, b).Shows, pageShow{"/page", false}) }
	for end := time.Now().Add(3 * time.Second); !prerendered(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	app.update(func() {
		app.login = "" // it would prerender the page again
		if ended {
			app.session = "b"
		}
	})
	v.startWatching()
	must(t, b.Click(100, 100))
	must(t, b.Until(`return !document.querySelector("a")`))
	if v.proxy.Requested("/page") {
		return false
	}
	v.waitFor("request for the status", pageLoadTimeout, func() bool { return v.proxy.Requested("/sessionguard/status") })
	if !ended {
		must(t, b.Until(secretVisible))
		return true
	}
	must(t, b.Until(pageLoaded, "/login"))
	if r := readSampler(t, b); r.Leaked > 0 {
		t.Errorf("the secret was visible in %d frames", r.Leaked)
	}
	return true
}
