package migrate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// errTaken is returned for an old session that another request has moved over, or ended.
var errTaken = errors.New("migrate: this old session has been moved over before")

// sessionMark, userMark and everyonesMark name marks: that an old session has been moved over,
// that none of a user's counts, and that none does. They are owners in the guard's backend that
// no guard has.
func sessionMark(id string) string { return markName("session", id) }
func userMark(id string) string    { return markName("user", id) }
func everyonesMark() string        { return markName("everyone", "") }

func markName(kind, id string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + id))
	return "sessionguard-migrate/" + hex.EncodeToString(sum[:])
}

const (
	// clocks of nodes may differ by that much.
	clocks = 10 * time.Minute
	// moving is how long requests wait for another that moves the same session.
	moving = 10 * time.Second
)

// take makes a mark that lasts until the cut-off, or returns errTaken if there is one. Of
// several calls at once, on all nodes, one makes it.
func (m *Migration[U]) take(ctx context.Context, name string) (store.Key, error) {
	now := store.TimeOf(time.Now())
	mark := &store.Session{ID: rand.Text()[:20], Owner: name, Authenticated: now, Expires: store.TimeOf(m.Until.Add(clocks))}
	mark.IdleTimeout = mark.Expires.Sub(now)
	_, _ = rand.Read(mark.Key[:]) // never fails
	mark.Key[31] += byte(store.GroupOf(name) - mark.Key.Group())
	_, err := m.Backend.Create(ctx, store.Record{Session: mark, LastSeen: now}, store.Limit{Max: 1, Refuse: true})
	if errors.Is(err, store.ErrLimit) {
		return mark.Key, errTaken
	}
	return mark.Key, err
}

// marked reports whether there is a mark, and when it was made.
func (m *Migration[U]) marked(ctx context.Context, name string) (time.Time, bool, error) {
	page, err := m.Backend.ByOwner(ctx, name, "", 1)
	if err != nil || len(page) == 0 {
		return time.Time{}, false, err
	}
	return page[0].Authenticated.Time(), true, nil
}

// ended reports whether no old session of a user counts any more.
func (m *Migration[U]) ended(ctx context.Context, userID string) (bool, error) {
	for _, name := range []string{userMark(userID), everyonesMark()} {
		if _, ended, err := m.marked(ctx, name); err != nil || ended {
			return ended, err
		}
	}
	return false, nil
}

// release deletes the mark of a session that could not be moved over. If that fails as well,
// its user has to log in.
func (m *Migration[U]) release(ctx context.Context, mark store.Key) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, _ = m.Backend.Delete(ctx, mark, store.ReasonLoginIncomplete)
}

// outcomeOfTaken tells a request whose old session another request is just moving over from
// one that comes later, perhaps with a copy. The browser of the first gets the new cookie in a
// moment.
func (m *Migration[U]) outcomeOfTaken(w http.ResponseWriter, r *http.Request, old *Old) (outcome, error) {
	at, ok, err := m.marked(r.Context(), sessionMark(old.ID))
	switch {
	case err != nil:
		return settled, err
	case ok && time.Since(at) < moving:
		return elsewhere, nil
	}
	return settled, old.End(w)
}

// end ends an old session, which names the user id, without a login, for good: a request of the
// old application that is still under way may save it again. One that names nobody logs nobody
// in. It gets no mark, as strangers can have any number of such cookies.
func (m *Migration[U]) end(w http.ResponseWriter, r *http.Request, old *Old, id string) error {
	if id != "" {
		if err := m.mark(r.Context(), sessionMark(old.ID)); err != nil {
			return err
		}
	}
	return old.End(w)
}

// EndUser makes all old sessions of a user that have not been moved over count no more, with
// all copies of their cookies. Call it where the application ends all sessions of a user, with
// [sessionguard.Guard.EndUser] or [sessionguard.Guard.EndOthers], and where a password
// changes, before these.
func (m *Migration[U]) EndUser(ctx context.Context, userID string) error {
	return m.mark(ctx, userMark(userID))
}

// EndAll is EndUser for all users. Call it before [sessionguard.Guard.EndAll].
func (m *Migration[U]) EndAll(ctx context.Context) error {
	return m.mark(ctx, everyonesMark())
}

// mark makes a mark if there is none, and if any node may still move sessions.
func (m *Migration[U]) mark(ctx context.Context, name string) error {
	if !time.Now().Before(m.Until.Add(clocks)) {
		return nil
	}
	if _, err := m.take(ctx, name); err != nil && !errors.Is(err, errTaken) {
		return err
	}
	return nil
}

// EndOld makes a logout final, also where the old sessions were cookies: nobody can delete a
// copy of such a cookie, and the old application has made a new one with each response. So with
// a logout, no old session of that user counts any more, on any device.
//
//	mux.Handle("POST /logout", migration.EndOld(guard.Logout("/")))
func (m *Migration[U]) EndOld(logout http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if err := m.endOld(w, r); err != nil {
				slog.ErrorContext(r.Context(), "migrate: a logout is not final", "error", err)
				_ = m.Guard.End(w, r)
				tryLater(w, r)
				return
			}
		}
		logout.ServeHTTP(w, r)
	})
}

// endOld ends the old sessions of whoever is logged in, and the one that the browser presents.
// That is another's, or one that this request could not move.
func (m *Migration[U]) endOld(w http.ResponseWriter, r *http.Request) error {
	if id := m.loggedIn(r); id != "" {
		if err := m.EndUser(r.Context(), id); err != nil {
			return err
		}
	}
	if !time.Now().Before(m.Until) {
		return nil
	}
	old, err := m.From.Read(r)
	if err != nil || old == nil {
		return err
	}
	id := m.named(old)
	if id == "" {
		return m.end(w, r, old, "")
	}
	user, ok, err := m.userBy(r.Context(), id)
	if ok {
		err = m.EndUser(r.Context(), user.UserID())
	}
	if err != nil {
		return err
	}
	return m.end(w, r, old, id)
}

// loggedIn returns the ID of who uses the browser, or "". That is not the user for whom somebody
// acts, but the one who does.
func (m *Migration[U]) loggedIn(r *http.Request) string {
	if session, ok := m.Guard.Session(r); ok && session.Actor != "" {
		return session.Actor
	}
	user, ok := m.Guard.User(r)
	if !ok {
		user, _, ok = m.Guard.Pending(r)
	}
	if !ok {
		return ""
	}
	return user.UserID()
}
