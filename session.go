// Package sessionguard makes sessions end.
//
// It wraps any [http.Handler] with sliding expiry, a logout that really logs
// out, pages that the Back button cannot bring back, and role gates. It stands
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
	"reflect"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

// A User is the application's own user type. It is found again on every
// request, so a role that is taken away is gone with the next click
// (OWASP ASVS 8.3.2).
//
// A user that also has a method SessionStamp() string ends, by returning
// another stamp, every session issued under the old one. A counter that rises
// with each password change makes a good stamp.
type User interface {
	UserID() string
	// IsActive says whether the user may be logged in at all.
	IsActive() bool
	// HasRole answers [Guard.RequireRole]. Role hierarchies belong here.
	HasRole(role string) bool
}

// Config says what a [Guard] needs to know. Only FindUser is required: the zero
// value of every other field is the secure default.
type Config[U User] struct {
	// FindUser returns the user with this ID, or [ErrNoUser] (wrapped counts)
	// or nil if there is none, which ends the session. Any other error means
	// that nobody can tell right now: it is answered with 503 and ends
	// nothing, so translate sql.ErrNoRows and its like. FindUser is asked at
	// most once per request, before a gate lets anyone in. Required.
	FindUser func(ctx context.Context, id string) (U, error)

	// Keys are gorilla/securecookie key pairs, newest first: an authentication
	// key of at least 32 bytes, then an encryption key of 16, 24 or 32 bytes
	// or nil; then the pair before that, so that cookies signed with it are
	// still read. Default: random keys, with a warning, since the visitors'
	// cookies then die with the process. Required with a remote Backend.
	Keys [][]byte

	// Backend keeps the sessions. Default: [store.NewMemory], one process.
	// A backend may be shared by guards with different cookie names.
	Backend store.Backend

	// IdleTimeout ends a session this long after its last request. Default:
	// 30 minutes. At least a second. A remote backend is told of activity at
	// most once per 1/30 of it, so expiry may come that much early, never late.
	IdleTimeout time.Duration
	// AbsoluteTimeout ends a session this long after its login, however active
	// it is. Default: 12 hours (NIST SP 800-63B: at most 24 h at AAL2, 12 h at
	// AAL3), or the IdleTimeout if that is longer than 12 hours.
	AbsoluteTimeout time.Duration

	// LoginPath is where a page that needs a login sends a browser, with the
	// page's own address as the query value "next". Default: "/login".
	LoginPath string
	// ReauthPath is the same for [Guard.RequireFresh]. Default: LoginPath.
	ReauthPath string
	// WelcomePath is where a browser goes that lacks the role. Default: "/".
	WelcomePath string
	// Refusals replaces what a refused request gets, one answer at a time.
	Refusals Refusals

	// FlashSession names the gorilla session that [Guard.Logout] puts its
	// flash in. Default: "flash".
	FlashSession string
	// LogoutFlash is that flash; a type of the application's own needs
	// [encoding/gob.Register] first. Default: "You have been logged out."
	LogoutFlash any

	// CrossOrigin decides which unsafe cross-origin requests are let through.
	// Default: none, as [http.CrossOriginProtection] has it. A WebSocket
	// upgrade is checked as if it were a POST.
	CrossOrigin *http.CrossOriginProtection

	// CookieName defaults to "__Host-session"; with a CookieDomain to
	// "__Secure-session", and with InsecureHTTP to "session". Visitors who are
	// not logged in may get a second cookie, the name followed by "-anonymous".
	CookieName string
	// CookieDomain shares the cookies with subdomains. Default: none, the
	// host alone, as the prefix "__Host-" demands (OWASP ASVS 3.3.3).
	CookieDomain string
	// SameSite defaults to Lax.
	SameSite http.SameSite
	// InsecureHTTP leaves out Secure and the cookie prefix, for development
	// over plain http. Anyone on the network can then take the session.
	InsecureHTTP bool

	// Logger gets what goes wrong. Default: [slog.Default].
	Logger *slog.Logger
}

var (
	// ErrNoUser is what Config.FindUser returns if there is no such user.
	ErrNoUser = errors.New("sessionguard: no such user")
	// ErrInactive says that the user may not log in.
	ErrInactive = errors.New("sessionguard: the user is not active")
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

const (
	defaultIdleTimeout     = 30 * time.Minute
	defaultAbsoluteTimeout = 12 * time.Hour

	// settleTimeout bounds what is finished even if the client hangs up: a
	// login, a logout and the saving of values.
	settleTimeout = 5 * time.Second
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
	*core
}

// core is the part of a Guard that does not care about the type of user.
type core struct {
	findUser        func(ctx context.Context, id string) (User, error)
	backend         store.Backend
	local           bool // backend is in this process: asking it costs nothing
	idleTimeout     time.Duration
	absoluteTimeout time.Duration
	login           destination
	reauth          destination
	welcome         destination
	refusals        Refusals
	flashSession    string
	logoutFlash     any
	crossOrigin     *http.CrossOriginProtection
	cookies         cookies
	ownerPrefix     string
	log             *slog.Logger
}

// New makes a guard, or says what is wrong with the configuration.
func New[U User](config Config[U]) (*Guard[U], error) {
	c := &core{
		backend:         config.Backend,
		idleTimeout:     config.IdleTimeout,
		absoluteTimeout: config.AbsoluteTimeout,
		refusals:        config.Refusals,
		flashSession:    config.FlashSession,
		logoutFlash:     config.LogoutFlash,
		crossOrigin:     config.CrossOrigin,
		log:             config.Logger,
	}
	if config.FindUser == nil {
		return nil, errors.New("sessionguard: Config.FindUser is missing")
	}
	c.findUser = func(ctx context.Context, id string) (User, error) {
		user, err := config.FindUser(ctx, id)
		if err != nil {
			return nil, err
		}
		if isNil(user) {
			return nil, ErrNoUser
		}
		return user, nil
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	if c.crossOrigin == nil {
		c.crossOrigin = http.NewCrossOriginProtection()
	}
	if c.flashSession == "" {
		c.flashSession = "flash"
	}
	if c.logoutFlash == nil {
		c.logoutFlash = "You have been logged out."
	}

	if _, err := values.Encode(map[any]any{"flash": c.logoutFlash}, nil); err != nil {
		return nil, fmt.Errorf("sessionguard: Config.LogoutFlash: %w", err)
	}

	if c.idleTimeout == 0 {
		c.idleTimeout = defaultIdleTimeout
	}
	if c.absoluteTimeout == 0 {
		c.absoluteTimeout = max(defaultAbsoluteTimeout, c.idleTimeout)
	}
	if err := checkTimeouts(c.idleTimeout, c.absoluteTimeout); err != nil {
		return nil, fmt.Errorf("sessionguard: Config: %w", err)
	}

	for _, page := range []struct {
		field, path, fallback string
		to                    *destination
	}{
		{"LoginPath", config.LoginPath, "/login", &c.login},
		{"ReauthPath", config.ReauthPath, cmp.Or(config.LoginPath, "/login"), &c.reauth},
		{"WelcomePath", config.WelcomePath, "/", &c.welcome},
	} {
		var ok bool
		if *page.to, ok = parseDestination(cmp.Or(page.path, page.fallback)); !ok {
			return nil, fmt.Errorf("sessionguard: Config.%s: %q is not a path on this server", page.field, page.path)
		}
	}

	if c.backend == nil {
		c.backend = store.NewMemory()
	}
	_, c.local = c.backend.(*store.Memory)
	keys := config.Keys
	if len(keys) == 0 {
		if !c.local {
			return nil, errors.New("sessionguard: Config.Keys is missing: other nodes must read the same cookies")
		}
		c.log.Warn("sessionguard: Config.Keys is missing: made random keys, good until this process ends")
		keys = [][]byte{securecookie.GenerateRandomKey(64), securecookie.GenerateRandomKey(32)}
	}
	var err error
	if c.cookies, err = newCookies(keys, c.idleTimeout, http.Cookie{
		Name:     config.CookieName,
		Domain:   config.CookieDomain,
		SameSite: config.SameSite,
		Secure:   !config.InsecureHTTP,
	}); err != nil {
		return nil, err
	}
	c.ownerPrefix = c.cookies.session.Name + "="
	return &Guard[U]{c}, nil
}

// Handler wraps the whole server, once: everything else the guard does rests
// on it. It refuses unsafe cross-origin requests (OWASP ASVS 3.5.1), and lets
// handlers log in and out, look at the user and use values.
//
// It asks the backend nothing until a handler or a gate looks. An answer given
// without a look keeps its own caching headers; any other is never cached, as
// with [NoCache]. If a look failed because the backend is down, the answer is
// replaced with 503, since a page made without knowing who asks may be wrong.
func (c *core) Handler(next http.Handler) http.Handler {
	return c.wrap(func(_ *request, w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
	})
}

// User returns who is logged in. The answer is false if nobody is, if the
// session has ended, if the backend cannot be asked (the response is then
// replaced with 503), and after the headers of a cacheable answer were sent.
func (g *Guard[U]) User(r *http.Request) (U, bool) {
	if st := g.of(r); st != nil {
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.look() == nil {
			user, ok := st.user.(U)
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
// shorter than the guard's. Otherwise the values of the
// anonymous visitor move into the session; another user's never do.
//
// Call it before the answer begins: later it returns [ErrHeadersSent]. It also
// returns [ErrInactive], [ErrNoUser] for a nil user or an empty ID,
// [ErrNotWrapped], and [ErrUnavailable] (wrapped) if the backend cannot be
// asked; nobody is then logged in. If its answer cannot be sent, or the handler
// panics (and no recoverer inside the guard hides that), the login is undone.
func (g *Guard[U]) Login(w http.ResponseWriter, r *http.Request, user U, options ...LoginOption) error {
	if isNil(user) {
		return ErrNoUser
	}
	return g.logIn(r, user, options)
}

func (c *core) logIn(r *http.Request, user User, options []LoginOption) error {
	var limits loginLimits
	for _, option := range options {
		option(&limits)
	}
	if err := checkTimeouts(cmp.Or(limits.idle, c.idleTimeout), cmp.Or(limits.absolute, c.absoluteTimeout)); err != nil {
		return fmt.Errorf("sessionguard: Login: %w", err)
	}
	if user.UserID() == "" {
		return ErrNoUser
	}
	if !user.IsActive() {
		return ErrInactive
	}
	st := c.of(r)
	if st == nil {
		return ErrNotWrapped
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.logIn(user, limits)
}

// logIn replaces whatever session the browser presented by a new one.
func (st *request) logIn(user User, limits loginLimits) error {
	if st.sent {
		return ErrHeadersSent
	}
	if err := st.identify(); err != nil {
		return err
	}
	ctx, cancel := st.settle()
	defer cancel()

	c, now := st.core, st.now
	value, key, err := c.cookies.mint()
	if err != nil {
		return err
	}
	next := store.Record{LastSeen: now, Session: &store.Session{
		Key:           key,
		ID:            newPublicID(),
		Owner:         c.ownerPrefix + user.UserID(),
		Stamp:         stampOf(user),
		Created:       now,
		Authenticated: now,
	}}
	idle, absolute := c.idleTimeout, c.absoluteTimeout

	same := st.rec.Session != nil && st.rec.Owner == next.Owner && (st.user != nil || st.rec.Stamp == next.Stamp)
	if same {
		idle = min(idle, st.rec.IdleTimeout)
		absolute = min(absolute, st.rec.Expires.Sub(st.rec.Authenticated))
	}
	next.IdleTimeout = cmp.Or(limits.idle, idle)
	next.Expires = now.Add(cmp.Or(limits.absolute, absolute))
	if same {
		next.ID, next.Created = st.rec.ID, st.rec.Created
		same, err = st.replace(ctx, next)
	} else if st.rec.Session == nil {
		next.Values = st.anonymousValues()
	}
	if err == nil && !same {
		if err = st.purge(ctx, store.Replaced); err == nil {
			_, err = c.backend.Create(ctx, next, store.Limit{})
		}
	}
	if err != nil {
		return st.fail(err)
	}

	p := st.pending()
	if st.rec.Session != nil && !same {
		p.emptyViews() // what is open was another user's
	}
	st.rec, st.user, st.known = next, user, true
	p.session, p.sessionValue, p.loggedIn = setCookie, value, true
	for range all(st.http.Header, c.cookies.anonymous.Name) {
		p.anonymous = deleteCookie
	}
	p.bag = nil
	return nil
}

// replace re-authenticates: it moves the session, as it is now, to next's key.
// It reports false if the session ended meanwhile.
func (st *request) replace(ctx context.Context, next store.Record) (bool, error) {
	old := st.rec
	for ctx.Err() == nil {
		next.Values, next.Version = old.Values, old.Version
		err := st.core.backend.Replace(ctx, old.Key, old.Version, next)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, store.ErrConflict):
			if old, err = st.core.backend.Load(ctx, old.Key); err == nil {
				continue
			}
		}
		if errors.Is(err, store.ErrNotFound) {
			next.ID, next.Created = newPublicID(), st.now
			next.Values, next.Version = nil, 0
			return false, nil
		}
		return false, err
	}
	return false, ctx.Err()
}

func stampOf(user User) string {
	if stamped, ok := user.(interface{ SessionStamp() string }); ok {
		return stamped.SessionStamp()
	}
	return ""
}

func isNil(user User) bool {
	v := reflect.ValueOf(user)
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan:
		return v.IsNil()
	}
	return false
}
