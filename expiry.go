package sessionguard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// expired decides whether a session is over at now, and why. The deadline
// itself is over, and a record without times is as well.
func expired(r store.Record, now store.Time) (store.Reason, bool) {
	switch {
	case now >= r.Expires:
		return store.ReasonAbsolute, true
	case now >= r.LastSeen.Add(r.IdleTimeout):
		return store.ReasonIdle, true
	}
	return "", false
}

// touchDue decides whether a request accepted at now is to be recorded. In this
// process every one is. Elsewhere it costs a round trip, so activity within
// 1/30 of the timeout counts as the same: a session may end that much early.
func touchDue(r store.Record, now store.Time, local bool) bool {
	since := now.Sub(r.LastSeen)
	if local {
		return since > 0
	}
	return since >= r.IdleTimeout/30 || r.Revived() && unused(r)
}

// fresh decides whether the last real authentication is younger than age.
func fresh(r store.Record, now store.Time, age time.Duration) bool {
	return now.Sub(r.Authenticated) < age && !r.Revived()
}

// A LoginOption shapes one login. See [IdleTimeout], [AbsoluteTimeout] and [Remember].
type LoginOption func(*loginOptions)

type loginOptions struct {
	idle, absolute time.Duration // 0: not given
	remember       bool
}

// IdleTimeout gives one login an idle timeout of its own: an administrator may
// get ten minutes where others get thirty.
func IdleTimeout(d time.Duration) LoginOption {
	return func(o *loginOptions) { o.idle = orMissing(d) }
}

// AbsoluteTimeout gives one login an absolute timeout of its own.
func AbsoluteTimeout(d time.Duration) LoginOption {
	return func(o *loginOptions) { o.absolute = orMissing(d) }
}

// orMissing keeps a computed zero from passing for "the default".
func orMissing(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func checkTimeouts(idle, absolute time.Duration) error {
	switch {
	case idle < 0:
		return errors.New("the IdleTimeout must be positive")
	case absolute < 0:
		return errors.New("the AbsoluteTimeout must be positive")
	case idle < time.Second:
		return fmt.Errorf("an IdleTimeout of %v is shorter than a second", idle)
	case idle > absolute:
		return fmt.Errorf("an IdleTimeout of %v is longer than the AbsoluteTimeout of %v", idle, absolute)
	}
	return nil
}

// Passive serves requests that are no activity of a person: polling, an event
// stream, a status check. They are refused like any other once the session has
// ended, and do nothing to keep it alive, nor to revive it ([Remember]). Put it
// outside of what looks at the session.
func (g *core) Passive(next http.Handler) http.Handler {
	return g.wrap(func(st *request, w http.ResponseWriter, r *http.Request) {
		l := st.lock()
		l.activity = passive
		l.unlock()
		next.ServeHTTP(w, r)
	})
}

// status is what Status answers. Whole seconds, rounded down, so that no client
// believes in a session longer than the server does.
type status struct {
	Authenticated   bool         `json:"authenticated"`
	Session         string       `json:"session,omitempty"`
	IdleSeconds     int64        `json:"idle_seconds"`
	AbsoluteSeconds int64        `json:"absolute_seconds"`
	Reason          store.Reason `json:"reason,omitempty"`
}

// status is what Status answers at this moment. The activity of the request
// itself counts, if the backend will be told of it.
func (st *locked) status() status {
	if st.user == nil {
		return status{Reason: st.reason()}
	}
	rec := st.rec
	if st.touches() && st.inner == served {
		rec.LastSeen = st.now
	}
	return status{
		Authenticated:   true,
		Session:         rec.ID,
		IdleSeconds:     int64(rec.Deadline().Sub(st.now) / time.Second),
		AbsoluteSeconds: int64(rec.Expires.Sub(st.now) / time.Second),
	}
}

// Status tells a page how long its session has to live, as JSON:
//
//	{"authenticated":true,"session":"…","idle_seconds":1799,"absolute_seconds":43199}
//
// If nobody is logged in, "reason" is the [Guard.EndReason], where there is one. The
// session is its public ID, which stays through re-authentication and
// changes with any other login. Asking is no activity ([Guard.Passive]) and the
// answer is never cached. Activity that a remote backend has not been told of
// yet is not counted. Methods other than GET and HEAD get 405.
func (g *core) Status() http.Handler {
	return g.Passive(g.tell(http.MethodGet, http.MethodHead))
}

// tell answers with the status.
func (c *core) tell(methods ...string) http.Handler {
	return c.wrap(func(st *request, w http.ResponseWriter, r *http.Request) {
		l := st.lock()
		l.activity = max(l.activity, noRevival) // a script may say "stay" a little late
		l.unlock()
		if !slices.Contains(methods, r.Method) {
			st.refuseMethod(w, strings.Join(methods, ", "))
			return
		}
		if st.admit(r.Context()).err != nil {
			c.refuse(st, w, r, unavailable)
			return
		}
		l = st.lock()
		answer := l.status()
		l.unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // an error here is a client that has gone
	})
}

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
// is [store.ReasonRemembered], and a link to any other page revives. All that ends a
// session ends it as well: a logout, [Guard.EndUser], a changed SessionStamp, an
// inactive user.
//
// Each revival replaces the token. Requests with the one from before are the same
// person within Config.RememberGrace, since a page asks for many things at once, and
// until the new one has come back or has idled out, since the answer with it may be
// lost. Later, somebody has kept a copy: the session is ended, [EventTheftSuspected] says so,
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
