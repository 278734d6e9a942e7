// Package sessionguard makes sessions end.
//
// It wraps any [http.Handler] with sliding expiry, a logout that really logs
// out, pages that Back does not bring back after it, and role gates. It stands
// on gorilla/sessions, whose API for values and flashes stays as it is, and on
// gorilla/securecookie.
//
// The server keeps one session per login and the cookie is only its name, so
// ending a session is deleting a record, and there is nothing to replay:
//
//	guard, err := sessionguard.New(sessionguard.Config[*User]{FindUser: users.Find, Keys: keys})
//
//	mux.Handle("POST /logout", guard.Logout("/"))
//	mux.Handle("GET /home", guard.RequireRole("Engineer")(home))
//
//	http.ListenAndServe(addr, guard.Handler(mux))
//
// Every wrapper is a func(http.Handler) http.Handler, or a method value of that
// shape, and works with any router and in any order.
package sessionguard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/internal/stream"
	"github.com/sessionguard-go/sessionguard/store"
)

var (
	// ErrNoUser is what Config.FindUser returns if there is no such user.
	ErrNoUser = errors.New("sessionguard: no such user")
	// ErrInactive says that the user may not log in.
	ErrInactive = errors.New("sessionguard: the user is not active")
	// ErrTooManySessions says that the user has as many sessions as
	// Config.MaxSessions allows.
	ErrTooManySessions = errors.New("sessionguard: the user is logged in too often")
	// ErrNoSession says that there is no such live session.
	ErrNoSession = errors.New("sessionguard: no such session")
	// ErrUnavailable says that the backend or FindUser could not answer.
	ErrUnavailable = errors.New("sessionguard: sessions are unavailable")
	// ErrNotWrapped says that the request did not come through
	// [Guard.Handler] or another wrapper of this guard.
	ErrNotWrapped = errors.New("sessionguard: wrap the server in guard.Handler")
	// ErrHeadersSent says that the answer has begun, too late to set a cookie
	// or to forbid its caching. Look at the session before writing.
	ErrHeadersSent = errors.New("sessionguard: the headers have been sent")
)

// A Guard holds one application's sessions together. It is made once by [New],
// never changes, and is safe for concurrent use.
//
// It is a gorilla [sessions.Store] as well: Get, New and Save work on the
// session of the person who is logged in, or on a signed cookie for a visitor
// who is not.
//
// [sessions.Store]: https://pkg.go.dev/github.com/gorilla/sessions#Store
type Guard[U User] struct {
	core
}

// core is the part of a Guard that does not care about the type of user.
type core struct {
	findUser        func(ctx context.Context, id string) (User, error)
	backend         store.Backend
	cacher          store.Cacher // the backend, if it is one
	local           bool         // backend is in this process: asking it costs nothing
	idleTimeout     time.Duration
	absoluteTimeout time.Duration
	login           localpath.Page
	reauth          localpath.Page
	welcome         localpath.Page
	refusals        Refusals
	flashSession    string
	logoutFlash     any
	crossOrigin     *http.CrossOriginProtection
	rememberFor     time.Duration
	rememberGrace   time.Duration
	maxSessions     func(User) store.Limit // nil: no limit
	address         func(*http.Request) string
	onEvent         func(context.Context, Event) // nil: log
	forgedCookies   throttle
	unknown         throttle
	foreign         throttle
	streams         *stream.Registry
	cookies         cookie.Codec
	ownerPrefix     string
	log             *slog.Logger
	unwrapped       sync.Once // logs that Handler is missing
	scriptPath      string
	scriptServed    atomic.Bool
	scriptMissing   sync.Once // logs that Script is
}

// Handler wraps the whole server, once: everything else the guard does rests
// on it. It refuses unsafe cross-origin requests (OWASP ASVS 3.5.1), and lets
// handlers log in and out, look at the user and use values.
//
// It asks the backend nothing until a handler or a gate looks. An answer given
// without a look keeps its own caching headers; any other is never cached, as
// with [NoCache]. If a look failed because the backend is down, the answer is
// replaced with 503, since a page made without knowing who asks may be wrong.
func (g *core) Handler(next http.Handler) http.Handler {
	return g.wrap(func(_ *request, w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
	})
}

// User returns who is logged in. The answer is false if nobody is, if the
// session has ended, if the backend cannot be asked (the response is then
// replaced with 503), after the headers of a cacheable answer were sent, and
// without a wrapper of this guard. A handler that runs on and on is not told
// anew: the answer is that of its first look.
func (g *Guard[U]) User(r *http.Request) (U, bool) {
	if st, err := g.wrapped(r); err == nil {
		l := st.lock()
		defer l.unlock()
		if l.look(r.Context()) == nil {
			user, ok := l.user.(U)
			return user, ok
		}
	}
	var none U
	return none, false
}

// Login logs user in, after the application has verified who it is. The
// browser gets a new token whatever cookie it sent, and the session it sent is
// ended (session fixation; OWASP ASVS 7.2.4).
//
// Logging in again as the same user is re-authentication: a new token and a
// fresh clock, with the session's values kept, and its timeouts where they are
// shorter than the guard's. The old token is dead at once, also for requests that
// are on their way with it. Otherwise the values of the anonymous visitor move
// into the session; another user's never do.
//
// Call it before the answer begins: later it returns [ErrHeadersSent]. It also
// returns [ErrInactive], [ErrNoUser] for a nil user or an empty ID,
// [ErrTooManySessions] if Config.MaxSessions refuses it, [ErrNotWrapped], and
// [ErrUnavailable] (wrapped) if the backend cannot be asked; nobody is then logged
// in. If the guard has to replace the answer, or the
// handler panics (and no recoverer inside the guard hides that), the login is
// undone.
func (g *Guard[U]) Login(w http.ResponseWriter, r *http.Request, user U, options ...LoginOption) error {
	if isNil(user) {
		return ErrNoUser
	}
	return g.logIn(r, user, options)
}

func (c *core) logIn(r *http.Request, user User, options []LoginOption) error {
	var chosen loginOptions
	for _, option := range options {
		option(&chosen)
	}
	if err := checkTimeouts(cmp.Or(chosen.idle, c.idleTimeout), cmp.Or(chosen.absolute, c.absoluteTimeout)); err != nil {
		return fmt.Errorf("sessionguard: Login: %w", err)
	}
	if user.UserID() == "" {
		return ErrNoUser
	}
	if !user.IsActive() {
		c.emit(r.Context(), Event{Name: EventRefused, UserID: user.UserID(), Code: string(store.ReasonDeactivated)}, store.Record{})
		return ErrInactive
	}
	st, err := c.wrapped(r)
	if err != nil {
		return err
	}
	l := st.lock()
	defer l.unlock()
	return l.logIn(r.Context(), user, chosen)
}

// logIn replaces whatever session the browser presented by a new one.
func (st *locked) logIn(asker context.Context, user User, chosen loginOptions) error {
	if st.committed {
		return ErrHeadersSent
	}
	st.activity = max(st.activity, noRevival) // whoever logs in needs none
	if err := st.identify(asker); err != nil {
		return err
	}
	ctx, cancel := st.settle()
	defer cancel()

	c, now := st.core, st.now
	owner := c.ownerPrefix + user.UserID()
	value, key, err := c.mint(owner)
	if err != nil {
		return err
	}
	details := store.Details{Created: now}
	details.UserAgent, details.Address = c.device(st.caller)
	next := store.Record{LastSeen: now, Session: &store.Session{
		Key:           key,
		ID:            newPublicID(),
		Owner:         owner,
		Stamp:         stampOf(user),
		Authenticated: now,
		Details:       &details,
	}}
	idle, absolute := c.idleTimeout, c.absoluteTimeout

	same := st.rec.Session != nil && st.rec.Owner == next.Owner && (st.user != nil || st.rec.Stamp == next.Stamp)
	if same {
		old := st.rec.Detail()
		next.ID, details.Created = st.rec.ID, old.Created
		if old.RememberUntil > now {
			details.RememberUntil = old.RememberUntil
		}
		idle = min(idle, st.rec.IdleTimeout)
		absolute = min(absolute, st.rec.Expires.Sub(st.rec.Authenticated))
	}
	if chosen.remember {
		details.RememberUntil = now.Add(c.rememberFor)
	}
	next.IdleTimeout = cmp.Or(chosen.idle, idle)
	if next.Expires = now.Add(chosen.absolute); chosen.absolute == 0 {
		next.Expires = max(now.Add(absolute), details.RememberUntil)
	}
	details.RememberUntil = min(details.RememberUntil, next.Expires)
	if same {
		same, err = st.replace(ctx, next)
		if !same && !chosen.remember { // what was to be remembered has ended meanwhile
			details.RememberUntil = 0
			if chosen.absolute == 0 {
				next.Expires = now.Add(absolute)
			}
		}
	} else if st.rec.Session == nil {
		next.Values = st.anonymousValues()
	}
	if err == nil && !same {
		err = st.create(ctx, next, user)
	}
	if errors.Is(err, store.ErrLimit) {
		c.emit(st.ctx(), Event{Name: EventRefused, UserID: user.UserID(), Code: string(store.ReasonTooManySessions)}, store.Record{})
		return ErrTooManySessions
	}
	if err != nil {
		// It may be there all the same: nobody has its token, but it would count.
		undo, cancel := st.settle()
		defer cancel()
		_, _ = c.backend.Delete(undo, next.Key, store.ReasonLoginIncomplete)
		return st.fail(err)
	}

	p := st.pending()
	if st.rec.Session != nil && !same {
		p.emptyViews() // what is open was another user's
	}
	st.rec, st.user, st.stage = next, user, authenticated
	p.session, p.sessionValue, p.waiting = setCookie, value, ""
	for range cookie.Values(st.http.Header, c.cookies.Visitor.Name) {
		p.anonymous = deleteCookie
	}
	p.bag = nil
	event := EventLogin
	if same {
		event = EventReauthenticated
	}
	c.emit(st.ctx(), Event{Name: event}, next)
	return nil
}

// replace re-authenticates: it moves the session, as and where it is now, to
// next's key. It reports false if the session ended meanwhile, and has then made a
// session of its own of next.
func (st *locked) replace(ctx context.Context, next store.Record) (bool, error) {
	old := st.rec
	for ctx.Err() == nil {
		next.Values, next.Version, next.Details.Rotated = old.Values, old.Version, st.now
		err := st.core.backend.Replace(ctx, old.Key, old.Version, next)
		if err == nil {
			st.core.streams.Moved(next)
			return true, nil
		}
		var moved *store.MovedError
		switch {
		case errors.As(err, &moved): // somebody clicked twice
			old, err = st.core.locate(ctx, moved)
		case errors.Is(err, store.ErrConflict):
			old, err = st.core.backend.Load(ctx, old.Key)
		}
		if errors.Is(err, store.ErrNotFound) {
			next.ID, next.Values, next.Version = newPublicID(), nil, 0
			next.Details.Created, next.Details.Rotated = st.now, 0
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, ctx.Err()
}

func stampOf(user User) string {
	if stamped, ok := user.(interface{ SessionStamp() string }); ok {
		return stamped.SessionStamp()
	}
	return ""
}

// create ends what the browser presented and stores the new session, if the user
// may have one more.
func (st *locked) create(ctx context.Context, next store.Record, user User) error {
	c := st.core
	var limit store.Limit
	if c.maxSessions != nil {
		limit = c.maxSessions(user)
	}
	presented := st.pending().waiting
	if st.rec.Session != nil {
		presented = st.rec.Owner
	}
	if limit.Refuse && presented != next.Owner {
		// A login that is refused must not end another user's session.
		if err := st.createWithin(ctx, limit, next); err != nil {
			return err
		}
		err := st.purge(ctx, store.ReasonReplaced)
		if err != nil {
			_ = c.end(ctx, next.Key, store.ReasonLoginIncomplete, "") // nobody has its token, but it would count
		}
		return err
	}
	if err := st.purge(ctx, store.ReasonReplaced); err != nil {
		return err
	}
	return st.createWithin(ctx, limit, next)
}

func (st *locked) createWithin(ctx context.Context, limit store.Limit, next store.Record) error {
	c := st.core
	ended, err := c.backend.Create(ctx, next, limit)
	if errors.Is(err, store.ErrLimit) {
		// Sessions from before a password change are dead, and take up room
		// until somebody comes by with them.
		n, failed := c.endOwned(ctx, c.userOf(next), "", func(s *store.Session) (store.Reason, bool) {
			return store.ReasonCredentialsChanged, s.Stamp != next.Stamp
		})
		if failed != nil {
			return failed
		}
		if n > 0 {
			ended, err = c.backend.Create(ctx, next, limit)
		}
	}
	for _, rec := range ended {
		c.streams.End(rec.ID, store.ReasonTooManySessions)
		c.emitEnd(ctx, rec, store.ReasonTooManySessions, "")
	}
	return err
}
