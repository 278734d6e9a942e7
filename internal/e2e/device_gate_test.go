package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/dbsc"
	"github.com/sessionguard-go/sessionguard/store"
)

// A login that leads to a page for bound sessions alone arrives there by itself.
func TestLoginThatLeadsToRequireBoundArrives(t *testing.T) {
	s := newDeviceSite(t)
	s.open("/login")
	s.post("/login", "user", "ada", "next", "/bound")
	s.until(shows, "/bound", "the secret of ada")
	s.expire()
	s.open("/bound")
	s.until(shows, "/bound", "the secret of ada")
}

// Where RequireBound asks for a proof that is newer than the browser's, the browser proves the
// device on the way, whatever the request is. Whoever has copied the old proof cannot.
func TestRequireBoundHasTheDeviceProvenAnew(t *testing.T) {
	s := newDeviceSite(t)
	s.logInBound("ada")
	s.open("/page")
	for _, c := range []struct {
		name string
		ask  func()
	}{
		{"navigation", func() { s.open("/step-up"); s.until(shows, "/step-up", "the secret of ada") }},
		{"form", func() {
			s.post("/step-up", "name", "kept")
			s.until(shows, "/step-up", "the secret of ada: name=kept")
		}},
		{"fetch", func() {
			var body string
			must(t, s.Eval(`return fetch("/step-up", { method: "POST", body: "body kept" }).then((r) => r.text())`, &body))
			if !strings.Contains(body, "the secret of ada: body kept") {
				t.Error(body)
			}
		}},
	} {
		s.ageProof("ada", 3*time.Minute)
		thief := s.steal(nothing)
		if !thief.isIn() {
			t.Fatal("the thief's proof does not count, so that nothing is proven")
		}
		response, body := thief.try("/step-up")
		for _, c := range response.Cookies() { // as a browser does
			thief.cookies = deleteCookie(thief.cookies, c.Name)
		}
		if response.StatusCode != http.StatusTemporaryRedirect || strings.Contains(body, "the secret") || thief.isIn() {
			t.Errorf("%s: the thief got %s %s", c.name, response.Status, body)
		}
		thief.refused()
		s.forget()
		if c.ask(); s.count("GET", "/step-up", http.StatusTemporaryRedirect)+s.count("POST", "/step-up", http.StatusTemporaryRedirect) != 1 {
			t.Errorf("%s: %+v", c.name, s.received())
		}
		s.forget()
		if c.ask(); s.count("POST", "/sessionguard/prove", 0) != 0 {
			t.Errorf("%s: a proof that is new enough was renewed: %+v", c.name, s.received())
		}
	}
}

func deleteCookie(cookies []browserCookie, name string) (rest []browserCookie) {
	for _, c := range cookies {
		if c.Name != name {
			rest = append(rest, c)
		}
	}
	return rest
}

// ageProof gives the browser a bound cookie for a proof from that long ago.
func (s *deviceSite) ageProof(user string, by time.Duration) {
	s.Helper()
	rec := s.records(user)[0]
	codec := dbsc.New(cookie.DeriveKeys(deviceKeys, "device proof"), nil)
	for _, c := range s.boundCookies() {
		c.Value = codec.Token(dbsc.Cookie, store.TimeOf(time.Now().Add(-by)), rec.ID, rec.Detail().Device.Registered)
		s.setCookie(c)
	}
}
