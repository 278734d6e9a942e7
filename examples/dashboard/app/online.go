package app

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// maxOnline is how many sessions the admin page lists. There may be a million.
const maxOnline = 200

// online is the part of templates/admin.html that says who is logged in.
type online struct {
	Known bool // false if the sessions cannot be read at the moment
	Count int  // the logins of all people
	List  []onlineSession
	More  bool // the list has only some of them
}

type onlineSession struct {
	Person, PersonID string
	Label, Name      string // what the user calls the device, or "", and what it is
	Actor            string // the name of the admin who looks at the dashboard as the user, or ""
	Current          bool
	LastActive       moment
}

// whoIsOnline returns who is logged in, the last active first. Of more than maxOnline sessions
// it returns some: to find the last active of all, it would have to read all.
func (a *App) whoIsOnline(r *http.Request, people []*User) (shown online, err error) {
	if shown.Count, err = a.guard.CountSessions(r.Context()); err != nil {
		return shown, err
	}
	names := map[string]string{}
	for _, user := range people {
		names[user.ID] = user.Name
	}
	current, _ := a.guard.Session(r)
	var sessions []sessionguard.Session
	for s, err := range a.guard.AllSessions(r.Context()) {
		if err != nil {
			return shown, err
		}
		if shown.More = len(sessions) == maxOnline; shown.More {
			break
		}
		if s.ID == current.ID {
			s = current // which this request has just been activity of
		}
		sessions = append(sessions, s)
	}
	slices.SortFunc(sessions, func(x, y sessionguard.Session) int { return y.LastSeen.Compare(x.LastSeen) })
	now := time.Now()
	for _, s := range sessions {
		shown.List = append(shown.List, onlineSession{
			Person:     cmp.Or(names[s.UserID], s.UserID),
			PersonID:   s.UserID,
			Label:      s.Label,
			Name:       cmp.Or(s.Client, "Unknown device"),
			Actor:      cmp.Or(names[s.Actor], s.Actor),
			Current:    s.Current,
			LastActive: ago(s.LastSeen, now),
		})
	}
	shown.Known = true
	return shown, nil
}

// everyonePage asks whether everyone is to be logged out. As a page it needs no JavaScript, and
// whoever has to enter the password first comes back to it.
func (a *App) everyonePage(w http.ResponseWriter, r *http.Request) {
	var shown online
	var err error
	if shown.Count, err = a.guard.CountSessions(r.Context()); err != nil {
		a.Log.Error("how many are online", "error", err) // the button may be all the more needed
	}
	shown.Known = err == nil
	a.render(w, r, http.StatusOK, "everyone", page{Title: "Log out everyone?", Content: shown})
}

func (a *App) endEveryone(w http.ResponseWriter, r *http.Request) {
	me, _ := a.guard.User(r)
	if err := a.guard.EndAll(r.Context()); err != nil {
		a.internalError(w, err)
		return
	}
	a.Log.Info("everyone logged out", "by", me.ID)
	// The session of this request has ended too. End takes back its cookie.
	if err := a.guard.End(w, r); err != nil {
		a.internalError(w, err)
		return
	}
	a.flash(r, "Everyone is logged out.")
	http.Redirect(w, r, a.at("/login"), http.StatusSeeOther)
}
