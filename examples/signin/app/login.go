package app

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// loginForm is the data of the login page.
type loginForm struct {
	Username, Next string
	Message        string // why a login is required
}

// endings maps the reasons for the end of a session to messages.
func endings(reason store.Reason) string {
	switch reason {
	case "":
		return ""
	case store.ReasonIdle:
		return "You were logged out after a while without activity. Please log in again."
	case store.ReasonEnded:
		return "Your session was ended from elsewhere, such as by a logout at Example ID."
	default:
		return "Your session has ended. Please log in again."
	}
}

func (a *App) loginForm(r *http.Request) loginForm {
	return loginForm{Username: strings.TrimSpace(r.PostFormValue("username")), Next: a.guard.Next(r, "")}
}

func (a *App) loginPage(w http.ResponseWriter, r *http.Request) {
	if _, ok := a.guard.User(r); ok {
		http.Redirect(w, r, a.guard.Next(r, "/home"), http.StatusSeeOther)
		return
	}
	form := a.loginForm(r)
	form.Message = endings(a.guard.EndReason(r))
	if form.Message == "" && form.Next != "" {
		form.Message = "Please log in to continue."
	}
	a.render(w, r, http.StatusOK, "login", page{Title: "Log in", Content: form})
}

func (a *App) login(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	form := a.loginForm(r)
	user, err := a.users.Verify(r.Context(), form.Username, r.PostFormValue("password"))
	if err != nil {
		a.Log.Info("login refused", "error", err)
		a.render(w, r, http.StatusUnprocessableEntity, "login", page{Title: "Log in", Error: "Wrong name or password.", Content: form})
		return
	}
	a.logIn(w, r, user, factorPassword)
}

// logIn logs a user in who has proved these factors, and leads on: to what was asked for,
// or to the page that asks for the factors that are missing.
func (a *App) logIn(w http.ResponseWriter, r *http.Request, user *User, factors ...string) {
	origin, err := a.takeOrigin(w, r)
	if err == nil {
		err = a.guard.Login(w, r, user, sessionguard.Factors(factors...))
	}
	if err == nil {
		err = a.keepOrigin(w, r, user, origin)
	}
	switch {
	case errors.Is(err, sessionguard.ErrInactive):
		a.render(w, r, http.StatusForbidden, "login", page{Title: "Log in", Error: "Your account is not active. Ask an admin.", Content: a.loginForm(r)})
	case errors.Is(err, sessionguard.ErrNoSession):
		// Another request has completed this login, or it has just ended.
		http.Redirect(w, r, "/login?next="+url.QueryEscape(a.guard.Next(r, "")), http.StatusSeeOther)
	case errors.Is(err, errLoggedOut), errors.Is(err, errNoOrigin):
		a.refuseOpenID(w, r, err)
	case err != nil:
		a.internalError(w, err)
	default:
		a.leadOn(w, r, a.guard.Next(r, "/home"))
	}
}

// leadOn redirects to next, or to the page for factors if some are missing.
func (a *App) leadOn(w http.ResponseWriter, r *http.Request, next string) {
	if _, _, pending := a.guard.Pending(r); pending {
		next = "/factor?next=" + url.QueryEscape(next)
	}
	http.Redirect(w, r, next, http.StatusSeeOther)
}

// claimant returns the user who has logged in, wholly or not, for the pages where more
// factors are proved. They show no name: perhaps it is somebody who has stolen a password.
func (a *App) claimant(r *http.Request) (*User, bool) {
	if user, _, ok := a.guard.Pending(r); ok {
		return user, true
	}
	return a.guard.User(r)
}

// factorForm is the data of the page for factors.
type factorForm struct {
	User   *User
	Next   string
	Wanted string // the factor that a page requires, "" if the login is not whole
}

// factorPage asks for what is missing: after a password, and where RequireFactor stands.
func (a *App) factorPage(w http.ResponseWriter, r *http.Request) {
	a.showFactorPage(w, r, http.StatusOK, "")
}

func (a *App) showFactorPage(w http.ResponseWriter, r *http.Request, status int, message string) {
	user, ok := a.claimant(r)
	form := factorForm{User: user, Next: a.guard.Next(r, ""), Wanted: r.FormValue("factor")}
	_, _, pending := a.guard.Pending(r)
	switch {
	case !ok:
		http.Redirect(w, r, "/login?next="+url.QueryEscape(form.Next), http.StatusSeeOther)
	case !pending && form.Wanted == "":
		http.Redirect(w, r, a.guard.Next(r, "/home"), http.StatusSeeOther)
	default:
		a.render(w, r, status, "factor", page{Title: "One more step", Error: message, Content: form})
	}
}

// factor takes a code of an authenticator app.
func (a *App) factor(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	user, ok := a.claimant(r)
	if !ok {
		// The five minutes are over.
		http.Redirect(w, r, "/login?next="+url.QueryEscape(a.guard.Next(r, "")), http.StatusSeeOther)
		return
	}
	switch err := a.users.VerifyTOTP(user.ID, strings.ReplaceAll(r.PostFormValue("code"), " ", "")); {
	case errors.Is(err, errWrongCode):
		a.Log.Info("code refused", "user", user.ID)
		a.showFactorPage(w, r, http.StatusUnprocessableEntity, "That code is wrong, or has been used. Wait for the next one.")
	case errors.Is(err, errTooManyCodes):
		a.Log.Warn("codes of an authenticator app are being guessed, by somebody with the password", "user", user.ID)
		a.showFactorPage(w, r, http.StatusTooManyRequests, "Too many wrong codes. Please wait for a while.")
	default:
		a.logIn(w, r, user, factorCode, factorMultiple)
	}
}

// reauthPage asks for the password or a passkey again. RequireFresh redirects here, also if it
// is a certain factor that was proved too long ago.
func (a *App) reauthPage(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("factor") != "" {
		http.Redirect(w, r, "/factor?"+r.URL.RawQuery, http.StatusSeeOther)
		return
	}
	a.render(w, r, http.StatusOK, "reauth", page{Title: "Confirm it’s you", Content: a.guard.Next(r, "")})
}

func (a *App) reauth(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	user, _ := a.guard.User(r)
	user, err := a.users.Verify(r.Context(), user.ID, r.PostFormValue("password"))
	if err != nil {
		a.Log.Info("re-authentication refused", "error", err)
		a.render(w, r, http.StatusUnprocessableEntity, "reauth", page{Title: "Confirm it’s you", Error: "Wrong password.", Content: a.guard.Next(r, "")})
		return
	}
	a.logIn(w, r, user, factorPassword)
}
