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

// loginForm is the data of the login page. After a wrong password it keeps the user's
// input, except the password.
type loginForm struct {
	Username, Next string
	Message        string // why a login is required
	Continue       string // where a remembered user may continue without a password
	Remember       bool   // the checkbox was ticked
	Accounts       []demoAccount
}

// endings maps the reasons for the end of a session to messages.
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
	store.ReasonDeviceUnproven:     "Your session is bound to the device that you logged in on, and this browser could not prove that it is there. Please log in again.",
	store.ReasonActorEnded:         "You looked at the dashboard as somebody else, and your own session has ended. Please log in again.",
	store.ReasonTheftSuspected:     "Somebody else may have used your session, so we ended it. Once you are logged in, check your devices and change your password.",
}

// endMessage returns the message for a client whose session has ended, or "".
func (a *App) endMessage(r *http.Request) string {
	reason := a.guard.EndReason(r)
	if reason == "" || reason == store.ReasonExpired {
		// The guard script passes the reason in the URL. Anyone can forge such a link,
		// so the value only selects a message and is never shown itself.
		if given := store.Reason(r.FormValue("reason")); endings[given] != "" {
			reason = given
		}
	}
	return endings[reason]
}

func (a *App) loginForm(r *http.Request) loginForm {
	return loginForm{
		Username: strings.TrimSpace(r.PostFormValue("username")),
		Next:     a.guard.Next(r, ""),
		Remember: a.Remember > 0 && r.PostFormValue("remember") != "",
		Accounts: demoAccounts,
	}
}

func (a *App) loginPage(w http.ResponseWriter, r *http.Request) {
	if _, ok := a.guard.User(r); ok {
		http.Redirect(w, r, a.guard.Next(r, a.at("/home")), http.StatusSeeOther)
		return
	}
	form := a.loginForm(r)
	form.Message = a.endMessage(r)
	if form.Message == "" && form.Next != "" {
		form.Message = "Please log in to continue."
	}
	if a.guard.EndReason(r) == store.ReasonRemembered {
		form.Continue = a.guard.Next(r, a.at("/home"))
	}
	a.render(w, r, http.StatusOK, "login", page{Title: "Log in", Content: form})
}

func (a *App) login(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	// PostFormValue, because FormValue also accepts a password from the URL, which logs
	// and the browser's history keep.
	form := a.loginForm(r)
	user, err := a.Users.Verify(r.Context(), form.Username, r.PostFormValue("password"))
	if err != nil {
		// The name is not logged: users type their password there by mistake.
		a.Log.Info("login refused", "from", a.clientAddr(r), "error", err)
		a.rejectForm(w, r, err, "login", page{
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
		a.internalError(w, err)
		return
	}
	http.Redirect(w, r, a.guard.Next(r, a.at("/home")), http.StatusSeeOther)
}

// logIn starts a session, or renews the token and the timeouts of the existing one. A
// remembered device stays remembered until the same time as before.
func (a *App) logIn(w http.ResponseWriter, r *http.Request, user *User, options ...sessionguard.LoginOption) error {
	if user.HasRole("Admin") {
		// An admin's session is worth more to someone at an unattended laptop.
		options = append(options, sessionguard.IdleTimeout(min(a.Idle, 10*time.Minute)))
	}
	return a.guard.Login(w, r, user, options...) // which the guard logs
}

// reauthPage asks for the password again. RequireFresh redirects here.
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
		a.Log.Info("re-authentication refused", "from", a.clientAddr(r), "error", err)
		a.rejectForm(w, r, err, "reauth", page{
			Title:   "Confirm it’s you",
			Error:   "Wrong password.",
			Content: a.guard.Next(r, ""),
		})
		return
	}
	if err := a.logIn(w, r, user); err != nil {
		a.internalError(w, err)
		return
	}
	a.flash(r, "Thank you. You can go on.")
	// The guard sets "next" only for a GET. A refused POST is not kept; its form is on
	// the account page.
	http.Redirect(w, r, a.guard.Next(r, a.at("/account")), http.StatusSeeOther)
}

// rejectForm shows a form again after err. p.Error is the message for a wrong password.
func (a *App) rejectForm(w http.ResponseWriter, r *http.Request, err error, name string, p page) {
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
		a.internalError(w, err)
		return
	}
	a.render(w, r, status, name, p)
}

// flash adds a message to the next page that is rendered.
func (a *App) flash(r *http.Request, message string) { a.flashes(r).AddFlash(message) }

// flashes returns the session that holds the flashes, also that of Logout. It needs no
// Save, and its error can be ignored: if the backend fails, the guard sends a 503 in place
// of the page.
func (a *App) flashes(r *http.Request) *sessions.Session {
	session, _ := a.guard.Get(r, "flash")
	return session
}
