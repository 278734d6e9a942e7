package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sessionguard-go/sessionguard"
)

// User is the only user, whom any password lets in: this example is about metrics.
type User struct{}

func (User) UserID() string      { return "ada" }
func (User) IsActive() bool      { return true }
func (User) HasRole(string) bool { return true }

func find(_ context.Context, id string) (User, error) {
	if id != (User{}).UserID() {
		return User{}, sessionguard.ErrNoUser
	}
	return User{}, nil
}

// An app is the application, and what it says about itself.
type app struct {
	guard          *sessionguard.Guard[User]
	pages, metrics http.Handler
}

func newApp() (*app, error) {
	registry := prometheus.NewRegistry()
	config := sessionguard.Config[User]{FindUser: find, InsecureHTTP: true} // on this machine alone
	observe(registry, &config)
	guard, err := sessionguard.New(config)
	if err != nil {
		return nil, err
	}
	meter(registry, guard)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", page(`<form method="post">Name <input name="name" value="ada"> <button>Log in</button></form>`))
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user, err := find(r.Context(), r.FormValue("name"))
		if err != nil {
			http.Error(w, "There is no such user.", http.StatusUnauthorized)
			return
		}
		if err := guard.Login(w, r, user); err != nil {
			http.Error(w, "You cannot log in.", http.StatusForbidden)
			return
		}
		http.Redirect(w, r, guard.Next(r, "/"), http.StatusSeeOther)
	})
	mux.Handle("POST /logout", guard.Logout("/login"))
	mux.Handle("GET /{$}", guard.RequireLogin(page(`<p>Hello, ada. <a href="/clock">A stream.</a></p><form method="post" action="/logout"><button>Log out</button></form>`)))
	mux.Handle("GET /clock", guard.RequireLogin(guard.CancelOnEnd(http.HandlerFunc(clock))))
	mux.Handle("/sessionguard/", guard.Script())

	metrics := http.NewServeMux()
	metrics.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	return &app{guard, guard.Handler(mux), metrics}, nil
}

func page(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "<!DOCTYPE html>\n<html lang=\"en\">\n<title>Metrics</title>\n"+body)
	}
}

// clock streams the time until the session ends.
func clock(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for r.Context().Err() == nil {
		fmt.Fprintf(w, "data: %s\n\n", time.Now().Format(time.TimeOnly))
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
		case <-time.After(time.Second):
		}
	}
}
