package app

import (
	"flag"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
)

func parseFlags(t *testing.T, args ...string) Options {
	t.Helper()
	o := Options{}
	flags := flag.NewFlagSet("dashboard", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o.Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	o.Log = testOptions().Log
	return o
}

func TestBehindAProxyCookiesAreSecureAndItsClientsAreNamed(t *testing.T) {
	// The connections of the tests come from 192.0.2.1.
	for proxies, want := range map[string]string{
		"192.0.2.1":                    "198.51.100.7",
		"127.0.0.1, ::1, 192.0.2.0/24": "198.51.100.7",
		"127.0.0.1":                    "192.0.2.1",
	} {
		s := newSite(t, parseFlags(t, "-behind-proxy", proxies))
		s.url = "https://dashboard.example"
		b := s.browse()
		b.Header.Set("X-Forwarded-For", "203.0.113.9, 198.51.100.7")
		resp := apptest.Login(b, "ada").Expect(http.StatusSeeOther, "/home")
		if cookie := resp.Cookies()[0]; cookie.Name != "__Host-Http-session" || !cookie.Secure {
			t.Errorf("the cookie is %v", cookie)
		}
		b.Get("/account/sessions").Expect(http.StatusOK, "").Row("This device").Contains("<small>" + want + "</small>")
	}
}

func TestAnotherSiteMayShowThePagesInAFrame(t *testing.T) {
	for _, test := range []struct {
		flags                 []string
		attributes, ancestors string
	}{
		{[]string{"-secure"}, "; HttpOnly; Secure; SameSite=Lax", "frame-ancestors 'none'"},
		{[]string{"-secure", "-framed-by", "https://portal.example"}, "; HttpOnly; Secure; SameSite=None; Partitioned", "frame-ancestors https://portal.example"},
	} {
		s := newSite(t, parseFlags(t, test.flags...))
		s.url = "https://dashboard.example"
		resp := apptest.Login(s.browse(), "ada").Expect(http.StatusSeeOther, "/home")
		if lines := resp.Header["Set-Cookie"]; len(lines) != 1 || !strings.HasSuffix(lines[0], test.attributes) {
			t.Errorf("%v: the cookies are %q", test.flags, lines)
		}
		if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, test.ancestors) {
			t.Errorf("%v: the policy is %q", test.flags, policy)
		}
	}
	if _, err := New(parseFlags(t, "-framed-by", "https://portal.example")); err == nil {
		t.Error("over http, browsers would send no cookie")
	}
}

func TestWithoutAProxyNoClientNamesItself(t *testing.T) {
	b := newSite(t, testOptions()).browse()
	b.Header.Set("X-Forwarded-For", "203.0.113.9")
	apptest.Login(b, "ada")
	b.Get("/account/sessions").Row("This device").Contains("<small>192.0.2.1</small>")
}

func TestProxiesAreAddressesOrNetworks(t *testing.T) {
	for _, list := range []string{"", "localhost", "10.0.0.0/40", "127.0.0.1,", "127.0.0.1:80"} {
		if err := new(Options).setProxies(list); err == nil || !strings.Contains(err.Error(), "neither an address nor a network") {
			t.Errorf("%q: %v", list, err)
		}
	}
}

var localURL = regexp.MustCompile(`(href|action|src|data-[a-z]+)="(/[^"]*)"`)

func TestBelowABasePathEveryLinkHasIt(t *testing.T) {
	s := newSite(t, parseFlags(t, "-base-path", "/app"))
	s.handler = http.StripPrefix("/app", s.handler)
	b := s.browse()
	b.Get("/app/admin").Expect(http.StatusSeeOther, "/app/login?next=%2Fapp%2Fadmin")
	b.PostForm("/app/login", "username", "ada", "password", apptest.Passwords["ada"], "next", "/app/live").
		Expect(http.StatusSeeOther, "/app/live")
	b.PostForm("/app/logout").Expect(http.StatusSeeOther, "/app/")
	b.Get("/app/").Contains("You have been logged out.")
	apptest.Login(b.At(s.url+"/app"), "grace").Expect(http.StatusSeeOther, "/app/home")

	links := 0
	for _, path := range []string{
		"/", "/home", "/admin", "/account", "/account/sessions", "/reauth", "/live", "/admin/users/ada/sessions",
	} {
		for _, found := range localURL.FindAllStringSubmatch(b.Get("/app"+path).Expect(http.StatusOK, "").Body, -1) {
			links++
			if !strings.HasPrefix(found[2], "/app/") {
				t.Errorf("%s on %q has no prefix", found[0], path)
			}
			if resp := b.Do(b.Request("HEAD", found[2])); resp.StatusCode == http.StatusNotFound {
				t.Errorf("%s on %q is not found", found[0], path)
			}
		}
	}
	if links < 50 {
		t.Errorf("found %d links only", links)
	}
	for from, to := range map[string]string{
		"/admin/users/eve/activate": "/app/admin", "/admin/users/ada/sessions/end": "/app/admin/users/ada/sessions",
		"/account/sessions/end-others": "/app/account/sessions", "/account/sessions/none/end": "/app/account/sessions",
	} {
		b.PostForm("/app"+from).Expect(http.StatusSeeOther, to)
	}
}
