package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// libraryApplication is a fakeApplication whose login and logout are forms that redirect, and
// whose pages have the script in the head, in the body, or not at all.
type libraryApplication struct {
	fakeApplication
	visitor, inside libraryPage
	hold            chan struct{} // until it is closed, requests for the status have no response
}

type libraryPage struct{ head, body string }

func (p libraryPage) write(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><head><title>Page</title>%s</head><body>%s%s<div id="part"></div>`, p.head, p.body, body)
}

func (app *libraryApplication) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /visitor":
		app.visitor.write(w, `<form method="post" action="/enter"><button>Log in</button></form>`)
	case "POST /enter":
		app.update(func() { app.endsAt = time.Now().Add(app.idle) })
		http.Redirect(w, r, "/inside", http.StatusSeeOther)
	case "GET /inside", "GET /more":
		if app.ended() {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		app.inside.write(w, `the secret<form method="post" action="/quit"><button>Log out</button></form>`)
	case "POST /quit":
		app.update(func() { app.endsAt = time.Time{} })
		http.Redirect(w, r, "/public", http.StatusSeeOther)
	case "GET /public":
		libraryPage{}.write(w, "Nobody is logged in")
	case "GET /part":
		w.WriteHeader(http.StatusUnauthorized)
	case "GET /sessionguard/status":
		if app.hold != nil {
			<-app.hold
		}
		fallthrough
	default:
		app.fakeApplication.ServeHTTP(w, r)
	}
}

func (app *libraryApplication) ended() (ended bool) {
	app.update(func() { ended = time.Until(app.endsAt) <= 0 })
	return
}

// guardTag is a script element with the attributes that ScriptTag writes.
func guardTag(attributes string) string {
	return `<script src="/sessionguard/guard.js" ` + attributes + `></script>`
}

// forEachLibrary runs a test in every engine with every library.
func forEachLibrary(t *testing.T, test func(t *testing.T, v *visit, l *library, app *libraryApplication)) {
	requireLibraries(t)
	forEachEngine(t, func(t *testing.T, b *browser) {
		for _, l := range libraries {
			t.Run(l.name, func(t *testing.T) {
				app := &libraryApplication{fakeApplication: fakeApplication{session: "a", idle: time.Hour}}
				proxy, _ := serveThroughProxy(t, whole, app.ServeHTTP)
				proxy.library = l
				v := &visit{T: t, browser: b, proxy: proxy, protection: whole}
				v.begin()
				must(t, b.Eval(`localStorage.secret = "the secret"; sessionStorage.clear()`, nil))
				app.inside = libraryPage{head: guardTag(scriptAttributes(3600, `data-poll="0"`))}
				if l != turbo { // htmx leaves out the head
					app.inside = libraryPage{body: app.inside.head}
				}
				test(t, v, l, app)
				must(t, v.end())
			})
		}
	})
}

// C3: a page that comes by a login without loading a document is taken away when its session
// is no longer the live one, like any other.
func TestPageThatComesByALibraryIsTakenAway(t *testing.T) {
	const inside, visitor = `data-session="a" data-idle-seconds="3600" data-absolute-seconds="3600"`, `data-session=""`
	forEachLibrary(t, func(t *testing.T, v *visit, l *library, app *libraryApplication) {
		for name, pages := range map[string][2]libraryPage{
			"script in the heads":    {{head: guardTag(visitor)}, {head: guardTag(inside)}},
			"script in the bodies":   {{body: guardTag(visitor)}, {body: guardTag(inside)}},
			"script in the last one": {{}, {body: guardTag(inside)}},
			"static pages":           {{head: guardTag("")}, {head: guardTag("")}},
		} {
			t.Run(name, func(t *testing.T) {
				app.update(func() { app.session, app.endsAt = "a", time.Time{} })
				app.visitor, app.inside = pages[0], pages[1]
				v.open("/visitor")
				must(t, v.Eval(`window.first = true; document.querySelector("form").requestSubmit()`, nil))
				v.waitForPage("/inside")
				must(t, v.Until(secretVisible))
				v.waitFor("request for the status", 3*time.Second, func() bool { return v.proxy.Requested("/sessionguard/status") })
				must(t, v.Until(`return performance.getEntriesByType("resource").some(({ name }) => name.endsWith("/status"))`))
				must(t, v.Until(`return window.first`))
				app.update(func() { app.session = "b" })
				must(t, v.Eval(`document.dispatchEvent(new Event("sessionguard:check"))`, nil))
				v.waitForPage("/login")
			})
		}
	})
}

// C3: a logout that loads no document takes the pages of all tabs away, and what htmx keeps of
// them, although it leads to a page without the script.
func TestLogoutByALibraryTakesPagesAway(t *testing.T) {
	const kept = `return Object.keys(sessionStorage).filter((key) => key.startsWith("htmx-history")).length === arguments[0]`
	forEachLibrary(t, func(t *testing.T, v *visit, l *library, app *libraryApplication) {
		app.endsAt = time.Now().Add(time.Hour)
		v.open("/inside")
		v.newTab("/inside")
		v.visitLink(l, "/more")
		if l == htmx2 {
			must(t, v.Until(kept, 1))
		}
		v.runAsync(`document.querySelector("form").requestSubmit()`)
		landing := "/login"
		if l == turbo {
			landing = "/public"
		}
		v.waitForPage(landing)
		must(t, v.Until(`return !window.Turbo || performance.getEntriesByType("navigation")[0].name.endsWith(arguments[0])`, landing))
		must(t, v.Until(kept, 0))
		v.startWatching()
		v.back()
		must(t, v.Switch(v.first))
		v.waitForPage("/login")
		if r := readSampler(t, v.browser); r.Leaked > 0 {
			t.Errorf("the secret was visible in %d frames of %s", r.Leaked, r.LeakedAt)
		}
	})
}

// C3: so does a part of a page that the server refuses, and only if the session has ended.
func TestRefusedPartTakesPageAway(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, v *visit, l *library, app *libraryApplication) {
		app.endsAt = time.Now().Add(time.Hour)
		v.open("/inside")
		v.proxy.ResetRequests()
		must(t, v.Eval(l.part, nil, "/part"))
		v.waitFor("request for the status", 3*time.Second, func() bool { return v.proxy.Requested("/sessionguard/status") })
		must(t, v.Until(secretVisible))
		app.update(func() { app.endsAt = time.Time{} })
		must(t, v.Eval(l.part, nil, "/part"))
		v.waitForPage("/login")
	})
}

// C3: many events cannot keep each other's requests from a response.
func TestManyEventsCauseOneRequest(t *testing.T) {
	const flood = `const detail = { fetchResponse: { statusCode: 401 } }
		for (let i = 0; i < 50; i++) document.dispatchEvent(new CustomEvent("turbo:before-fetch-response", { detail }))
		return new Promise((done) => setTimeout(() => done(null), 50))`
	forEachLibrary(t, func(t *testing.T, v *visit, l *library, app *libraryApplication) {
		if l != turbo {
			return // the script does not know which library dispatches an event
		}
		app.endsAt = time.Now().Add(time.Hour)
		v.open("/inside")
		app.hold = make(chan struct{})
		for range 3 {
			must(t, v.Eval(flood, nil))
		}
		asked := slices.DeleteFunc(v.proxy.Requests(), func(r recordedRequest) bool { return r.Path != "/sessionguard/status" })
		if len(asked) != 1 {
			t.Errorf("%d requests for the status", len(asked))
		}
		app.update(func() { app.endsAt = time.Time{} })
		close(app.hold)
		v.waitForPage("/login")
	})
}

// What events say is the page's: it can cause a request, and nothing else.
func TestEventsDecideNothing(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		v, _ := openPage(t, b, 600, scriptAttributes(600, ""), `<body>the secret`)
		must(t, b.Eval(`for (const type of ["sessionguard:check", "turbo:submit-end", "turbo:load", "turbo:before-fetch-response", "htmx:afterRequest", "htmx:after:request"])
			for (const detail of [undefined, null, "", "a", "b", 1, {}, { xhr: {} }, { ctx: 1 }, { fetchResponse: { redirected: true } }, { xhr: { status: 401, getResponseHeader: () => "" } }, { ctx: { hx: { redirect: "//evil.example" } } },
				{ fetchResponse: { redirected: true, location: "https://evil.example/" } }, { fetchResponse: { redirected: true, location: "javascript:void(secret = 1)" } }])
				document.dispatchEvent(new CustomEvent(type, { detail }))
			const throws = new Proxy(() => {}, { get() { throw new Error("hostile") }, apply() { throw new Error("hostile") } })
			for (const [type, detail] of [
				["sessionguard:check", throws], ["sessionguard:check", Symbol("b")],
				["turbo:before-fetch-response", throws], ["turbo:before-fetch-response", { fetchResponse: throws }],
				["turbo:before-fetch-response", { fetchResponse: { redirected: true, location: Symbol("b") } }],
				["htmx:afterRequest", throws], ["htmx:afterRequest", { requestConfig: { verb: Symbol("get") } }],
				["htmx:afterRequest", { requestConfig: { verb: "post" }, xhr: { getResponseHeader: throws } }],
				["htmx:after:request", { ctx: throws }],
			]) document.dispatchEvent(new CustomEvent(type, { detail }))`, nil))
		v.waitFor("request for the status", 3*time.Second, func() bool { return v.proxy.Requested("/sessionguard/status") })
		must(t, b.Until(secretVisible))
		must(t, b.Until(`return location.pathname === "/page" && window.secret === undefined`))
	})
}

// R3: neither a login page nor a problem becomes part of a page, also without the script.
func TestRefusalIsNoPartOfAPage(t *testing.T) {
	requireLibraries(t)
	forEachEngine(t, func(t *testing.T, b *browser) {
		for _, l := range libraries {
			t.Run(l.name, func(t *testing.T) {
				proxy := startApplication(t, withoutScript, true)
				proxy.library = l
				v := &visit{T: t, browser: b, proxy: proxy, protection: withoutScript}
				v.begin()
				v.login()
				for _, part := range []struct{ path, landing string }{{"/admin", "/"}, {"/account", "/login"}} {
					path, landing := part.path, part.landing
					v.open("/home")
					if path == "/account" {
						v.deactivate()
					}
					must(t, b.Eval(`document.querySelector("main").insertAdjacentHTML("beforeend", '<div id="part">'); const seen = window.parts = [];
						new MutationObserver(() => seen.push(document.querySelector("#part").innerText)).observe(document.querySelector("#part"), { childList: true, subtree: true })`, nil))
					must(t, b.Eval(l.part, nil, path))
					if l != turbo {
						v.waitForPage(landing)
						continue
					}
					v.waitFor("response", 3*time.Second, func() bool {
						return slices.ContainsFunc(proxy.Requests(), func(r recordedRequest) bool { return r.Path == path && r.Status >= 400 })
					})
					must(t, b.Until(`return !document.querySelector("turbo-frame").hasAttribute("busy")`))
					var seen []string
					must(t, b.Eval(`return window.parts`, &seen))
					if text := strings.Join(seen, ""); text != "" {
						t.Errorf("%s became part of the page: %q", path, text)
					}
				}
				// On the login page itself there is nowhere to go.
				v.open("/login")
				must(t, b.Eval(`document.querySelector("main").insertAdjacentHTML("beforeend", '<div id="part">')`, nil))
				proxy.ResetRequests()
				must(t, b.Eval(l.part, nil, "/home"))
				v.waitFor("response", 3*time.Second, func() bool { return proxy.Requested("/home") && proxy.Requests()[0].Status == 401 })
				must(t, b.Until(`return !document.querySelector(".htmx-request, [busy]") && document.querySelector("#part").innerText === ""`))
				must(t, v.end())
			})
		}
	})
}
