package app

import (
	"errors"
	"net/http"

	"github.com/sessionguard-go/sessionguard"
)

func (a *App) adminPage(w http.ResponseWriter, r *http.Request) {
	a.render(w, r, http.StatusOK, "admin", page{Title: "People", Content: a.Users.All()})
}

func (a *App) deactivate(w http.ResponseWriter, r *http.Request) { a.setActive(w, r, false) }

func (a *App) activate(w http.ResponseWriter, r *http.Request) { a.setActive(w, r, true) }

func (a *App) setActive(w http.ResponseWriter, r *http.Request, active bool) {
	me, _ := a.guard.User(r)
	id := r.PathValue("id")
	if id == me.ID {
		// This keeps at least one admin active, who can undo a mistake.
		a.flash(r, "You cannot deactivate yourself. Ask another admin.")
		http.Redirect(w, r, a.at("/admin"), http.StatusSeeOther)
		return
	}
	user, err := a.Users.SetActive(id, active)
	if errors.Is(err, sessionguard.ErrNoUser) {
		http.NotFound(w, r)
		return
	}
	message := " may log in again."
	if err == nil && !active {
		// IsActive alone refuses the user's requests. EndUser ends the sessions for
		// good, so that they do not return when the user is activated again.
		err = a.guard.EndUser(r.Context(), id)
		message = " is deactivated and logged out everywhere."
	}
	if err != nil {
		a.internalError(w, err)
		return
	}
	a.Log.Info("account changed", "user", id, "active", active, "by", me.ID)
	a.flash(r, user.Name+message)
	http.Redirect(w, r, a.at("/admin"), http.StatusSeeOther)
}
