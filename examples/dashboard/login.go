package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard"
)

// loginForm is what comes back after a wrong password. The password does not.
type loginForm struct {
	Username, Next string
	Why            string // why one has to log in
}

func (a *app) loginPage(w http.ResponseWriter, r *http.Request) {
	if _, ok := a.guard.User(r); ok {
		http.Redirect(w, r, a.guard.Next(r, "/home"), http.StatusSeeOther)
		return
	}
	form := loginForm{Next: a.guard.Next(r, "")}
	// The guard script says why it brought someone here. Anyone can write such
	// a link, so it chooses between texts and is never shown itself.
	switch reason := r.FormValue("reason"); {
	case reason == "idle":
		form.Why = "You were logged out after a while without activity. Please log in again."
	case reason == "absolute":
		form.Why = "Your session reached its time limit. Please log in again."
	case form.Next != "":
		form.Why = "Please log in to continue."
	}
	a.render(w, r, http.StatusOK, "login", page{Title: "Log in", Content: form})
}

func (a *app) login(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	// PostFormValue, because FormValue takes a password out of the URL too,
	// where logs and the browser's history keep it.
	name := strings.TrimSpace(r.PostFormValue("username"))
	user, err := a.users.Verify(r.Context(), name, r.PostFormValue("password"))
	if err != nil {
		// Not the name: people type their password there by mistake.
		a.log.Info("login refused", "from", r.RemoteAddr, "error", err)
		a.refuse(w, r, err, "login", page{
			Title:   "Log in",
			Error:   "Wrong name or password.",
			Content: loginForm{Username: name, Next: a.guard.Next(r, "")},
		})
		return
	}
	if err := a.logIn(w, r, user); err != nil {
		a.fail(w, err)
		return
	}
	http.Redirect(w, r, a.guard.Next(r, "/home"), http.StatusSeeOther)
}

// logIn starts the session, or gives the one there is a new token and a fresh
// clock.
func (a *app) logIn(w http.ResponseWriter, r *http.Request, user *User) error {
	var limits []sessionguard.LoginOption
	if user.HasRole("Admin") {
		// More to lose, so less time for someone else at an open laptop.
		limits = append(limits, sessionguard.IdleTimeout(min(a.idle, 10*time.Minute)))
	}
	if err := a.guard.Login(w, r, user, limits...); err != nil {
		return err
	}
	a.log.Info("logged in", "user", user.ID, "from", r.RemoteAddr)
	return nil
}

// reauthPage asks for the password again: RequireFresh sends people here.
func (a *app) reauthPage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "reauth", page{Title: "Confirm it’s you", Content: a.guard.Next(r, "")})
}

func (a *app) reauth(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	user, _ := a.guard.User(r)
	user, err := a.users.Verify(r.Context(), user.ID, r.PostFormValue("password"))
	if err != nil {
		a.log.Info("re-authentication refused", "from", r.RemoteAddr, "error", err)
		a.refuse(w, r, err, "reauth", page{
			Title:   "Confirm it’s you",
			Error:   "Wrong password.",
			Content: a.guard.Next(r, ""),
		})
		return
	}
	if err := a.logIn(w, r, user); err != nil {
		a.fail(w, err)
		return
	}
	a.flash(r, "Thank you. You can go on.")
	// Only a GET is sent here with "next". What was posted is not kept, and
	// the account page has the form for it.
	http.Redirect(w, r, a.guard.Next(r, "/account"), http.StatusSeeOther)
}

// refuse shows a form again whose password was not accepted. p.Error is for a
// wrong one.
func (a *app) refuse(w http.ResponseWriter, r *http.Request, err error, name string, p page) {
	// Not 401, which would have to say how to authenticate (RFC 9110).
	status := http.StatusUnprocessableEntity
	switch {
	case errors.Is(err, errWrongPassword):
	case errors.Is(err, errShortPassword):
		p.Error = fmt.Sprintf("The new password needs at least %d characters.", minPassword)
	case errors.Is(err, errBusy):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "5")
		p.Error = "Many people are logging in right now. Please try again in a moment."
	default:
		a.fail(w, err)
		return
	}
	a.render(w, r, status, name, p)
}

// flash leaves a message for the next page that is shown.
func (a *app) flash(r *http.Request, message string) { a.flashes(r).AddFlash(message) }

// flashes is the session that Logout leaves its message in as well. It needs no
// Save, and its error no answer: if sessions cannot be reached, the guard
// answers 503 in place of the page.
func (a *app) flashes(r *http.Request) *sessions.Session {
	session, _ := a.guard.Get(r, "flash")
	return session
}
