package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// checkNow has the guard script ask the server.
const checkNow = `document.dispatchEvent(new Event("sessionguard:check"))`

// asked has the guard script ask the server, waits until it has the response, and returns what
// the server was asked and how it responded.
func (s *deviceSite) asked() deviceRequest {
	s.Helper()
	s.forget()
	const responses = `performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/sessionguard/status")).length`
	must(s.T, s.Eval(`window.before = `+responses+`; `+checkNow, nil))
	s.until(`return ` + responses + ` > before`)
	for _, r := range s.received() {
		if r.Path == "/sessionguard/status" {
			return r
		}
	}
	s.Fatalf("nothing was asked: %+v", s.received())
	return deviceRequest{}
}

// A page on the screen stays there while the browser cannot prove the device, as while the
// server cannot be reached: here because another tab had it proven anew until the browser's quota
// was used up, which deletes the old proof.
func TestPageStaysWhileTheDeviceCannotBeProven(t *testing.T) {
	s := newDeviceSiteIn(t, launchWithQuota(t))
	s.logInBound("ada")
	s.open("/page")
	must(t, s.Eval(`document.body.insertAdjacentHTML("beforeend", "<input value='half-filled'>")`, nil))
	first, err := s.Tab()
	must(t, err)
	second, err := s.NewTab()
	must(t, err)
	must(t, s.Switch(second))
	s.open("/page")
	var proofs []browserCookie
	for s.forget(); s.count("GET", "/login", 0) == 0; {
		if s.count("POST", "/sessionguard/prove", http.StatusOK) > 6 {
			t.Fatal("the browser has no quota")
		}
		s.ageProof("ada", 3*time.Minute)
		proofs = s.boundCookies()
		s.open("/step-up")
	}
	s.until(shows, "/login", string(store.ReasonDeviceUnproven))

	must(t, s.Switch(first))
	const stays = `return location.pathname === "/page" && document.body.innerText.includes("the secret of ada") && document.querySelector("input").value === "half-filled"`
	for range 3 {
		if r := s.asked(); r.Bound || r.Skipped == "" {
			t.Fatalf("the device was proven: %+v", r)
		}
		s.until(stays)
	}
	// A little later. The browser itself would prove it again in nine minutes.
	for _, c := range proofs {
		s.setCookie(c)
	}
	if r := s.asked(); !r.Bound {
		t.Fatalf("the device was not proven: %+v", r)
	}
	s.until(stays)
	s.goesOn("ada")
}

// It does not stay longer than the session could live, and what is off the screen does not
// come back.
func TestPageOfAnUnprovenDeviceGoesAtItsEnd(t *testing.T) {
	s := newDeviceSite(t, idleAfter(8))
	s.logInBound("ada")
	s.open("/page")
	end := time.Now().Add(8 * time.Second)
	s.forgetKeys()
	s.expire()
	for range 2 {
		s.asked()
		s.until(shows, "/page", "the secret of ada")
	}
	must(t, s.Eval(`sessionStorage.clear(); setInterval(() => {
		if (document.body.innerText.includes("the secret")) sessionStorage.seen = Date.now()
	}, 50)`, nil))
	s.until(shows, "/login", "Log in")
	var seen int64
	must(t, s.Eval(`return Number(sessionStorage.seen)`, &seen))
	if over := time.UnixMilli(seen).Sub(end); seen == 0 || over > scriptDelay {
		t.Errorf("the page was last seen %v after its end", over)
	}
}

// The same in each engine: the script asks the server every second here.
func TestUnprovenDeviceIsNoAnswerForAPageOnTheScreen(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		_, app := openPage(t, b, 9, scriptAttributes(9, `data-poll="1"`), `<body>the secret<input>`)
		must(t, b.Eval(`document.querySelector("input").value = "half-filled"`, nil))
		app.update(func() { app.unproven = true })
		must(t, b.Until(`return performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/status")).length >= 3`))
		must(t, b.Until(`return document.querySelector("input").value === "half-filled"`))
		must(t, b.Until(secretVisible))
		if time.Now().After(app.endsAt) {
			t.Error("the page stays for too long")
		}
		must(t, b.Until(pageLoaded, "/login"))
		if late := time.Since(app.endsAt); late < -time.Second || late > 2*scriptDelay {
			t.Errorf("the page was left %v after its end", late)
		}

		_, app = openPage(t, b, 60, scriptAttributes(60, ""), `<body>the secret`)
		app.update(func() { app.unproven = true })
		// A library has shown a visitor's page instead.
		must(t, b.Eval(`window.first = true; document.dispatchEvent(new CustomEvent("sessionguard:check", { detail: "" }))`, nil))
		must(t, b.Until(`return !window.first`))
	})
}

func TestUnprovenDeviceBringsNoPageBack(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		for range 3 { // a browser may discard a page that it could have cached
			v, app := openPage(t, b, 60, scriptAttributes(60, ""), `<body>the secret`)
			must(t, b.Eval(`localStorage.secret = "the secret"`, nil))
			app.update(func() { app.unproven = true })
			v.followLink(blank)
			v.startWatching()
			v.back()
			must(t, b.Until(`return JSON.parse(localStorage.shows ?? "[]").some(({ path }) => path === "/page")`))
			if !readSampler(t, b).persisted("/page") {
				continue
			}
			must(t, b.Until(pageLoaded, "/login"))
			if r := readSampler(t, b); r.Leaked > 0 {
				t.Errorf("the page was visible in %d frames", r.Leaked)
			}
			return
		}
		t.Error("the page was loaded again every time")
	})
}
