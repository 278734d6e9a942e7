package e2e

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// withLibrary is a proxy that makes pages use a library.
func withLibrary(l *library) func(http.Handler) http.Handler {
	return func(application http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/library.js" {
				l.serve(w, r)
				return
			}
			page := httptest.NewRecorder()
			application.ServeHTTP(page, r)
			maps.Copy(w.Header(), page.Header())
			w.WriteHeader(page.Code)
			_, _ = w.Write(bytes.Replace(page.Body.Bytes(), []byte("<body>"), []byte(`<script src="/library.js"></script><body`+l.body+`>`), 1))
		})
	}
}

// watch notes whatever the page shows but the user's secret, in each frame.
const watch = `window.first = true; window.seen = []; (function look() {
	const text = document.body?.innerText ?? ""
	if (!text.includes("the secret of ada") || document.querySelector("sessionguard-dialog")) seen.push(text)
	requestAnimationFrame(look)
})()`

// Whose proof runs out between two clicks on a page of Turbo or htmx notices nothing: the library's
// request waits for the proof, and no document is loaded.
func TestAProofThatRunsOutOnAPageOfALibraryIsNotNoticed(t *testing.T) {
	requireLibraries(t)
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			s := newDeviceSite(t)
			s.setProxy(withLibrary(l))
			s.logInBound("ada")
			s.open("/page")
			must(t, s.Eval(watch, nil))
			follow := func(path string) {
				s.Helper()
				must(t, s.Eval(`const link = document.createElement("a")
					link.href = arguments[0]
					document.body.append(link);`+l.follow+`
					link.click()`, nil, path))
			}
			const arrived = `return location.pathname + location.search === arguments[0] && document.body.innerText.includes("the secret of ada")`
			for _, c := range []struct {
				name, asked, arrives string
				click                func()
			}{
				{"link", "/page", "/page?next", func() { follow("/page?next") }},
				{"form", "/save", "/page?saved=kept", func() {
					must(t, s.Eval(`const form = document.createElement("form"), link = form
						Object.assign(form, { method: "post", action: "/save", innerHTML: "<input name=name value=kept>" })
						document.body.append(form);`+l.follow+`
						form.requestSubmit()`, nil))
				}},
			} {
				s.expire()
				s.forget()
				c.click()
				s.until(arrived, c.arrives)
				s.held(c.asked)
			}
			s.ageProof("ada", 3*time.Minute)
			s.forget()
			follow("/step-up")
			s.until(arrived, "/step-up")
			if s.count("GET", "/step-up", http.StatusTemporaryRedirect) != 1 || s.count("POST", "/sessionguard/prove", http.StatusOK) != 1 {
				t.Errorf("%+v", s.received())
			}
			var seen []string
			must(t, s.Eval(`return window.first ? seen : ["a new document"]`, &seen))
			if len(seen) > 0 {
				t.Errorf("the user has seen %q", seen)
			}

			// While no proof can be checked, htmx shows nothing, and Turbo the page that says so.
			s.expire()
			s.forget()
			s.backend.down.Store(true)
			follow("/page?down")
			if l == turbo {
				s.until(shows, "/page", "try again in a moment")
			}
			s.waitFor("the refusal", func() bool { return s.count("GET", "/page", http.StatusServiceUnavailable) == 1 })
			s.backend.down.Store(false)
			s.waitFor("the end of the failure", func() bool {
				status, _ := s.fetch("/echo")
				return status == http.StatusOK
			})
			must(t, s.Eval(`return window.first ? seen : ["a new document"]`, &seen))
			if l != turbo && len(seen) > 0 {
				t.Errorf("the user has seen %q", seen)
			}

			// Where the device cannot be proven any more, the login page is a document of its own.
			s.open("/page")
			s.expire()
			s.forgetKeys()
			must(t, s.Eval(`window.first = true`, nil))
			follow("/page?later")
			s.until(shows, "/login", "Log in "+string(store.ReasonDeviceUnproven))
			s.until(`return !window.first`)
		})
	}
}
