package app

import (
	"errors"
	"net/http"

	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard"
)

// people is the data for templates/admin.html.
type people struct {
	People []*User
	Online online
}

func (a *App) adminPage(w http.ResponseWriter, r *http.Request) {
	shown := people{People: a.Users.All()}
	var err error
	if shown.Online, err = a.whoIsOnline(r, shown.People); err != nil {
		a.Log.Error("who is online", "error", err) // the rest of the page may be all the more needed
	}
	a.render(w, r, http.StatusOK, "admin", page{Title: "People", Content: shown})
}

// mayActAs reports whether actor may look at the dashboard as target, which gives an admin no
// more rights.
func mayActAs(actor, target *User) bool {
	return actor.HasRole("Admin") && !target.HasRole("Admin")
}

// act lets an admin look at the dashboard as somebody. Every page then has a banner.
func (a *App) act(w http.ResponseWriter, r *http.Request) {
	me, _ := a.guard.User(r)
	user, ok := a.targetUser(w, r)
	if !ok {
		return
	}
	err := a.guard.ActAs(w, r, user)
	switch {
	case errors.Is(err, sessionguard.ErrMayNotAct), errors.Is(err, sessionguard.ErrInactive):
		a.redirectWithFlash(w, r, nil, "You cannot look at the dashboard as "+user.Name+".", a.at("/admin"))
		return
	case err != nil:
		a.internalError(w, err)
		return
	}
	a.acting(r).Values["actor"] = me.Name
	http.Redirect(w, r, a.at("/home"), http.StatusSeeOther)
}

// acting returns the values that say who looks at the dashboard as the user. They are those
// of the session of ActAs, so no other session has them.
func (a *App) acting(r *http.Request) *sessions.Session {
	session, _ := a.guard.Get(r, "acting")
	return session
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
		a.notFound(w, r)
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
