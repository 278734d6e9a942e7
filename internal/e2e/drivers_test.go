package e2e

import (
	"bytes"
	"errors"
	"image/png"
	"slices"
	"testing"
	"time"
)

func TestSamplerChecksOncePerFrame(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		v := &visit{T: t, browser: b, proxy: startApplication(t, none, true)}
		v.begin()
		v.login()
		v.followLink(blank)
		v.startWatching()
		v.back()
		v.waitForPage("/home")
		var samples int
		must(t, b.Eval(`return new Promise((done) => {
			const before = Number(localStorage.leaked);
			let frames = 0;
			const count = () => ++frames < 20 ? requestAnimationFrame(count) : done(Number(localStorage.leaked) - before);
			requestAnimationFrame(count);
		})`, &samples))
		if samples < 19 || samples > 21 {
			t.Errorf("got %d samples in 20 frames after a restore from the back/forward cache", samples)
		}
		for name, hide := range map[string]string{
			"visibility": `document.documentElement.style.setProperty("visibility", "hidden", "important")`,
			"display":    `document.documentElement.style.display = "none"`,
			"body":       `document.body.style.display = "none"`,
			"opacity":    `document.documentElement.style.opacity = "0"`,
		} {
			must(t, b.Eval(hide+`; return new Promise((r) => requestAnimationFrame(() => { localStorage.leaked = 0; requestAnimationFrame(() => requestAnimationFrame(() => r(null))) }))`, nil))
			if r := readSampler(t, b); r.Leaked > 0 {
				t.Errorf("hidden by %s: the sampler saw the secret in %d frames", name, r.Leaked)
			}
			must(t, b.Eval(`document.documentElement.removeAttribute("style"); document.body.removeAttribute("style")`, nil))
			must(t, b.Until(`return Number(localStorage.leaked) > 0`))
		}
	})
}

func TestHistoryNavigationReturnsOnErrorPages(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		proxy := startApplication(t, whole, true)
		must(t, b.Open(proxy.URL+"/login"))
		must(t, b.Eval(`document.querySelector("#username").value = "ada"; document.querySelector("#password").value = "wrong";
			document.querySelector("main form button").click()`, nil))
		must(t, b.Until(`return document.querySelector("#error") !== null && document.readyState === "complete"`))
		waitForBFCache(b)
		must(t, b.Open(proxy.URL+"/e2e/blank"))
		logDuration(t, "back to a submitted form", b.Back)
		logDuration(t, "back", b.Back)
		logDuration(t, "forward to a submitted form", b.Forward)
		logDuration(t, "forward", b.Forward)
		logDuration(t, "forward beyond the end", b.Forward)

		proxy.SetOutage(true)
		_ = b.Open(proxy.URL + "/account") // an error in some engines
		logDuration(t, "back during an outage", b.Back)
		must(t, b.Until(pageLoaded, "/e2e/blank"))
		logDuration(t, "forward during an outage", b.Forward)
		proxy.SetOutage(false)
		proxy.ResetRequests()
		logDuration(t, "reload", b.Reload)
		must(t, b.Until(pageLoaded, "/login"))
		if !proxy.Requested("/account") {
			t.Errorf("reload did not request /account; requests: %+v", proxy.Requests())
		}
	})
}

// logDuration runs step and logs how long it took.
func logDuration(t *testing.T, name string, step func() error) {
	t.Helper()
	begun := time.Now()
	if err := step(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	t.Logf("%s: %v", name, time.Since(begun).Round(time.Millisecond))
}

func TestInputScreenshotsAndPromises(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		proxy := startApplication(t, whole, true)
		must(t, b.Open(proxy.URL+"/e2e/blank"))
		must(t, b.Resize(700, 600))
		must(t, b.Eval(`document.body.innerHTML = "<input><button style='position: fixed; left: 300px; top: 200px; width: 100px; height: 50px'>";
			window.got = [];
			for (const name of ["keydown", "mousemove", "click"])
				addEventListener(name, (e) => e.isTrusted && got.push(name + " " + (e.key ?? e.clientX + "," + e.clientY)));
			document.querySelector("input").focus()`, nil))
		must(t, b.Press("ada", "Escape", "Tab", "Enter"))
		must(t, b.MovePointer(20, 100))
		must(t, b.Click(350, 220))
		var got []string
		must(t, b.Eval(`return [document.querySelector("input").value, outerWidth + "x" + outerHeight, ...got]`, &got))
		for _, want := range []string{"ada", "700x600", "keydown a", "keydown Escape", "keydown Tab", "keydown Enter", "mousemove 20,100", "click 350,220"} {
			if !slices.Contains(got, want) {
				t.Errorf("%q is missing from %q", want, got)
			}
		}
		if shot, err := b.Screenshot(); !errors.Is(err, errUnsupported) {
			must(t, err)
			if image, err := png.Decode(bytes.NewReader(shot)); err != nil || image.Bounds().Dx() < 500 {
				t.Errorf("invalid screenshot of %d bytes: %v", len(shot), err)
			}
		}
		var sum int
		must(t, b.Eval(`return new Promise((r) => setTimeout(() => r(arguments[0] + arguments[1]), 20))`, &sum, 1, 2))
		if err := b.Eval(`return Promise.reject(new Error("no"))`, nil); sum != 3 || err == nil {
			t.Errorf("promises: got %d, want 3; rejection: got error %v", sum, err)
		}
	})
}

func TestReopenTab(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		proxy := startApplication(t, none, true)
		first, err := b.Tab()
		must(t, err)
		must(t, b.Open(proxy.URL+"/e2e/blank"))
		second, err := b.NewTab()
		must(t, err)
		must(t, b.Switch(second))
		must(t, b.Open(proxy.URL+"/login"))
		must(t, b.Open(proxy.URL+"/"))
		must(t, b.Eval(`return new Promise((r) => requestAnimationFrame(() => r(null)))`, nil)) // wait until it is drawn
		waitForBFCache(b)

		must(t, b.CloseTab())
		must(t, b.Switch(first))
		switch err := b.ReopenTab(); {
		case errors.Is(err, errUnsupported):
			t.Log(err)
		case err != nil:
			t.Error(err)
		default:
			must(t, b.Until(pageLoaded, "/"))
			must(t, b.Back())
			must(t, b.Until(pageLoaded, "/login"))
			must(t, b.CloseTab())
			must(t, b.Switch(first))
		}
		must(t, b.Until(pageLoaded, "/e2e/blank"))
	})
}
