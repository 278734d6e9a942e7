package app

import (
	"encoding/json"
	"net/http"
)

func (a *App) accountPage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "account", page{Title: "Account"})
}

func (a *App) changePassword(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	user, _ := a.guard.User(r)
	user, err := a.Users.ChangePassword(r.Context(), user.ID, r.PostFormValue("current"), r.PostFormValue("password"))
	if err != nil {
		a.rejectForm(w, r, err, "account", page{Title: "Account", Error: "The current password is wrong."})
		return
	}
	// The new stamp has ended every session of this user, including this one, so log in
	// again before anything else.
	if err := a.logIn(w, r, user); err != nil {
		a.internalError(w, err)
		return
	}
	// The stamp ends each other session at its next request. This ends them now.
	if err := a.guard.EndOthers(r); err != nil {
		a.internalError(w, err)
		return
	}
	a.Log.Info("password changed", "user", user.ID)
	a.flash(r, "Your password is changed. You are logged out everywhere else.")
	http.Redirect(w, r, a.at("/account"), http.StatusSeeOther)
}

// me describes the user to programs, to which the guard sends refusals as
// application/problem+json.
func (a *App) me(w http.ResponseWriter, r *http.Request) {
	user, _ := a.guard.User(r)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{
		"id":   user.ID,
		"name": user.Name,
		"role": user.Role,
	})
}
