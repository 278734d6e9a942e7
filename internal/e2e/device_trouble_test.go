package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

func idleAfter(seconds int) func(*sessionguard.Config[isolationUser]) {
	return func(c *sessionguard.Config[isolationUser]) { c.IdleTimeout = time.Duration(seconds) * time.Second }
}

// While no proof can be checked, requests that need one have the answer to try again, and
// nobody is logged out. The login page shows.
func TestFailureWhileProvingLogsNobodyOut(t *testing.T) {
	s := newDeviceSite(t)
	s.logInBound("ada")
	s.open("/page")
	s.expire()
	s.forget()
	s.backend.down.Store(true)
	if status, body := s.fetch("/echo"); status != http.StatusServiceUnavailable {
		t.Errorf("the browser got %d %s", status, body)
	}
	s.open("/page")
	s.until(`return location.pathname === "/page" && !document.documentElement.innerText.includes("the secret")`)
	if s.count("GET", "/page", http.StatusServiceUnavailable) != 1 {
		t.Errorf("the page's status is not 503: %+v", s.received())
	}
	s.open("/login")
	s.until(shows, "/login", "Log in")
	s.backend.down.Store(false)
	// Chromium tries again after a time that grows with its failures.
	s.waitFor("the end of the failure", func() bool {
		status, _ := s.fetch("/echo")
		return status == http.StatusOK
	})
	s.expire()
	s.goesOn("ada")
	for _, r := range s.received() {
		if r.Path == "/echo" && r.Status == http.StatusUnauthorized {
			t.Errorf("the browser was refused: %+v", r)
		}
	}
}

// Whatever a proxy takes away before the first proof, the session goes on as if there was
// no binding. RequireBound says what is missing.
func TestSessionGoesOnUnboundWhenAMessageIsLost(t *testing.T) {
	for _, c := range []struct {
		name       string
		proxy      func(http.Handler) http.Handler
		registered bool // whether the key reaches the application
	}{
		{"offer", without("Secure-Session-Registration"), false},
		{"challenge", without("Secure-Session-Challenge"), true},
		{"response to the registration", func(application http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/sessionguard/bind" {
					application.ServeHTTP(w, r)
					return
				}
				application.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			})
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newDeviceSite(t)
			s.setProxy(c.proxy)
			s.logIn("ada")
			if c.registered {
				s.waitFor("the registration", func() bool {
					s.fetch("/")
					return s.records("ada")[0].Detail().Device != nil
				})
			}
			if c.name == "challenge" {
				s.waitFor("the end of the browser's part", func() bool {
					s.fetch("/")
					return s.count("POST", "/sessionguard/prove", http.StatusForbidden) > 0
				})
			}
			s.proveLongAgo("ada")
			s.deleteCookies(browserCookie.isBound)
			for range 3 {
				s.goesOn("ada")
				s.open("/page")
				s.until(shows, "/page", "the secret of ada")
			}
			if status, body := s.fetch("/bound"); status != http.StatusForbidden || !strings.Contains(body, "device_required") {
				t.Errorf("RequireBound: %d %s", status, body)
			}

			// The next login binds, once nothing is in the way.
			s.setProxy(nil)
			s.open("/page")
			s.post("/logout")
			s.until(shows, "/", "Welcome")
			s.logInBound("ada")
			s.expire()
			s.goesOn("ada")
		})
	}
}

// A browser that has lost its key has to log in, once, and is bound again.
func TestLostKeyCostsALogin(t *testing.T) {
	s := newDeviceSite(t)
	s.logInBound("ada")
	s.open("/page")
	s.forgetKeys()
	s.expire()
	s.open("/page")
	s.until(shows, "/login", "device_unproven")
	s.logInBound("ada")
	s.expire()
	s.goesOn("ada")
}

// forgetKeys makes the browser forget the keys with which it has proven anything.
func (s *deviceSite) forgetKeys() {
	s.Helper()
	site := s.origin[:strings.LastIndex(s.origin, ":")]
	for _, r := range s.received() {
		if r.Identifier != "" {
			must(s.T, s.DevTools("Network.deleteDeviceBoundSession", object{"key": object{"site": site, "id": r.Identifier}}, nil))
		}
	}
}
