package app

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/sessionguard-go/sessionguard/store"
)

// newBoundSite is the application with -secure -device 10m.
func newBoundSite(t *testing.T) *site {
	t.Helper()
	o := testOptions()
	o.Secure, o.Device = true, 10*time.Minute
	return newSite(t, o)
}

// boundClient returns a browser that has logged in and proven its device.
func (s *site) boundClient(name string) *sessionguardtest.Client {
	s.Helper()
	return sessionguardtest.Bind(s.T, s.app.guard, s.loggedIn(name), 0)
}

func TestTheListShowsWhichSessionsAreBound(t *testing.T) {
	s := newBoundSite(t)
	laptop := s.loggedIn("ada")
	laptop.Get("/account/sessions").HasStatus(http.StatusOK).Contains(`href="/account/device"`).Lacks("Bound to this device")
	s.boundClient("ada")
	body := laptop.Get("/account/sessions").HasStatus(http.StatusOK).Body
	if n := strings.Count(body, "Bound to this device"); n != 1 {
		t.Errorf("%d sessions are bound, want 1, in\n%s", n, body)
	}
	s.loggedIn("grace").Get("/admin/users/ada/sessions").Contains("Bound to this device")
}

func TestAPageSaysWhetherTheSessionIsBoundAndHowToSeeIt(t *testing.T) {
	s := newBoundSite(t)
	c := s.loggedIn("ada")
	page := s.noStore(c.Get("/account/device")).HasStatus(http.StatusOK).
		Contains("Your session is not bound", "chrome://flags", "Device Bound Session Credentials (Standard)", "its 10 minutes are almost over", "after 11 minutes at most")
	if !logoutForm.MatchString(page.Body) {
		t.Error("no way to log out")
	}
	if found := inline.FindString(guardTag.ReplaceAllString(page.Body, "")); found != "" {
		t.Errorf("the policy forbids %q", found)
	}
	sessionguardtest.Bind(t, s.app.guard, c, 0)
	c.Get("/account/device").HasStatus(http.StatusOK).Contains("Your session is bound to this device").Lacks("not bound to")
	s.client().Get("/account/device").RedirectsTo("/login?next=%2Faccount%2Fdevice")
}

func TestAPageIsOnlyForBoundSessions(t *testing.T) {
	const only = "/account/device/only"
	s := newBoundSite(t)
	s.client().Get(only).RedirectsTo("/login?next=%2Faccount%2Fdevice%2Fonly")
	c := s.loggedIn("ada")
	refused := s.noStore(c.Get(only)).HasStatus(http.StatusForbidden).
		Contains("That page is only for sessions that are bound", "Your session is not bound").Lacks("Your browser has proven")
	if got := refused.Header.Get("Refresh"); got != "1" { // the browser may be about to prove it
		t.Errorf("Refresh is %q", got)
	}
	sessionguardtest.Bind(t, s.app.guard, c, 0)
	s.noStore(c.Get(only)).HasStatus(http.StatusOK).Contains("Your browser has proven")
}

func TestAProofThatHasRunOutLeadsToTheLoginPageThatSaysWhy(t *testing.T) {
	s := newBoundSite(t)
	owner := s.loggedIn("ada")
	sessionguardtest.Bind(t, s.app.guard, owner, 11*time.Minute)
	owner.Get("/home").HasStatus(http.StatusTemporaryRedirect) // a browser would prove its device on the way
	s.ended(owner, "/home", store.ReasonDeviceUnproven)
	sessionguardtest.Bind(t, s.app.guard, owner, 0)
	owner.Get("/home").HasStatus(http.StatusOK)
}

// The browser proves its device and connects again: it is not told that the session has ended.
func TestAStreamEndsWithTheProofThatItBeganWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBoundSite(t)
		c := s.boundClient("ada")
		begun := time.Now()
		body := c.Get("/events").HasStatus(http.StatusOK).Body
		if took := time.Since(begun).Round(time.Second); took != 11*time.Minute {
			t.Errorf("the stream took %v", took)
		}
		if strings.Contains(body, "event: ended") {
			t.Errorf("the end was %q", body[max(0, len(body)-100):])
		}
		sessionguardtest.Bind(t, s.app.guard, c, 0)
		c.Get("/live").HasStatus(http.StatusOK)
	})
}

func TestWithoutTheFlagNothingIsSaidOfDevices(t *testing.T) {
	o := testOptions()
	o.Secure = true
	s := newSite(t, o)
	c := s.loggedIn("ada")
	c.Get("/account/sessions").HasStatus(http.StatusOK).Lacks("/account/device", "ound to")
	for _, path := range []string{"/account/device", "/account/device/only"} {
		c.Get(path).HasStatus(http.StatusNotFound)
	}
}

func TestBindingNeedsHTTPS(t *testing.T) {
	o := testOptions()
	o.Device = 10 * time.Minute
	if _, err := New(o); err == nil || err.Error() != "-device needs https: add -secure" {
		t.Errorf("got %v", err)
	}
	if err := o.setProxies("127.0.0.1"); err != nil { // which may end TLS
		t.Fatal(err)
	}
	if _, err := New(o); err != nil {
		t.Error(err)
	}
}

// Chromium (156) binds nothing where the certificate has an error, also if the user has gone on.
func TestThePageNamesTheCertificate(t *testing.T) {
	s := newBoundSite(t)
	server, err := s.app.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if !strings.Contains(server.Warning, "/account/device says how") {
		t.Errorf("the warning is %q", server.Warning)
	}
	key := sha256.Sum256(server.http.TLSConfig.Certificates[0].Leaf.RawSubjectPublicKeyInfo)
	page := s.loggedIn("ada").Get("/account/device").Body
	if flag := "--ignore-certificate-errors-spki-list=" + base64.StdEncoding.EncodeToString(key[:]); !strings.Contains(html.UnescapeString(page), flag) {
		t.Errorf("%s is not in\n%s", flag, page)
	}
}
