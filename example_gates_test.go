package sessionguard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard"
)

// examplePage returns a page with this text.
func examplePage(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, text) })
}

func ExampleGuard_RequireLogin() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.Handle("GET /account", guard.RequireLogin(examplePage("Your account")))

	fmt.Println(exampleVisit(mux).get("/account?tab=keys"))
	fmt.Println(exampleVisitAs("ada", guard, mux).get("/account?tab=keys"))
	// Output:
	// 303 to /login?next=%2Faccount%3Ftab%3Dkeys
	// 200 Your account
}

// Several roles mean any of them; nested gates mean all of them.
func ExampleGuard_RequireRole() {
	guard := exampleGuard()
	engineer, admin := guard.RequireRole("Engineer"), guard.RequireRole("Admin")
	mux := http.NewServeMux()
	mux.Handle("GET /reports", guard.RequireRole("Engineer", "Auditor")(examplePage("Reports")))
	mux.Handle("GET /deploy", engineer(admin(examplePage("Deployed"))))

	for _, name := range []string{"ada", "grace"} {
		browser := exampleVisitAs(name, guard, mux)
		fmt.Println(name, browser.get("/reports"))
		fmt.Println(name, browser.get("/deploy"))
	}
	// Output:
	// ada 200 Reports
	// ada 303 to /?reason=forbidden
	// grace 200 Reports
	// grace 200 Deployed
}

// RequireFunc decides what roles cannot express: everyone may see their own page.
func ExampleGuard_RequireFunc() {
	guard := exampleGuard()
	own := guard.RequireFunc(func(user *exampleUser, r *http.Request) bool {
		return user.Name == r.PathValue("name") || user.HasRole("Admin")
	})
	mux := http.NewServeMux()
	mux.Handle("GET /people/{name}", own(examplePage("Salary: 100")))

	fmt.Println(exampleVisitAs("ada", guard, mux).get("/people/ada"))
	fmt.Println(exampleVisitAs("ada", guard, mux).get("/people/grace"))
	fmt.Println(exampleVisitAs("grace", guard, mux).get("/people/ada"))
	// Output:
	// 200 Salary: 100
	// 303 to /?reason=forbidden
	// 200 Salary: 100
}

// Somebody at another user's unlocked computer cannot take over the account: these pages
// require the password again.
func ExampleGuard_RequireFresh() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.Handle("GET /account/email", guard.RequireFresh(5*time.Minute)(examplePage("New address:")))
	mux.Handle("GET /account/keys", guard.RequireFresh(0)(examplePage("Keys"))) // no login is fresh enough for 0

	browser := exampleVisitAs("ada", guard, mux)
	fmt.Println(browser.get("/account/email"))
	fmt.Println(browser.get("/account/keys"))
	// Output:
	// 200 New address:
	// 303 to /reauth?next=%2Faccount%2Fkeys
}

// Next accepts only paths on this server.
func ExampleGuard_Next() {
	guard := exampleGuard()
	for _, next := range []string{
		"/reports?year=2026", "https://evil.example", "//evil.example", `/\evil.example`, "/%252Fevil.example", "",
	} {
		r := httptest.NewRequest("POST", "/login?next="+url.QueryEscape(next), nil)
		fmt.Println(guard.Next(r, "/home"))
	}
	// Output:
	// /reports?year=2026
	// /home
	// /home
	// /home
	// /home
	// /home
}

// An own page replaces the redirect of users without the role.
func ExampleRefusals() {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser: exampleFind,
		Keys:     [][]byte{securecookie.GenerateRandomKey(32)}, // from your secrets, in a real program
		Refusals: sessionguard.Refusals{
			Forbidden: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprintf(w, "Ask an admin to let you see %s.", r.URL.Path)
			}),
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	admin := guard.RequireRole("Admin")(examplePage("Everyone's data"))
	fmt.Println(exampleVisitAs("ada", guard, admin).get("/admin"))
	fmt.Println(exampleVisit(admin).get("/admin")) // the other refusals keep their defaults
	// Output:
	// 403 Ask an admin to let you see /admin.
	// 303 to /login?next=%2Fadmin
}

// An administrator's session ends after ten minutes without activity.
func ExampleIdleTimeout() {
	exampleLimits(func(user *exampleUser) (options []sessionguard.LoginOption) {
		if user.HasRole("Admin") {
			options = append(options, sessionguard.IdleTimeout(10*time.Minute))
		}
		return options // for guard.Login(w, r, user, options...)
	})
	// Output:
	// ada 30m0s 12h0m0s
	// grace 10m0s 12h0m0s
}

// An administrator has to log in again after two hours.
func ExampleAbsoluteTimeout() {
	exampleLimits(func(user *exampleUser) (options []sessionguard.LoginOption) {
		if user.HasRole("Admin") {
			options = append(options, sessionguard.AbsoluteTimeout(2*time.Hour))
		}
		return options // for guard.Login(w, r, user, options...)
	})
	// Output:
	// ada 30m0s 12h0m0s
	// grace 30m0s 2h0m0s
}

// A server behind a reverse proxy learns no token of a session.
func ExampleGuard_HideCookies() {
	guard := exampleGuard()
	proxy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // an httputil.ReverseProxy, in a real program
		fmt.Fprint(w, "cookies: ", len(r.Cookies()))
	})
	mux := http.NewServeMux()
	mux.Handle("GET /open/", guard.RequireLogin(proxy))
	mux.Handle("GET /reports/", guard.RequireLogin(guard.HideCookies(proxy)))

	browser := exampleVisitAs("ada", guard, mux)
	fmt.Println(browser.get("/open/"))
	fmt.Println(browser.get("/reports/"))
	// Output:
	// 200 cookies: 1
	// 200 cookies: 0
}

// A proxy asks whether requests for another application, here a wiki, may pass. It says which
// in two headers, and hands Remote-User on.
func ExampleGuard_AuthRequest() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.Handle("/auth", guard.AuthRequest(guard.RequireRole("Engineer")))

	for _, browser := range []exampleBrowser{exampleVisit(mux), exampleVisitAs("ada", guard, mux)} {
		resp := browser.Get("/auth", "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/wiki/start?edit=1")
		fmt.Println(resp.StatusCode, resp.Header.Get("Location")+resp.Header.Get("Remote-User"))
	}
	// Output:
	// 401 /login?next=%2Fwiki%2Fstart%3Fedit%3D1
	// 204 ada
}
