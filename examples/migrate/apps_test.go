package migrate_test

import (
	"fmt"
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/examples/migrate"
)

// User is the application's own type.
type User struct {
	Name        string
	Deactivated bool
}

func (u *User) UserID() string      { return u.Name }
func (u *User) IsActive() bool      { return !u.Deactivated }
func (u *User) HasRole(string) bool { return false }

// gorillaApp is the application as it was, with gorilla/sessions.
func gorillaApp(store sessions.Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		session, _ := store.Get(r, "session")
		session.Values["user"] = r.FormValue("user")
		session.Values["theme"] = "dark"
		session.AddFlash("Welcome back.")
		if err := session.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
		cart, _ := store.Get(r, "cart")
		cart.Values["item"] = 42
		if err := cart.Save(r, w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /home", func(w http.ResponseWriter, r *http.Request) {
		session, _ := store.Get(r, "session")
		user, ok := session.Values["user"].(string)
		if !ok {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		if err := session.Save(r, w); err != nil { // another month
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
		fmt.Fprintf(w, "Hello, %s, theme %v.\n", user, session.Values["theme"])
	})
	return mux
}

// scsApp is the application as it was, with scs.
func scsApp(manager *scs.SessionManager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := manager.RenewToken(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		manager.Put(r.Context(), "user", r.FormValue("user"))
		manager.Put(r.Context(), "theme", "dark")
		manager.Put(r.Context(), "item", 42)
		manager.Put(r.Context(), "flash", "Welcome back.")
		manager.RememberMe(r.Context(), r.FormValue("remember") != "")
	})
	mux.HandleFunc("GET /home", func(w http.ResponseWriter, r *http.Request) {
		user := manager.GetString(r.Context(), "user")
		if user == "" {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		fmt.Fprintf(w, "Hello, %s, theme %s.\n", user, manager.GetString(r.Context(), "theme"))
	})
	return manager.LoadAndSave(mux)
}

// guardApp is the application as it is, wherever it comes from.
func guardApp(guard *sessionguard.Guard[*User], migration *migrate.Migration[*User], users *people) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if user, ok := guard.User(r); ok {
			fmt.Fprintf(w, "Hello, %s.\n", user.Name)
			return
		}
		fmt.Fprintln(w, "Hello, whoever you are.")
	})
	mux.HandleFunc("GET /public", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "for everybody") })
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user, err := users.find(r.Context(), r.FormValue("user"))
		if err == nil {
			err = guard.Login(w, r, user)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	mux.HandleFunc("POST /act", func(w http.ResponseWriter, r *http.Request) {
		user, err := users.find(r.Context(), r.FormValue("user"))
		if err == nil {
			err = guard.ActAs(w, r, user)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	})
	mux.Handle("GET /home", guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := guard.User(r)
		session, _ := guard.Get(r, "session")
		cart, _ := guard.Get(r, "cart")
		fmt.Fprintf(w, "Hello, %s, theme %v, item %v, user %v.\n", user.Name, session.Values["theme"], cart.Values["item"], session.Values["user"])
		for _, flash := range session.Flashes() {
			fmt.Fprintln(w, flash)
		}
	})))
	mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "cart") // store.Get before
		session.Values["item"] = 42
		session.AddFlash("Added.")
		err := session.Save(r, w)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.Handle("GET /money", migration.RequireFresh(5*time.Minute)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "your money")
	})))
	mux.Handle("POST /logout", migration.EndOld(guard.Logout("/")))
	return guard.Handler(migration.Handler(mux))
}
