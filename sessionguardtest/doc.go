// Package sessionguardtest helps an application to test what it does with package
// sessionguard: requests that are logged in, a browser without a network, and time that
// passes.
//
//   - [LogIn] logs a request in, for a handler that is tested with [httptest.NewRecorder], or
//     a [Client].
//   - [Age] and [Idle] make the session older, so that it needs the password again, or is over.
//   - [Client] is a browser at the application's handler: it keeps cookies, submits forms,
//     follows redirects when it is asked to, and moves the clock of testing/synctest.
//   - [Bind] binds the session to a device, so that a page behind RequireBound opens.
//   - [LoggedIn] and [LoggedOut] check who is logged in, and why nobody is any more.
//   - [Serve] does anything else that a handler can do: put values into the session, act as
//     somebody.
//
// Nothing is simulated: these are real logins at the application's own guard, with its
// configuration and its backend. The application needs no change but a way for its tests to
// get the guard.
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
//	var (
//		ada   = &User{Name: "ada", Password: "analytical-engine"}
//		grace = &User{Name: "grace", Password: "nanoseconds-matter", Roles: []string{"Admin"}}
//	)
//
//	func newApp(t *testing.T) *App {
//		t.Helper()
//		app, err := New(map[string]*User{"ada": ada, "grace": grace})
//		if err != nil {
//			t.Fatal(err)
//		}
//		return app
//	}
//
//	// One request to a handler, with nothing but net/http/httptest.
//	func TestHomeGreetsTheUser(t *testing.T) {
//		app := newApp(t)
//		r := httptest.NewRequest("GET", "/home", nil)
//		sessionguardtest.LogIn(t, app.guard, r, ada)
//		w := httptest.NewRecorder()
//		app.ServeHTTP(w, r)
//		if w.Code != http.StatusOK || w.Body.String() != "Hello, ada. In your cart: 0\n" {
//			t.Errorf("got %d %q", w.Code, w.Body)
//		}
//	}
//
//	// A browser that goes through the forms.
//	func TestTheLoginFormLeadsToThePageThatWasAskedFor(t *testing.T) {
//		app := newApp(t)
//		client := sessionguardtest.NewClient(t, app)
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
//	// A browser that is logged in without the forms.
//	func TestTheAdminPageIsForAdminsWhoHaveJustLoggedIn(t *testing.T) {
//		app := newApp(t)
//		client := sessionguardtest.NewClient(t, app)
//		sessionguardtest.LogIn(t, app.guard, client, ada)
//		client.Get("/admin").RedirectsTo("/?reason=forbidden")
//
//		sessionguardtest.LogIn(t, app.guard, client, grace)
//		client.Get("/admin").HasStatus(http.StatusOK)
//		sessionguardtest.Age(t, app.guard, client, 5*time.Minute)
//		client.Get("/admin").RedirectsTo("/login?next=%2Fadmin")
//		client.Get("/home").HasStatus(http.StatusOK)
//	}
//
//	// Programs get problems where browsers are redirected.
//	func TestProgramsGetProblems(t *testing.T) {
//		client := sessionguardtest.NewClient(t, newApp(t))
//		client.Fetch(httptest.NewRequest("GET", "/home", nil)).HasStatus(http.StatusUnauthorized).Contains(`"login_required"`)
//	}
//
//	// Values that the session begins with.
//	func TestHomeShowsTheCart(t *testing.T) {
//		app := newApp(t)
//		client := sessionguardtest.NewClient(t, app)
//		sessionguardtest.Serve(t, app.guard, client, func(w http.ResponseWriter, r *http.Request) {
//			cart, _ := app.guard.Get(r, "cart")
//			cart.Values["items"] = 3
//		})
//		sessionguardtest.LogIn(t, app.guard, client, ada) // what a visitor has moves into the session
//		client.Get("/home").Contains("In your cart: 3")
//	}
//
//	// A session that is bound to its device, and cookies that were copied from there.
//	func TestPaymentsNeedTheDevice(t *testing.T) {
//		app := newApp(t)
//		client := sessionguardtest.NewClient(t, app)
//		sessionguardtest.LogIn(t, app.guard, client, ada)
//		client.Get("/payments").HasStatus(http.StatusForbidden)
//
//		sessionguardtest.Bind(t, app.guard, client, 0)
//		client.Get("/payments").HasStatus(http.StatusOK)
//
//		sessionguardtest.Bind(t, app.guard, client, 11*time.Minute) // the proof has run out
//		sessionguardtest.LoggedOut(t, app.guard, client, store.ReasonDeviceUnproven)
//	}
//
//	// Time that passes: for one session, or for everything in a testing/synctest bubble.
//	func TestWhoIsAwayForTooLongIsToldSo(t *testing.T) {
//		app := newApp(t)
//		client := sessionguardtest.NewClient(t, app)
//		sessionguardtest.LogIn(t, app.guard, client, ada)
//		sessionguardtest.Idle(t, app.guard, client, 30*time.Minute)
//		sessionguardtest.LoggedOut(t, app.guard, client, store.ReasonIdle)
//		client.Get("/home").Follow().Contains("You were away for too long.")
//
//		synctest.Test(t, func(t *testing.T) {
//			app := newApp(t)
//			client := sessionguardtest.NewClient(t, app)
//			sessionguardtest.LogIn(t, app.guard, client, ada)
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
// process panic with "failed to obtain initial entropy" (Go 1.26.8), since their entropy is
// measured with the clock, which stands still. Importing this package reads some before any
// bubble begins. That is enough while one goroutine at a time needs random bytes. If several
// do in a bubble, such as logins at once, call [cryptotest.SetGlobalRandom] first.
//
// [cryptotest.SetGlobalRandom]: https://pkg.go.dev/testing/cryptotest#SetGlobalRandom
package sessionguardtest
