package e2e

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// What binds a session outlives a restart of the application, and one of the browser, which
// reads the key from its profile.
func TestBoundSessionsOutliveRestarts(t *testing.T) {
	requireEngine(t, bindingChromium)
	b, err := bindingChromium.launch()
	must(t, err)
	t.Cleanup(func() { must(t, b.Quit()) })
	configure := func(c *sessionguard.Config[isolationUser]) { c.RememberFor = 14 * 24 * time.Hour }
	s := newDeviceSiteIn(t, b, configure)
	s.logInBound("ada", "remember", "yes")
	s.start(configure)
	s.expire()
	s.goesOn("ada")

	var identifier string
	for _, r := range s.received() {
		if r.Identifier != "" {
			identifier = r.Identifier
		}
	}
	s.waitForFiles(identifier)
	must(t, b.Restart())
	s.open("/")
	s.expire()
	s.forget()
	s.open("/page")
	s.held("/page")
	s.until(shows, "/page", "the secret of ada")
}

// waitForFiles waits until the browser has written what it needs to prove a session's device
// into its profile, which Chromium 156 does within half a minute.
func (s *deviceSite) waitForFiles(identifier string) {
	s.Helper()
	s.waitFor("the browser's files", func() (found bool) {
		_ = filepath.WalkDir(filepath.Join(s.dir, "profile", "Default"), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				content, _ := os.ReadFile(path) // the browser deletes files all the time
				found = found || bytes.Contains(content, []byte(identifier))
			}
			return nil
		})
		return found
	})
}

// A browser that cannot bind sessions is logged in as before, and so is every browser when
// the application does not ask for it.
func TestWithoutBindingEverythingIsAsBefore(t *testing.T) {
	for _, c := range []struct {
		name      string
		engine    *engine
		configure []func(*sessionguard.Config[isolationUser])
	}{
		{"browser without DBSC", chromium, nil},
		{"DeviceProof off", bindingChromium, []func(*sessionguard.Config[isolationUser]){provenFor(0)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newDeviceSiteIn(t, sharedBrowser(t, c.engine), c.configure...)
			s.logIn("ada")
			s.goesOn("ada")
			if !s.steal(nothing).isIn() {
				t.Error("the copied cookie does not work, so that the session is bound")
			}
			if status, _ := s.fetch("/bound"); status != http.StatusForbidden {
				t.Errorf("RequireBound: %d", status)
			}
			s.logIn("ada") // again
			s.logIn("grace")
			s.open("/page")
			s.post("/logout")
			s.until(shows, "/", "Welcome")
			if status, _ := s.fetch("/echo"); status != http.StatusUnauthorized {
				t.Errorf("after the logout: %d", status)
			}
			if n := s.count("POST", "/sessionguard/bind", 0) + s.count("POST", "/sessionguard/prove", 0); n != 0 || len(s.boundCookies()) != 0 {
				t.Errorf("%d requests about devices, cookies %v", n, s.cookies())
			}
		})
	}
}

// When DeviceProof is turned off, sessions that were bound go on.
func TestBoundSessionsGoOnWhenDeviceProofIsTurnedOff(t *testing.T) {
	s := newDeviceSite(t)
	s.logInBound("ada")
	s.start(provenFor(0))
	s.expire()
	s.goesOn("ada")
	s.forget()
	s.goesOn("ada")
	if n := s.count("POST", "/sessionguard/prove", 0); n != 0 {
		t.Errorf("the browser still proves: %+v", s.received())
	}
}

// Five logins within a few seconds are more than the browser's own quota allows to bind: six
// signatures in nine minutes. Those beyond it go on unbound.
func TestLoginsBeyondTheQuotaGoOnUnbound(t *testing.T) {
	s := newDeviceSiteIn(t, launchWithQuota(t))
	var bound int
	for range 5 {
		s.logIn("ada")
		s.goesOn("ada")
		for range 20 { // the browser proves with one of its next requests, or never
			s.fetch("/")
		}
		if s.isBound("ada") {
			bound++
		}
		s.goesOn("ada")
		s.open("/page")
		s.until(shows, "/page", "the secret of ada")
		s.post("/logout")
		s.until(shows, "/", "Welcome")
	}
	if bound == 0 || bound == 5 {
		t.Errorf("%d of 5 sessions were bound", bound)
	}
}

// launchWithQuota starts a browser that signs six times in nine minutes.
func launchWithQuota(t *testing.T) *browser {
	t.Helper()
	requireEngine(t, bindingChromium)
	b, err := chromium.launch(func(b *browser) {
		b.features = "DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"
	})
	must(t, err)
	t.Cleanup(func() { must(t, b.Quit()) })
	return b
}
