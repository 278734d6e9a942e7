package e2e

import (
	"io"
	"net/http"
	"testing"
	"time"
)

// uploadApplication is a fakeApplication with a form whose upload has its response when the
// test says so.
type uploadApplication struct {
	fakeApplication
	begin    chan struct{} // closed when the page may send the form
	received chan struct{} // closed once the upload is being received
	respond  chan struct{} // closed by the test
	asked    int           // requests for the status
	onAsked  func(n int)   // called for each, with app.mu held
	hold     chan struct{} // until it is closed, they have no response
}

func (app *uploadApplication) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/begin":
		<-app.begin
	case "/upload":
		close(app.received)
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-app.respond:
			libraryPage{}.write(w, "Received")
		case <-r.Context().Done():
		}
	case "/sessionguard/status":
		app.update(func() { app.asked++; app.onAsked(app.asked) })
		<-app.hold
		app.fakeApplication.ServeHTTP(w, r)
	case "/shown", "/hidden": // the page says so
	default:
		app.fakeApplication.ServeHTTP(w, r)
	}
}

// realTime and testTime say what pass(milliseconds) is to the page of an upload. With testTime
// it is all the time that passes for the guard script: no machine is too slow.
const (
	realTime = `const pass = () => {}; `
	testTime = `const steady = performance.now(), wall = Date.now()
		let passed = 0
		performance.now = () => steady + passed
		Date.now = () => wall + passed
		AbortSignal.timeout = () => new AbortController().signal
		const pass = (milliseconds) => {
			passed += milliseconds
			document.dispatchEvent(new Event("visibilitychange")) // the script looks at the clock
		}; `
)

// upload opens a page whose session lasts idle seconds, and begins an upload. A browser may
// answer no question while it waits for a response, so the page itself tells when it is
// hidden, and when it is shown after that or after a warning.
func upload(t *testing.T, b *browser, idle int, app *uploadApplication, clock string) *visit {
	t.Helper()
	app.begin, app.received, app.respond = make(chan struct{}), make(chan struct{}), make(chan struct{})
	app.session, app.idle, app.tag = "a", time.Duration(idle)*time.Second, scriptAttributes(idle, "")
	app.page = `<body>the secret<form method="post" action="/upload" enctype="multipart/form-data"><input name="file"></form>`
	proxy, _ := serveThroughProxy(t, whole, app.ServeHTTP)
	v := &visit{T: t, browser: b, proxy: proxy, protection: whole}
	v.begin()
	app.update(func() { app.endsAt = time.Now().Add(app.idle) })
	v.open("/page")
	must(t, b.Eval(clock+`let told = "", warned = false
		const tell = (what) => { if (told !== what) fetch(told = what, { keepalive: true }) } // as in the script
		const watch = setInterval(() => {
			const open = Boolean(document.querySelector("sessionguard-dialog")?.shadowRoot.querySelector("dialog")?.open)
			if (open && !warned) pass(25000) // 29 seconds were left
			if (!open && warned && !told) pass(60000)
			warned ||= open
			if (!document.documentElement.innerText.includes("the secret")) tell("/hidden")
			else if ((warned || told) && !open) tell("/shown")
		}, 20)
		addEventListener("pagehide", () => clearInterval(watch)) // whoever leaves a page hides it
		const form = document.querySelector("form")
		form.elements.file.value = "x".repeat(1000000)
		fetch("/begin").then(() => { form.submit(); pass(61000) })`, nil))
	close(app.begin) // chromedriver answers only before the form is sent
	<-app.received
	return v
}

// L1, C3: an upload that the server counts as activity after the warning keeps its page on the
// screen: the script asks once more before the end, and closes the warning.
func TestUploadKeepsItsPage(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		app := &uploadApplication{hold: make(chan struct{})}
		close(app.hold)
		app.onAsked = func(n int) {
			if n == 1 { // before the warning
				app.endsAt = time.Now().Add(29500 * time.Millisecond)
			} else {
				app.endsAt = time.Now().Add(time.Hour)
			}
		}
		v := upload(t, b, 90, app, testTime)
		v.waitFor("the page without the warning", 15*time.Second, func() bool { return v.proxy.Requested("/shown") })
		close(app.respond)
		v.waitForPage("/upload")
		if v.proxy.Requested("/hidden") {
			t.Error("the page was hidden")
		}
	})
}

// C3: a page whose server does not answer in time is hidden, and its upload goes on.
func TestUploadGoesOnWhileItsPageIsHidden(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		app := &uploadApplication{hold: make(chan struct{}), onAsked: func(int) {}}
		v := upload(t, b, 3, app, realTime)
		v.waitFor("the hidden page", 10*time.Second, func() bool { return v.proxy.Requested("/hidden") })
		app.update(func() { app.endsAt = time.Now().Add(time.Hour) })
		close(app.hold)
		v.waitFor("the page that is shown again", 10*time.Second, func() bool { return v.proxy.Requested("/shown") })
		close(app.respond)
		v.waitForPage("/upload")
	})
}
