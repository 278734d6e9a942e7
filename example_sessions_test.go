package sessionguard_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// A login form with a checkbox "Remember me".
func ExampleRemember() {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser:    exampleFind,
		RememberFor: 14 * 24 * time.Hour,
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	login := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := exampleUsers["ada"] // after the password was verified
		var options []sessionguard.LoginOption
		if r.FormValue("remember") != "" {
			options = append(options, sessionguard.Remember())
		}
		if err := guard.Login(w, r, user, options...); err != nil {
			http.Error(w, "You cannot log in.", http.StatusForbidden)
		}
	}))

	for _, form := range []string{"/login", "/login?remember=on"} {
		w := httptest.NewRecorder()
		login.ServeHTTP(w, httptest.NewRequest("POST", form, nil))
		fmt.Println(time.Duration(w.Result().Cookies()[0].MaxAge) * time.Second)
	}
	// Output:
	// 0s
	// 337h0m0s
}

// The page shows a user where they are logged in. It requires a fresh login because it ends
// sessions.
func ExampleGuard_Sessions() {
	guard := exampleGuard()
	devices := guard.RequireFresh(5 * time.Minute)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		sessions, err := guard.Sessions(r.Context(), user.UserID())
		if err != nil {
			http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
			return
		}
		for _, s := range sessions {
			fmt.Fprintf(w, "%s, current: %v, fresh for %v\n", s.Address, s.Current, s.FreshUntil(5*time.Minute).Sub(s.Authenticated))
		}
	}))
	desk := exampleVisitAs("ada", guard, devices)
	exampleVisitAs("grace", guard, devices)
	fmt.Println(desk.get("/account/devices"))
	// Output:
	// 200 192.0.2.1, current: true, fresh for 5m0s
}

// The application runs behind a proxy on the same machine, which adds the client's address to
// X-Forwarded-For. Nobody else is believed.
func ExampleClientAddrFrom() {
	clientAddr := sessionguard.ClientAddrFrom("X-Forwarded-For",
		netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128"))
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser:   exampleFind,
		ClientAddr: clientAddr,
		Logger:     slog.New(slog.DiscardHandler),
		OnEvent: func(_ context.Context, e sessionguard.Event) {
			fmt.Println(e.Name, "from", e.Address)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	login := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := guard.Login(w, r, exampleUsers["ada"]); err != nil { // after the password was verified
			http.Error(w, "You cannot log in.", http.StatusForbidden)
		}
	}))

	for _, connection := range []string{"127.0.0.1:50123", "192.0.2.1:50124"} {
		r := httptest.NewRequest("POST", "/login", nil)
		r.RemoteAddr = connection
		r.Header.Set("X-Forwarded-For", "198.51.100.1, 203.0.113.7") // the client claims to be 198.51.100.1
		login.ServeHTTP(httptest.NewRecorder(), r)
	}
	// Output:
	// sessionguard.logged_in from 203.0.113.7
	// sessionguard.logged_in from 192.0.2.1
}

// Every user has at most two sessions. A third login ends the least recently active one,
// and its next refusal has the reason.
func ExampleConfig_maxSessions() {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser:    exampleFind,
		MaxSessions: func(*exampleUser) store.Limit { return store.Limit{Max: 2} },
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	home := guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "Home") }))
	var browsers []exampleBrowser
	for range 3 {
		browsers = append(browsers, exampleVisitAs("ada", guard, home))
	}
	ended := 0
	for _, browser := range browsers {
		if response := browser.get("/home"); response != "200 Home" {
			ended++
			fmt.Println(response)
		}
	}
	fmt.Println(ended, "ended")
	// Output:
	// 303 to /login?next=%2Fhome&reason=too_many_sessions
	// 1 ended
}

// The login page explains why the user has to log in again.
func ExampleGuard_EndReason() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		switch guard.EndReason(r) {
		case store.ReasonIdle, store.ReasonAbsolute, store.ReasonExpired:
			fmt.Fprint(w, "Your session has expired.")
		case store.ReasonEnded:
			fmt.Fprint(w, "An administrator has logged you out.")
		default:
			fmt.Fprint(w, "Please log in.")
		}
	})
	app := guard.Handler(mux)

	ada := exampleVisitAs("ada", guard, app)
	fmt.Println(guard.EndUser(context.Background(), "ada"))
	fmt.Println(ada.get("/login"))
	fmt.Println(exampleVisit(app).get("/login"))
	// Output:
	// <nil>
	// 200 An administrator has logged you out.
	// 200 Please log in.
}

// The event stream ends with its session and reports the reason.
func ExampleGuard_CancelOnEnd() {
	guard := exampleGuard()
	started := make(chan bool)
	events := guard.Passive(guard.RequireLogin(guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done() // a real handler writes its events until then
		if ended, ok := errors.AsType[*sessionguard.SessionEndedError](context.Cause(r.Context())); ok {
			fmt.Fprint(w, "event: ended, data: ", ended.Reason)
		}
	}))))

	browser := exampleVisitAs("ada", guard, events)
	go func() {
		<-started
		_ = guard.EndUser(context.Background(), "ada")
	}()
	fmt.Println(browser.get("/events"))
	// Output:
	// 200 event: ended, data: ended
}

// A chat counts each message as activity, although it is Passive: an open chat alone would
// otherwise keep its session alive.
func ExampleGuard_Active() {
	guard := exampleGuard()
	messages := make(chan string)
	chat := guard.Passive(guard.RequireLogin(guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for message := range messages { // a real handler reads them from a WebSocket
			if errors.Is(guard.Active(r), sessionguard.ErrNoSession) {
				return // after any other error the session may still live
			}
			fmt.Fprintf(w, "%s; ", message)
		}
	}))))

	browser := exampleVisitAs("ada", guard, chat)
	go func() {
		messages <- "Hello."
		messages <- "Is anybody here?"
		close(messages)
	}()
	fmt.Println(browser.get("/chat"))
	// Output:
	// 200 Hello.; Is anybody here?;
}

// Shutdown does not wait for the event stream, whose session lives on.
func ExampleGuard_EndStreams() {
	guard := exampleGuard()
	started := make(chan bool)
	events := guard.Passive(guard.RequireLogin(guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		fmt.Fprint(w, context.Cause(r.Context()))
	}))))
	server := &http.Server{Handler: guard.Handler(events)}
	server.RegisterOnShutdown(guard.EndStreams)

	browser := exampleVisitAs("ada", guard, events)
	go func() {
		<-started
		_ = server.Shutdown(context.Background())
	}()
	fmt.Println(browser.get("/events"))
	// Output:
	// 200 http: Server closed
}

// An own audit trail counts the logins, in addition to the log.
func ExampleEvent_Log() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			switch { // these attributes differ in every run
			case a.Key == slog.TimeKey:
				return slog.Attr{}
			case len(groups) > 0 && groups[0] == "session":
				return slog.String("id", "…")
			}
			return a
		},
	}))
	logins := 0
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser: exampleFind,
		Keys:     exampleKeys,
		OnEvent: func(ctx context.Context, e sessionguard.Event) {
			if e.Name == sessionguard.EventLogin {
				logins++
			}
			e.Log(ctx, log)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	exampleVisitAs("ada", guard, guard.Logout("/")).post("/logout")
	fmt.Println(logins, "login")
	// Output:
	// level=INFO msg="sessionguard: logged in" event.name=sessionguard.logged_in user.id=ada session.id=… client.address=192.0.2.1 http.request.method=POST url.path=/login
	// level=INFO msg="sessionguard: logged out" event.name=sessionguard.logged_out user.id=ada session.id=… sessionguard.reason=logged_out client.address=192.0.2.1 http.request.method=POST url.path=/logout
	// 1 login
}

var exampleKeys = [][]byte{make([]byte, 64)}

func init() { exampleKeys[0][0] = 1 }
