// Package sessionguard makes sessions end.
//
// It wraps any [http.Handler] with sliding expiry, a logout that really logs out, pages
// that the Back button does not bring back afterwards, and role gates. It builds on
// gorilla/sessions, whose API for values and flashes stays as it is, and on
// gorilla/securecookie.
//
// The server keeps one session per login, and the cookie is only its name. Ending a
// session means deleting a record, and there is nothing to replay:
//
//	guard, err := sessionguard.New(sessionguard.Config[*User]{FindUser: users.Find, Keys: keys})
//
//	mux.Handle("POST /logout", guard.Logout("/"))
//	mux.Handle("GET /home", guard.RequireRole("Engineer")(home))
//
//	http.ListenAndServe(addr, guard.Handler(mux))
//
// Every wrapper is a func(http.Handler) http.Handler, or a method value of that type, and
// works with any router and in any order.
package sessionguard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
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
	// ErrInactive is returned for a user who may not log in.
	ErrInactive = errors.New("sessionguard: the user is not active")
	// ErrTooManySessions is returned if the user has as many sessions as
	// Config.MaxSessions allows.
	ErrTooManySessions = errors.New("sessionguard: the user is logged in too often")
	// ErrNoSession is returned if there is no such live session.
	ErrNoSession = errors.New("sessionguard: no such session")
	// ErrUnavailable is returned if the backend or FindUser fails.
	ErrUnavailable = errors.New("sessionguard: sessions are unavailable")
	// ErrNotWrapped is returned for a request that did not come through
	// [Guard.Handler] or another wrapper of this guard, or came through it with other
	// cookies of the guard or another method (see Handler), or is served on a connection
	// that such a request's handler has hijacked. Login returns it also (wrapped) for a
	// ResponseWriter that goes around the guard's.
	ErrNotWrapped = errors.New("sessionguard: wrap the server in guard.Handler")
	// ErrHeadersSent is returned if the response has begun: it is too late to set a
	// cookie or to forbid caching. Use the session before writing.
	ErrHeadersSent = errors.New("sessionguard: the headers have been sent")
	// ErrValuesTooLarge is returned if the values of a session take more than
	// Config.MaxValuesBytes, or those of a visitor do not fit into a cookie.
	ErrValuesTooLarge = values.ErrTooLarge
	// ErrInCallback is returned if a function of the Config, a method of the user other
	// than HasRole, or an encoder of a stored value uses the guard for the request that
	// it is called for: it would wait for itself. [Guard.User] then returns false and
	// [Guard.EndReason] "", and a wrapper panics with this error. A goroutine that the
	// callback starts is not noticed. It waits until the callback returns, so a
	// callback must not wait for one that uses the guard. For another request, or with
	// another guard, it is returned only if another goroutine is using that request at
	// that moment.
	ErrInCallback = errors.New("sessionguard: a callback must not use the guard for the request that it is called for")
)

// A Guard holds one application's sessions together. It is made by [New], never changes,
// and is safe for concurrent use.
//
// It is a gorilla [sessions.Store] as well: Get, New and Save work on the session of a
// user who is logged in, or on a signed cookie for a visitor who is not.
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
	backend         store.Backend // see recovery.Backend
	cacher          store.Cacher  // the backend, if it is one
	local           bool          // backend is in this process: a call costs nothing
	idleTimeout     time.Duration
	absoluteTimeout time.Duration
	rememberFor     time.Duration
	rememberGrace   time.Duration
	maxSessions     func(User) store.Limit // nil: no limit
	maxValuesBytes  int
	cookies         cookie.Codec
	ownerPrefix     string // of this guard's sessions in the backend
	crossOrigin     *http.CrossOriginProtection

	basePath       string
	challenge      string // of a 401: WWW-Authenticate
	login          localpath.Page
	reauth         localpath.Page
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
	crossOrigins      throttle
	notLoggedIn       throttle
	disconnected      throttle
	errors            sync.Map    // *throttle by message: see logError
	scriptServed      atomic.Bool // Script was called
	logged            struct {    // mistakes, each of which is logged once
		script, unwrapped, callback, unverified, several, overHTTP, nullOrigin, reauthPath atomic.Bool
	}
}

// Handler wraps the whole server, once; everything else the guard does rests on it. It
// refuses unsafe cross-origin requests (OWASP ASVS 3.5.1), and lets handlers log in and
// out, read the user and use values.
//
// A middleware that overrides the method (_method, X-HTTP-Method-Override) belongs inside:
// only there the guard sees the method that arrived. Logout and the routes of Script go by
// that. If a safe request has become an unsafe one, gates refuse it as cross-origin, and
// every other method of the guard takes it for one that is not wrapped.
//
// It does not access the backend until a handler or a gate needs the session. Responses
// that never needed it keep their caching headers; all others are sent with those of
// [NoCache]. If the session was needed and the backend failed, the response is replaced
// with 503, since a page made without knowing who asks may be wrong.
func (g *core) Handler(next http.Handler) http.Handler {
	return g.wrap(func(_ *request, w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
	})
}

// User returns the user who is logged in. It returns false if nobody is, if the session
// has ended, if the backend or FindUser fails (the response is then replaced with 503),
// after the headers of a cacheable response were sent, without a wrapper of this guard,
// and in a callback ([ErrInCallback]). The result is the same for the rest of the
// request; long-running handlers do not see later changes.
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

// A Session is one of a user's logins, as listed by [Guard.Sessions].
type Session struct {
	// ID is for [Guard.EndSession]. It is not a secret: nobody can log in with it.
	ID      string
	Current bool // the session of the request that asks

	Created         time.Time
	Authenticated   time.Time // last login; the zero time if only a cookie has revived the session since
	LastSeen        time.Time // up to 1/30 of the idle timeout old with a remote backend
	Expires         time.Time // the absolute timeout
	RememberedUntil time.Time // until when [Remember] revives it after its idle timeout; the zero time if never

	// UserAgent names the client, such as "Firefox on Windows", and Address is where it
	// connected from (see Config.ClientAddr), both at the last login or revival. Clients
	// choose their User-Agent.
	UserAgent, Address string
}

// FreshUntil returns when [Guard.RequireFresh] with this age begins to require a new login.
func (s Session) FreshUntil(age time.Duration) time.Time {
	if s.Authenticated.IsZero() {
		return time.Time{}
	}
	return s.Authenticated.Add(age)
}

// Sessions lists a user's live sessions, the last active first. Users see where they are
// logged in and end what they do not recognise (OWASP ASVS 7.5.2 requires
// [Guard.RequireFresh] before that), and administrators see anyone's (7.4.5). If ctx
// derives from a request's context, that request's session is Current, unless the
// connection was hijacked. The error is [ErrUnavailable] (wrapped) if the backend fails, or
// [ErrInCallback].
func (g *core) Sessions(ctx context.Context, userID string) ([]Session, error) {
	current, err := g.currentRecord(ctx)
	if err != nil {
		return nil, err
	}
	now := store.TimeOf(time.Now())
	var sessions []Session
	for page, err := range g.ownedPages(ctx, userID) {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		for _, rec := range page {
			if rec.GoneAt() <= now {
				continue
			}
			isCurrent := current.Session != nil && rec.ID == current.ID
			if isCurrent {
				rec.LastSeen = max(rec.LastSeen, current.LastSeen)
			}
			s := sessionOf(rec, now)
			s.Current = isCurrent
			sessions = append(sessions, s)
		}
	}
	slices.SortFunc(sessions, func(a, b Session) int {
		order := b.LastSeen.Compare(a.LastSeen)
		if order == 0 && a.Current {
			return -1
		}
		if order == 0 && b.Current {
			return 1
		}
		return order
	})
	return sessions, nil
}

// currentRecord returns the live session of the request that ctx derives from, if any.
func (c *core) currentRecord(ctx context.Context) (store.Record, error) {
	req := c.requestIn(ctx)
	if req == nil {
		return store.Record{}, nil
	}
	l, err := req.tryLock()
	if err != nil {
		return store.Record{}, err
	}
	defer l.unlock()
	if l.committed && l.exposure == public || l.loadSession(ctx) != nil {
		return store.Record{}, nil
	}
	rec := l.rec
	if l.activity < passive {
		rec.LastSeen = l.now
	}
	return rec, nil
}

func sessionOf(rec store.Record, now store.Time) Session {
	details := rec.Detail()
	s := Session{
		ID:        rec.ID,
		Created:   details.Created.Time(),
		LastSeen:  rec.LastSeen.Time(),
		Expires:   rec.Expires.Time(),
		UserAgent: details.UserAgent,
		Address:   details.Address,
	}
	if !rec.Revived() {
		s.Authenticated = rec.Authenticated.Time()
	}
	if details.RememberUntil > now {
		s.RememberedUntil = details.RememberUntil.Time()
	}
	return s
}

// EndReason returns why the session named by r's cookie ended. A login page uses it to
// explain why the visitor is there. It is empty if there is no such cookie, if the session
// is alive, for a logout in the same browser, and for a token that a new login has
// replaced. Reasons are retained for at least an hour; for a session that ended longer ago
// or expired unnoticed, EndReason is [store.ReasonExpired]. [store.ReasonRemembered] means
// that the session has not ended, but waits for a person: see [Remember].
//
// The default refusals and [Guard.Status] carry the same as "reason". A client learns it
// only with the cookie of the session, but anyone can make up a query value: choose a text
// by it, never show it.
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

// userID returns the ID of a session's user.
func (c *core) userID(rec store.Record) string { return rec.Owner[len(c.ownerPrefix):] }

// owns reports whether rec is a session of this guard.
func (c *core) owns(rec store.Record) bool {
	return rec.Session != nil && len(rec.Owner) > len(c.ownerPrefix) && rec.Owner[:len(c.ownerPrefix)] == c.ownerPrefix
}

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
			if rec, err := l.core.loadMoved(ctx, l.core.cookies.Key(value)); err == nil && rec.Owner == owner {
				return true
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
