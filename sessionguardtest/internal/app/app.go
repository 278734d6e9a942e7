package app

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

type User struct {
	Name, Password string // keep a slow hash of the password, not the password
	Roles          []string
}

func (u *User) UserID() string           { return u.Name }
func (u *User) IsActive() bool           { return true }
func (u *User) HasRole(role string) bool { return slices.Contains(u.Roles, role) }

var users = map[string]*User{
	"ada":   {Name: "ada", Password: "analytical-engine"},
	"grace": {Name: "grace", Password: "nanoseconds-matter", Roles: []string{"Admin"}},
}

type App struct {
	http.Handler
	guard *sessionguard.Guard[*User] // the tests use it
}

func New() (a *App, err error) {
	a = new(App)
	a.guard, err = sessionguard.New(sessionguard.Config[*User]{FindUser: find, ReauthPath: "/login"})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", a.loginPage)
	mux.HandleFunc("POST /login", a.login)
	mux.Handle("POST /logout", a.guard.Logout("/login"))
	mux.Handle("GET /home", a.guard.RequireLogin(http.HandlerFunc(a.home)))
	mux.Handle("GET /admin", a.guard.RequireRole("Admin")(a.guard.RequireFresh(5*time.Minute)(http.HandlerFunc(a.admin))))
	mux.Handle("/sessionguard/", a.guard.Script())
	a.Handler = a.guard.Handler(mux)
	return a, nil
}

func find(_ context.Context, id string) (*User, error) {
	if user, ok := users[id]; ok {
		return user, nil
	}
	return nil, sessionguard.ErrNoUser
}

func (a *App) loginPage(w http.ResponseWriter, r *http.Request) {
	if reason := a.guard.EndReason(r); reason == store.ReasonIdle || reason == store.ReasonExpired {
		fmt.Fprintln(w, "You were away for too long.")
	}
	fmt.Fprintln(w, `<form method="post"><input name="name"><input name="password" type="password"><button>Log in</button></form>`)
}

func (a *App) login(w http.ResponseWriter, r *http.Request) {
	user, err := find(r.Context(), r.PostFormValue("name"))
	if err != nil || subtle.ConstantTimeCompare([]byte(user.Password), []byte(r.PostFormValue("password"))) != 1 {
		http.Error(w, "Wrong name or password.", http.StatusUnauthorized)
		return
	}
	if err := a.guard.Login(w, r, user); err != nil {
		http.Error(w, "You cannot log in.", http.StatusForbidden)
		return
	}
	http.Redirect(w, r, a.guard.Next(r, "/home"), http.StatusSeeOther)
}

func (a *App) home(w http.ResponseWriter, r *http.Request) {
	user, _ := a.guard.User(r)
	cart, _ := a.guard.Get(r, "cart")
	items, _ := cart.Values["items"].(int)
	fmt.Fprintf(w, "Hello, %s. In your cart: %d\n", user.Name, items)
}

func (a *App) admin(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "For administrators.")
}
