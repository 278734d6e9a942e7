package e2e

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Requests that RequireBound has proven anew at the same time take one proof together, and none
// is lost: what one of them deletes is the old proof, and not the new one of another, however
// late it arrives. In the browser of the last test, more proofs would use its quota up.
func TestRequestsThatAreProvenAnewAtOnceTakeOneProof(t *testing.T) {
	s := newDeviceSite(t)
	s.logInBound("ada")
	first, second := s.openTwoTabs()
	const fetches = `window.statuses = []; for (let i = 0; i < 4; i++)
		fetch("/step-up?" + i, i % 2 ? { method: "POST", body: "x" } : {}).then((r) => statuses.push(r.status), () => statuses.push(0))`
	fetched := func() {
		t.Helper()
		s.until(`return statuses.length === 4`)
		var statuses []int
		must(t, s.Eval(`return statuses`, &statuses))
		if slices.ContainsFunc(statuses, func(status int) bool { return status != http.StatusOK }) {
			t.Errorf("the page got %v", statuses)
		}
	}
	for _, c := range []struct {
		name string
		ask  func()
	}{
		{"fetches", func() { must(t, s.Eval(fetches, nil)); fetched() }},
		{"two tabs", func() {
			for _, tab := range []string{first, second} {
				must(t, s.Switch(tab))
				must(t, s.Eval(fetches, nil))
			}
			for _, tab := range []string{first, second} {
				must(t, s.Switch(tab))
				fetched()
			}
		}},
		{"form beside fetches", func() {
			must(t, s.Switch(first))
			must(t, s.Eval(fetches, nil))
			must(t, s.Switch(second))
			s.post("/step-up", "name", "kept")
			s.until(shows, "/step-up", "the secret of ada: name=kept")
			must(t, s.Switch(first))
			fetched()
			must(t, s.Switch(second))
			s.open("/page")
		}},
	} {
		for range 3 {
			s.ageProof("ada", 3*time.Minute)
			s.setProxy(holdRedirects())
			s.forget()
			c.ask()
			if n := s.count("POST", "/sessionguard/prove", http.StatusOK); n != 1 {
				t.Errorf("%s: %d proofs: %+v", c.name, n, s.received())
			}
			if n := len(s.boundCookies()); n != 1 {
				t.Errorf("%s: %d bound cookies", c.name, n)
			}
		}
	}
	must(t, s.CloseTab())
	must(t, s.Switch(first))
}

// holdRedirects is a proxy that holds all redirects (307) but the first back until the request
// that got that has come again, and is about to be answered: with the new proof.
func holdRedirects() func(http.Handler) http.Handler {
	var redirects atomic.Int64
	proven := make(chan struct{})
	release := sync.OnceFunc(func() { close(proven) })
	return func(application http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			begun := false
			application.ServeHTTP(&deviceWriter{w, func(status int) {
				switch {
				case begun:
				case status != http.StatusTemporaryRedirect:
					if r.URL.Path == "/step-up" {
						release()
					}
				case redirects.Add(1) > 1:
					select {
					case <-proven:
					case <-r.Context().Done():
					}
				}
				begun = true
			}}, r)
		})
	}
}
