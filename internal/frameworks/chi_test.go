package frameworks

import (
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/sessionguard-go/sessionguard"
)

func chiApp(guard *sessionguard.Guard[*User]) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.Recoverer)
	r.Use(guard.Handler)
	chiRoutes(r, guard)
	return r
}

func chiRoutes(r chi.Router, guard *sessionguard.Guard[*User]) {
	h := struct {
		plain
		pages
	}{plain{guard}, pages{guard}}
	r.Post("/login", h.login)
	r.Method("POST", "/logout", guard.Logout("/"))
	r.Mount("/sessionguard/", guard.Script())

	r.Group(func(r chi.Router) {
		r.Use(guard.RequireLogin)
		r.Get("/home", h.home)
	})
	r.Route("/admin", func(r chi.Router) {
		r.Use(guard.RequireRole("Admin"))
		r.Get("/users", h.users)
	})
	r.With(guard.Passive, guard.RequireLogin, guard.CancelOnEnd).Get("/events", h.events)

	r.Get("/", h.welcome)
	r.Get("/public", h.public)
	r.Post("/cart", h.cart)
	r.Post("/login-panic", h.loginThenPanic)
	members := r.With(guard.RequireLogin)
	members.Get("/panic", h.panics)
	members.Handle("/files/*", http.StripPrefix("/files", http.HandlerFunc(h.file)))
	live := r.With(guard.Passive, guard.RequireLogin, guard.CancelOnEnd)
	live.Get("/stream", h.events)
	live.Get("/socket", h.socket)
}

// plain has the handlers of the quick start.
type plain struct{ guard *sessionguard.Guard[*User] }

func (h plain) welcome(w http.ResponseWriter, r *http.Request) {
	session, _ := h.guard.Get(r, "flash")
	fmt.Fprintln(w, session.Flashes(), "Welcome.")
}

func (h plain) login(w http.ResponseWriter, r *http.Request) {
	user, ok := verify(r.FormValue("name"), r.FormValue("password"))
	if !ok {
		http.Error(w, "Wrong name or password.", http.StatusUnauthorized)
		return
	}
	if err := h.guard.Login(w, r, user); err != nil {
		http.Error(w, "You cannot log in.", http.StatusForbidden)
		return
	}
	http.Redirect(w, r, h.guard.Next(r, "/home"), http.StatusSeeOther)
}

func (h plain) home(w http.ResponseWriter, r *http.Request) {
	user, _ := h.guard.User(r) // a *User
	fmt.Fprintf(w, "<!DOCTYPE html><head>%s</head>Hello, %s.\n", h.guard.ScriptTag(r), user.Name)
}

func (h plain) users(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "users") }

func (h plain) file(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.URL.Path) }

func init() {
	wirings["chi"] = chiApp
	wirings["chi inside"] = func(guard *sessionguard.Guard[*User]) http.Handler {
		r := chi.NewRouter()
		r.Use(middleware.Recoverer)
		chiRoutes(r, guard)
		return guard.Handler(r)
	}
}
