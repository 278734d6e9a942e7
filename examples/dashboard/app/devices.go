package app

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// devices is the data for templates/devices.html: where a user is logged in.
type devices struct {
	Person *User
	Path   string // the page's path, a prefix of its forms' actions
	Own    bool   // whether it is the user's own page
	List   []device
	Others bool // whether there are sessions besides the current one
	Device bool // whether browsers may bind sessions to their device
}

// A device describes one session.
type device struct {
	ID                   string
	Current              bool
	Label                string // what the user calls the device, or ""
	Name, Address        string
	Actor                string // the name of the admin who looks at the dashboard as the user, or ""
	LoggedIn, LastActive moment
	Remembered           moment // the end of it, or the zero moment
	Bound                bool   // to the device that it is from
}

func (a *App) sessionsPage(w http.ResponseWriter, r *http.Request) {
	me, _ := a.guard.User(r)
	a.showDevices(w, r, "sessions", page{Title: "Where you are logged in"}, me, a.at("/account/sessions"))
}

// personPage shows an admin where any user is logged in.
func (a *App) personPage(w http.ResponseWriter, r *http.Request) {
	if user, ok := a.targetUser(w, r); ok {
		a.showDevices(w, r, "person", page{Title: "Where " + user.Name + " is logged in"}, user, a.pathOf(user))
	}
}

func (a *App) showDevices(w http.ResponseWriter, r *http.Request, name string, p page, user *User, path string) {
	sessions, err := a.guard.Sessions(r.Context(), user.ID)
	if err != nil {
		a.internalError(w, err)
		return
	}
	now := time.Now()
	shown := devices{Person: user, Path: path, Own: name == "sessions", Device: a.Device != 0}
	for _, s := range sessions {
		d := device{
			ID:         s.ID,
			Current:    s.Current,
			Label:      s.Label,
			Name:       cmp.Or(s.Client, "Unknown device"),
			Address:    s.Address,
			LoggedIn:   ago(s.Created, now),
			LastActive: ago(s.LastSeen, now),
			Bound:      !s.Bound.IsZero(),
		}
		if !s.RememberedUntil.IsZero() {
			d.Remembered = date(s.RememberedUntil)
		}
		if s.Actor != "" {
			d.Actor = s.Actor
			if actor, err := a.Users.Find(r.Context(), s.Actor); err == nil {
				d.Actor = actor.Name
			}
		}
		shown.Others = shown.Others || !s.Current
		shown.List = append(shown.List, d)
	}
	p.Content = shown
	a.render(w, r, http.StatusOK, name, p)
}

// renameSession changes what the user calls the device of a session.
func (a *App) renameSession(w http.ResponseWriter, r *http.Request) {
	me, _ := a.guard.User(r)
	err := a.guard.SetLabel(r.Context(), me.ID, r.PathValue("session"), r.FormValue("label"))
	message := "The device has a new name."
	switch {
	case errors.Is(err, sessionguard.ErrInvalidLabel):
		err, message = nil, "A name has at most 100 letters, digits and signs. Choose another one."
	case errors.Is(err, sessionguard.ErrNoSession):
		err, message = nil, "That session had already ended."
	}
	a.redirectWithFlash(w, r, err, message, a.at("/account/sessions"))
}

func (a *App) endSession(w http.ResponseWriter, r *http.Request) {
	me, _ := a.guard.User(r)
	a.endSessionOf(w, r, me, a.at("/account/sessions"))
}

func (a *App) endPersonsSession(w http.ResponseWriter, r *http.Request) {
	if user, ok := a.targetUser(w, r); ok {
		a.endSessionOf(w, r, user, a.pathOf(user))
	}
}

// endSessionOf ends the session named in the path, if it is one of user's.
func (a *App) endSessionOf(w http.ResponseWriter, r *http.Request, user *User, back string) {
	err := a.guard.EndSession(r.Context(), user.ID, r.PathValue("session"))
	message := "That session has been ended."
	if errors.Is(err, sessionguard.ErrNoSession) {
		// The page was outdated, or the button was clicked twice.
		err, message = nil, "That session had already ended."
	}
	a.redirectWithFlash(w, r, err, message, back)
}

func (a *App) endOthers(w http.ResponseWriter, r *http.Request) {
	a.redirectWithFlash(w, r, a.guard.EndOthers(r), "You are logged out everywhere else.", a.at("/account/sessions"))
}

func (a *App) endPerson(w http.ResponseWriter, r *http.Request) {
	user, ok := a.targetUser(w, r)
	if !ok {
		return
	}
	if me, _ := a.guard.User(r); user.ID == me.ID {
		// Keep the current session: every page has a logout button for it.
		a.redirectWithFlash(w, r, a.guard.EndOthers(r), "You are logged out everywhere else.", a.pathOf(user))
		return
	}
	a.redirectWithFlash(w, r, a.guard.EndUser(r.Context(), user.ID), user.Name+" is logged out everywhere.", a.pathOf(user))
}

// redirectWithFlash redirects to back with a message, unless err is not nil.
func (a *App) redirectWithFlash(w http.ResponseWriter, r *http.Request, err error, message, back string) {
	if err != nil {
		a.internalError(w, err)
		return
	}
	a.flash(r, message)
	http.Redirect(w, r, back, http.StatusSeeOther)
}

// targetUser returns the user named in an admin page's path. If there is none, it writes
// the error response and returns false.
func (a *App) targetUser(w http.ResponseWriter, r *http.Request) (*User, bool) {
	user, err := a.Users.Find(r.Context(), r.PathValue("id"))
	switch {
	case errors.Is(err, sessionguard.ErrNoUser):
		a.notFound(w, r)
	case err != nil:
		a.internalError(w, err)
	}
	return user, err == nil
}

func (a *App) pathOf(user *User) string { return a.at("/admin/users/" + user.ID + "/sessions") }
