package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// fakeApplication is an application without sessions. A test decides which status it
// reports to the guard script.
type fakeApplication struct {
	mu      sync.Mutex
	session string
	endsAt  time.Time
	idle    time.Duration // how long a POST to stay extends the session
	down    bool
	// unproven: the browser has not proven the device that the session is bound to.
	unproven bool
	tag      string // the attributes of the page's script element besides src
	page     string // its body; {script} in it is where the script element goes, instead of the head
	login    string // the rest of the login page's body
}

func (app *fakeApplication) update(change func()) {
	app.mu.Lock()
	defer app.mu.Unlock()
	change()
}

func (app *fakeApplication) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	app.mu.Lock()
	defer app.mu.Unlock()
	w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'self' 'inline-speculation-rules'; style-src 'self' 'unsafe-inline'; require-trusted-types-for 'script'; trusted-types 'none'")
	w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	switch path := r.URL.Path; {
	case path == "/sessionguard/guard.js":
		source, err := os.ReadFile(filepath.Join("..", "..", "guard.js"))
		if err != nil {
			panic(err)
		}
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(source)
	case app.down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case path == "/sessionguard/status" || path == "/sessionguard/stay":
		if path == "/sessionguard/stay" {
			app.endsAt = time.Now().Add(app.idle)
		}
		left := time.Until(app.endsAt)
		status := map[string]any{"authenticated": false, "idle_seconds": 0, "absolute_seconds": 0}
		switch {
		case app.unproven:
			status["reason"] = store.ReasonDeviceUnproven
		case left > 0:
			status = map[string]any{"authenticated": true, "session": app.session, "idle_seconds": int(left.Seconds()), "absolute_seconds": 3600}
		}
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(status)
	case path == "/sessionguard/resume":
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	case path == "/logout" || path == "/sessionguard/logout":
		if r.Method == http.MethodPost {
			app.endsAt = time.Time{}
		}
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	case path == "/gated":
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	case path == "/login":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!DOCTYPE html><head></head><body>Log in"+app.login)
	default:
		w.Header().Set("Content-Type", "text/html")
		script := fmt.Sprintf(`<script src="/sessionguard/guard.js" %s></script>`, app.tag)
		if before, after, ok := strings.Cut(app.page, "{script}"); ok {
			fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><head><title>Secret</title></head>%s%s%s`, before, script, after)
		} else {
			fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><head><title>Secret</title>%s</head>%s`, script, app.page)
		}
	}
}

// scriptAttributes returns the attributes that ScriptTag writes for a page of session a.
func scriptAttributes(idle int, more string) string {
	return fmt.Sprintf(`data-session="a" data-idle-seconds="%d" data-absolute-seconds="3600" %s`, idle, more)
}

// openPage opens a page whose session lasts idle seconds.
func openPage(t *testing.T, b *browser, idle int, tag, page string) (*visit, *fakeApplication) {
	t.Helper()
	app := &fakeApplication{session: "a", idle: time.Duration(idle) * time.Second, tag: tag, page: page}
	proxy, _ := serveThroughProxy(t, whole, app.ServeHTTP)
	v := &visit{T: t, browser: b, proxy: proxy, protection: whole}
	must(t, b.Open(proxy.URL+blank))
	must(t, b.Eval("localStorage.clear()", nil))
	app.endsAt = time.Now().Add(app.idle)
	must(t, b.Open(proxy.URL+"/page"))
	must(t, b.Until(pageLoaded, "/page"))
	return v, app
}

const (
	secretVisible = `return document.documentElement.innerText.includes("the secret")`
	secretHidden  = `return !document.documentElement.innerText.includes("the secret")`
)

// The page's own !important rules cannot make it visible.
func TestPageStylesCannotShowHiddenPage(t *testing.T) {
	pages := map[string]string{
		"layer, id, descendant": `<style>@layer u { .flex { display: flex !important } } html body#app { display: flex !important }
			p { visibility: visible !important; display: block !important }</style><body id="app" class="flex"><p>the secret`,
		"head":       `<style>head, head * { display: block !important }</style><body>`,
		"inline":     `<body style="display: flex !important">the secret`,
		"dialog":     `<body><dialog id="d">the secret</dialog>`,
		"transition": `<style>@layer a { * { transition: all 60s allow-discrete !important } }</style><body style="transition: all 60s allow-discrete">the secret`,
	}
	forEachEngine(t, func(t *testing.T, b *browser) {
		for name, page := range pages {
			v, app := openPage(t, b, 2, scriptAttributes(2, ""), page)
			if name == "dialog" {
				must(t, b.Eval(`document.querySelector("#d").showModal()`, nil))
			}
			if name == "head" {
				must(t, b.Eval(`document.head.append("the secret")`, nil))
			}
			must(t, b.Until(secretVisible))
			app.update(func() { app.down = true })
			time.Sleep(2*time.Second + scriptDelay)
			must(t, b.Until(secretHidden))
			// Some libraries replace the body. The new one is hidden too.
			must(t, b.Eval(`const body = document.createElement("body"); body.textContent = "the secret"; document.body.replaceWith(body)`, nil))
			must(t, b.Eval(`document.adoptedStyleSheets = []`, nil))
			must(t, b.Until(secretHidden))
			v.proxy.Close()
		}
	})
}

// ASVS 14.3.1. The page returns with its input, focus and scroll position.
func TestHiddenPageReturnsOnlyWhenServerConfirms(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		// The field is inside the viewport at the scroll position: Firefox and WebKit scroll
		// to a focused field outside it, asynchronously.
		v, app := openPage(t, b, 2, scriptAttributes(2, ""), `<body style="display: flex; transition-property: color">the secret<form style="margin-top: 600px"><input id="i"></form><div style="height: 3000px">`)
		must(t, b.Eval(`document.querySelector("#i").value = "half-filled"; document.querySelector("#i").focus({ preventScroll: true }); scrollTo(0, 500)`, nil))
		must(t, b.Eval(`window.wasAt = scrollY`, nil))
		app.update(func() { app.down = true })
		must(t, b.Until(secretHidden))
		must(t, b.Until(dialogContains, "hidden until the server confirms"))
		must(t, b.Until(`return document.title !== "Secret"`))
		app.update(func() { app.down = false; app.endsAt = time.Now().Add(time.Hour) })
		must(t, b.Press("Enter")) // "Try again"
		must(t, b.Until(secretVisible))
		must(t, b.Until(dialogClosed))
		must(t, b.Until(`return document.title === "Secret" && scrollY > 0 && scrollY === wasAt && document.activeElement.value === "half-filled" &&
			document.body.style.display === "flex" && document.body.style.transitionProperty === "color" && document.body.style.length === 2`))
		if v.proxy.Requested("/sessionguard/stay") {
			t.Error("checking the session counted as activity")
		}
	})
}

func TestWarningIsAccessibleDialog(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		for _, key := range []string{"Escape"} { // and Enter, in the flows
			v, _ := openPage(t, b, 9, scriptAttributes(9, `data-idle-text="Noch {time}."`), `<body>the secret<input id="i">`)
			must(t, b.Eval(`document.querySelector("#i").focus()`, nil))
			must(t, b.Press("half"))
			must(t, b.Until(dialogContains, " seconds."))
			must(t, b.Until(`const root = document.querySelector("sessionguard-dialog").shadowRoot
				const dialog = root.querySelector("[role=alertdialog]")
				return dialog.matches(":modal") && root.activeElement.textContent === "Stay signed in" &&
					root.getElementById(dialog.getAttribute("aria-labelledby")).textContent === "Are you still there?" &&
					root.getElementById(dialog.getAttribute("aria-describedby")).textContent.startsWith("Noch ")`))
			must(t, b.Press(key))
			v.waitFor("request to stay signed in", 2*time.Second, func() bool { return v.proxy.Requested("/sessionguard/stay") })
			must(t, b.Until(dialogClosed))
			must(t, b.Until(`return document.activeElement.value === "half"`))
			must(t, b.Press("-filled"))
			must(t, b.Until(`return document.activeElement.value === "half-filled"`))
		}
	})
}

// A page may hide whatever is not :defined. That a warning nobody sees keeps the page from
// any input would be worse than none.
func TestPageStylesCannotHideWarning(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		openPage(t, b, 9, scriptAttributes(9, ""), `<style>:not(:defined), sessionguard-dialog { display: none !important; visibility: hidden !important; opacity: 0 !important }
			html { visibility: hidden } * { pointer-events: none !important }</style><body>the secret`)
		must(t, b.Until(dialogContains, "Stay signed in"))
		must(t, b.Until(`const root = document.querySelector("sessionguard-dialog").shadowRoot, button = root.querySelector("button"),
				at = button.getBoundingClientRect()
			return root.activeElement === button && button.checkVisibility({ visibilityProperty: true, opacityProperty: true }) &&
				root.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2) === button`))
	})
}

func TestWarningLogsOut(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		v, _ := openPage(t, b, 6, scriptAttributes(6, ""), `<body>the secret`)
		must(t, b.Eval(`addEventListener("beforeunload", (event) => event.preventDefault())`, nil)) // "Leave site?"
		must(t, b.Until(dialogContains, "Log out"))
		must(t, b.Eval(`const dialog = document.querySelector("sessionguard-dialog").shadowRoot.querySelector("dialog")
			setTimeout(() => dialog.querySelectorAll("button")[1].click())`, nil))
		v.waitFor("request to log out", 3*time.Second, func() bool {
			return slices.ContainsFunc(v.proxy.Requests(), func(r recordedRequest) bool { return r.Method == "POST" && r.Path == "/sessionguard/logout" })
		})
	})
}

// L1: only trusted input, and only recent input, extends the session.
func TestOnlyUserInputExtendsSession(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		v, _ := openPage(t, b, 9, scriptAttributes(9, `data-activity="on"`), `<body>the secret<div style="height: 3000px">`)
		must(t, b.Press("a")) // long before the warning
		must(t, b.Eval(`const move = () => { scrollBy(0, 1); dispatchEvent(new KeyboardEvent("keydown")); requestAnimationFrame(move) }; move()`, nil))
		must(t, b.Until(dialogContains, "Stay signed in"))
		must(t, b.Eval(`document.querySelector("sessionguard-dialog").remove()`, nil))
		must(t, b.Until(dialogContains, "Stay signed in"))
		time.Sleep(300 * time.Millisecond) // time for a wrong request
		if v.proxy.Requested("/sessionguard/stay") {
			t.Error("an event from a script, an old key press or a removed dialog counted as activity")
		}

		v, _ = openPage(t, b, 6, scriptAttributes(6, `data-activity="on"`), `<body>the secret`)
		v.waitFor("request to stay signed in", 6*time.Second, func() bool {
			must(t, b.Press("a"))
			return v.proxy.Requested("/sessionguard/stay")
		})
		must(t, b.Until(secretVisible))

		v, _ = openPage(t, b, 6, scriptAttributes(6, ""), `<body>the secret`) // data-activity is off
		must(t, b.Until(`return Boolean(document.querySelector("sessionguard-dialog"))`))
		if v.proxy.Requested("/sessionguard/stay") {
			t.Error("input counted as activity on a page that did not opt in")
		}
	})
}

func TestStaticPageAsksUntilServerResponds(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		app := &fakeApplication{session: "a", page: "<body>the secret", down: false}
		app.endsAt = time.Now().Add(9 * time.Second)
		proxy, _ := serveThroughProxy(t, whole, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/sessionguard/status") && time.Until(app.endsAt) > 8*time.Second {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			app.ServeHTTP(w, r)
		})
		must(t, b.Open(proxy.URL+"/page"))
		must(t, b.Until(pageLoaded, "/login"))
		if left := time.Until(app.endsAt); left > 0 {
			t.Errorf("the page was left %v before the end of its session", left)
		}
	})
}

func TestTabsStayInStepWithScriptLoadedTwice(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		// The script runs twice, as on a page that navigates without loading a document.
		v, app := openPage(t, b, 6, scriptAttributes(6, ""), `<body>the secret<script src="/sessionguard/guard.js" data-session="b"></script>`)
		first, err := b.Tab()
		must(t, err)
		v.first = first
		v.newTab("/other")
		must(t, b.Until(dialogContains, "Stay signed in"))
		must(t, b.Press("Enter"))
		must(t, b.Until(dialogClosed))
		must(t, b.Switch(first))
		must(t, b.Until(secretVisible))
		must(t, b.Until(`return !document.querySelector("sessionguard-dialog")?.shadowRoot.querySelector("dialog").open`))

		app.update(func() { app.session = "b" })
		must(t, b.Eval(`document.dispatchEvent(new Event("sessionguard:check"))`, nil))
		must(t, b.Until(pageLoaded, "/login"))
		must(t, v.end())
	})
}

// While the session lives, Back restores its page at once from the back/forward cache.
func TestBackRestoresPageFromBFCacheWhileSessionLives(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		var r samplerResult
		for range 3 { // a browser may discard a page that it could have cached
			v, _ := openPage(t, b, 60, scriptAttributes(60, ""), `<body>the secret`)
			v.followLink(blank)
			v.back()
			must(t, b.Until(pageLoaded, "/page"))
			must(t, b.Until(secretVisible))
			if r = readSampler(t, b); r.persisted("/page") {
				return
			}
		}
		t.Errorf("the page was loaded again every time: %+v", r.Shows)
	})
}
