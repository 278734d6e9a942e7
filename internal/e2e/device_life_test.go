package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
)

// held checks that what was requested since forget came with a proof, which the browser had
// to get first, and that there was something.
func (s *deviceSite) held(path string) {
	s.Helper()
	s.waitFor("a request for "+path, func() bool { return s.count("GET", path, 0)+s.count("POST", path, 0) > 0 })
	proven := false
	for _, r := range s.received() {
		proven = proven || r.Path == "/sessionguard/prove" && r.Status == http.StatusOK
		if asked, _, _ := strings.Cut(r.Path, "?"); (r.Path == path || asked == path) && (!proven || !r.Bound) {
			s.Errorf("%s %s came before the proof: %+v", r.Method, r.Path, s.received())
		}
	}
}

// Hosts have names, and the other tests have addresses. To Chromium that is not the same: it
// refuses a bound cookie with the prefix __Host-Http- on a host with a name.
func TestSessionsAreBoundOnAHostWithAName(t *testing.T) {
	for _, name := range []string{"", "__Host-session", "__Secure-session", "session"} {
		t.Run(name, func(t *testing.T) {
			s := newDeviceSite(t, func(c *sessionguard.Config[isolationUser]) { c.CookieName = name })
			_, port, _ := strings.Cut(serveSiteAt(t, "127.0.0.1", s.serve), "127.0.0.1:")
			s.origin = "https://localhost:" + port
			s.logInBound("ada")
			s.expire()
			s.forget()
			s.open("/page")
			s.held("/page")
			s.open("/login")
			s.deleteCookies(func(browserCookie) bool { return true })
		})
	}
}

// Every kind of request that a page can cause waits for the proof when it has run out, and
// arrives whole.
func TestEveryRequestWaitsForItsProof(t *testing.T) {
	s := newDeviceSite(t)
	s.logInBound("ada")
	ready := `return navigator.serviceWorker.register("/worker.js").then(() => navigator.serviceWorker.ready).then(() => null)`
	s.open("/page")
	must(t, s.Eval(ready, nil))
	for _, c := range []struct{ name, path, script string }{
		{"fetch", "/echo", `return fetch("/echo", { method: "POST", body: "body" }).then((r) => r.text()).then((text) => text === "the secret of ada: body")`},
		{"fetch, keepalive", "/echo", `return fetch("/echo", { keepalive: true }).then((r) => r.ok)`},
		{"XMLHttpRequest", "/echo", `return new Promise((done) => { const x = new XMLHttpRequest(); x.open("GET", "/echo"); x.onload = () => done(x.status === 200); x.send() })`},
		{"image", "/image", `return new Promise((done) => { const i = new Image(); i.onload = () => done(i.naturalWidth === 7); i.onerror = () => done(false); i.src = "/image" })`},
		{"script", "/script", `return new Promise((done) => { const e = document.createElement("script"); e.onload = () => done(window.ran); e.onerror = () => done(false); e.src = "/script"; document.body.append(e) })`},
		{"frame", "/page", `return new Promise((done) => { const e = document.createElement("iframe"); e.onload = () => done(e.contentDocument.body.innerText.includes("the secret")); e.src = "/page"; document.body.append(e) })`},
		{"sendBeacon", "/echo", `return navigator.sendBeacon("/echo", "body")`},
		{"EventSource", "/stream", `return new Promise((done) => { const e = new EventSource("/stream"); e.onmessage = () => { e.close(); done(true) }; e.onerror = () => done(false) })`},
		{"WebSocket", "/socket", `return new Promise((done) => { const s = new WebSocket("/socket"); s.onmessage = (e) => { s.close(); done(e.data === "the secret") }; s.onerror = () => done(false) })`},
		{"service worker", "/echo", `return new Promise((done) => { navigator.serviceWorker.onmessage = (e) => done(e.data === 200); navigator.serviceWorker.ready.then((r) => r.active.postMessage("go")) })`},
		{"prefetch by a link", "/page", `const e = document.createElement("link"); e.rel = "prefetch"; e.href = "/page?link"; document.head.append(e); return true`},
		{"prefetch by a rule", "/page", `const e = document.createElement("script"); e.type = "speculationrules"
			e.textContent = '{"prefetch": [{"urls": ["/page?rule"], "eagerness": "immediate"}]}'; document.head.append(e); return true`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.expire()
			s.forget()
			var ok bool
			must(t, s.Eval(c.script, &ok))
			if s.held(c.path); !ok {
				t.Errorf("the page did not get what it should: %+v", s.received())
			}
		})
	}
	for _, c := range []struct{ name, path, shows, script string }{
		{"link", "/page", "the secret of ada", `document.body.append(Object.assign(document.createElement("a"), { href: "/page" })); document.querySelector("a").click()`},
		{"form", "/page", "the secret of ada: name=kept", `document.body.innerHTML = "<form method=post action=/page><input name=name value=kept>"; document.querySelector("form").submit()`},
		{"typed address", "/page", "the secret of ada", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.expire()
			s.forget()
			if c.script == "" {
				s.open(c.path)
			} else {
				s.leave(c.script)
			}
			s.held(c.path)
			s.until(shows, c.path, c.shows)
		})
	}
	t.Run("link on another site", func(t *testing.T) {
		s := s.in(t)
		other := serveSite(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = fmt.Fprintf(w, `<!DOCTYPE html><title>Mail</title><a href="%s/page">read more</a>`, s.origin)
		})
		s.expire()
		s.forget()
		must(t, s.Open(other+"/"))
		s.leave(`document.querySelector("a").click()`)
		s.held("/page")
		s.until(shows, "/page", "the secret of ada")
	})
}

// in returns the site for a test within another.
func (s *deviceSite) in(t *testing.T) *deviceSite {
	s.T = t
	return s
}

// A re-authentication keeps the device. A logout ends everything, in the browser too, and
// each login after it has a device of its own.
func TestSessionsOfABrowserOneAfterTheOther(t *testing.T) {
	s := newDeviceSite(t)
	s.logInBound("ada")
	device := s.records("ada")[0].Detail().Device
	again := s.records("ada")[0].ID

	s.logIn("ada")
	if records := s.records("ada"); len(records) != 1 || records[0].ID != again || records[0].Detail().Device == nil || records[0].Detail().Device.Registered != device.Registered {
		t.Errorf("after a re-authentication: %+v", records)
	}
	s.expire()
	s.goesOn("ada")

	// Another user.
	s.logInBound("grace")
	if records := s.records("ada"); len(records) != 0 {
		t.Errorf("ada's session goes on: %+v", records)
	}
	s.expire()
	s.goesOn("grace")

	s.open("/page")
	s.post("/logout")
	s.until(shows, "/", "Welcome")
	s.waitFor("the end of the browser's part", func() bool {
		s.forget()
		s.fetch("/")
		return s.count("POST", "/sessionguard/prove", 0) == 0
	})
	if cookies := s.boundCookies(); len(cookies) != 0 {
		t.Errorf("bound cookies after the logout: %v", cookies)
	}

	s.logInBound("ada")
	if registered := s.records("ada")[0].Detail().Device.Registered; registered == device.Registered {
		t.Error("the new session has the old device")
	}
	s.expire()
	s.goesOn("ada")

	// The browser was closed, which loses the session's cookie and keeps what binds it.
	s.deleteCookies(isSession)
	s.logIn("ada")
	s.waitFor("another bound session", func() bool {
		s.fetch("/")
		sessions, err := s.guard.Load().Sessions(t.Context(), "ada")
		must(t, err)
		bound := 0
		for _, session := range sessions {
			if !session.Bound.IsZero() {
				bound++
			}
		}
		return bound == 2
	})
	s.proveLongAgo("ada")
	for range 3 {
		s.expire()
		s.goesOn("ada")
	}
}

// When the proof runs out under two tabs that request much at once, no request is lost.
func TestTwoTabsAtTheEndOfAProofLoseNothing(t *testing.T) {
	s := newDeviceSite(t)
	s.logInBound("ada")
	first, second := s.openTwoTabs()
	const begin = `window.statuses = []; for (let i = 0; i < 16; i++) fetch("/echo?" + i, i % 2 ? { method: "POST", body: "x" } : {}).then((r) => statuses.push(r.status), () => statuses.push(0))`
	for range 5 {
		s.expire()
		s.forget()
		for _, tab := range []string{first, second} {
			must(t, s.Switch(tab))
			must(t, s.Eval(begin, nil))
		}
		for _, tab := range []string{first, second} {
			must(t, s.Switch(tab))
			s.until(`return statuses.length === 16`)
			var statuses []int
			must(t, s.Eval(`return statuses`, &statuses))
			if slices.ContainsFunc(statuses, func(status int) bool { return status != http.StatusOK }) {
				t.Errorf("a tab got %v", statuses)
			}
		}
		s.held("/echo")
	}
	must(t, s.Switch(second))
	must(t, s.CloseTab())
	must(t, s.Switch(first))
}

// The page's script asks the server in time although the proof has run out.
func TestGuardScriptWorksWhenTheProofHasRunOut(t *testing.T) {
	s := newDeviceSite(t, idleAfter(8))
	s.logInBound("ada")
	s.open("/page")
	s.until(dialogContains, "Stay signed in")
	s.expire()
	s.forget()
	must(t, s.Eval(`document.querySelector("sessionguard-dialog").shadowRoot.querySelector("button").click()`, nil))
	s.held("/sessionguard/stay")
	s.until(dialogClosed)
	s.until(shows, "/page", "the secret of ada")
	s.until(dialogContains, "Stay signed in")
	s.expire()
	s.until(pageLoaded, "/login") // the session has ended
}

// The login of the callback by which a provider on another site sends the browser back, and
// that of a script, are bound too.
func TestOtherWaysToLogInAreBound(t *testing.T) {
	s := newDeviceSite(t)
	provider := serveSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/authorize" {
			http.Redirect(w, r, s.origin+"/callback?user=ada", http.StatusSeeOther)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!DOCTYPE html><title>Provider</title><form method="post" action="/authorize">`)
	})
	must(t, s.Open(provider+"/"))
	s.leave(`document.querySelector("form").submit()`)
	s.until(shows, "/page", "the secret of ada")
	s.waitUntilBound("ada")
	s.expire()
	s.goesOn("ada")

	s.open("/")
	must(t, s.Eval(`return fetch("/login", { method: "POST", body: new URLSearchParams({ user: "grace" }) }).then(() => null)`, nil))
	s.waitUntilBound("grace")
	s.expire()
	s.goesOn("grace")
}
