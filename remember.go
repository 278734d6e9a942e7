package sessionguard

import (
	"context"

	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/store"
)

// Remember makes a login outlast its idle timeout and the closing of the browser, until
// Config.RememberFor after the login. It is for a checkbox "Remember me" that the user
// has ticked:
//
//	err := guard.Login(w, r, user, sessionguard.Remember())
//
// There is no second cookie: the browser keeps the session cookie. If the browser comes
// back after the idle timeout, the session is revived under a new token. The user is
// logged in, but the session's values are gone, and [Guard.RequireFresh] requires a new
// login. Config.Factors does not ask again for what the login has proven: if the cookie
// alone must not open a page, put [Guard.RequireFactor] around it, or log its users in
// without Remember. A session that is bound to a device (Config.DeviceProof) is revived
// only with a proof of that device. The cookie alone, copied from a disk or a backup,
// revives nothing.
//
// Only a login with Remember moves the end of a remembered session. A login without it,
// while the session lives, keeps that end. The absolute timeout is RememberFor if that is
// longer, unless the option [AbsoluteTimeout] is given as well. The browser keeps the
// cookie for an hour more, so that the login page can say why the session ended. What
// ends any session ends a remembered one as well: a logout, [Guard.EndUser], a changed
// SessionStamp, an inactive user, and a new requirement of Config.Factors.
//
// Remember is not for AAL2 and AAL3 of NIST SP 800-63B-4. They require that a session
// ends after at most an hour, or 15 minutes, without activity. If a login takes several
// steps ([Factors]), pass Remember to the step that completes it.
//
// # What revives a session
//
// Some requests revive nothing, so that a page left alone goes away: those behind
// [Guard.Passive], WebSockets, those of the guard script, prefetches, a call of
// [Guard.Login], and the login page (Config.LoginPath). On the login page,
// [Guard.EndReason] returns [store.ReasonRemembered], and a link to any other page
// revives the session. Every other request that needs the session revives it, also a
// fetch, or an image on the login page. So put requests that a page makes by itself
// behind Passive.
//
// # Copies of the cookie
//
// Each revival replaces the token. The superseded token still counts as the same user's
// for Config.RememberGrace, because a page makes many requests at once. It also counts
// until the new token has been used or has idled out, because the response with the new
// token may be lost. After that, a superseded token is taken for a copy: the session
// ends, [EventTheftSuspected] is emitted, and the legitimate user has to log in again. If
// the session is bound, a copy without the proof is only refused.
//
// The guard cannot tell a thief from
//
//   - a browser that was restored from an old backup
//   - a browser that never got the response with the new token, and then idled out as
//     well
//   - a browser whose request was held by a handler or a machine that stood still, for
//     longer than RememberGrace, while another request revived the session
//
// It does not notice a thief who never lets the session idle out, or whose copy is not
// used again after the token was replaced. Until then, both have the same cookie.
func Remember() LoginOption {
	return func(o *loginOptions) { o.remember = true }
}

// resolveSuperseded resolves a token that a revival has replaced. For a while it is still
// the same person's; later it is a copy's.
func (c *core) resolveSuperseded(ctx context.Context, q query, value string, moved *store.MovedError, rec store.Record) resolution {
	if !c.owns(rec) {
		return resolution{kind: unknown, err: errForeign}
	}
	phase, reason := phaseAt(rec, q.now)
	if phase == over {
		_ = c.endOver(ctx, rec, reason)
		return resolution{kind: ended, reason: reason}
	}
	if c.devices != nil {
		if res, ok := c.checkDevice(ctx, q, rec); !ok {
			return res // a copy without the device threatens nobody
		}
	}
	details := rec.Detail()
	token, opened := c.cookies.OpenSuccessor(value, details.SuccessorToken)
	recent := q.now.Sub(details.Rotated) < c.rememberGrace
	// The response with the new token may have been lost: nobody has used that token, and
	// it came either from this very token's revival or from a login after it.
	lost := tokenUnused(rec) && phase == alive && (moved.To == rec.Key || !rec.Revived())
	switch {
	case opened && phase == alive && rec.Revived() && (recent || lost):
		if q.auth && !recent {
			return resolution{kind: waiting, rec: rec} // for a page that can set the cookie
		}
		if q.auth || fetch.Upgrades(q.request) {
			return resolution{kind: superseded, rec: rec}
		}
		return resolution{kind: rotated, rec: rec, token: token}
	case recent || lost:
		return resolution{}
	}
	d, cancel := detached(ctx)
	defer cancel()
	if _, err := c.end(d, rec.Key, store.ReasonTheftSuspected, ""); err != nil {
		c.endLater(rec.Key, rec, store.ReasonTheftSuspected, err)
		c.emitEnd(ctx, rec, store.ReasonTheftSuspected, "")
		return resolution{kind: unknown, err: err}
	}
	return resolution{kind: ended, reason: store.ReasonTheftSuspected}
}

// mayRevive reports whether a person seems to be asking, whose browser can be given a
// cookie. It parses the URL, so it is called only if there is a session to revive.
func (c *core) mayRevive(q query) bool {
	return q.activity == active && !q.auth && !fetch.Upgrades(q.request) &&
		localpath.Requested(q.request, c.basePath).Path != c.login.Path
}

// revive continues a dormant session under a new token.
func (c *core) revive(ctx context.Context, q query, old store.Record, value string) (resolution, error) {
	token, key := c.newToken(old.Owner)
	details := old.Detail()
	details.Rotated = max(q.now, old.Authenticated+1)
	details.SuccessorToken = c.cookies.SealSuccessor(value, token)
	session := *old.Session
	session.Client, session.Address = c.clientOf(q.request)
	session.Key, session.Values, session.Details = key, nil, &details
	next := store.Record{Session: &session, LastSeen: details.Rotated - 1} // see tokenUnused

	d, cancel := detached(ctx)
	defer cancel()
	if err := c.backend.Replace(d, old.Key, old.Version, next); err != nil {
		return resolution{}, err
	}
	return resolution{kind: revived, rec: next, token: token}, nil
}

// tokenUnused reports whether the session's current token has never been presented.
// revive sets LastSeen one millisecond before Rotated to encode this.
func tokenUnused(rec store.Record) bool {
	return rec.LastSeen <= max(rec.Authenticated, rec.Detail().Rotated-1)
}
