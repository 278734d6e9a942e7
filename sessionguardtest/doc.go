// Package sessionguardtest helps an application to test what it does with package
// sessionguard: requests that are logged in, a browser without a network, and time that
// passes.
//
//   - [Login] logs a request in, for a handler that is tested with [httptest.NewRecorder], or
//     a [Client].
//   - [Age] and [Idle] make the session older, so that a page requires the password again,
//     or the session has timed out.
//   - [Client] is a browser at the application's handler: it keeps cookies, submits forms,
//     follows redirects if you call Follow, and moves the clock of testing/synctest.
//   - [Bind] binds the session to a device, so that a page behind RequireBound opens.
//   - [LoggedIn] and [LoggedOut] check who is logged in, and why nobody is any more.
//   - [Serve] does anything else that a handler can do: put values into the session, act as
//     somebody.
//
// Nothing is simulated: these are real logins at the application's own guard, with its
// configuration and its backend. The application needs no change, except that its tests need
// a way to get the guard.
//
// The tests of a small application, which docs/testing.md shows with it:
//
//	package app
//
//	import (
//		"net/http"
//		"net/http/httptest"
//		"net/url"
//		"testing"
//		"testing/synctest"
//		"time"
//
//		"github.com/sessionguard-go/sessionguard/sessionguardtest"
//		"github.com/sessionguard-go/sessionguard/store"
//	)
//
//	// newApp returns the application and a client of it.
//	func newApp(t *testing.T) (*App, *sessionguardtest.Client) {
//		t.Helper()
//		app, err := New()
//		if err != nil {
//			t.Fatal(err)
//		}
//		return app, sessionguardtest.NewClient(t, app)
//	}
//
//	// One request to a handler, with httptest.ResponseRecorder.
//	func TestHomeGreetsTheUser(t *testing.T) {
//		app, _ := newApp(t)
//		r := httptest.NewRequest("GET", "/home", nil)
//		sessionguardtest.Login(t, app.guard, r, users["ada"])
//		w := httptest.NewRecorder()
//		app.ServeHTTP(w, r)
//		if w.Code != http.StatusOK || w.Body.String() != "Hello, ada. In your cart: 0\n" {
//			t.Errorf("got %d %q", w.Code, w.Body)
//		}
//	}
//
//	// A browser that submits the forms.
//	func TestLoginLeadsToTheRequestedPage(t *testing.T) {
//		app, client := newApp(t)
//		client.Get("/home").RedirectsTo("/login?next=%2Fhome")
//
//		form := url.Values{"name": {"ada"}, "password": {"wrong"}}
//		client.PostForm("/login?next=%2Fhome", form).HasStatus(http.StatusUnauthorized)
//		sessionguardtest.LoggedOut(t, app.guard, client, "")
//
//		form.Set("password", "analytical-engine")
//		client.PostForm("/login?next=%2Fhome", form).Follow().Contains("Hello, ada.")
//
//		client.PostForm("/logout", nil).RedirectsTo("/login")
//		sessionguardtest.LoggedOut(t, app.guard, client, "")
//	}
//
//	// A browser that is logged in without the forms, and a login that becomes older.
//	func TestAdminPageNeedsTheRoleAndARecentLogin(t *testing.T) {
//		app, client := newApp(t)
//		sessionguardtest.Login(t, app.guard, client, users["ada"])
//		client.Get("/admin").RedirectsTo("/?reason=forbidden")
//
//		sessionguardtest.Login(t, app.guard, client, users["grace"])
//		client.Get("/admin").HasStatus(http.StatusOK)
//		sessionguardtest.Age(t, app.guard, client, 5*time.Minute)
//		client.Get("/admin").RedirectsTo("/login?next=%2Fadmin")
//		client.Get("/home").HasStatus(http.StatusOK)
//	}
//
//	// A program, or a script's fetch, gets a problem+json where a browser is redirected.
//	func TestProgramsGetProblems(t *testing.T) {
//		_, client := newApp(t)
//		client.Fetch(httptest.NewRequest("GET", "/home", nil)).HasStatus(http.StatusUnauthorized).Contains(`"login_required"`)
//	}
//
//	// A session that begins with values. The values of a visitor move into the session at login.
//	func TestHomeShowsTheCart(t *testing.T) {
//		app, client := newApp(t)
//		sessionguardtest.Serve(t, app.guard, client, func(w http.ResponseWriter, r *http.Request) {
//			cart, _ := app.guard.Get(r, "cart")
//			cart.Values["items"] = 3
//		})
//		sessionguardtest.Login(t, app.guard, client, users["ada"])
//		client.Get("/home").Contains("In your cart: 3")
//	}
//
//	// The idle timeout, of one session.
//	func TestLoginPageExplainsTheIdleTimeout(t *testing.T) {
//		app, client := newApp(t)
//		sessionguardtest.Login(t, app.guard, client, users["ada"])
//		sessionguardtest.Idle(t, app.guard, client, 30*time.Minute)
//		sessionguardtest.LoggedOut(t, app.guard, client, store.ReasonIdle)
//		client.Get("/home").Follow().Contains("You were away for too long.")
//	}
//
//	// The idle timeout, with a clock that moves for everything in the bubble.
//	func TestRequestsExtendTheSession(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			app, client := newApp(t)
//			sessionguardtest.Login(t, app.guard, client, users["ada"])
//			for range 3 {
//				client.Wait(29 * time.Minute)
//				client.Get("/home").HasStatus(http.StatusOK)
//			}
//			client.Wait(30 * time.Minute)
//			client.Get("/home").RedirectsTo("/login?next=%2Fhome&reason=idle")
//		})
//	}
//
// # FIPS 140
//
// Inside a testing/synctest bubble, with GODEBUG=fips140=on, the first random bytes of a
// process panic with "failed to obtain initial entropy" (Go 1.26.8): their entropy is
// measured with the clock, which stands still. This package therefore reads some random bytes
// when it is imported, before any bubble begins. That is enough while one goroutine at a time
// needs random bytes. If several do in a bubble, such as logins at once, call
// [cryptotest.SetGlobalRandom] first.
//
// [cryptotest.SetGlobalRandom]: https://pkg.go.dev/testing/cryptotest#SetGlobalRandom
package sessionguardtest
