package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// openSlowly is openPage with an application that takes a second to respond to requests for
// slow.
func openSlowly(t *testing.T, b *browser, idle int, tag, slow string) (*visit, *fakeApplication) {
	t.Helper()
	app := &fakeApplication{session: "a", idle: time.Duration(idle) * time.Second, tag: tag, page: "<body>the secret"}
	app.endsAt = time.Now().Add(app.idle)
	proxy, _ := serveThroughProxy(t, whole, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == slow {
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done(): // the browser has cancelled it
				return
			}
		}
		app.ServeHTTP(w, r)
	})
	v := &visit{T: t, browser: b, proxy: proxy, protection: whole}
	v.begin()
	v.open("/page")
	return v, app
}

// requests returns how many requests for path there were.
func (v *visit) requests(path string) (n int) {
	for _, r := range v.proxy.Requests() {
		if asked, _, _ := strings.Cut(r.Path, "?"); asked == path {
			n++
		}
	}
	return n
}

const keepDispatching = `setInterval(() => {
	document.dispatchEvent(new Event("sessionguard:check"))
	document.dispatchEvent(new CustomEvent("htmx:afterRequest", { detail: { requestConfig: { verb: "get" }, xhr: { status: 401 } } }))
}, 100)`

// C3: while the page is left, events do not begin again what takes longer than they are apart.
func TestEventsDoNotKeepPageFromBeingLeft(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		v, app := openSlowly(t, b, 3600, scriptAttributes(3600, ""), "/sessionguard/resume")
		must(t, b.Eval(keepDispatching, nil))
		app.update(func() { app.endsAt = time.Time{} })
		must(t, b.Until(pageLoaded, "/login"))
		if n := v.requests("/sessionguard/resume"); n != 1 {
			t.Errorf("the page was left %d times", n)
		}
	})
}

func TestEventsDoNotCancelLogout(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		v, _ := openSlowly(t, b, 9, scriptAttributes(9, ""), "/sessionguard/logout")
		must(t, b.Until(dialogContains, "Log out"))
		must(t, b.Eval(keepDispatching, nil))
		must(t, b.Eval(`const dialog = document.querySelector("sessionguard-dialog").shadowRoot.querySelector("dialog")
			setTimeout(() => dialog.querySelectorAll("button")[1].click())`, nil))
		must(t, b.Until(pageLoaded, "/login"))
		if v.requests("/sessionguard/logout") != 1 || v.requests("/sessionguard/resume") != 0 {
			t.Errorf("requests: %v", v.proxy.Requests())
		}
	})
}

// C3: the tab that finds the end of the session tells the others, also if it is not by a form
// and the login page has no script.
func TestOtherTabsFollowTheOneThatFindsTheEnd(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		v, app := openSlowly(t, b, 3600, scriptAttributes(3600, `data-poll="0"`), "")
		v.newTab("/page")
		app.update(func() { app.endsAt = time.Time{} })
		must(t, b.Eval(`document.dispatchEvent(new Event("sessionguard:check"))`, nil))
		must(t, b.Until(pageLoaded, "/login"))
		must(t, v.Switch(v.first))
		must(t, b.Until(pageLoaded, "/login"))
		must(t, v.end())
	})
}

// A page may dispatch an event for every request, and that of the script is one.
func TestEventsForTheScriptsOwnRequestsCauseFewMore(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		v, app := openSlowly(t, b, 3600, scriptAttributes(3600, `data-poll="0"`), "")
		must(t, b.Eval(`const original = window.fetch
			window.fetch = async (...request) => {
				const response = await original(...request)
				document.dispatchEvent(new Event("sessionguard:check"))
				return response
			}
			fetch("/e2e/blank")`, nil))
		time.Sleep(2 * time.Second) // in which there were 700 requests
		if n := v.requests("/sessionguard/status"); n < 2 || n > 20 {
			t.Errorf("%d requests for the status", n)
		}
		app.update(func() { app.endsAt = time.Time{} })
		must(t, b.Until(pageLoaded, "/login"))
	})
}
