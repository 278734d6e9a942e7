package sessionguard_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
)

// exampleUser is the user type of the examples, and exampleGuard their guard.
type exampleUser struct {
	Name  string
	Roles []string
}

func (u *exampleUser) UserID() string           { return u.Name }
func (u *exampleUser) IsActive() bool           { return true }
func (u *exampleUser) HasRole(role string) bool { return slices.Contains(u.Roles, role) }

var exampleUsers = map[string]*exampleUser{
	"ada":   {"ada", []string{"Engineer"}},
	"grace": {"grace", []string{"Engineer", "Admin"}},
}

func exampleFind(_ context.Context, id string) (*exampleUser, error) {
	if user, ok := exampleUsers[id]; ok {
		return user, nil
	}
	return nil, sessionguard.ErrNoUser
}

func exampleGuard() *sessionguard.Guard[*exampleUser] {
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser:   exampleFind,
		ReauthPath: "/reauth",
		Logger:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	return guard
}

// exampleBrowser is a browser whose responses examples can print.
type exampleBrowser struct{ *testbrowser.Browser }

func exampleVisit(handler http.Handler) exampleBrowser {
	browser := testbrowser.New(exampleT{}, "https://example.com", testbrowser.HandlerTransport{Handler: handler})
	browser.Header.Set("Sec-Fetch-Mode", "navigate")
	return exampleBrowser{browser}
}

// exampleVisitAs logs in without a login page and then visits handler.
func exampleVisitAs(name string, guard *sessionguard.Guard[*exampleUser], handler http.Handler) exampleBrowser {
	browser := exampleVisit(guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := guard.Login(w, r, exampleUsers[name]); err != nil {
			panic(err)
		}
	})))
	browser.post("/login")
	browser.Client.Transport = testbrowser.HandlerTransport{Handler: handler}
	return browser
}

func (b exampleBrowser) get(path string) string  { return exampleLine(b.Get(path)) }
func (b exampleBrowser) post(path string) string { return exampleLine(b.Post(path)) }
func (b exampleBrowser) copy() exampleBrowser    { return exampleBrowser{b.Copy()} }

// exampleLine describes a response in one line.
func exampleLine(resp testbrowser.Response) string {
	line := fmt.Sprint(resp.StatusCode)
	if to := resp.Header.Get("Location"); to != "" {
		return line + " to " + to
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		return line + " " + http.StatusText(resp.StatusCode)
	}
	return strings.TrimSpace(line + " " + resp.Body)
}

// exampleT is the [testbrowser.T] of examples. It panics, because they have no testing.T.
type exampleT struct{}

func (exampleT) Helper()                           {}
func (exampleT) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (exampleT) FailNow()                          {}
func (exampleT) Context() context.Context          { return context.Background() }

// A guard for production has keys from outside the program. This one also has an absolute
// timeout of an office day and the application's own login page.
func ExampleNew() {
	key := func(name string) []byte {
		// In your program: from os.Getenv or a file, made with openssl rand -hex 32.
		secret, _ := hex.DecodeString(exampleSecrets[name])
		return secret // New returns an error if it is too short
	}
	guard, err := sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser: exampleFind,
		Keys: [][]byte{
			key("KEY_2026"),
			key("KEY_2025"), // the cookies of last year's key are still read
		},
		AbsoluteTimeout: 8 * time.Hour,
		LoginPath:       "/account/login",
		LogoutFlash:     "Goodbye.",
	})
	fmt.Println(guard != nil, err)

	_, err = sessionguard.New(sessionguard.Config[*exampleUser]{
		FindUser:    exampleFind,
		IdleTimeout: 24 * time.Hour, AbsoluteTimeout: 12 * time.Hour,
	})
	fmt.Println(err)
	// Output:
	// true <nil>
	// sessionguard: Config: an IdleTimeout of 24h0m0s is longer than the AbsoluteTimeout of 12h0m0s
}

var exampleSecrets = map[string]string{
	"KEY_2026": strings.Repeat("6a", 32),
	"KEY_2025": strings.Repeat("5a", 32),
}

// NoCache keeps a personal page out of caches. It needs no guard.
func ExampleNoCache() {
	page := sessionguard.NoCache(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600") // set by mistake
		fmt.Fprint(w, "Your balance: 100")
	}))
	w := httptest.NewRecorder()
	page.ServeHTTP(w, httptest.NewRequest("GET", "/balance", nil))
	fmt.Println(w.Header().Get("Cache-Control"))
	fmt.Println(w.Header().Get("Pragma"), w.Header().Get("Expires"))
	// Output:
	// no-store, no-cache, must-revalidate, private
	// no-cache 0
}

// Handler wraps the whole server. Responses that do not use the session stay cacheable.
func ExampleGuard_Handler() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
	})
	mux.HandleFunc("POST /vote", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "Counted.")
	})
	server := guard.Handler(mux)

	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequest("GET", "/style.css", nil))
	fmt.Println(w.Code, w.Header().Get("Cache-Control"))

	fromAnotherSite := httptest.NewRequest("POST", "/vote", nil)
	fromAnotherSite.Header.Set("Sec-Fetch-Site", "cross-site")
	w = httptest.NewRecorder()
	server.ServeHTTP(w, fromAnotherSite)
	fmt.Println(w.Code, w.Header().Get("Cache-Control"))
	// Output:
	// 200 public, max-age=3600
	// 403 no-store, no-cache, must-revalidate, private
}

func ExampleGuard_Login() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		// The application verifies the password first.
		user, err := exampleFind(r.Context(), r.FormValue("name"))
		if err != nil {
			http.Error(w, "Wrong name or password.", http.StatusUnauthorized)
			return
		}
		switch err := guard.Login(w, r, user); {
		case errors.Is(err, sessionguard.ErrInactive):
			http.Error(w, "This account is closed.", http.StatusForbidden)
		case err != nil:
			http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
		default:
			http.Redirect(w, r, guard.Next(r, "/home"), http.StatusSeeOther)
		}
	})
	browser := exampleVisit(guard.Handler(mux))
	fmt.Println(browser.post("/login?name=eve"))
	fmt.Println(browser.post("/login?name=ada"))
	fmt.Println(browser.post("/login?name=ada&next=/reports"))
	// Output:
	// 401 Wrong name or password.
	// 303 to /home
	// 303 to /reports
}

// Handlers get the application's own type back.
func ExampleGuard_User() {
	guard := exampleGuard()
	page := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, ok := guard.User(r); ok {
			fmt.Fprintf(w, "Hello, %s: %v.", user.Name, user.Roles)
		} else {
			fmt.Fprint(w, "Hello, stranger.")
		}
	}))
	fmt.Println(exampleVisit(page).get("/"))
	fmt.Println(exampleVisitAs("ada", guard, page).get("/"))
	// Output:
	// 200 Hello, stranger.
	// 200 Hello, ada: [Engineer].
}

// Passive requests, such as event streams and polls, do not keep the session of an absent
// user alive.
func ExampleGuard_Passive() {
	guard := exampleGuard()
	unread := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "2 new messages")
	})
	mux := http.NewServeMux()
	mux.Handle("GET /unread", guard.Passive(guard.RequireLogin(unread)))

	fmt.Println(exampleVisit(mux).get("/unread"))
	fmt.Println(exampleVisitAs("ada", guard, mux).get("/unread"))
	// Output:
	// 303 to /login?next=%2Funread
	// 200 2 new messages
}

// With Status a page can warn the user before the session ends.
func ExampleGuard_Status() {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.Handle("GET /session", guard.Status())

	show := func(response string) {
		var status struct {
			Authenticated bool
			Idle          float64 `json:"idle_seconds"`
			Absolute      float64 `json:"absolute_seconds"`
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(response, "200 ")), &status); err != nil {
			fmt.Println(err)
		}
		fmt.Printf("%t, %.0f minutes, %.0f hours\n", status.Authenticated, status.Idle/60, status.Absolute/3600)
	}
	show(exampleVisitAs("ada", guard, mux).get("/session"))
	show(exampleVisit(mux).get("/session"))
	// Output:
	// true, 30 minutes, 12 hours
	// false, 0 minutes, 0 hours
}

// exampleLimits prints the timeouts of logins with these options.
func exampleLimits(option func(*exampleUser) []sessionguard.LoginOption) {
	guard := exampleGuard()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user := exampleUsers[r.FormValue("name")]
		if err := guard.Login(w, r, user, option(user)...); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	mux.Handle("GET /session", guard.Status())
	for _, name := range []string{"ada", "grace"} {
		browser := exampleVisit(guard.Handler(mux))
		browser.post("/login?name=" + name)
		var status map[string]any
		_ = json.Unmarshal([]byte(strings.TrimPrefix(browser.get("/session"), "200 ")), &status)
		seconds := func(name string) time.Duration {
			n, _ := status[name].(float64)
			return (time.Duration(n) * time.Second).Round(time.Minute)
		}
		fmt.Println(name, seconds("idle_seconds"), seconds("absolute_seconds"))
	}
}
