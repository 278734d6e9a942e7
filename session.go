package sessionguard

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/internal/owner"
	"github.com/sessionguard-go/sessionguard/internal/retry"
	"github.com/sessionguard-go/sessionguard/internal/saver"
	"github.com/sessionguard-go/sessionguard/internal/stream"
	"github.com/sessionguard-go/sessionguard/internal/turns"
	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

var (
	// ErrNoUser is returned by Config.FindUser if there is no such user.
	ErrNoUser = errors.New("sessionguard: no such user")
	// ErrInactive is returned by Login for a user who may not log in.
	ErrInactive = errors.New("sessionguard: the user is not active")
	// ErrTooManySessions is returned if the user has as many sessions as
	// Config.MaxSessions allows.
	ErrTooManySessions = errors.New("sessionguard: the user has too many sessions")
	// ErrNoSession is returned if there is no such live session.
	ErrNoSession = errors.New("sessionguard: no such session")
	// ErrMayNotAct is returned by [Guard.ActAs] if the user may not act as the other one,
	// and by [Guard.EndOthers] if somebody acts for the user.
	ErrMayNotAct = errors.New("sessionguard: the user may not act as another one")
	// ErrUnavailable is returned if the backend or FindUser fails.
	ErrUnavailable = errors.New("sessionguard: sessions are unavailable")
	// ErrNotWrapped is returned for a request that did not come through [Guard.Handler]
	// or another wrapper of this guard. It is also returned if a middleware has changed
	// the guard's cookies or the method since (see Handler), and on a connection that a
	// handler has hijacked. Login returns it (wrapped) for a ResponseWriter that goes
	// around the guard's.
	ErrNotWrapped = errors.New("sessionguard: wrap the server in guard.Handler")
	// ErrHeadersSent is returned if the response has begun: it is too late to set a
	// cookie or to forbid caching. Use the session before writing.
	ErrHeadersSent = errors.New("sessionguard: the headers have been sent")
	// ErrValuesTooLarge is returned if the values of a session take more than
	// Config.MaxValuesBytes, or those of a visitor or a secret do not fit into a cookie.
	ErrValuesTooLarge = values.ErrTooLarge
	// ErrInCallback is returned if a callback uses the guard for the request that it is
	// called for: it would wait for itself. Callbacks are the functions of the Config,
	// the methods of the user other than HasRole, and the encoders of stored values.
	// [Guard.User] then returns false, [Guard.EndReason] returns "", and a wrapper panics
	// with this error.
	//
	// The guard does not notice a goroutine that the callback starts. That goroutine
	// waits until the callback returns, so the callback must not wait for it. For another
	// request, or with another guard, the error is returned only if another goroutine is
	// using that request at that moment.
	ErrInCallback = errors.New("sessionguard: a callback must not use the guard for the request that it is called for")
)

// ErrSessionEnded is the cause of a context that [Guard.CancelOnEnd] has cancelled.
var ErrSessionEnded = errors.New("sessionguard: the session has ended")

// A SessionEndedError is an [ErrSessionEnded] with the reason.
type SessionEndedError struct{ Reason store.Reason }

func (e *SessionEndedError) Error() string { return ErrSessionEnded.Error() + ": " + string(e.Reason) }

func (e *SessionEndedError) Unwrap() error { return ErrSessionEnded }

// A User is the application's own user type. Each request finds the user anew, so that a
// role that was taken away is gone with the next click (OWASP ASVS 8.3.2).
//
// If the user type also has a method SessionStamp() string, a changed stamp ends every
// session that was created under the old one. That includes the session that made the
// change, unless it calls [Guard.Login] in the same request. A counter that rises with
// each password change makes a good stamp. [New] returns an error for a type whose
// SessionStamp would never be called: it has another signature, or a pointer receiver
// where the users are values.
type User interface {
	UserID() string
	// IsActive reports whether the user may be logged in at all.
	IsActive() bool
	// HasRole reports whether the user has a role, for [Guard.RequireRole]. Role
	// hierarchies belong here.
	HasRole(role string) bool
}

// A Guard holds one application's sessions together. It is made by [New], never changes,
// and is safe for concurrent use.
//
// It is also a gorilla [sessions.Store]. Get, New and Save work on the session of a user
// who is logged in, or on a signed cookie of a visitor.
//
// [sessions.Store]: https://pkg.go.dev/github.com/gorilla/sessions#Store
type Guard[U User] struct {
	core
}

// core is the part of a Guard that does not depend on the type of user. New sets it, and
// only what says so changes afterwards. The receiver of its exported methods is called g,
// because they are documented as those of a Guard.
type core struct {
	findUser        func(ctx context.Context, id string) (User, error)
	backend         store.Backend // see calls.Of
	cacher          store.Cacher  // the backend, if it is one
	lister          store.Lister  // the backend, if it is one
	local           bool          // backend is in this process: a call costs nothing
	idleTimeout     time.Duration
	absoluteTimeout time.Duration
	rememberFor     time.Duration
	rememberGrace   time.Duration
	maxSessions     func(User) store.Limit // nil: no limit
	factors         func(User) []string    // nil: none are needed
	factorTimeout   time.Duration
	mayActAs        func(actor, target User) bool
	devices         *devicePolicy // nil: no session is bound
	proofs          *devicePolicy // devices, or while that is nil, what ends a binding
	maxValuesBytes  int
	cookies         cookie.Codec
	owners          owner.Names // of this guard's sessions in the backend
	crossOrigin     *http.CrossOriginProtection

	basePath       string
	challenge      string // of a 401: WWW-Authenticate
	stepUp         string // of one for a user who has to prove more (RFC 9470)
	login          localpath.Page
	reauth         localpath.Page
	factor         localpath.Page
	welcome        localpath.Page
	scriptPath     string
	refusals       Refusals
	flashSession   string
	logoutFlash    any // nil: none
	forbiddenFlash any // nil: none

	clientAddr func(*http.Request) string
	onEvent    func(context.Context, Event) // nil: log
	log        *slog.Logger

	saves             *saver.Queue                      // changes
	unfinished, undos *retry.Queue                      // change; ends, and undone logins, that have failed
	renewals          turns.Turns[string, store.Record] // changes; by the session's ID
	streams           *stream.Registry                  // changes
	unverifiedCookies throttle                          // these change
	unknownCookies    throttle
	severalLive       throttle
	unprovenDevices   throttle
	crossOrigins      throttle
	notLoggedIn       throttle
	disconnected      throttle
	errors            sync.Map    // *throttle by message: see logError
	scriptServed      atomic.Bool // Script was called
	logged            struct {    // mistakes, each of which is logged once
		script, unboundScript, unwrapped, callback, unverified, several, overHTTP, nullOrigin, reauthPath, factorPath atomic.Bool
	}
}

// Handler wraps the whole server, once. It refuses unsafe cross-origin requests (OWASP
// ASVS 3.5.1). Inside it, handlers can log in and out, read the user and use values.
//
// A middleware that overrides the method (_method, X-HTTP-Method-Override) belongs
// inside. Only there does the guard see the method that arrived, and Logout and the
// routes of Script go by that. If a safe request has become an unsafe one, gates refuse
// it as cross-origin, and the other methods of the guard treat it as not wrapped. A
// middleware inside that changes cookies has to replace them (Header.Set, Header.Del): the
// guard does not notice what is written into the values that came.
//
// Handler calls the backend only when a handler or a gate needs the session. Responses
// that never needed it keep their caching headers. All others are sent with those of
// [NoCache]. If the session was needed and the backend failed, the response is replaced
// with 503: a page that was made without knowing the user may be wrong.
func (g *core) Handler(next http.Handler) http.Handler {
	return g.wrap(func(_ *request, w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
	})
}

// crossOriginAllowed decides whether r may have its effect. A WebSocket handshake is a GET
// that browsers let every site make with the user's cookies.
func (c *core) crossOriginAllowed(r *http.Request) bool {
	if r.Method == http.MethodGet && fetch.Upgrades(r) {
		probe := *r
		probe.Method = http.MethodPost
		r = &probe
	}
	return c.crossOrigin.Check(r) == nil
}

// warnOfNullOrigin logs, once, why a form of this very site may have been refused.
func (c *core) warnOfNullOrigin(r *http.Request) {
	if r.Header.Get("Origin") == "null" && c.logged.nullOrigin.CompareAndSwap(false, true) {
		c.log.Warn("sessionguard: a request with Origin: null was refused. Forms of this site send that if its Referrer-Policy is no-referrer, or in a sandboxed frame: use the Referrer-Policy same-origin", "path", truncate(r.URL.Path))
	}
}

// User returns the user who is logged in. It returns false if nobody is, if the session
// has ended, or if the backend or FindUser fails. In the last case the response is
// replaced with 503. It also returns false after the headers of a cacheable response were
// sent, without a wrapper of this guard, and in a callback ([ErrInCallback]). The result
// is the same for the rest of the request: long-running handlers do not see later
// changes.
func (g *Guard[U]) User(r *http.Request) (U, bool) {
	if l, err := g.lockRequest(r); err == nil {
		defer l.unlock()
		if l.resolve(r.Context()) == nil {
			user, ok := l.user.(U)
			return user, ok
		}
	}
	var none U
	return none, false
}

// EndReason returns why the session named by r's cookie ended. A login page uses it to
// explain why the visitor is there. It returns "" if there is no such cookie, if the
// session is alive, after a logout in the same browser, and for a token that a new login
// has replaced. Reasons are kept for at least an hour. For a session that ended longer
// ago or expired unnoticed, EndReason returns [store.ReasonExpired].
// [store.ReasonRemembered] means that the session has not ended, but has to be revived:
// see [Remember].
//
// The default refusals and [Guard.Status] send the same as "reason". A client learns it
// only with the cookie of the session, but anyone can make up a query value. So use that
// value to choose a text, and never show it.
func (g *core) EndReason(r *http.Request) store.Reason {
	l, err := g.lockRequest(r)
	if err != nil {
		return ""
	}
	defer l.unlock()
	if l.resolve(r.Context()) != nil {
		return ""
	}
	return l.endReason()
}

func (l *locked) endReason() store.Reason {
	if l.effects == nil || l.rec.Session != nil {
		return ""
	}
	return l.effects.endReason
}

// endReasonOf returns why a session has ended that was alive when the request began.
func (l *locked) endReasonOf(key store.Key) store.Reason {
	ctx, cancel := detached(l.ctx())
	defer cancel()
	_, err := l.core.loadMoved(ctx, key)
	var ended *store.EndedError
	if errors.As(err, &ended) {
		return ended.Reason
	}
	return store.ReasonLoggedOut // which leaves nothing behind
}

// lose makes the request a visitor's, whose session has ended. It returns [ErrNoSession].
func (l *locked) lose(reason store.Reason) error {
	l.needEffects().session = cookie.Change{}
	l.clearOpen()
	l.setEnded(reason)
	raise(&l.stage, resolved)
	return ErrNoSession
}

// shouldLoad reports whether a cookie's value is worth a backend call. With the in-process
// backend a hit proves the cookie genuine; a remote backend is asked only for cookies
// that we signed.
func (c *core) shouldLoad(value string) bool {
	return cookie.Plausible(value) && (c.local || c.cookies.Verify(value))
}

// cached returns the session if the backend has it in local memory.
func (c *core) cached(key store.Key) (store.Record, bool) {
	if c.cacher == nil {
		return store.Record{}, false
	}
	return c.cacher.Cached(key)
}

// userID returns the ID of a session's user.
func (c *core) userID(rec store.Record) string { return c.owners.UserID(rec.Owner) }

// owns reports whether rec is a session of this guard.
func (c *core) owns(rec store.Record) bool { return rec.Session != nil && c.owners.Has(rec.Owner) }

// loadMoved loads a session by a key that it has or had.
func (c *core) loadMoved(ctx context.Context, key store.Key) (store.Record, error) {
	rec, err := c.backend.Load(ctx, key)
	var moved *store.MovedError
	if errors.As(err, &moved) {
		return c.followMove(ctx, moved)
	}
	return rec, err
}

// presents reports whether the browser sent the cookie of a session of owner's. It may have
// sent others too, so that none counts.
func (l *locked) presents(ctx context.Context, owner string) bool {
	for _, value := range cookie.Last(l.cookies, l.core.cookies.Session.Name, cookie.MaxPresented) {
		if l.core.shouldLoad(value) {
			rec, err := l.core.loadMoved(ctx, l.core.cookies.Key(value))
			if err == nil && (rec.Owner == owner || isActing(rec) && rec.Details.Actor.Owner == owner) {
				return true // whoever logs in ends their own session as well
			}
		}
	}
	return false
}

// followMove loads a moved session. It follows at most three moves and then asks for the
// session by its ID, so that no client can force a long chain. Of a session that has moved
// more often, nobody learns why it ended.
func (c *core) followMove(ctx context.Context, moved *store.MovedError) (store.Record, error) {
	owner, id := moved.Owner, moved.ID
	for range 3 {
		rec, err := c.backend.Load(ctx, moved.To)
		if !errors.As(err, &moved) {
			var ended *store.EndedError
			if err == nil || !errors.Is(err, store.ErrNotFound) || errors.As(err, &ended) {
				return rec, err
			}
			break
		}
	}
	return c.backend.LoadByID(ctx, owner, id)
}

// maxRenewalConflicts is how often a login tries to renew a session that others save.
const maxRenewalConflicts = 8

// retryMoved calls do with rec, and again with the session as it is by then, for as long
// as do finds that it has moved, or has changed at most maxRenewalConflicts times.
func (c *core) retryMoved(ctx context.Context, rec store.Record, do func(store.Record) error) error {
	conflicts := 0
	for attempts := 1; ctx.Err() == nil; attempts++ {
		err := do(rec)
		var moved *store.MovedError
		switch {
		case errors.As(err, &moved):
			turns.BackOff(ctx, attempts)
			rec, err = c.followMove(ctx, moved)
		case errors.Is(err, store.ErrConflict) && conflicts < maxRenewalConflicts:
			conflicts++
			turns.BackOff(ctx, attempts)
			rec, err = c.loadMoved(ctx, rec.Key)
		default:
			return err
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// newToken returns a new session cookie's value and the key of its session. Unless the
// backend is in this process, the key belongs to the owner's group. Keys are hashes, so
// it takes 64 attempts on average. For an attacker who knows the owner this costs 6 of 256
// bits.
func (c *core) newToken(owner string) (value string, key store.Key) {
	if c.local {
		return c.cookies.NewToken(nil)
	}
	group := store.GroupOf(owner)
	return c.cookies.NewToken(func(key store.Key) bool { return key.Group() == group })
}

func newPublicID() string { return rand.Text() }

// isPublicID reports whether newPublicID may have returned id. rand.Text may return more than
// its 26 characters one day.
func isPublicID(id string) bool {
	return len(id) >= 26 && len(id) <= 64 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}
