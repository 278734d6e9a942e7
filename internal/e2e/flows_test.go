package e2e

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"time"
)

// A flow is something that people do, after which nobody may see the page that
// was only for someone logged in.
type flow struct {
	name string
	args []string // the application's
	do   func(v *visit)
	// held is what is true besides, when nothing is taken out.
	held func(v *visit)
}

const lifetime = 2 * time.Second

var (
	usual    []string
	idle     = []string{"-idle", "2s"}
	absolute = []string{"-idle", "2s", "-absolute", "2s"}
	warned   = []string{"-idle", "6s"}
)

var flows = []flow{
	{"logout, Back", usual, func(v *visit) {
		v.login()
		v.leave("/account")
		v.logout()
		v.watch()
		v.back()
	}, toLogin("/account", "")},

	{"logout right after the login, Back", usual, func(v *visit) {
		v.loginByForm()
		v.logout()
		v.watch()
		v.back()
	}, toLogin("/home", "")},

	{"logout, Back twice", usual, func(v *visit) {
		v.loginByForm()
		v.leave("/account")
		v.logout()
		v.watch()
		v.back()
		v.back()
	}, nil},

	{"logout by fetch, Back", usual, func(v *visit) {
		v.login()
		v.logoutByFetch()
		v.leave("/")
		v.watch()
		v.back()
	}, toLogin("/home", "")},

	{"logout, Back to the answer of a POST", usual, func(v *visit) {
		v.login()
		v.leave("/account")
		v.post("/account/password", "current", "wrong", "password", "long enough")
		v.at("/account/password")
		v.logout()
		v.watch()
		v.back()
	}, nil},

	{"logout, Forward", usual, func(v *visit) {
		v.login()
		v.leave(blank)
		v.leave("/home")
		v.back()
		v.at(blank)
		v.logoutByFetch()
		v.watch()
		settle(v.browser)
		v.must(v.Forward())
	}, toLogin("/home", "")},

	{"login as another, Back", usual, func(v *visit) {
		v.login()
		v.leave("/account")
		v.loginAs("grace")
		v.watch()
		v.back()
	}, nil},

	{"idle expiry, Back", idle, func(v *visit) {
		v.login()
		v.leave(blank)
		v.expire()
		v.watch()
		v.back()
	}, toLogin("/home", "idle")},

	{"idle expiry, Back to a #fragment", idle, func(v *visit) {
		v.login()
		v.must(v.Eval("location.hash = 'main'", nil))
		v.leave(blank)
		v.expire()
		v.watch()
		v.back()
	}, toLogin("/home#main", "idle")},

	{"absolute expiry, Back", absolute, func(v *visit) {
		v.login()
		v.leave(blank)
		v.expire()
		v.watch()
		v.back()
	}, toLogin("/home", "absolute")},

	{"another tab logs out, then leave, Back", usual, func(v *visit) {
		v.login()
		v.newTab("/account")
		v.logout()
		v.othersGone()
		v.must(v.Switch(v.first))
		v.leave(blank)
		v.watch()
		v.back()
	}, nil},

	{"leave, another tab logs out, Back", usual, func(v *visit) {
		v.login()
		v.leave(blank)
		v.newTab("/account")
		v.logout()
		v.must(v.Switch(v.first))
		v.watch()
		v.back()
	}, toLogin("/home", "")},

	{"leave, an administrator ends the session, Back", usual, func(v *visit) {
		v.login()
		v.leave(blank)
		v.deactivate()
		v.watch()
		v.back()
	}, toLogin("/home", "deactivated")},

	{"close the tab, log out, reopen it", usual, func(v *visit) {
		v.login()
		v.newTab(blank)
		settle(v.browser)
		other, err := v.Tab()
		v.must(err)
		v.must(v.Switch(v.first))
		v.must(v.CloseTab())
		v.must(v.Switch(other))
		v.logoutByFetch()
		v.watch()
		v.must(v.ReopenTab())
	}, toLogin("/home", "")},

	{"on the screen: idle expiry", idle, func(v *visit) {
		v.login()
		v.expire()
		v.watch()
	}, onTheScreen},

	{"on the screen: warned, stayed, run out", warned, func(v *visit) {
		v.login()
		if v.protection.keepsScript() {
			v.stay()
		}
		time.Sleep(6*time.Second + tick)
		v.watch()
	}, onTheScreen},

	{"on the screen: another tab logs out", usual, func(v *visit) {
		v.login()
		v.newTab("/account")
		v.logout()
		v.othersGone()
		v.watch()
		v.must(v.Switch(v.first))
	}, toLogin("/home", "")},

	{"on the screen: another tab logs in as another", usual, func(v *visit) {
		v.login()
		v.newTab("/account")
		v.loginAs("grace")
		v.othersGone()
		v.watch()
		v.must(v.Switch(v.first))
	}, func(v *visit) {
		v.must(v.Until(`return location.pathname === "/home" && document.body.innerText.includes("Grace Hopper")`))
	}},

	{"on the screen: the server is gone", idle, func(v *visit) {
		v.login()
		v.front.Outage(true)
		v.expire()
		v.watch()
		time.Sleep(100 * time.Millisecond)
	}, func(v *visit) {
		v.must(v.Until(dialogSays, "Try again"))
		v.must(v.Until(`return location.pathname === "/home" && !document.title.includes("Home")`))
		v.front.Outage(false)
		v.must(v.Press("Enter")) // the focus is on the button
		onTheScreen(v)
	}},
}

// tick is how late a page may be to notice.
const tick = 1500 * time.Millisecond

// expire waits for the end of a session of the applications that have a short one.
func (v *visit) expire() {
	late := tick
	if !v.protection.keepsScript() {
		late = 100 * time.Millisecond // nothing will happen
	}
	time.Sleep(lifetime + late)
}

// toLogin is where people end up: at the login page, which knows where they
// wanted to go. reason is what it says if the script brought them; a page that
// the browser did not keep is asked for again, and the server says less.
func toLogin(next, reason string) func(v *visit) {
	return func(v *visit) {
		var at *url.URL
		v.until("getting to the login page for "+next, 8*time.Second, func() bool {
			address, err := v.URL()
			if err != nil {
				return false
			}
			at, err = url.Parse(address)
			return err == nil && at.Path == "/login"
		})
		wanted := at.Query().Get("next")
		if at.Fragment != "" { // browsers carry it through a redirect
			wanted += "#" + at.Fragment
		}
		if said := at.Query().Get("reason"); wanted != next || said != reason && v.front.Asked("/sessionguard/resume") {
			v.fail("at %s, which does not lead to %s, or not because of %q", at, next, reason)
		}
		v.gaveNothing()
	}
}

// onTheScreen is where the countdown leads.
func onTheScreen(v *visit) {
	v.must(v.Until(`return location.pathname + location.search === "/login?next=%2Fhome&reason=idle"`))
	v.gaveNothing()
}

// stay answers the warning with the keyboard, as someone does who is there.
func (v *visit) stay() {
	v.must(v.Until(dialogSays, "Stay signed in"))
	v.front.Reset()
	v.must(v.Press("Enter"))
	v.until("staying", 2*time.Second, func() bool { return v.front.Asked("/sessionguard/stay") })
	v.must(v.Until(noDialog))
}

// othersGone waits until the other tab, if it has a script, has gone on.
func (v *visit) othersGone() {
	if v.protection.keepsScript() {
		v.until("the other tab's leaving", 3*time.Second, func() bool { return v.front.Asked("/sessionguard/resume") })
	}
}

// deactivate ends the session from elsewhere, as an administrator does.
func (v *visit) deactivate() {
	jar, err := cookiejar.New(nil)
	v.must(err)
	admin := http.Client{
		Jar:       jar,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	defer admin.CloseIdleConnections()
	send := func(path string, form url.Values) {
		answer, err := admin.PostForm(v.front.URL+path, form)
		v.must(err)
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			v.fail("administer: %s: %s", path, answer.Status)
		}
	}
	send("/login", url.Values{"username": {"grace"}, "password": {passwords["grace"]}})
	send("/admin/users/ada/deactivate", nil)
	send("/admin/users/ada/activate", nil)
}
