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
)

// clock is an application that does not keep sessions but only says that it
// does, so that a test decides what the guard script hears.
type clock struct {
	mu      sync.Mutex
	session string
	ends    time.Time
	idle    time.Duration // what a POST to stay gives
	down    bool
	tag     string // what the page's script element says besides src
	page    string
}

func (c *clock) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *clock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; require-trusted-types-for 'script'; trusted-types 'none'")
	w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	switch path := r.URL.Path; {
	case path == "/sessionguard/guard.js":
		source, err := os.ReadFile(filepath.Join("..", "..", "guard.js"))
		if err != nil {
			panic(err)
		}
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(source)
	case c.down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case path == "/sessionguard/status" || path == "/sessionguard/stay":
		if path == "/sessionguard/stay" {
			c.ends = time.Now().Add(c.idle)
		}
		left := time.Until(c.ends)
		answer := map[string]any{"authenticated": false, "idle_seconds": 0, "absolute_seconds": 0}
		if left > 0 {
			answer = map[string]any{"authenticated": true, "session": c.session, "idle_seconds": int(left.Seconds()), "absolute_seconds": 3600}
		}
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(answer)
	case path == "/sessionguard/resume":
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	case path == "/login":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!DOCTYPE html><head></head>Log in")
	default:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><head><title>Secret</title><script src="/sessionguard/guard.js" %s></script></head>%s`, c.tag, c.page)
	}
}

// told is the script element of a page that knows its session.
func told(idle int, more string) string {
	return fmt.Sprintf(`data-session="a" data-idle-seconds="%d" data-absolute-seconds="3600" %s`, idle, more)
}

// reading opens the page of a session that has this long.
func reading(t *testing.T, b *browser, idle int, tag, page string) (*visit, *clock) {
	t.Helper()
	c := &clock{session: "a", idle: time.Duration(idle) * time.Second, tag: tag, page: page}
	f, _ := served(t, whole, c.ServeHTTP)
	v := &visit{T: t, browser: b, front: f, protection: whole}
	must(t, b.Open(f.URL+blank))
	must(t, b.Eval("localStorage.clear()", nil))
	c.ends = time.Now().Add(c.idle)
	must(t, b.Open(f.URL+"/page"))
	must(t, b.Until(arrived, "/page"))
	return v, c
}

const (
	secretVisible = `return document.documentElement.innerText.includes("the secret")`
	secretHidden  = `return !document.documentElement.innerText.includes("the secret")`
)

// Whatever the page's own styles say is important.
func TestAHiddenPageIsHidden(t *testing.T) {
	pages := map[string]string{
		"layer, id, inside": `<style>@layer u { .flex { display: flex !important } } html body#app { display: flex !important }
			p { visibility: visible !important; display: block !important }</style><body id="app" class="flex"><p>the secret`,
		"inline": `<body style="display: flex !important">the secret`,
		"dialog": `<body><dialog id="d">the secret</dialog>`,
	}
	eachEngine(t, func(t *testing.T, b *browser) {
		for name, page := range pages {
			v, c := reading(t, b, 2, told(2, ""), page)
			if name == "dialog" {
				must(t, b.Eval(`document.querySelector("#d").showModal()`, nil))
			}
			must(t, b.Until(secretVisible))
			c.set(func() { c.down = true })
			time.Sleep(2*time.Second + tick)
			must(t, b.Until(secretHidden))
			// A body that takes its place, as some libraries do, is hidden too.
			must(t, b.Eval(`const body = document.createElement("body"); body.textContent = "the secret"; document.body.replaceWith(body)`, nil))
			must(t, b.Eval(`document.adoptedStyleSheets = []`, nil))
			must(t, b.Until(secretHidden))
			v.front.Close()
		}
	})
}

// ASVS 14.3.1, and back again with nothing lost.
func TestAPageComesBackOnlyWhenTheServerSaysSo(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		v, c := reading(t, b, 2, told(2, ""), `<body style="display: flex">the secret<form><input id="i"></form><div style="height: 3000px">`)
		must(t, b.Eval(`document.querySelector("#i").value = "half-filled"; document.querySelector("#i").focus(); scrollTo(0, 500)`, nil))
		must(t, b.Eval(`window.wasAt = scrollY`, nil))
		c.set(func() { c.down = true })
		must(t, b.Until(secretHidden))
		must(t, b.Until(dialogSays, "hidden until the server confirms"))
		must(t, b.Until(`return document.title !== "Secret"`))
		c.set(func() { c.down = false; c.ends = time.Now().Add(time.Hour) })
		must(t, b.Press("Enter")) // "Try again"
		must(t, b.Until(secretVisible))
		must(t, b.Until(noDialog))
		must(t, b.Until(`return document.title === "Secret" && scrollY > 0 && scrollY === wasAt && document.activeElement.value === "half-filled" &&
			document.body.style.cssText === "display: flex;"`))
		if v.front.Asked("/sessionguard/stay") {
			t.Error("asking was activity")
		}
	})
}

func TestTheWarningIsADialogForEveryone(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		for _, key := range []string{"Escape"} { // and Enter, in the flows
			v, _ := reading(t, b, 9, told(9, `data-idle-text="Noch {time}."`), `<body>the secret<input id="i">`)
			must(t, b.Eval(`document.querySelector("#i").focus()`, nil))
			must(t, b.Press("half"))
			must(t, b.Until(dialogSays, " seconds."))
			must(t, b.Until(`const root = document.querySelector("sessionguard-dialog").shadowRoot
				const dialog = root.querySelector("[role=alertdialog]")
				return dialog.matches(":modal") && root.activeElement.textContent === "Stay signed in" &&
					root.getElementById(dialog.getAttribute("aria-labelledby")).textContent === "Are you still there?" &&
					root.getElementById(dialog.getAttribute("aria-describedby")).textContent.startsWith("Noch ")`))
			must(t, b.Press(key))
			v.until("staying", 2*time.Second, func() bool { return v.front.Asked("/sessionguard/stay") })
			must(t, b.Until(noDialog))
			must(t, b.Until(`return document.activeElement.value === "half"`))
			must(t, b.Press("-filled"))
			must(t, b.Until(`return document.activeElement.value === "half-filled"`))
		}
	})
}

func TestTheWarningLogsOut(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		v, _ := reading(t, b, 6, told(6, ""), `<body>the secret`)
		must(t, b.Eval(`addEventListener("beforeunload", (event) => event.preventDefault())`, nil)) // "Leave site?"
		must(t, b.Until(dialogSays, "Log out"))
		must(t, b.Eval(`const dialog = document.querySelector("sessionguard-dialog").shadowRoot.querySelector("dialog")
			setTimeout(() => dialog.querySelectorAll("button")[1].click())`, nil))
		v.until("logging out", 3*time.Second, func() bool {
			return slices.ContainsFunc(v.front.Seen(), func(s seen) bool { return s.Method == "POST" && s.Path == "/sessionguard/logout" })
		})
	})
}

// L1: what stays signed in is a person, and a person now.
func TestNothingButAPersonStaysSignedIn(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		v, _ := reading(t, b, 9, told(9, `data-activity="on"`), `<body>the secret<div style="height: 3000px">`)
		must(t, b.Press("a")) // long before the warning
		must(t, b.Eval(`const move = () => { scrollBy(0, 1); dispatchEvent(new KeyboardEvent("keydown")); requestAnimationFrame(move) }; move()`, nil))
		must(t, b.Until(dialogSays, "Stay signed in"))
		must(t, b.Eval(`document.querySelector("sessionguard-dialog").remove()`, nil))
		must(t, b.Until(dialogSays, "Stay signed in"))
		time.Sleep(300 * time.Millisecond) // for what the script may do wrong
		if v.front.Asked("/sessionguard/stay") {
			t.Error("a script, an old key or a dialog that was taken away counted as activity")
		}

		v, _ = reading(t, b, 6, told(6, `data-activity="on"`), `<body>the secret`)
		v.until("staying", 6*time.Second, func() bool {
			must(t, b.Press("a"))
			return v.front.Asked("/sessionguard/stay")
		})
		must(t, b.Until(secretVisible))

		v, _ = reading(t, b, 6, told(6, ""), `<body>the secret`) // not turned on
		must(t, b.Until(`return Boolean(document.querySelector("sessionguard-dialog"))`))
		if v.front.Asked("/sessionguard/stay") {
			t.Error("counted as activity although nobody asked for it")
		}
	})
}

func TestAPageThatWasNotToldAsksUntilItKnows(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		c := &clock{session: "a", page: "<body>the secret", down: false}
		c.ends = time.Now().Add(9 * time.Second)
		f, _ := served(t, whole, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/sessionguard/status") && time.Until(c.ends) > 8*time.Second {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			c.ServeHTTP(w, r)
		})
		must(t, b.Open(f.URL+"/page"))
		must(t, b.Until(arrived, "/login"))
		if left := time.Until(c.ends); left > 0 {
			t.Errorf("it left %v before the end", left)
		}
	})
}

func TestTabsAreInStepHoweverOftenTheScriptIsThere(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		// The script comes twice, as in a page that changes without being loaded.
		v, c := reading(t, b, 6, told(6, ""), `<body>the secret<script src="/sessionguard/guard.js" data-session="b"></script>`)
		first, err := b.Tab()
		must(t, err)
		v.first = first
		v.newTab("/other")
		must(t, b.Until(dialogSays, "Stay signed in"))
		must(t, b.Press("Enter"))
		must(t, b.Until(noDialog))
		must(t, b.Switch(first))
		must(t, b.Until(secretVisible))
		must(t, b.Until(`return !document.querySelector("sessionguard-dialog")?.shadowRoot.querySelector("dialog").open`))

		c.set(func() { c.session = "b" })
		must(t, b.Eval(`document.dispatchEvent(new Event("sessionguard:check"))`, nil))
		must(t, b.Until(arrived, "/login"))
		must(t, v.end())
	})
}

// A session that lives gets its page back at once, from the back/forward cache.
func TestBackIsQuickWhileTheSessionLives(t *testing.T) {
	eachEngine(t, func(t *testing.T, b *browser) {
		var r result
		for range 3 { // a browser may throw a page away that it could have kept
			v, _ := reading(t, b, 60, told(60, ""), `<body>the secret`)
			v.leave(blank)
			v.back()
			must(t, b.Until(arrived, "/page"))
			must(t, b.Until(secretVisible))
			if r = sampled(t, b); r.persisted("/page") {
				return
			}
		}
		t.Errorf("loaded anew: %+v", r.Shows)
	})
}
