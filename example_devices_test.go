package sessionguard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/sessionguard-go/sessionguard"
)

// The page says which of a user's sessions this is, right after the login too.
func ExampleGuard_Session() {
	guard := exampleGuard()
	login := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := exampleUsers["ada"] // after the password was verified
		if err := guard.Login(w, r, user, sessionguard.Label("work laptop")); err != nil {
			http.Error(w, "You cannot log in.", http.StatusForbidden)
			return
		}
		if s, ok := guard.Session(r); ok {
			fmt.Fprintf(w, "Logged in on %s until %v from now.", s.Label, s.Expires.Sub(s.Created))
		}
	}))
	fmt.Println(exampleVisit(login).post("/login"))
	// Output:
	// 200 Logged in on work laptop until 12h0m0s from now.
}

// The login form has a field for what the user calls the device.
func ExampleLabel() {
	guard := exampleGuard()
	login := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := exampleUsers["ada"] // after the password was verified
		if err := guard.Login(w, r, user, sessionguard.Label(r.FormValue("device"))); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	}))
	fmt.Println(exampleVisit(login).post("/login?device=work+laptop"))
	fmt.Println(exampleVisit(login).post("/login?device=%00"))

	sessions, err := guard.Sessions(context.Background(), "ada")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range sessions {
		fmt.Printf("%q\n", s.Label)
	}
	// Output:
	// 200
	// 403 sessionguard: invalid label: it contains the character U+0000
	// "work laptop"
}

// Users name their devices on the page that lists their sessions.
func ExampleGuard_SetLabel() {
	guard := exampleGuard()
	rename := guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		err := guard.SetLabel(r.Context(), user.UserID(), r.FormValue("id"), r.FormValue("label"))
		switch {
		case err == nil:
			fmt.Fprint(w, "Renamed.")
		case errors.Is(err, sessionguard.ErrNoSession):
			http.Error(w, "You are no longer logged in there.", http.StatusNotFound)
		case errors.Is(err, sessionguard.ErrInvalidLabel):
			http.Error(w, "Choose another name.", http.StatusUnprocessableEntity)
		default:
			http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
		}
	}))
	ada := exampleVisitAs("ada", guard, rename)
	exampleVisitAs("grace", guard, rename)
	for _, name := range []string{"ada", "grace"} {
		sessions, err := guard.Sessions(context.Background(), name)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(ada.post("/rename?label=work+laptop&id=" + sessions[0].ID))
	}
	// Output:
	// 200 Renamed.
	// 404 You are no longer logged in there.
}
