// Package migrate moves the sessions of gorilla/sessions or of alexedwards/scs over to
// sessionguard, so that nobody has to log in again. Copy it into your application, keep the
// file of the library that you come from (gorilla.go or scs.go), and delete both it and the
// old library after the cut-off date. docs/migrating.md is the way there, step by step.
package migrate

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// A Migration logs in under a guard whoever brings a live session of the old library, once
// for each such session. The old session ends with that.
//
// An old session is as good as a password until the cut-off: whoever has a copy of an old
// cookie that has not been moved over, can log in with it. EndOld and EndUser say what they
// do about that.
type Migration[U sessionguard.User] struct {
	Guard    *sessionguard.Guard[U]
	FindUser func(ctx context.Context, id string) (U, error) // as in the guard's Config

	// Backend is the guard's. It remembers which old sessions have been moved over, until the
	// cut-off. [store.Memory] forgets that when the program ends: a copy of an old cookie
	// then logs in once more. So have a backend that keeps its sessions.
	Backend store.Backend

	// From is where old sessions are: a [Gorilla] or an [SCS].
	From Source
	// UserOf returns the ID of the user whom an old session names, or "" if it names none, or
	// is not to be moved: because it began before the user's last change of password, say.
	// It deletes from old.Values what the new session need not keep.
	UserOf func(old *Old) string
	// Until is the cut-off: from then on, old sessions do not count. The zero time has passed.
	Until time.Time
	// Options returns the options of the login. It is called after UserOf, and finds in
	// old.Values what that has left. Default: none.
	Options func(old *Old) []sessionguard.LoginOption
}

// A Source reads sessions of the old library.
type Source interface {
	// Read returns the old session that r's cookie names, or nil if there is no such cookie
	// or the library does not accept it. An error means that the store cannot tell.
	Read(r *http.Request) (*Old, error)
}

// An Old is a session of the old library.
type Old struct {
	ID string // which no other session has; the store may have no session for it any more
	// Found is whether the store has it.
	Found bool
	// Values are what it holds, by the names of the gorilla sessions that they go to.
	Values map[string]map[any]any
	// Deadline is when it would end, as far as is known.
	Deadline time.Time
	// End deletes it in the store, and then its cookies.
	End func(w http.ResponseWriter) error
}

// Handler moves old sessions over. It belongs between the guard and the application:
//
//	http.ListenAndServe(addr, guard.Handler(migration.Handler(mux)))
func (m *Migration[U]) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch outcome, err := m.move(w, r); {
		case err != nil:
			slog.ErrorContext(r.Context(), "migrate: an old session cannot be moved over now", "error", err)
			tryLater(w, r)
		case outcome == elsewhere:
			tryLater(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// tryLater responds with a page that asks again after a second. Nothing has been ended. A form
// would be lost with that: its user reloads the page, which sends it again.
func tryLater(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Retry-After", "1")
	if r.Method == http.MethodGet {
		w.Header().Set("Refresh", "1")
	}
	http.Error(w, "One moment, please.", http.StatusServiceUnavailable)
}

// An outcome is what became of a request's old session.
type outcome int

const (
	settled   outcome = iota // there is nothing to move, or it has been moved
	elsewhere                // another request is moving it at this moment
)

// move moves the old session of r, if there is one and it counts.
func (m *Migration[U]) move(w http.ResponseWriter, r *http.Request) (outcome, error) {
	if !time.Now().Before(m.Until) {
		return settled, nil
	}
	old, err := m.From.Read(r)
	switch {
	case err == nil && old == nil:
		return settled, nil
	case m.hasNew(r):
		if err == nil {
			// No logout here may be undone by what this browser had before.
			err = m.end(w, r, old, m.named(old))
		}
		if err != nil {
			slog.WarnContext(r.Context(), "migrate: an old session cannot be ended now", "error", err)
		}
		return settled, nil // the next request tries again
	case !mayMove(r):
		return settled, nil
	case err != nil:
		return settled, err
	case !old.Found:
		return m.outcomeOfTaken(w, r, old)
	}
	id := m.named(old)
	if id == "" {
		return settled, nil
	}
	user, ok, err := m.find(r.Context(), id, old)
	if err != nil {
		return settled, err
	}
	if !ok {
		return settled, m.end(w, r, old, id)
	}
	return m.logIn(w, r, old, user)
}

// hasNew reports whether the browser has a session of the guard, or one that has ended.
func (m *Migration[U]) hasNew(r *http.Request) bool {
	_, whole := m.Guard.User(r)
	_, _, pending := m.Guard.Pending(r)
	return whole || pending || m.Guard.EndReason(r) != ""
}

// named returns the ID of the user whom an old session names, or "".
func (m *Migration[U]) named(old *Old) string {
	if !old.Found {
		return ""
	}
	return m.UserOf(old)
}

// find returns the user of an old session, and whether that session still counts for them.
func (m *Migration[U]) find(ctx context.Context, id string, old *Old) (user U, ok bool, err error) {
	if !old.Deadline.IsZero() && time.Until(old.Deadline) < time.Second { // the shortest timeout there is
		return user, false, nil
	}
	if user, ok, err = m.userBy(ctx, id); err != nil || !ok {
		return user, false, err
	}
	ended, err := m.ended(ctx, user.UserID())
	return user, err == nil && !ended, err
}

// userBy returns the user whom an old session calls id: perhaps not exactly as UserID does.
func (m *Migration[U]) userBy(ctx context.Context, id string) (user U, ok bool, err error) {
	user, err = m.FindUser(ctx, id)
	if errors.Is(err, sessionguard.ErrNoUser) {
		return user, false, nil
	}
	if v := reflect.ValueOf(user); err == nil && (!v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()) {
		return user, false, nil // as the guard takes it
	}
	return user, err == nil, err
}
