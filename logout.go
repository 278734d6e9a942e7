package sessionguard

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/internal/retry"
	"github.com/sessionguard-go/sessionguard/store"
)

// What ends sessions here, from the handler to the backend:
//
//	Logout, End               logOut: those that the browser presented (endPresented)
//	EndUser, EndOthers        endOwned: a user's, page by page
//	EndSession                endByID, as endOwned does
//	a request whose session
//	is found to be over       endNow: its own; endOver: any
//	those but endByID         end: one session, in the backend, with its streams and event

// Logout ends the session. It then redirects a browser to the path to, where it leaves
// the flash Config.LogoutFlash. The response to any other client is 204 (for htmx with
// HX-Redirect): see [Refusals] for what a browser is. With a [Config.BasePath], to
// includes that prefix. Logout accepts only what arrived as a POST: a logout changes
// state, and browsers prefetch links.
//
// The session has ended on the server, on every node, before the browser sees the
// response. No copy of its cookies works any more. Of many cookies with the session's
// name, Logout uses only the last few: no browser sends many unless somebody has planted
// them. The response deletes the cookie and sets a new HttpOnly one. That change evicts
// earlier pages from Chromium's back/forward cache, which a mere deletion does not
// (measured with Chromium 156). Do not add Clear-Site-Data: "cookies", which would undo
// it. You may add "storage".
//
// If the backend fails, the cookies are deleted all the same, and the response is a 503
// that says so. For ten minutes the guard goes on trying to end the session, and emits
// the event when it has. It does so for at most 1024 sessions at a time, and for 64 of
// users in one [store.GroupOf]. If the process ends before, or the backend does not come
// back, the session lives until its timeouts.
func (g *core) Logout(to string) http.Handler {
	return g.wrap(func(req *request, w http.ResponseWriter, r *http.Request) {
		if !req.accepts(w, http.MethodPost) {
			return
		}
		if err := req.logOut(); errors.Is(err, ErrUnavailable) {
			g.refuse(req, w, r, logoutIncomplete)
			return
		} else if err != nil {
			return // the session has ended, but an earlier handler's response has begun
		}
		req.leaveFlash(r.Context(), g.logoutFlash)
		sendTo(w, r, to)
	})
}

// sendTo redirects a browser, and responds to any other client with 204.
func sendTo(w http.ResponseWriter, r *http.Request, to string) {
	switch fetch.KindOf(r) {
	case fetch.Navigation:
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	case fetch.HTMX:
		w.Header().Set("HX-Redirect", to)
	}
	w.WriteHeader(http.StatusNoContent)
}

// End does what [Guard.Logout] does, in a handler that writes the response itself.
// [ErrUnavailable] (wrapped) means that the session may still exist in the backend: the
// response is replaced with 503, and the guard goes on trying. After the first byte of
// the response, End still ends the session, but it cannot delete the cookie, and returns
// [ErrHeadersSent]. If it returns [ErrNotWrapped] or [ErrInCallback], it has done
// nothing.
func (g *core) End(w http.ResponseWriter, r *http.Request) error {
	l, err := g.lockRequest(r)
	if err != nil {
		return err
	}
	defer l.unlock()
	return l.logOut()
}

func (req *request) logOut() error {
	l := req.lock()
	defer l.unlock()
	return l.logOut()
}

// logOut ends the sessions that the browser presented, and makes the request a visitor's.
func (l *locked) logOut() error {
	ctx, cancel := detached(l.ctx())
	defer cancel()
	err := l.endPresented(ctx, store.ReasonLoggedOut)

	e := l.needEffects()
	l.clearOpen()
	l.becomeVisitor()
	e.session = cookie.Change{Kind: cookie.Delete}
	if l.stage == unresolved {
		l.now = store.TimeOf(time.Now())
	}
	raise(&l.stage, resolved)
	l.user = nil
	e.failure, e.endReason = nil, "" // whoever it was, it is nobody now
	if err != nil {
		err = l.fail(err) // and rec stays, for another attempt: a login of this request has no other trace
	} else {
		l.rec, e.pending = store.Record{}, pendingLogin{}
	}
	if l.committed {
		return errors.Join(ErrHeadersSent, err)
	}
	raise(&l.exposure, personal)
	return err
}

// becomeVisitor gives a request that had a session a visitor's values. They are none, not
// what the visitor's cookie held before the login.
func (l *locked) becomeVisitor() {
	value, _ := l.core.cookies.EncodeVisitor(nil) // so short that it always fits
	l.effects.stored, l.effects.visitor = noValues, cookie.Change{Kind: cookie.Set, Value: value}
}

// endPresented ends every session whose cookie the browser sent: of two cookies with our
// name, one was planted, and nobody can know which.
func (l *locked) endPresented(ctx context.Context, reason store.Reason) error {
	c, held := l.core, l.held()
	keys := map[store.Key]bool{}
	if held.Session != nil {
		keys[held.Key] = true
	}
	for _, value := range cookie.Last(l.cookies, c.cookies.Session.Name, cookie.MaxPresented) {
		if c.shouldLoad(value) {
			keys[c.cookies.Key(value)] = true
		}
	}
	var failed error
	for key := range keys {
		ended, mayLive, err := l.endWithActor(ctx, key, reason)
		// After a failed login, the browser may go on as before.
		if err != nil && reason == store.ReasonLoggedOut && mayLive {
			c.endLater(key, ended, reason, err)
		}
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		c.streams.EndKeys(keys, reason)
	}
	return failed
}

// mayLive reports whether there may be a session at a key for which Load returned err, or a
// failover may bring it back, if it has been logged out. A client that sends cookies of no
// session must not take the place of others' ends among those that are tried again.
func mayLive(err error) bool {
	if ended, ok := errors.AsType[*store.EndedError](err); ok {
		return ended.Reason == store.ReasonLoggedOut
	}
	moved := new(store.MovedError)
	return errors.As(err, &moved) || !errors.Is(err, store.ErrNotFound)
}

// endNow ends the request's session, which was found to be over.
func (l *locked) endNow(reason store.Reason) error {
	err := l.core.endOver(l.ctx(), l.held(), reason)
	l.setEnded(reason)
	return err
}

// undoLogin ends a session that this request has created, because the response with its
// cookie will not be sent, and reports whether there was one.
func (l *locked) undoLogin() (undone bool) {
	e := l.effects
	if e == nil || e.session.Kind != cookie.Set {
		return false
	}
	e.session, e.visitor = cookie.Change{}, cookie.Change{}
	_ = l.endNow(store.ReasonLoginIncomplete)
	return true
}

// endOver ends a session that was found to be over. If the backend fails, the next request
// finds the same; but none will come for a login whose cookie was not sent.
func (c *core) endOver(ctx context.Context, rec store.Record, reason store.Reason) error {
	d, cancel := detached(ctx)
	defer cancel()
	_, err := c.end(d, rec.Key, reason, "")
	if err != nil {
		c.logError("could not delete an ended session", "reason", reason, "error", err)
		if reason == store.ReasonLoginIncomplete {
			c.endLater(rec.Key, rec, reason, err)
		}
	}
	return err
}

// endLater goes on, in the background, trying to end the session at key. known is what is
// known of it, or a zero Record. It spares a session in which the user has logged in again
// since.
func (c *core) endLater(key store.Key, known store.Record, reason store.Reason, err error) {
	if known.Session != nil { // without its values
		known = store.Record{Session: &store.Session{ID: known.ID, Owner: known.Owner, Details: known.Details}}
	}
	queue := c.unfinished
	if reason == store.ReasonLoginIncomplete {
		queue = c.undos // in an outage each attempt to log in makes one
	}
	failed := store.TimeOf(time.Now())
	queue.Add(key, key.Group(), err, func(ctx context.Context) error {
		if rec, err := c.loadMoved(ctx, key); err == nil && rec.Key != key && rec.Authenticated > failed {
			return nil
		}
		ended, err := c.end(ctx, key, reason, "")
		if err == nil && ended.Session == nil && known.Session != nil { // an attempt that failed has ended it
			c.streams.End(known.ID, reason)
			c.emitEnd(ctx, known, reason, "")
		}
		_ = c.endActor(ctx, ended, reason) // which goes on trying by itself
		return err
	})
}

// end ends a session and its streams, and emits the event. A logout, a login or suspected
// theft ends the session even if it has moved to a new key meanwhile, for example because
// of a login in another tab whose new cookie has not reached the browser. It returns the
// session, if there was one: with an error too, if that says that not all of the backend
// knows of the end.
func (c *core) end(ctx context.Context, key store.Key, reason store.Reason, actor string) (ended store.Record, err error) {
	ended, err = c.backend.Delete(ctx, key, reason)
	var moved *store.MovedError
	switch {
	case errors.As(err, &moved):
		if reason != store.ReasonLoggedOut && reason != store.ReasonReplaced && reason != store.ReasonTheftSuspected {
			return store.Record{Session: &store.Session{ID: moved.ID, Owner: moved.Owner}}, nil
		}
		return c.endMoved(ctx, moved, reason, actor)
	case err == nil && ended.Session != nil:
		c.streams.End(ended.ID, reason)
		c.emitEnd(ctx, ended, reason, actor)
	}
	return ended, err
}

// endMoved is end for a session that has moved.
func (c *core) endMoved(ctx context.Context, moved *store.MovedError, reason store.Reason, actor string) (ended store.Record, err error) {
	all, err := c.endByID(ctx, []store.End{{Owner: moved.Owner, ID: moved.ID, Reason: reason}})
	c.emitEnded(ctx, all, actor)
	if len(all) > 0 {
		ended = all[0].Record
	}
	return ended, err
}

// EndUser ends every session of a user, the current one included: when an account is
// disabled or deleted (OWASP ASVS 7.4.2), or by an administrator (7.4.5). Change the
// account first. EndUser calls FindUser, so that the next page can say that the account
// is deactivated. A login that is still running may complete with the account as it was
// before. If a deactivation changes the SessionStamp too, that session ends with the next
// request, even if the account has been activated again.
//
// EndUser ends the sessions that began before the call, in pages of [store.MaxPage], also
// if they get a new token meanwhile. It returns [ErrInCallback], or [ErrUnavailable]
// (wrapped) if only some sessions have ended. Another call ends the rest. The guard goes
// on trying as after a [Guard.Logout], but spares logins after this call.
func (g *core) EndUser(ctx context.Context, userID string) error {
	reasonFor, actor, err := g.endingActor(ctx, userID)
	if err != nil {
		return err
	}
	user, findErr := g.findUser(ctx, userID)
	return g.endAllOwned(ctx, userID, "", actor, func(s *store.Session) (store.Reason, bool) {
		if reason, err := checkUser(user, findErr, s.Stamp); err == nil && reason != "" {
			return reason, true
		}
		return reasonFor(s.ID), true
	})
}

// EndOthers ends every session of the current user except this one, as EndUser does:
// after a password change (OWASP ASVS 7.4.3). It returns [ErrNoSession] if nobody is
// logged in, [ErrMayNotAct] if somebody acts for the user, [ErrUnavailable] (wrapped),
// [ErrNotWrapped], [ErrHeadersSent] or [ErrInCallback].
func (g *core) EndOthers(r *http.Request) error {
	id := g.identityOf(r)
	if id.err != nil {
		return id.err
	}
	switch {
	case id.user == nil:
		return ErrNoSession
	case isActing(id.rec):
		return ErrMayNotAct
	}
	userID, own, stamp := id.user.UserID(), id.rec.ID, id.rec.Stamp
	return g.endAllOwned(r.Context(), userID, own, userID, func(s *store.Session) (store.Reason, bool) {
		switch {
		case s.ID == own: // also if another request has logged in again meanwhile
			return "", false
		case s.Stamp != stamp:
			return store.ReasonCredentialsChanged, true
		}
		return store.ReasonLoggedOutElsewhere, true
	})
}

// endAllOwned is endOwned for a caller that has to know that all have ended, or else will:
// those that began before the call. except is the ID of the one that match spares.
func (c *core) endAllOwned(ctx context.Context, userID, except, actor string, match func(*store.Session) (store.Reason, bool)) error {
	began := store.TimeOf(time.Now())
	_, err := c.endOwned(ctx, userID, actor, match)
	if err != nil {
		key, share := [...]string{userID, except}, store.GroupOf(c.owners.Of(owner.Counted, userID))
		if except == "" {
			share = retry.NoShare // a user has only one
		}
		c.unfinished.Add(key, share, err, func(ctx context.Context) error {
			_, err := c.endOwned(ctx, userID, actor, func(s *store.Session) (store.Reason, bool) {
				if s.Authenticated > began {
					return "", false
				}
				return match(s)
			})
			return err
		})
	}
	return err
}

// endOwned ends the sessions of a user that match, and counts the live ones. It finds each
// session that began before the call, even if a login or a revival moves it meanwhile: the
// pages are in the order of the IDs, which a move does not change.
func (c *core) endOwned(ctx context.Context, userID, actor string, match func(*store.Session) (store.Reason, bool)) (live int, err error) {
	var ended []endedSession
	var failed error
	// Afterwards, so that events that take long to handle keep no session alive.
	defer func() { c.emitEnded(ctx, ended, actor) }()
	d, cancel := detached(ctx)
	defer cancel()
	for page, err := range c.ownedPages(d, userID) {
		if err == nil {
			err = d.Err()
		}
		var ends []store.End
		for _, rec := range page {
			if reason, ok := match(rec.Session); ok {
				ends = append(ends, store.End{Owner: rec.Owner, ID: rec.ID, Reason: reason})
			}
		}
		more, endErr := c.endByID(d, ends) // also of what came with an error
		ended = append(ended, more...)
		failed = cmp.Or(failed, err, endErr)
	}
	if failed != nil {
		failed = errors.Join(ErrUnavailable, failed)
	}
	return countLive(ended), failed
}

// ownedPages yields a user's sessions of every kind, also dead ones, without their values. After
// an error it goes on with the next kind.
func (c *core) ownedPages(ctx context.Context, userID string) iter.Seq2[[]store.Record, error] {
	return func(yield func([]store.Record, error) bool) {
		for _, kind := range owner.Kinds {
			for after := ""; ; {
				page, err := c.backend.ByOwner(ctx, c.owners.Of(kind, userID), after, store.MaxPage)
				if !yield(page, err) {
					return
				}
				if err != nil || len(page) < store.MaxPage {
					break
				}
				after = page[len(page)-1].ID
			}
		}
	}
}
