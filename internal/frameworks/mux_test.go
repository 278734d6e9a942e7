package frameworks

import (
	"net/http"

	"github.com/gorilla/handlers"
	"github.com/gorilla/mux"
	"github.com/sessionguard-go/sessionguard"
)

func muxApp(guard *sessionguard.Guard[*User]) http.Handler {
	return handlers.RecoveryHandler()(guard.Handler(muxRoutes(guard)))
}

func muxRoutes(guard *sessionguard.Guard[*User]) *mux.Router {
	h := plain{guard}
	r := mux.NewRouter()
	r.HandleFunc("/login", h.login).Methods("POST")
	r.Handle("/logout", guard.Logout("/")).Methods("POST")
	r.PathPrefix("/sessionguard/").Handler(guard.Script())

	admin := r.PathPrefix("/admin").Subrouter()
	admin.Use(guard.RequireRole("Admin"))
	admin.HandleFunc("/users", h.users)

	p := pages{guard}
	r.HandleFunc("/", h.welcome).Methods("GET")
	r.HandleFunc("/public", p.public)
	r.HandleFunc("/cart", p.cart)
	r.HandleFunc("/login-panic", p.loginThenPanic)

	live := r.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool {
		return r.URL.Path == "/stream" || r.URL.Path == "/events" || r.URL.Path == "/socket"
	}).Subrouter()
	live.Use(guard.Passive, guard.RequireLogin, guard.CancelOnEnd)
	live.HandleFunc("/stream", p.events)
	live.HandleFunc("/events", p.events)
	live.HandleFunc("/socket", p.socket)

	members := r.NewRoute().Subrouter()
	members.Use(guard.RequireLogin)
	members.HandleFunc("/home", h.home)
	members.HandleFunc("/panic", p.panics)
	members.HandleFunc("/files/style.css", h.file)
	return r
}

func init() {
	wirings["gorilla/mux"] = muxApp
	wirings["gorilla/mux, recovery inside"] = func(guard *sessionguard.Guard[*User]) http.Handler {
		return guard.Handler(handlers.RecoveryHandler()(muxRoutes(guard)))
	}
}
