package sessionguard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// An administrator's page shows who is online. It is bounded, however many they are.
func ExampleGuard_AllSessions() {
	guard := exampleGuard()
	online := guard.RequireRole("Admin")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown := 0
		for session, err := range guard.AllSessions(r.Context()) {
			if err != nil {
				http.Error(w, "Please try again in a moment.", http.StatusServiceUnavailable)
				return
			}
			if shown++; shown > 200 {
				fmt.Fprintln(w, "and others")
				break
			}
			fmt.Fprintln(w, session.UserID, session.Label)
		}
	}))
	exampleVisitAs("ada", guard, online)
	grace := exampleVisitAs("grace", guard, online)
	if err := guard.EndUser(context.Background(), "ada"); err != nil {
		fmt.Println(err)
	}
	fmt.Println(grace.get("/online"))
	// Output:
	// 200 grace
}

func ExampleGuard_CountSessions() {
	guard := exampleGuard()
	exampleVisitAs("ada", guard, http.NotFoundHandler())
	exampleVisitAs("ada", guard, http.NotFoundHandler()) // in another browser
	exampleVisitAs("grace", guard, http.NotFoundHandler())
	fmt.Println(guard.CountSessions(context.Background()))
	// Output:
	// 3 <nil>
}

// After a breach everybody has to log in again, the administrator who says so included.
func ExampleGuard_EndAll() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.Handle("GET /home", guard.RequireLogin(http.NotFoundHandler()))
	mayEnd := func(next http.Handler) http.Handler {
		return guard.RequireRole("Admin")(guard.RequireFresh(5 * time.Minute)(next))
	}
	mux.Handle("POST /end-all", mayEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := guard.EndAll(r.Context()); err != nil {
			http.Error(w, "Not everybody is logged out yet.", http.StatusServiceUnavailable)
			return
		}
		if err := guard.End(w, r); err != nil { // deletes this browser's cookie
			return // the guard responds
		}
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	})))
	app := guard.Handler(mux)
	ada, grace := exampleVisitAs("ada", guard, app), exampleVisitAs("grace", guard, app)
	fmt.Println(grace.post("/end-all"))
	fmt.Println(ada.get("/home"))
	fmt.Println(grace.get("/home"))
	// Output:
	// 303 to /login
	// 303 to /login?next=%2Fhome&reason=ended
	// 303 to /login?next=%2Fhome
}

// A list of everybody's sessions can also end some of them: here those of an old program.
func ExampleGuard_AllSessions_end() {
	guard := exampleGuard()
	ada := exampleVisitAs("ada", guard, guard.RequireLogin(http.NotFoundHandler()))
	ctx := context.Background()
	for session, err := range guard.AllSessions(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if session.Client == "" {
			if err := guard.EndSession(ctx, session.UserID, session.ID); err != nil && !errors.Is(err, sessionguard.ErrNoSession) {
				fmt.Println(err)
			}
		}
	}
	fmt.Println(ada.get("/"))
	// Output:
	// 303 to /login?next=%2F&reason=ended
}
