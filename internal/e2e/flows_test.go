package e2e

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A flow is a sequence of user actions after which no page that requires a login may be
// visible.
type flow struct {
	name  string
	args  []string // the application's arguments
	steps func(v *visit)
	// verify checks more, for the unchanged application.
	verify func(v *visit)
}

// sessionLifetime is that of idleArgs and absoluteArgs.
const sessionLifetime = 2 * time.Second

var (
	defaultArgs  []string
	idleArgs     = []string{"-idle", "2s"}
	absoluteArgs = []string{"-idle", "2s", "-absolute", "2s"}
	warningArgs  = []string{"-idle", "6s"}
)

var flows = []flow{
	{"logout, Back", defaultArgs, func(v *visit) {
		v.login()
		v.followLink("/account")
		v.logout()
		v.startWatching()
		v.back()
	}, endsAtLogin("/account", "")},

	{"logout right after the login, Back", defaultArgs, func(v *visit) {
		v.loginByForm()
		v.logout()
		v.startWatching()
		v.back()
	}, endsAtLogin("/home", "")},

	{"logout, Back twice", defaultArgs, func(v *visit) {
		v.loginByForm()
		v.followLink("/account")
		v.logout()
		v.startWatching()
		v.back()
		v.back()
	}, nil},

	{"logout by fetch, Back", defaultArgs, func(v *visit) {
		v.login()
		v.logoutByFetch()
		v.followLink("/")
		v.startWatching()
		v.back()
	}, endsAtLogin("/home", "")},

	{"logout, Back to the answer of a POST", defaultArgs, func(v *visit) {
		v.login()
		v.followLink("/account")
		v.submitForm("/account/password", "current", "wrong", "password", "long enough")
		v.waitForPage("/account/password")
		v.logout()
		v.startWatching()
		v.back()
	}, nil},

	{"logout, Forward", defaultArgs, func(v *visit) {
		v.login()
		v.followLink(blank)
		v.followLink("/home")
		v.back()
		v.waitForPage(blank)
		v.logoutByFetch()
		v.startWatching()
		waitForBFCache(v.browser)
		v.must(v.Forward())
	}, endsAtLogin("/home", "")},

	{"login as another, Back", defaultArgs, func(v *visit) {
		v.login()
		v.followLink("/account")
		v.loginAs("grace")
		v.startWatching()
		v.back()
	}, nil},

	{"idle expiry, Back", idleArgs, func(v *visit) {
		v.login()
		v.followLink(blank)
		v.waitForExpiry()
		v.startWatching()
		v.back()
	}, endsAtLogin("/home", "idle")},

	{"idle expiry, Back to a #fragment", idleArgs, func(v *visit) {
		v.login()
		v.must(v.Eval("location.hash = 'main'", nil))
		v.followLink(blank)
		v.waitForExpiry()
		v.startWatching()
		v.back()
	}, endsAtLogin("/home", "idle")},

	{"absolute expiry, Back", absoluteArgs, func(v *visit) {
		v.login()
		v.followLink(blank)
		v.waitForExpiry()
		v.startWatching()
		v.back()
	}, endsAtLogin("/home", "absolute")},

	{"another tab logs out, then leave, Back", defaultArgs, func(v *visit) {
		v.login()
		v.newTab("/account")
		v.logout()
		v.waitForOtherTab()
		v.must(v.Switch(v.first))
		v.followLink(blank)
		v.startWatching()
		v.back()
	}, nil},

	{"leave, another tab logs out, Back", defaultArgs, func(v *visit) {
		v.login()
		v.followLink(blank)
		v.newTab("/account")
		v.logout()
		v.must(v.Switch(v.first))
		v.startWatching()
		v.back()
	}, endsAtLogin("/home", "")},

	{"leave, an administrator ends the session, Back", defaultArgs, func(v *visit) {
		v.login()
		v.followLink(blank)
		v.deactivate()
		v.startWatching()
		v.back()
	}, endsAtLogin("/home", "deactivated")},

	{"close the tab, log out, reopen it", defaultArgs, func(v *visit) {
		v.login()
		v.newTab(blank)
		waitForBFCache(v.browser)
		other, err := v.Tab()
		v.must(err)
		v.must(v.Switch(v.first))
		v.must(v.CloseTab())
		v.must(v.Switch(other))
		v.logoutByFetch()
		v.startWatching()
		v.must(v.ReopenTab())
	}, endsAtLogin("/home", "")},

	{"on the screen: idle expiry", idleArgs, func(v *visit) {
		v.login()
		v.waitForExpiry()
		v.startWatching()
	}, countdownEndsAtLogin},

	{"on the screen: warned, stayed, run out", warningArgs, func(v *visit) {
		v.login()
		if v.protection.keepsScript() {
			v.staySignedIn()
		}
		time.Sleep(6*time.Second + scriptDelay)
		v.startWatching()
	}, countdownEndsAtLogin},

	{"on the screen: another tab logs out", defaultArgs, func(v *visit) {
		v.login()
		v.newTab("/account")
		v.logout()
		v.waitForOtherTab()
		v.startWatching()
		v.must(v.Switch(v.first))
	}, endsAtLogin("/home", "")},

	{"on the screen: another tab logs in as another", defaultArgs, func(v *visit) {
		v.login()
		v.newTab("/account")
		v.loginAs("grace")
		v.waitForOtherTab()
		v.startWatching()
		v.must(v.Switch(v.first))
	}, func(v *visit) {
		v.must(v.Until(`return location.pathname === "/home" && document.body.innerText.includes("Grace Hopper")`))
	}},

	{"on the screen: the server is gone", idleArgs, func(v *visit) {
		v.login()
		v.proxy.SetOutage(true)
		v.waitForExpiry()
		v.startWatching()
		time.Sleep(100 * time.Millisecond)
	}, func(v *visit) {
		v.must(v.Until(dialogContains, "Try again"))
		v.must(v.Until(`return location.pathname === "/home" && !document.title.includes("Home")`))
		v.proxy.SetOutage(false)
		v.must(v.Press("Enter")) // the button has the focus
		countdownEndsAtLogin(v)
	}},
}

// scriptDelay bounds how long after the end of its session a page notices it.
const scriptDelay = 1500 * time.Millisecond

// waitForExpiry waits until a session of sessionLifetime has ended and the script, if
// there is one, has noticed.
func (v *visit) waitForExpiry() {
	delay := scriptDelay
	if !v.protection.keepsScript() {
		delay = 100 * time.Millisecond
	}
	time.Sleep(sessionLifetime + delay)
}

// endsAtLogin returns a check that the visit ends at the login page, with next as the
// place to return to. reason is checked only if the script led there: if the browser
// requested the page again instead, the server gives no reason.
func endsAtLogin(next, reason string) func(v *visit) {
	return func(v *visit) {
		var login *url.URL
		v.waitFor("reaching the login page for "+next, 8*time.Second, func() bool {
			address, err := v.URL()
			if err != nil {
				return false
			}
			login, err = url.Parse(address)
			return err == nil && login.Path == "/login"
		})
		byScript := v.proxy.Requested("/sessionguard/resume")
		if got := login.Query().Get("reason"); login.Query().Get("next") != next || got != reason && byScript {
			v.fail("at %s, want next %s and reason %q", login, next, reason)
		}
		// A browser keeps the fragment through a redirect, but sends it to no server.
		sent := slices.ContainsFunc(v.proxy.Requests(), func(r recordedRequest) bool { return strings.Contains(r.Path, "%23") })
		if sent || byScript && login.Fragment != "" {
			v.fail("at %s with a fragment, requests %v", login, v.proxy.Requests())
		}
		v.requireNoPageServed()
	}
}

// countdownEndsAtLogin checks that the script's countdown ended at the login page.
func countdownEndsAtLogin(v *visit) {
	v.must(v.Until(`return location.pathname + location.search === "/login?next=%2Fhome&reason=idle"`))
	v.requireNoPageServed()
}

// staySignedIn confirms the warning with the keyboard.
func (v *visit) staySignedIn() {
	v.must(v.Until(dialogContains, "Stay signed in"))
	v.proxy.ResetRequests()
	v.must(v.Press("Enter"))
	v.waitFor("request to stay signed in", 2*time.Second, func() bool { return v.proxy.Requested("/sessionguard/stay") })
	v.must(v.Until(dialogClosed))
}

// waitForOtherTab waits until the script, if there is one, has left the page in the other
// tab.
func (v *visit) waitForOtherTab() {
	if v.protection.keepsScript() {
		v.waitFor("the other tab leaving its page", 3*time.Second, func() bool { return v.proxy.Requested("/sessionguard/resume") })
	}
}

// deactivate ends ada's sessions from another client: an administrator deactivates the
// account, and activates it again.
func (v *visit) deactivate() {
	jar, err := cookiejar.New(nil)
	v.must(err)
	admin := http.Client{
		Jar:       jar,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	defer admin.CloseIdleConnections()
	send := func(path string, form url.Values) {
		response, err := admin.PostForm(v.proxy.URL+path, form)
		v.must(err)
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			v.fail("administrator: POST %s: %s", path, response.Status)
		}
	}
	send("/login", url.Values{"username": {"grace"}, "password": {passwords["grace"]}})
	send("/admin/users/ada/deactivate", nil)
	send("/admin/users/ada/activate", nil)
}
