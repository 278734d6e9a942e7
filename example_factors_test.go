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

// exampleVerify reports whether proof is a factor of user's. Your code accepts each proof
// once, limits the attempts, and refuses names that it does not know.
func exampleVerify(_ *exampleUser, factor, proof string) bool {
	return map[string]string{"pwd": "analytical-engine", "otp": "123456", "hwk": "signature"}[factor] == proof && proof != ""
}

// The page at Config.FactorPath. Two kinds of people come here: those whose login lacks a
// factor, and those who are logged in and whom [sessionguard.Guard.RequireFactor] has sent.
func ExampleGuard_Pending() {
	guard := exampleFactorsGuard()
	asked := func(r *http.Request) (user *exampleUser, factor string, ok bool) {
		if user, missing, ok := guard.Pending(r); ok {
			return user, missing[0], true
		}
		user, ok = guard.User(r)
		return user, r.FormValue("factor"), ok
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /code", func(w http.ResponseWriter, r *http.Request) {
		user, factor, ok := asked(r)
		if !ok {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		// A form without an action, which keeps "next" and "factor" in the address.
		fmt.Fprintf(w, "%s, now your %s:", user.Name, factor)
	})
	mux.HandleFunc("POST /code", func(w http.ResponseWriter, r *http.Request) {
		user, factor, ok := asked(r)
		if !ok || !exampleVerify(user, factor, r.FormValue("proof")) {
			http.Error(w, "Please try again.", http.StatusForbidden)
			return
		}
		if err := guard.Login(w, r, user, sessionguard.Factors(factor)); err != nil {
			http.Error(w, "You cannot log in.", http.StatusForbidden)
			return
		}
		http.Redirect(w, r, guard.Next(r, "/account"), http.StatusSeeOther)
	})
	mux.Handle("POST /login", exampleProve(guard, "pwd"))
	mux.Handle("GET /keys", guard.RequireFactor("hwk")(examplePage("Keys")))

	browser := exampleVisit(guard.Handler(mux))
	fmt.Println(browser.get("/code"))
	browser.post("/login")
	for _, proof := range []string{"123456", "signature"} {
		to := strings.TrimPrefix(browser.get("/keys"), "303 to ")
		fmt.Println(to)
		fmt.Println(browser.get(to))
		fmt.Println(browser.post(to + "&proof=" + proof))
	}
	fmt.Println(browser.get("/keys"))
	// Output:
	// 303 to /login
	// /code?next=%2Fkeys
	// 200 ada, now your otp:
	// 303 to /keys
	// /code?next=%2Fkeys&factor=hwk
	// 200 ada, now your hwk:
	// 303 to /keys
	// 200 Keys
}

// Where a password is not enough, however new it is. The page at Config.ReauthPath asks for
// the factor in the query, as the one in the example of [sessionguard.Guard.Pending] does, or
// for the password if there is none.
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
