package app

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// devices are where a person is logged in, as templates/devices.html shows them.
type devices struct {
	Person *User
	Path   string // of the page, and of the forms on it
	List   []device
	Others bool // there are some besides the one that is looking
}

// A device is one session, in words.
type device struct {
	ID                   string
	Current              bool
	Name, Address        string
	LoggedIn, LastActive moment
	Remembered           moment // until when; the zero moment if it is not
}

func (a *App) sessionsPage(w http.ResponseWriter, r *http.Request) {
	me, _ := a.guard.User(r)
	a.showDevices(w, r, "sessions", page{Title: "Where you are logged in"}, me, "/account/sessions")
}

// personPage is the same for an admin, of anyone.
func (a *App) personPage(w http.ResponseWriter, r *http.Request) {
	if user, ok := a.person(w, r); ok {
		a.showDevices(w, r, "person", page{Title: "Where " + user.Name + " is logged in"}, user, pathOf(user))
	}
}

func (a *App) showDevices(w http.ResponseWriter, r *http.Request, name string, p page, user *User, path string) {
	sessions, err := a.guard.Sessions(r.Context(), user.ID)
	if err != nil {
		a.fail(w, err)
		return
	}
	now := time.Now()
	shown := devices{Person: user, Path: path}
	for _, s := range sessions {
		d := device{
			ID:         s.ID,
			Current:    s.Current,
			Name:       cmp.Or(s.UserAgent, "Unknown device"),
			Address:    s.Address,
			LoggedIn:   ago(s.Created, now),
			LastActive: ago(s.LastSeen, now),
		}
		if !s.RememberedUntil.IsZero() {
			d.Remembered = date(s.RememberedUntil)
		}
		shown.Others = shown.Others || !s.Current
		shown.List = append(shown.List, d)
	}
	p.Content = shown
	a.render(w, r, http.StatusOK, name, p)
}

func (a *App) endSession(w http.ResponseWriter, r *http.Request) {
	me, _ := a.guard.User(r)
	a.end(w, r, me, "/account/sessions")
}

func (a *App) endPersonsSession(w http.ResponseWriter, r *http.Request) {
	if user, ok := a.person(w, r); ok {
		a.end(w, r, user, pathOf(user))
	}
}

// end ends the session that the path names, if it is one of user's.
func (a *App) end(w http.ResponseWriter, r *http.Request, user *User, back string) {
	err := a.guard.EndSession(r.Context(), user.ID, r.PathValue("session"))
	message := "That session has been ended."
	if errors.Is(err, sessionguard.ErrNoSession) {
		// The page was old, or somebody clicked twice: what was wanted is so.
		err, message = nil, "That session had already ended."
	}
	a.ended(w, r, err, message, back)
}

func (a *App) endOthers(w http.ResponseWriter, r *http.Request) {
	a.ended(w, r, a.guard.EndOthers(r), "You are logged out everywhere else.", "/account/sessions")
}

func (a *App) endPerson(w http.ResponseWriter, r *http.Request) {
	user, ok := a.person(w, r)
	if !ok {
		return
	}
	if me, _ := a.guard.User(r); user.ID == me.ID {
		// There is a button for logging out on every page.
		a.ended(w, r, a.guard.EndOthers(r), "You are logged out everywhere else.", pathOf(user))
		return
	}
	a.ended(w, r, a.guard.EndUser(r.Context(), user.ID), user.Name+" is logged out everywhere.", pathOf(user))
}

func (a *App) ended(w http.ResponseWriter, r *http.Request, err error, message, back string) {
	if err != nil {
		a.fail(w, err)
		return
	}
	a.flash(r, message)
	http.Redirect(w, r, back, http.StatusSeeOther)
}

// person is whom an admin's page is about. If there is none, it has answered.
func (a *App) person(w http.ResponseWriter, r *http.Request) (*User, bool) {
	user, err := a.Users.Find(r.Context(), r.PathValue("id"))
	switch {
	case errors.Is(err, sessionguard.ErrNoUser):
		http.NotFound(w, r)
	case err != nil:
		a.fail(w, err)
	}
	return user, err == nil
}

func pathOf(user *User) string { return "/admin/users/" + user.ID + "/sessions" }
