package sessionguard_test

import (
	"context"
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/sessionguard-go/sessionguard"
)

// User is the application's own user type. Its three methods are those that a guard needs.
type User struct {
	Name, Password string // keep a slow hash of the password, not the password
	Roles          []string
	Deactivated    bool
}

func (u *User) UserID() string           { return u.Name }
func (u *User) IsActive() bool           { return !u.Deactivated }
func (u *User) HasRole(role string) bool { return slices.Contains(u.Roles, role) }

var people = map[string]*User{
	"ada": {Name: "ada", Password: "analytical-engine", Roles: []string{"Engineer"}},
}

func find(_ context.Context, id string) (*User, error) {
	user, ok := people[id]
	if !ok {
		return nil, sessionguard.ErrNoUser // any other error means: nobody can tell right now
	}
	return user, nil
}

func newApp() (http.Handler, error) {
	guard, err := sessionguard.New(sessionguard.Config[*User]{FindUser: find})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()

	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "flash") // gorilla/sessions
		for _, flash := range session.Flashes() {
			fmt.Fprintln(w, flash)
		}
		fmt.Fprintln(w, "Welcome.")
	})
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `<!DOCTYPE html><form method="post"><input name="name"><input name="password" type="password"><button>Log in</button></form>`)
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user, err := find(r.Context(), r.PostFormValue("name"))
		if err != nil || subtle.ConstantTimeCompare([]byte(user.Password), []byte(r.PostFormValue("password"))) != 1 {
			http.Error(w, "Wrong name or password.", http.StatusUnauthorized)
			return
		}
		if err := guard.Login(w, r, user); err != nil {
			http.Error(w, "You cannot log in.", http.StatusForbidden)
			return
		}
		http.Redirect(w, r, guard.Next(r, "/home"), http.StatusSeeOther)
	})
	mux.Handle("GET /home", guard.RequireRole("Engineer")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r) // a *User
		fmt.Fprintf(w, "<!DOCTYPE html><head>%s</head>Hello, %s.\n", guard.ScriptTag(r), user.Name)
		fmt.Fprintln(w, `<form method="post" action="/logout"><button>Log out</button></form>`)
	})))
	mux.Handle("POST /logout", guard.Logout("/"))
	mux.Handle("/sessionguard/", guard.Script())

	return guard.Handler(mux), nil
}

// scriptTag is different for every session.
var scriptTag = regexp.MustCompile(`<script [^>]*>`)

// The smallest complete application: login, a home page for engineers, logout.
func Example() {
	app, err := newApp()
	if err != nil {
		fmt.Println(err)
		return
	}
	// In your program: http.ListenAndServe(":8080", app), behind TLS. Here a test server
	// and a client that keeps cookies and follows redirects.
	server := httptest.NewTLSServer(app)
	defer server.Close()
	browser := server.Client()
	browser.Jar, _ = cookiejar.New(nil)
	post := func(path string, form url.Values) {
		req, _ := http.NewRequest("POST", server.URL+path, strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Accept", "text/html") // otherwise refusals are those for an API client
		resp, err := browser.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer resp.Body.Close()
		page, _ := io.ReadAll(resp.Body)
		fmt.Printf("%s\n%s", resp.Request.URL.Path, scriptTag.ReplaceAll(page, []byte("<script …>")))
	}
	post("/login", url.Values{"name": {"ada"}, "password": {"guess"}})
	post("/login?next=/home", url.Values{"name": {"ada"}, "password": {"analytical-engine"}})
	post("/logout", nil)

	// Output:
	// /login
	// Wrong name or password.
	// /home
	// <!DOCTYPE html><head><script …></script></head>Hello, ada.
	// <form method="post" action="/logout"><button>Log out</button></form>
	// /
	// You have been logged out.
	// Welcome.
}
