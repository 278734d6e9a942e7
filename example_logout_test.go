package sessionguard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sessionguard-go/sessionguard"
)

// The button is in a form, because a logout must be a POST:
//
//	<form method="post" action="/logout"><button>Log out</button></form>
func ExampleGuard_Logout() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.Handle("GET /home", guard.RequireLogin(examplePage("Home")))
	mux.Handle("POST /logout", guard.Logout("/"))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "flash")
		fmt.Fprint(w, "Welcome. ", session.Flashes())
	})

	browser := exampleVisitAs("ada", guard, guard.Handler(mux))
	thief := browser.copy()
	fmt.Println(browser.post("/logout"))
	fmt.Println(browser.get("/"))
	fmt.Println(thief.get("/home")) // a copy of the cookie gives no access
	// Output:
	// 303 to /
	// 200 Welcome. [You have been logged out.]
	// 303 to /login?next=%2Fhome&reason=expired
}

// Closing an account also logs out, with its own message.
func ExampleGuard_End() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.Handle("POST /account/close", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := guard.End(w, r); err != nil {
			return // the response reports the error
		}
		if session, err := guard.Get(r, "flash"); err == nil {
			session.AddFlash("Your account is closed.")
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "flash")
		fmt.Fprint(w, session.Flashes())
	})

	browser := exampleVisitAs("ada", guard, guard.Handler(mux))
	fmt.Println(browser.post("/account/close"))
	fmt.Println(browser.get("/"))
	// Output:
	// 303 to /
	// 200 [Your account is closed.]
}

// A page lists the user's devices, each with a button that logs it out.
func ExampleGuard_EndSession() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.Handle("GET /session", guard.Status())
	mux.Handle("POST /devices/{session}/end", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		err := guard.EndSession(r.Context(), user.UserID(), r.PathValue("session"))
		switch {
		case errors.Is(err, sessionguard.ErrNoSession):
			http.Error(w, "No such device.", http.StatusNotFound)
		case err != nil:
			http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, "Logged out.")
		}
	})))

	desk, phone := exampleVisitAs("ada", guard, mux), exampleVisitAs("ada", guard, mux)
	grace := exampleVisitAs("grace", guard, mux)
	id := exampleSessionID(phone)
	fmt.Println(grace.post("/devices/" + id + "/end"))
	fmt.Println(desk.post("/devices/" + id + "/end"))
	fmt.Println(phone.get("/session"))
	// Output:
	// 404 No such device.
	// 200 Logged out.
	// 200 {"authenticated":false,"idle_seconds":0,"absolute_seconds":0,"reason":"logged_out_elsewhere"}
}

func exampleSessionID(browser exampleBrowser) string {
	var status struct{ Session string }
	_ = json.Unmarshal([]byte(strings.TrimPrefix(browser.get("/session"), "200 ")), &status)
	return status.Session
}

// EndUser needs no request: a job or a command can end all sessions of a closed account.
func ExampleGuard_EndUser() {
	guard := exampleGuard()
	home := guard.RequireLogin(examplePage("Home"))
	desk, phone := exampleVisitAs("ada", guard, home), exampleVisitAs("ada", guard, home)
	grace := exampleVisitAs("grace", guard, home)

	fmt.Println(guard.EndUser(context.Background(), "ada"))
	for _, browser := range []exampleBrowser{desk, phone, grace} {
		fmt.Println(browser.get("/home"))
	}
	// Output:
	// <nil>
	// 303 to /login?next=%2Fhome&reason=ended
	// 303 to /login?next=%2Fhome&reason=ended
	// 200 Home
}

// A password change logs out everybody who knew the old password. Login gives the session
// that made the change a new cookie.
func ExampleGuard_EndOthers() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.Handle("GET /home", guard.RequireLogin(examplePage("Home")))
	mux.Handle("POST /password", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		// … store the new password …
		if err := errors.Join(guard.Login(w, r, user), guard.EndOthers(r)); err != nil {
			http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "Changed.")
	})))

	here, there := exampleVisitAs("ada", guard, mux), exampleVisitAs("ada", guard, mux)
	fmt.Println(here.post("/password"))
	fmt.Println(here.get("/home"))
	fmt.Println(there.get("/home"))
	// Output:
	// 200 Changed.
	// 200 Home
	// 303 to /login?next=%2Fhome&reason=logged_out_elsewhere
}

// The guard is a gorilla [sessions.Store]. At login a visitor's values move into the
// session. After the logout they are gone.
//
// [sessions.Store]: https://pkg.go.dev/github.com/gorilla/sessions#Store
func ExampleGuard_Get() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
		session, err := guard.Get(r, "cart")
		if err != nil {
			return // the response will be a 503
		}
		n, _ := session.Values["items"].(int)
		session.Values["items"] = n + 1 // saved when the response begins
		session.AddFlash("Added.")
	})
	mux.HandleFunc("GET /cart", func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "cart")
		fmt.Fprint(w, session.Values["items"], " ", session.Flashes())
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		_ = guard.Login(w, r, exampleUsers["ada"])
	})
	mux.Handle("POST /logout", guard.Logout("/"))

	browser := exampleVisit(guard.Handler(mux))
	browser.post("/cart")
	browser.post("/login")
	browser.post("/cart")
	fmt.Println(browser.get("/cart"))
	browser.post("/logout")
	fmt.Println(browser.get("/cart"))
	// Output:
	// 200 2 [Added. Added.]
	// 200 <nil> []
}

// New is the same as Get. It is the method that gorilla's [sessions.GetRegistry] calls.
//
// [sessions.GetRegistry]: https://pkg.go.dev/github.com/gorilla/sessions#GetRegistry
func ExampleGuard_New() {
	guard := exampleGuard()
	page := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := guard.New(r, "cart")
		same, _ := guard.Get(r, "cart")
		fmt.Fprint(w, session.IsNew, session == same, err)
	}))
	fmt.Println(exampleVisit(page).get("/"))
	// Output:
	// 200 true true <nil>
}

// Code that calls Save, as gorilla's stores require, needs no change. Save returns an error
// if the values cannot be saved.
func ExampleGuard_Save() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /language", func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "settings")
		session.Values["language"] = r.FormValue("to")
		if err := session.Save(r, w); err != nil { // the same as guard.Save(r, w, session)
			http.Error(w, "Not saved.", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "Saved.")
	})
	mux.HandleFunc("POST /forget", func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "settings")
		session.Options.MaxAge = -1 // removes all values under this name
		fmt.Fprint(w, guard.Save(r, w, session))
	})
	mux.HandleFunc("GET /language", func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "settings")
		fmt.Fprint(w, session.Values["language"])
	})

	browser := exampleVisitAs("ada", guard, guard.Handler(mux))
	fmt.Println(browser.post("/language?to=en"))
	fmt.Println(browser.get("/language"))
	fmt.Println(browser.post("/forget"))
	fmt.Println(browser.get("/language"))
	// Output:
	// 200 Saved.
	// 200 en
	// 200 <nil>
	// 200 <nil>
}
