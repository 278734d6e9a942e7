package sessionguard_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
)

// exampleBoundGuard is a guard that binds sessions to their device where the browser can.
func exampleBoundGuard() *sessionguard.Guard[*exampleUser] {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser:    exampleFind,
		DeviceProof: 10 * time.Minute,
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	return guard
}

// exampleLogins logs two browsers in at an application: one that keeps a key for the session, as
// Chrome does on Windows, and one that cannot.
func exampleLogins(guard *sessionguard.Guard[*exampleUser], mux *http.ServeMux) (chrome, other exampleBrowser) {
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		_ = guard.Login(w, r, exampleUsers["ada"])
	})
	mux.Handle("GET /home", guard.RequireLogin(examplePage("Home")))
	mux.Handle("/sessionguard/", guard.Script()) // where browsers register keys and prove that they have them
	app := guard.Handler(mux)
	chrome, other = exampleVisit(app), exampleVisit(app)
	chrome.Device = testbrowser.NewDevice()
	for _, browser := range []exampleBrowser{chrome, other} {
		browser.post("/login")
		browser.get("/home") // the browser has registered its key, and proves it with the next request
	}
	return chrome, other
}

// With DeviceProof, a list of a user's sessions can say which are bound to their device.
func ExampleConfig_deviceProof() {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser:    exampleFind,
		DeviceProof: 10 * time.Minute,
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /devices", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if session, _ := guard.Session(r); !session.Bound.IsZero() {
			fmt.Fprint(w, "Bound to this device.")
		} else {
			fmt.Fprint(w, "Anyone who copies the cookie is logged in.")
		}
	})))
	chrome, other := exampleLogins(guard, mux)
	fmt.Println(chrome.get("/devices"))
	fmt.Println(other.get("/devices"))
	// Output:
	// 200 Bound to this device.
	// 200 Anyone who copies the cookie is logged in.
}

// Payments are only for sessions that are bound. A thief has the session cookie, but not the
// key of the device. For the transfer the device is proven anew if that was more than two
// minutes ago.
func ExampleGuard_RequireBound() {
	guard := exampleBoundGuard() // with Config.DeviceProof
	mux := http.NewServeMux()
	mux.Handle("GET /payments", guard.RequireBound(0)(examplePage("Payments")))
	mux.Handle("POST /payments", guard.RequireBound(2*time.Minute)(examplePage("Sent.")))

	chrome, other := exampleLogins(guard, mux)
	fmt.Println(chrome.get("/payments"))
	fmt.Println(chrome.post("/payments"))
	fmt.Println(other.get("/payments"))

	thief := exampleVisit(guard.Handler(mux))
	thief.SetCookies(map[string]string{"__Host-Http-session": chrome.Cookies()["__Host-Http-session"]})
	fmt.Println(thief.get("/payments"))
	// Output:
	// 200 Payments
	// 200 Sent.
	// 403 Forbidden
	// 403 Forbidden
}

// The event stream ends when the proof that it began with has run out. It says nothing then: the
// browser proves its device and connects again by itself. It reports all other ends.
func ExampleGuard_CancelUnproven() {
	guard := exampleBoundGuard() // with Config.DeviceProof
	started := make(chan bool)
	mux := http.NewServeMux()
	mux.Handle("GET /events", guard.Passive(guard.RequireLogin(guard.CancelUnproven(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		close(started)
		<-r.Context().Done() // a real handler writes its events until then
		ended, ok := errors.AsType[*sessionguard.SessionEndedError](context.Cause(r.Context()))
		if ok && ended.Reason != store.ReasonDeviceUnproven {
			fmt.Fprintf(w, "event: ended, data: %s", ended.Reason)
		}
	})))))

	chrome, _ := exampleLogins(guard, mux)
	go func() {
		<-started
		_ = guard.EndUser(context.Background(), "ada")
	}()
	fmt.Println(chrome.get("/events"))
	// Output:
	// 200 event: ended, data: ended
}
