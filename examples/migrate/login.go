package migrate

import (
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard"
)

// logIn logs the user of an old session in under the guard, and ends the old session.
//
// The order matters. The mark comes first: of any number of requests with the same old
// session, on all nodes, one goes on. Then the login, because it may fail, and the old session
// must not be gone then. Nobody has the new cookie yet: the old session is deleted in its
// store before the response with that cookie is sent.
func (m *Migration[U]) logIn(w http.ResponseWriter, r *http.Request, old *Old, user U) (outcome, error) {
	mark, err := m.take(r.Context(), sessionMark(old.ID))
	if errors.Is(err, errTaken) {
		return m.outcomeOfTaken(w, r, old)
	}
	if err != nil {
		m.release(r.Context(), mark) // the backend may have stored it all the same
		return settled, err
	}
	switch err := m.logInWithin(w, r, old, user); {
	case errors.Is(err, sessionguard.ErrInactive), errors.Is(err, sessionguard.ErrTooManySessions):
		return settled, old.End(w) // this user has to log in, who is told then why that does not work
	case err != nil:
		m.release(r.Context(), mark)
		return settled, err
	}
	// Whoever ends the user's sessions at this moment has made a mark first, and perhaps not seen
	// this one.
	ended, err := m.ended(r.Context(), user.UserID())
	if err == nil {
		err = old.End(w)
	}
	if err != nil {
		m.release(r.Context(), mark)
		return settled, errors.Join(err, m.Guard.End(w, r))
	}
	if ended {
		return settled, m.Guard.End(w, r)
	}
	if err := m.carryOver(w, r, old); err != nil {
		return settled, errors.Join(err, m.Guard.End(w, r))
	}
	return settled, nil
}

// logInWithin logs the user in for no longer than the old session would have lasted.
func (m *Migration[U]) logInWithin(w http.ResponseWriter, r *http.Request, old *Old, user U) error {
	var options []sessionguard.LoginOption
	if m.Options != nil {
		options = m.Options(old)
	}
	if err := m.Guard.Login(w, r, user, options...); err != nil {
		return err
	}
	session, ok := m.Guard.Session(r)
	if !ok || old.Deadline.IsZero() || !old.Deadline.Before(session.Expires) {
		return nil
	}
	left := time.Until(old.Deadline)
	options = append(options, sessionguard.AbsoluteTimeout(left))
	if err := m.Guard.Login(w, r, user, options...); err == nil {
		return nil
	}
	// The guard's idle timeout is longer than that.
	return m.Guard.Login(w, r, user, append(options, sessionguard.IdleTimeout(left))...)
}

// movedName is the name of the gorilla session that says that the login was none in person.
const movedName = "sessionguard-migrate"

// carryOver puts the old session's values and flashes into the new one. They are lost if they
// are more than Config.MaxValuesBytes, or if the user's login waits for a factor.
func (m *Migration[U]) carryOver(w http.ResponseWriter, r *http.Request, old *Old) error {
	session, ok := m.Guard.Session(r)
	if !ok {
		return nil
	}
	moved, err := m.Guard.Get(r, movedName)
	if err == nil {
		moved.Values["authenticated"] = session.Authenticated.UnixMilli()
		err = m.Guard.Save(r, w, moved)
	}
	if err != nil {
		return err
	}
	for name, values := range old.Values {
		s, err := m.Guard.Get(r, name)
		if err != nil {
			return err
		}
		had := maps.Clone(s.Values)
		maps.Copy(s.Values, values)
		if err := m.Guard.Save(r, w, s); err != nil {
			slog.ErrorContext(r.Context(), "migrate: the values of an old session are lost", "session", name, "error", err)
			clear(s.Values)
			maps.Copy(s.Values, had)
		}
	}
	return nil
}

// RequireFresh is [sessionguard.Guard.RequireFresh] for a guard some of whose sessions have been moved
// over. That was no login: without this, an old cookie would open pages that are worth asking
// for the password again.
func (m *Migration[U]) RequireFresh(age time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		fresh, never := m.Guard.RequireFresh(age)(next), m.Guard.RequireFresh(0)(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if session, ok := m.Guard.Session(r); ok {
				moved, err := m.Guard.Get(r, movedName)
				if err != nil || moved.Values["authenticated"] == session.Authenticated.UnixMilli() {
					never.ServeHTTP(w, r)
					return
				}
			}
			fresh.ServeHTTP(w, r)
		})
	}
}
