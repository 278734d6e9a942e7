package sessionguard_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// exampleFactorsGuard is a guard whose users need a password and a one-time password.
func exampleFactorsGuard() *sessionguard.Guard[*exampleUser] {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser:   exampleFind,
		Factors:    func(*exampleUser) []string { return []string{"pwd", "otp"} },
		FactorPath: "/code",
		ReauthPath: "/reauth",
		Logger:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	return guard
}

// exampleProve logs ada in with factors, without asking for them.
func exampleProve(guard *sessionguard.Guard[*exampleUser], factors ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := guard.Login(w, r, exampleUsers["ada"], sessionguard.Factors(factors...)); err != nil {
			panic(err)
		}
		fmt.Fprintf(w, "proven: %s", strings.Join(factors, ", "))
	})
}

// A password, and then a code from an authenticator app (TOTP).
func ExampleFactors() {
	guard := exampleFactorsGuard()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user := exampleUsers["ada"] // after the password was verified
		if err := guard.Login(w, r, user, sessionguard.Factors("pwd")); err != nil {
			http.Error(w, "You cannot log in.", http.StatusForbidden)
			return
		}
		http.Redirect(w, r, guard.Next(r, "/account"), http.StatusSeeOther)
	})
	mux.HandleFunc("POST /code", func(w http.ResponseWriter, r *http.Request) {
		user, _, ok := guard.Pending(r)
		if !ok || r.FormValue("code") != "123456" { // verified by a library, and never accepted twice
			http.Error(w, "That is not the code.", http.StatusForbidden)
			return
		}
		if err := guard.Login(w, r, user, sessionguard.Factors("otp")); err != nil {
			http.Error(w, "You cannot log in.", http.StatusForbidden)
			return
		}
		http.Redirect(w, r, guard.Next(r, "/account"), http.StatusSeeOther)
	})
	mux.Handle("GET /account", guard.RequireLogin(examplePage("Your account")))

	browser := exampleVisit(guard.Handler(mux))
	fmt.Println(browser.post("/login"))
	fmt.Println(browser.get("/account"))
	fmt.Println(browser.post("/code?code=000000"))
	fmt.Println(browser.post("/code?code=123456"))
	fmt.Println(browser.get("/account"))
	// Output:
	// 303 to /account
	// 303 to /code?next=%2Faccount
	// 403 That is not the code.
	// 303 to /account
	// 200 Your account
}

// The page that asks for what is missing.
func ExampleGuard_Pending() {
	guard := exampleFactorsGuard()
	mux := http.NewServeMux()
	mux.Handle("POST /login", exampleProve(guard, "pwd"))
	mux.HandleFunc("GET /code", func(w http.ResponseWriter, r *http.Request) {
		user, missing, ok := guard.Pending(r)
		if !ok {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		_, loggedIn := guard.User(r)
		fmt.Fprintf(w, "%s lacks %v; logged in: %t", user.Name, missing, loggedIn)
	})

	browser := exampleVisit(guard.Handler(mux))
	fmt.Println(browser.get("/code"))
	browser.post("/login")
	fmt.Println(browser.get("/code"))
	// Output:
	// 303 to /login
	// 200 ada lacks [otp]; logged in: false
}

// Where a password is not enough, however new it is.
func ExampleGuard_RequireFresh_factor() {
	guard := exampleFactorsGuard()
	mux := http.NewServeMux()
	mux.Handle("POST /login", exampleProve(guard, "pwd", "otp"))
	mux.Handle("POST /key", exampleProve(guard, "hwk"))
	mux.Handle("GET /payments", guard.RequireFresh(5*time.Minute, "hwk")(examplePage("Payments")))

	browser := exampleVisit(guard.Handler(mux))
	browser.post("/login")
	fmt.Println(browser.get("/payments"))
	browser.post("/key")
	fmt.Println(browser.get("/payments"))
	// Output:
	// 303 to /reauth?next=%2Fpayments&factor=hwk
	// 200 Payments
}

// The keys of the house are only for those who have used a hardware key in this session.
func ExampleGuard_RequireFactor() {
	guard := exampleFactorsGuard()
	mux := http.NewServeMux()
	mux.Handle("POST /login", exampleProve(guard, "pwd", "otp"))
	mux.Handle("POST /key", exampleProve(guard, "hwk"))
	mux.Handle("GET /keys", guard.RequireFactor("hwk")(examplePage("Keys")))

	browser := exampleVisit(guard.Handler(mux))
	browser.post("/login")
	fmt.Println(browser.get("/keys"))
	browser.post("/key")
	fmt.Println(browser.get("/keys"))
	// Output:
	// 303 to /code?next=%2Fkeys&factor=hwk
	// 200 Keys
}
