package app

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// loginForm is what comes back after a wrong password. The password does not.
type loginForm struct {
	Username, Next string
	Why            string // why one has to log in
	Continue       string // where someone who is remembered gets on without a password
	RememberFor    string // in words; "" for no checkbox
	Remember       bool   // it was ticked
}

// endings say why a session has ended.
var endings = map[store.Reason]string{
	store.ReasonIdle:               "You were logged out after a while without activity. Please log in again.",
	store.ReasonRemembered:         "You were away for a while, so the page was taken off the screen.",
	store.ReasonAbsolute:           "Your session reached its time limit. Please log in again.",
	store.ReasonExpired:            "Your session has ended. Please log in again.",
	store.ReasonLoggedOutElsewhere: "You logged this device out from another one. Please log in again.",
	store.ReasonEnded:              "An administrator ended your session. Please log in again.",
	store.ReasonTooManySessions:    "You were logged in on too many devices, so this one was logged out. Please log in again.",
	store.ReasonDeactivated:        "Your account was deactivated, which ended your session. Please ask an admin.",
	store.ReasonNoUser:             "Your account was deactivated, which ended your session. Please ask an admin.",
	store.ReasonCredentialsChanged: "Your password was changed, which ended your session. Log in with the new one. If it was not you who changed it, tell an admin.",
	store.ReasonTheftSuspected:     "Somebody else may have used your session, so we ended it. Once you are logged in, check your devices and change your password.",
}

// why is the text for someone whose session has ended, and "" for anyone else.
func (a *App) why(r *http.Request) string {
	reason := a.guard.EndReason(r)
	if reason == "" || reason == store.ReasonExpired {
		// The guard script says why it brought someone here. Anyone can write
		// such a link, so it chooses between texts and is never shown itself.
		if said := store.Reason(r.FormValue("reason")); endings[said] != "" {
			reason = said
		}
	}
	return endings[reason]
}

func (a *App) loginForm(r *http.Request) loginForm {
	form := loginForm{
		Username: strings.TrimSpace(r.PostFormValue("username")),
		Next:     a.guard.Next(r, ""),
		Remember: a.Remember > 0 && r.PostFormValue("remember") != "",
	}
	if a.Remember > 0 {
		form.RememberFor = words(a.Remember)
	}
	return form
}

func (a *App) loginPage(w http.ResponseWriter, r *http.Request) {
	if _, ok := a.guard.User(r); ok {
		http.Redirect(w, r, a.guard.Next(r, "/home"), http.StatusSeeOther)
		return
	}
	form := a.loginForm(r)
	form.Why = a.why(r)
	if form.Why == "" && form.Next != "" {
		form.Why = "Please log in to continue."
	}
	if a.guard.EndReason(r) == store.ReasonRemembered {
		form.Continue = a.guard.Next(r, "/home")
	}
	a.render(w, r, http.StatusOK, "login", page{Title: "Log in", Content: form})
}

func (a *App) login(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	// PostFormValue, because FormValue takes a password out of the URL too,
	// where logs and the browser's history keep it.
	form := a.loginForm(r)
	user, err := a.Users.Verify(r.Context(), form.Username, r.PostFormValue("password"))
	if err != nil {
		// Not the name: people type their password there by mistake.
		a.Log.Info("login refused", "from", r.RemoteAddr, "error", err)
		a.refuse(w, r, err, "login", page{
			Title:   "Log in",
			Error:   "Wrong name or password.",
			Content: form,
		})
		return
	}
	var options []sessionguard.LoginOption
	if form.Remember {
		options = append(options, sessionguard.Remember())
	}
	if err := a.logIn(w, r, user, options...); err != nil {
		a.fail(w, err)
		return
	}
	http.Redirect(w, r, a.guard.Next(r, "/home"), http.StatusSeeOther)
}

// logIn starts the session, or gives the one there is a new token and a fresh
// clock: a device that is remembered stays so for as long as it was going to be.
func (a *App) logIn(w http.ResponseWriter, r *http.Request, user *User, options ...sessionguard.LoginOption) error {
	if user.HasRole("Admin") {
		// More to lose, so less time for someone else at an open laptop.
		options = append(options, sessionguard.IdleTimeout(min(a.Idle, 10*time.Minute)))
	}
	return a.guard.Login(w, r, user, options...) // the guard logs it
}

// reauthPage asks for the password again: RequireFresh sends people here.
func (a *App) reauthPage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "reauth", page{Title: "Confirm it’s you", Content: a.guard.Next(r, "")})
}

func (a *App) reauth(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	user, _ := a.guard.User(r)
	user, err := a.Users.Verify(r.Context(), user.ID, r.PostFormValue("password"))
	if err != nil {
		a.Log.Info("re-authentication refused", "from", r.RemoteAddr, "error", err)
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
func (a *App) refuse(w http.ResponseWriter, r *http.Request, err error, name string, p page) {
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
func (a *App) flash(r *http.Request, message string) { a.flashes(r).AddFlash(message) }

// flashes is the session that Logout leaves its message in as well. It needs no
// Save, and its error no answer: if sessions cannot be reached, the guard
// answers 503 in place of the page.
func (a *App) flashes(r *http.Request) *sessions.Session {
	session, _ := a.guard.Get(r, "flash")
	return session
}
