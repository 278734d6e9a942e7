package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// A service worker that forwards every request changes nothing.
func TestAServiceWorkerThatForwardsRequestsChangesNothing(t *testing.T) {
	s := newDeviceSite(t)
	must(t, s.Eval(`return navigator.serviceWorker.register("/forward.js").then(() => null)`, nil))
	s.until(`return navigator.serviceWorker.controller !== null`)
	s.logInBound("ada")
	s.open("/page")
	s.until(`return performance.getEntriesByType("navigation")[0].workerStart > 0`)
	fetched := func(path string) {
		s.Helper()
		var body string
		must(t, s.Eval(`return fetch(arguments[0], { method: "POST", body: "body kept" }).then((r) => r.text())`, &body, path))
		if !strings.Contains(body, "the secret of ada: body kept") {
			t.Errorf("%s: %s", path, body)
		}
	}
	for _, c := range []struct {
		name, path string
		ask        func(path string)
	}{
		{"navigation", "/page", func(path string) { s.open(path); s.until(shows, path, "the secret of ada") }},
		{"form", "/page", func(path string) {
			s.post(path, "name", "kept")
			s.until(shows, path, "the secret of ada: name=kept")
		}},
		{"fetch", "/echo", fetched},
		{"EventSource", "/stream", func(path string) {
			var ok bool
			must(t, s.Eval(`return new Promise((done) => { const e = new EventSource(arguments[0]); e.onmessage = () => { e.close(); done(true) }; e.onerror = () => done(false) })`, &ok, path))
			if !ok {
				t.Error("no stream")
			}
		}},
	} {
		s.expire()
		s.forget()
		c.ask(c.path)
		s.held(c.path)
		if c.path == "/stream" {
			continue
		}
		s.ageProof("ada", 3*time.Minute)
		s.forget()
		c.ask("/step-up")
		if s.count("GET", "/step-up", http.StatusTemporaryRedirect)+s.count("POST", "/step-up", http.StatusTemporaryRedirect) != 1 ||
			s.count("POST", "/sessionguard/prove", http.StatusOK) != 1 {
			t.Errorf("%s: %+v", c.name, s.received())
		}
	}
	s.open("/page")
	s.expire()
	s.forgetKeys()
	s.open("/page")
	s.until(shows, "/login", "Log in "+string(store.ReasonDeviceUnproven))
}
