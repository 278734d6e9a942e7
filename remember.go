package sessionguard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// Remember makes a login outlast its idle timeout, and the browser being closed:
// until Config.RememberFor after it. It is for a checkbox "Remember me" that the
// person has ticked:
//
//	err := guard.Login(w, r, user, sessionguard.Remember())
//
// There is no second cookie. The session's own is kept by the browser, and if the
// idle timeout has passed when it comes again, the session goes on with a new
// token: logged in, but without its values and not fresh for [Guard.RequireFresh].
// The absolute timeout of such a login is RememberFor, if that is longer, unless
// the [AbsoluteTimeout] option is given as well, and the browser keeps the cookie
// until an hour later, to be told why. Nothing but a login with Remember moves the end; logging in again
// without it, while the session lives, keeps what is left.
//
// These revive nothing, so that a page left alone stays away: requests that are
// [Guard.Passive], a WebSocket's or the guard script's, a prefetch, [Guard.Login],
// and the login page (Config.LoginPath). Anything else that looks at the session
// does, also a fetch or an image on the login page: make what asks by itself Passive.
// There [Guard.EndReason]
// is [store.Remembered], and a link to any other page revives. All that ends a
// session ends it as well: a logout, [Guard.EndUser], a changed SessionStamp, an
// inactive user.
//
// Each revival replaces the token. Requests with the one from before are the same
// person within Config.RememberGrace, since a page asks for many things at once, and
// until the new one has come back or has idled out, since the answer with it may be
// lost. Later, somebody has kept a copy: the session is ended, [EventTheft] says so,
// and whoever is the owner logs in again. It cannot tell a thief from a browser
// restored from an old backup, or one that never got the answer and then idled out
// as well. It does not notice a thief who never lets the session
// idle out, or whose copy is not used again once the token has been replaced: as long
// as nothing is replaced, both have the same cookie.
func Remember() LoginOption {
	return func(o *loginOptions) { o.remember = true }
}

const (
	defaultRememberFor   = 30 * time.Minute
	defaultRememberGrace = 30 * time.Second
)

// upgrades says that r asks for a connection, whose answer cannot set a cookie: a
// WebSocket's in HTTP/1.1, or in HTTP/2 (RFC 8441).
func upgrades(r *http.Request) bool {
	return r.Method == http.MethodConnect || isUpgrade(r.Header)
}

// unused says that nobody has come with the token of the last revival or login: a
// revival leaves LastSeen just before it for that.
func unused(rec store.Record) bool {
	return rec.LastSeen <= max(rec.Authenticated, rec.Detail().Rotated-1)
}

// follow finds a session by a key that it has or had.
func (c *core) follow(ctx context.Context, key store.Key) (store.Record, error) {
	rec, err := c.backend.Load(ctx, key)
	var moved *store.MovedError
	if errors.As(err, &moved) {
		return c.locate(ctx, moved)
	}
	return rec, err
}

// locate finds a session that has moved. After many moves it asks by owner: nobody
// may make us follow a chain of any length.
func (c *core) locate(ctx context.Context, moved *store.MovedError) (store.Record, error) {
	owner, id := moved.Owner, moved.ID
	for range 8 {
		rec, err := c.backend.Load(ctx, moved.To)
		if !errors.As(err, &moved) {
			var ended *store.EndedError
			if err == nil || !errors.Is(err, store.ErrNotFound) || errors.As(err, &ended) {
				return rec, err
			}
			break
		}
	}
	return c.byID(ctx, owner, id)
}

// byID finds an owner's session by its public ID.
func (c *core) byID(ctx context.Context, owner, id string) (store.Record, error) {
	records, err := c.backend.ByOwner(ctx, owner)
	if err != nil {
		return store.Record{}, err
	}
	for _, rec := range records {
		if rec.ID == id {
			return rec, nil
		}
	}
	return store.Record{}, store.ErrNotFound
}

// bringsToken says that the answer brings a new token for a session there was.
func (st *locked) bringsToken() bool {
	return st.slow != nil && st.slow.session == rotateCookie
}

// checkToken takes the new token out of an answer that a logout or another login has
// overtaken: its cookie would come after theirs.
func (st *locked) checkToken() error {
	if !st.bringsToken() {
		return nil
	}
	ctx, cancel := st.settle()
	defer cancel()
	_, err := st.core.backend.Load(ctx, st.rec.Key)
	if err != nil {
		st.slow.session = keepCookie
	}
	if errors.Is(err, store.ErrNotFound) && st.exposure < protected {
		return nil // the page is anybody's
	}
	return err
}

// takeBack is checkToken for an answer that somebody further out has kept until now.
func (st *locked) takeBack() {
	if !st.bringsToken() {
		return
	}
	if _ = st.checkToken(); st.slow.session == keepCookie {
		h := st.writer.Unwrap().Header()
		h["Set-Cookie"] = slices.DeleteFunc(h["Set-Cookie"], func(c string) bool {
			return strings.HasPrefix(c, st.core.cookies.Session.Name+"="+st.slow.sessionValue)
		})
	}
}
