package sessionguard

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
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
// until then. Nothing but a login with Remember
// moves the end; logging in again without it keeps what is left.
//
// A request that is [Guard.Passive], or a WebSocket's, revives nothing, so that a
// page left alone does not, nor does [Guard.Login]; for the first two, and for the
// guard script, the [Guard.EndReason] is then [store.Remembered], and any other
// request revives. All that ends a session ends it as well: a logout,
// [Guard.EndUser], a changed SessionStamp, an inactive user.
//
// Requests with the token from before are the same person within Config.RememberGrace:
// a page asks for many things at once. Later, somebody has kept a copy: the
// session is ended, [EventTheft] says so, and whoever is the owner logs in again.
// It cannot tell a thief from a browser restored from an old backup, and it does not
// notice a thief while only one of the two uses the cookie.
func Remember() LoginOption {
	return func(o *loginOptions) { o.remember = true }
}

const (
	defaultRememberFor   = 30 * time.Minute
	defaultRememberGrace = 30 * time.Second
)

// revive lets a session that has idled out go on under a new token.
func (st *request) revive(old store.Record, value string) error {
	c := st.core
	if st.passive || isUpgrade(st.http.Header) {
		st.over(store.Remembered) // and is not deleted: a person may come
		return nil
	}
	ctx, cancel := st.settle()
	defer cancel()
	for ctx.Err() == nil {
		newValue, key, err := c.cookies.mint()
		if err != nil {
			return st.fail(err)
		}
		details := old.Detail()
		details.Rotated, details.Handover = st.now, seal(value, newValue)
		details.UserAgent, details.Address = c.device(st.caller)
		session := *old.Session
		session.Key, session.Values, session.Details = key, nil, &details
		next := store.Record{Session: &session, LastSeen: st.now}

		err = c.backend.Replace(ctx, old.Key, old.Version, next)
		switch {
		case err == nil:
			st.rec = next
			st.remember(newValue)
			c.emit(st, Event{Name: EventRemembered}, next)
			return nil
		case errors.Is(err, store.ErrConflict):
			old, err = c.backend.Load(ctx, old.Key)
		}
		if err != nil {
			return st.missing(ctx, value, err)
		}
	}
	return st.fail(ctx.Err())
}

// moved is for a cookie whose token has been replaced by another.
func (st *request) moved(ctx context.Context, value string, to store.Key) error {
	c := st.core
	rec, err := c.follow(ctx, to)
	if err != nil {
		return st.missing(ctx, value, err)
	}
	details := rec.Detail()
	if details.Remember == 0 {
		return nil // it was re-authenticated, and the token from before is dead at once
	}
	if st.now.Sub(details.Rotated) >= c.rememberGrace {
		st.rec = rec
		st.endNow(store.Theft)
		return nil
	}
	newValue, ok := unseal(value, details.Handover)
	if _, over := expired(rec, st.now); ok && !over {
		st.rec = rec
		if !isUpgrade(st.http.Header) {
			st.remember(newValue) // the answer with it may have been lost
		}
	}
	return nil
}

// follow finds a session that has moved, however often.
func (c *core) follow(ctx context.Context, key store.Key) (store.Record, error) {
	for ctx.Err() == nil {
		rec, err := c.backend.Load(ctx, key)
		var moved *store.MovedError
		if !errors.As(err, &moved) {
			return rec, err
		}
		key = moved.To
	}
	return store.Record{}, ctx.Err()
}

// remember sets the session cookie of st.rec.
func (st *request) remember(value string) {
	p := st.pending()
	p.session, p.sessionValue = setCookie, value
}

// seal hides a cookie's value from everyone but who has the one from before. Each
// key seals but once, so the nonce may be zero.
func seal(before, value string) []byte {
	aead := handoverCipher(before)
	return aead.Seal(nil, make([]byte, aead.NonceSize()), []byte(value), nil)
}

func unseal(before string, sealed []byte) (value string, ok bool) {
	aead := handoverCipher(before)
	b, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed, nil)
	return string(b), err == nil
}

func handoverCipher(before string) cipher.AEAD {
	key := sha256.Sum256([]byte("sessionguard handover\x00" + before))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // a key of 32 bytes is one
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}
