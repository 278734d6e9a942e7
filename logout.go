package sessionguard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

// Logout ends the session, then sends a browser to the page to with the flash
// Config.LogoutFlash, and answers any other client with 204. It answers POST
// only: a logout is a change of state, and links are prefetched.
//
// The session is dead on the server, on every node, before the browser sees the
// answer, so every copy of its cookies is too. The cookie is deleted, and a new
// HttpOnly one is set: that change takes the pages behind Back out of
// Chromium's back/forward cache, which a mere deletion does not (measured with
// Chromium 156). Do not add Clear-Site-Data: "cookies", which would undo it;
// "storage" is yours to add.
//
// If the backend cannot be asked, the cookies are deleted all the same and the
// answer is a 503 that says so: the session then ends with its timeouts.
func (g *core) Logout(to string) http.Handler {
	return g.wrap(func(st *request, w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			st.refuseMethod(w, http.MethodPost)
			return
		}
		if err := g.End(w, r); errors.Is(err, ErrUnavailable) {
			g.refuse(st, w, r, stillThere)
			return
		} else if err != nil {
			return // it ended, but the answer has begun and is another's
		}
		if flash, err := g.Get(r, g.flashSession); err == nil {
			flash.AddFlash(g.logoutFlash)
		}
		if navigates(r) {
			http.Redirect(w, r, to, http.StatusSeeOther)
		} else {
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

// End does what [Guard.Logout] does, within a handler that writes the answer
// itself. [ErrUnavailable] (wrapped) says that the session may live on in the
// backend; the answer is then replaced with 503. After the first byte it still
// ends the session but cannot delete the cookie, and returns [ErrHeadersSent].
// [ErrNotWrapped] says that nothing was done.
func (g *core) End(w http.ResponseWriter, r *http.Request) error {
	st, err := g.wrapped(r)
	if err != nil {
		return err
	}
	l := st.lock()
	defer l.unlock()
	return l.end()
}

func (st *locked) end() error {
	ctx, cancel := st.settle()
	defer cancel()
	err := st.purge(ctx, store.ReasonLoggedOut)

	p := st.pending()
	p.emptyViews()
	p.bag = values.Bag{} // not what the visitor's cookie held before the login
	p.session, p.sessionValue = deleteCookie, ""
	if st.stage == unresolved {
		st.now = store.TimeOf(time.Now())
	}
	st.stage = authenticated
	st.rec, st.user = store.Record{}, nil
	p.failure, p.reason = nil, "" // whoever it was, it is nobody now
	if err != nil {
		err = st.fail(err)
	}
	if st.committed {
		return errors.Join(ErrHeadersSent, err)
	}
	st.exposure = max(st.exposure, personal)
	p.anonymous = setCookie
	p.anonymousValue, _ = st.core.cookies.EncodeVisitor(nil) // so short that it always fits
	return err
}

// purge ends every session that the browser presented: of two cookies with our
// name, one was planted, and nobody can tell which.
func (st *locked) purge(ctx context.Context, reason store.Reason) error {
	c := st.core
	keys := map[store.Key]bool{}
	if st.rec.Session != nil {
		keys[st.rec.Key] = true
	}
	for value := range cookie.Values(st.http.Header, c.cookies.Session.Name) {
		if c.mayName(value) {
			keys[c.cookies.Key(value)] = true
		}
	}
	var failed error
	for key := range keys {
		failed = errors.Join(failed, c.end(ctx, key, reason, ""))
	}
	if failed != nil {
		c.streams.EndKeys(keys, reason)
	}
	return failed
}

// end ends a session, cuts its streams and tells who listens. Who ends what a
// browser presented, by a logout, another login or for theft, ends it also if it has
// moved meanwhile: by a login in another tab, whose answer with the new cookie this
// browser is yet to see.
func (c *core) end(ctx context.Context, key store.Key, reason store.Reason, by string) error {
	for ctx.Err() == nil {
		ended, err := c.backend.Delete(ctx, key, reason)
		var moved *store.MovedError
		switch {
		case err == nil && ended.Session != nil:
			c.streams.End(ended.ID, reason)
			c.emitEnd(ctx, ended, reason, by)
			return nil
		case !errors.As(err, &moved):
			return err
		case reason != store.ReasonLoggedOut && reason != store.ReasonReplaced && reason != store.ReasonTheftSuspected:
			return nil
		}
		next, err := c.locate(ctx, moved)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		key = next.Key
	}
	return ctx.Err()
}

// EndSession ends one session of a user, by its public ID ([Guard.Sessions] lists
// them). It takes the user's ID as well, so that a handler cannot be tricked into
// ending somebody else's. [ErrNoSession] says that this user has no such session.
//
// With the context of a request whose user is known, as behind a gate, the next page
// of the session that was ended says whether it was that user or somebody else.
func (g *core) EndSession(ctx context.Context, userID, id string) error {
	why, by := g.endedBy(ctx, userID)
	ended, err := g.endOwned(ctx, userID, by, func(s *store.Session) (store.Reason, bool) { return why(s), s.ID == id })
	if err == nil && ended == 0 {
		return ErrNoSession
	}
	return err
}

// EndUser ends every session of a user, this one included: when an account is
// disabled or deleted (OWASP ASVS 7.4.2), or by an administrator (7.4.5). Change the
// account first: FindUser is asked, so that the next page can say that it is
// deactivated. A login that was under way with the account as it was before may come
// after it; let the SessionStamp change with a deactivation as well, and its session
// ends with the next request even if the account has been activated again.
func (g *core) EndUser(ctx context.Context, userID string) error {
	why, by := g.endedBy(ctx, userID)
	user, unknown := g.findUser(ctx, userID)
	_, err := g.endOwned(ctx, userID, by, func(s *store.Session) (store.Reason, bool) {
		if reason, err := judge(user, unknown, userID, s.Stamp); err == nil && reason != "" {
			return reason, true
		}
		return why(s), true
	})
	return err
}

// EndOthers ends every session of the current user but this one: after a
// password change (OWASP ASVS 7.4.3). [ErrNoSession] says that nobody is logged
// in here.
func (g *core) EndOthers(r *http.Request) error {
	st, err := g.wrapped(r)
	if err != nil {
		return err
	}
	seen := st.admit(r.Context())
	if seen.err != nil {
		return seen.err
	}
	if seen.user == nil {
		return ErrNoSession
	}
	id := seen.user.UserID()
	_, err = g.endOwned(r.Context(), id, id, func(s *store.Session) (store.Reason, bool) {
		if s.Stamp != seen.rec.Stamp {
			return store.ReasonCredentialsChanged, true
		}
		return store.ReasonLoggedOutElsewhere, s.ID != seen.rec.ID
	})
	return err
}

// endedBy says who ends sessions of a user in the request of ctx, if there is one,
// and what that is for each of them.
func (c *core) endedBy(ctx context.Context, userID string) (why func(*store.Session) store.Reason, by string) {
	current := ""
	if st := c.in(ctx); st != nil {
		l := st.lock()
		defer l.unlock()
		if l.user != nil {
			by, current = l.user.UserID(), l.rec.ID
		}
	}
	return func(s *store.Session) store.Reason {
		switch {
		case by != userID:
			return store.ReasonEnded
		case s.ID == current:
			return store.ReasonLoggedOut
		}
		return store.ReasonLoggedOutElsewhere
	}, by
}

// endOwned ends the sessions of a user that match, and counts the live ones. It
// looks again until it finds none, because one that is re-authenticated meanwhile
// changes its key.
func (c *core) endOwned(ctx context.Context, userID, by string, match func(*store.Session) (store.Reason, bool)) (ended int, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	for ctx.Err() == nil {
		records, err := c.backend.ByOwner(ctx, c.ownerPrefix+userID)
		if err != nil {
			return ended, errors.Join(ErrUnavailable, err)
		}
		found := false
		for _, rec := range records {
			reason, ok := match(rec.Session)
			if !ok {
				continue
			}
			found = true
			if err := c.end(ctx, rec.Key, reason, by); err != nil {
				return ended, errors.Join(ErrUnavailable, err)
			}
			if rec.GoneAt() > store.TimeOf(time.Now()) {
				ended++
			}
		}
		if !found {
			return ended, nil
		}
	}
	return ended, errors.Join(ErrUnavailable, ctx.Err())
}

// userOf is the ID of a session's user.
func (c *core) userOf(rec store.Record) string { return rec.Owner[len(c.ownerPrefix):] }
