package sessionguard_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/sessionguard-go/sessionguard"
)

// Support staff see what a customer sees, and go back. While they do, every page says so.
func ExampleGuard_ActAs() {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser: exampleFind,
		Logger:   slog.New(slog.DiscardHandler),
		MayActAs: func(actor, target *exampleUser) bool {
			return actor.HasRole("Admin") && !target.HasRole("Admin")
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /home", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		if s, ok := guard.Session(r); ok && s.Actor != "" { // the banner, with a button for POST /act/stop
			fmt.Fprintf(w, "You are %s and act as %s. ", s.Actor, user.Name)
		}
		fmt.Fprint(w, "Home of ", user.Name)
	})))
	mux.Handle("POST /users/{id}/act", guard.RequireRole("Admin")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, err := exampleFind(r.Context(), r.PathValue("id"))
		if err == nil {
			err = guard.ActAs(w, r, target)
		}
		switch {
		case errors.Is(err, sessionguard.ErrMayNotAct), errors.Is(err, sessionguard.ErrNoUser):
			http.Error(w, "You cannot act as this user.", http.StatusForbidden)
		case err != nil:
			http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
		default:
			http.Redirect(w, r, "/home", http.StatusSeeOther)
		}
	})))
	mux.Handle("POST /act/stop", guard.StopActing("/users")) // no gate: ada is no Admin

	grace := exampleVisitAs("grace", guard, guard.Handler(mux))
	fmt.Println(grace.post("/users/ada/act"))
	fmt.Println(grace.get("/home"))
	fmt.Println(grace.post("/users/ada/act")) // ada has no such role
	fmt.Println(grace.post("/act/stop"))
	fmt.Println(grace.get("/home"))
	// Output:
	// 303 to /home
	// 200 You are grace and act as ada. Home of ada
	// 303 to /?reason=forbidden
	// 303 to /users
	// 200 Home of grace
}

// The button is in a form of the banner that every page shows while somebody acts, because
// it must be a POST:
//
//	<form method="post" action="/act/stop"><button>Back to my own account</button></form>
//
// Logging out instead ends both sessions.
func ExampleGuard_StopActing() {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser: exampleFind,
		Logger:   slog.New(slog.DiscardHandler),
		MayActAs: func(actor, _ *exampleUser) bool { return actor.HasRole("Admin") },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /home", guard.RequireLogin(examplePage("Home")))
	mux.HandleFunc("POST /act", func(w http.ResponseWriter, r *http.Request) {
		if err := guard.ActAs(w, r, exampleUsers["ada"]); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	mux.Handle("POST /act/stop", guard.StopActing("/users"))
	mux.Handle("POST /logout", guard.Logout("/"))

	grace := exampleVisitAs("grace", guard, guard.Handler(mux))
	thief := grace.copy()
	fmt.Println(grace.post("/act"))
	fmt.Println(grace.post("/act/stop"))
	fmt.Println(thief.get("/home")) // no copy of the earlier cookie works

	grace.post("/act")
	fmt.Println(grace.post("/logout"))
	fmt.Println(grace.get("/home"))
	// Output:
	// 200
	// 303 to /users
	// 303 to /login?next=%2Fhome
	// 303 to /
	// 303 to /login?next=%2Fhome
}
