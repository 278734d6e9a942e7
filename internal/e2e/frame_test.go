package e2e

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// A portal is another site, whose page shows the example application in a frame.
type portal struct {
	*visit
	origin string
}

// openPortal starts the application and a portal, and opens the portal's page with the
// application's login page in its frame, of which all steps are from then on.
func openPortal(t *testing.T, b *browser, p protection, args ...string) *portal {
	t.Helper()
	var application string
	origin := serveSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!DOCTYPE html><title>Portal</title><style>iframe { width: 700px; height: 500px }</style>
			<iframe name="application" src="`+application+`/login"></iframe>`)
	})
	proxy := startApplication(t, p, true, append(args, "-framed-by", origin)...)
	application = proxy.URL
	v := &portal{&visit{T: t, browser: b, proxy: proxy, protection: p}, origin}
	v.show()
	return v
}

// show opens the portal's page and goes on in its frame.
func (v *portal) show() {
	must(v.T, v.Open(v.origin))
	must(v.T, v.Until(`return document.readyState === "complete"`))
	must(v.T, v.EnterFrame())
}

// logIn submits the login form that the frame shows.
func (v *portal) logIn() {
	v.T.Helper()
	must(v.T, v.Until(pageLoaded, "/login"))
	must(v.T, v.Eval(`document.querySelector("#username").value = "ada"; document.querySelector("#password").value = arguments[0]
		setTimeout(() => document.querySelector("main form button").click())`, nil, passwords["ada"]))
}

// requested waits for a request that had this response and says whether a session's cookie
// came with it.
func (v *portal) requested(method, path string, status int) (withSession bool) {
	v.T.Helper()
	v.waitFor(method+" "+path, 5*time.Second, func() bool {
		return slices.ContainsFunc(v.proxy.Requests(), func(r recordedRequest) bool {
			asked, _, _ := strings.Cut(r.Path, "?")
			withSession = r.Session
			return r.Method == method && asked == path && r.Status == status
		})
	})
	return withSession
}

// waitFor fails the test, as no visit does.
func (v *portal) waitFor(what string, timeout time.Duration, happened func() bool) {
	v.T.Helper()
	defer func() {
		if p := recover(); p != nil {
			v.T.Fatal(p)
		}
	}()
	v.visit.waitFor(what, timeout, happened)
}

const secretOnHome = `return location.pathname === "/home" && document.documentElement.innerText.includes("Ada Lovelace")`

// With Config.Partitioned, everything works in a frame of another site, in a browser that
// blocks third-party cookies, too: login, navigation, the guard script, logout.
func TestApplicationInAFrameOfAnotherSite(t *testing.T) {
	for _, e := range []*engine{chromium, firefox} {
		t.Run(e.name, func(t *testing.T) {
			requireEngine(t, e)
			b, err := e.launch(func(b *browser) { b.thirdParty = "blocked" })
			must(t, err)
			t.Cleanup(func() { must(t, b.Quit()) })
			useInFrame(t, b)
		})
	}
}

func useInFrame(t *testing.T, b *browser) {
	v := openPortal(t, b, whole, "-idle", "12s")
	v.logIn()
	must(t, b.Until(secretOnHome))
	must(t, b.Eval(`setTimeout(() => document.querySelector("nav a[href='/account']").click())`, nil))
	must(t, b.Until(pageLoaded, "/account"))

	// The guard script warns, and asks the server with the cookie.
	must(t, b.Until(dialogContains, "Stay signed in"))
	v.proxy.ResetRequests()
	must(t, b.Eval(`document.querySelector("sessionguard-dialog").shadowRoot.querySelector("button").click()`, nil))
	if !v.requested("POST", "/sessionguard/stay", http.StatusOK) {
		t.Error("the script's request came without the session")
	}
	must(t, b.Until(dialogClosed))

	// SameSite None: a form of the portal comes with the cookie. The guard refuses it.
	v.proxy.ResetRequests()
	must(t, b.LeaveFrame())
	must(t, b.Eval(`const form = document.createElement("form")
		Object.assign(form, { method: "post", action: arguments[0] + "/logout", target: "application" })
		document.body.append(form); setTimeout(() => form.submit())`, nil, v.proxy.URL))
	if !v.requested("POST", "/logout", http.StatusForbidden) {
		t.Error("the portal's form came without the session, so that its refusal proves nothing")
	}

	// Nobody is logged in at the application itself.
	must(t, b.Open(v.proxy.URL+"/home"))
	must(t, b.Until(pageLoaded, "/login"))
	v.show()
	must(t, b.Until(secretOnHome)) // the login page sends users on
	must(t, b.Eval(`setTimeout(() => document.querySelector("form.logout button").click())`, nil))
	must(t, b.Until(pageLoaded, "/"))
	must(t, b.Eval(`setTimeout(() => location.assign("/home"))`, nil))
	must(t, b.Until(pageLoaded, "/login"))

	// The script logs out, and takes the page away when the session ends.
	v.logIn()
	must(t, b.Until(secretOnHome))
	must(t, b.Until(dialogContains, "Log out"))
	v.proxy.ResetRequests()
	must(t, b.Eval(`const dialog = document.querySelector("sessionguard-dialog").shadowRoot.querySelector("dialog")
		setTimeout(() => dialog.querySelectorAll("button")[1].click())`, nil))
	if !v.requested("POST", "/sessionguard/logout", http.StatusSeeOther) {
		t.Error("the script's logout came without the session")
	}
	must(t, b.Until(`return location.pathname !== "/home" && document.readyState === "complete"`))
	must(t, b.Eval(`setTimeout(() => location.assign("/login"))`, nil))
	v.logIn()
	must(t, b.Until(secretOnHome))
	must(t, b.Until(dialogContains, "Log out")) // Until waits for ten seconds
	must(t, b.Until(pageLoaded, "/login"))
	must(t, b.Until(`return document.documentElement.innerText.includes("without activity")`))
}

// The last test's control, and other choices: without Partitioned, a browser that blocks third-party cookies, as Debian's
// Chromium does by default, does not keep the session. Where they are allowed, it is also that
// of the application's own pages; Firefox keeps it apart by default. WebKitGTK keeps no cookie
// in a frame of another site.
func TestWhichFramesOfAnotherSiteKeepTheSession(t *testing.T) {
	type outcome struct {
		kept   bool // the session, in the frame
		shared bool // with the application's own pages
	}
	lost, apart, shared := outcome{false, false}, outcome{true, false}, outcome{true, true}
	for _, c := range []struct {
		engine     *engine
		thirdParty string
		want       map[protection]outcome
	}{
		{chromium, "", map[protection]outcome{whole: apart, unpartitioned: lost}},
		{chromium, "blocked", map[protection]outcome{whole: apart, unpartitioned: lost}},
		{chromium, "allowed", map[protection]outcome{whole: apart, unpartitioned: shared}},
		{firefox, "", map[protection]outcome{whole: apart, unpartitioned: apart}},
		{firefox, "blocked", map[protection]outcome{whole: apart, unpartitioned: lost}},
		{firefox, "allowed", map[protection]outcome{whole: apart, unpartitioned: shared}},
		{webkit, "", map[protection]outcome{whole: lost, unpartitioned: lost}},
	} {
		t.Run(fmt.Sprintf("%s, third-party cookies %s", c.engine.name, cmp.Or(c.thirdParty, "not chosen")), func(t *testing.T) {
			requireEngine(t, c.engine)
			b, err := c.engine.launch(func(b *browser) { b.thirdParty = c.thirdParty })
			must(t, err)
			t.Cleanup(func() { must(t, b.Quit()) })
			for p, want := range c.want {
				v := openPortal(t, b, p)
				v.logIn()
				v.waitFor("GET /home", 5*time.Second, func() bool { return v.proxy.Requested("/home") })
				got := outcome{kept: v.cameWithSession("/home")}
				must(t, b.LeaveFrame())
				v.proxy.ResetRequests()
				must(t, b.Open(v.proxy.URL+"/login"))
				got.shared = v.cameWithSession("/login")
				t.Logf("%s, %s: %+v", b.Version(), p, got)
				if got != want {
					t.Errorf("%s: %+v, want %+v", p, got, want)
				}
			}
		})
	}
}

// cameWithSession reports whether a request for path came with a session's cookie.
func (v *portal) cameWithSession(path string) bool {
	return slices.ContainsFunc(v.proxy.Requests(), func(r recordedRequest) bool { return r.Path == path && r.Session })
}
