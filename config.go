package sessionguard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard/internal/cookie"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/internal/values"
	"github.com/sessionguard-go/sessionguard/store"
)

// A User is the application's own user type. It is found again on every
// request, so a role that is taken away is gone with the next click
// (OWASP ASVS 8.3.2).
//
// A user that also has a method SessionStamp() string ends, by returning
// another stamp, every session issued under the old one: that of whoever caused
// it too, unless [Guard.Login] follows in the same request. A counter that rises
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
	// most once per request, before a gate lets anyone in, with the context of
	// whoever looks, and must not use the guard with it. Required.
	FindUser func(ctx context.Context, id string) (U, error)

	// Keys are gorilla/securecookie key pairs, newest first: an authentication
	// key of at least 32 bytes, then an encryption key of 16, 24 or 32 bytes
	// or nil; then the pair before that, so that cookies signed with it are
	// still read. Default: random keys, with a warning, since the visitors'
	// cookies then die with the process. Required with any Backend but [store.Memory].
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

	// RememberFor is how long after its login a session that asked for
	// [Remember] may be revived. Default: 30 minutes, which is little more than
	// surviving a restart of the browser: say 14*24*time.Hour for two weeks.
	RememberFor time.Duration
	// RememberGrace is how long after a revival the token from before is still
	// taken for the same person's. Default: 30 seconds.
	RememberGrace time.Duration
	// MaxSessions says how many sessions a user may have at the same time, and
	// whether a login beyond that is refused ([ErrTooManySessions]) or ends the
	// session least recently active, also if the login is undone afterwards. What
	// [Remember] may still revive counts: with Refuse, someone who has lost such a
	// device stays out until RememberFor has passed or an administrator ends it.
	// It must not use the guard. Default: any number.
	//
	//	MaxSessions: func(*User) store.Limit { return store.Limit{Max: 3} },
	MaxSessions func(U) store.Limit

	// LoginPath is where a page that needs a login sends a browser, with the
	// page's own address as the query value "next". Default: "/login".
	LoginPath string
	// ReauthPath is the same for [Guard.RequireFresh]. Default: LoginPath.
	ReauthPath string
	// WelcomePath is where a browser goes that lacks the role. Default: "/".
	WelcomePath string
	// ScriptPath is where [Guard.Script] is served, as browsers see it; it ends
	// in a slash. Default: "/sessionguard/".
	ScriptPath string
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

	// Address is the address of the client, for [Guard.Sessions] and events.
	// Default: that of the connection, which behind a proxy is the proxy's.
	// There, read the header that your proxy sets, and no other: anyone can
	// send an X-Forwarded-For. What is longer than 100 bytes or has control
	// characters is taken for none. It must not use the guard.
	ClientAddr func(*http.Request) string
	// OnEvent gets what an audit trail wants, in place of Logger. It is called
	// while the request is being worked on: it must be quick, safe for concurrent
	// use, and not use the guard. A panic in it is logged and ends nothing.
	// Default: one record each, as [Event.Log] writes.
	OnEvent func(context.Context, Event)
	// Logger gets what goes wrong, and the events. Default: [slog.Default].
	Logger *slog.Logger
}

const (
	defaultIdleTimeout     = 30 * time.Minute
	defaultAbsoluteTimeout = 12 * time.Hour

	// settleTimeout bounds what is finished even if the client hangs up: a
	// login, a logout and the saving of values.
	settleTimeout = 5 * time.Second
)

// New makes a guard, or says what is wrong with the configuration.
func New[U User](config Config[U]) (*Guard[U], error) {
	guard := &Guard[U]{core{
		backend:         config.Backend,
		idleTimeout:     config.IdleTimeout,
		absoluteTimeout: config.AbsoluteTimeout,
		refusals:        config.Refusals,
		flashSession:    config.FlashSession,
		logoutFlash:     config.LogoutFlash,
		crossOrigin:     config.CrossOrigin,
		rememberFor:     cmp.Or(config.RememberFor, defaultRememberFor),
		rememberGrace:   config.RememberGrace,
		address:         config.ClientAddr,
		onEvent:         config.OnEvent,
		log:             config.Logger,
	}}
	c := &guard.core
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
	if config.MaxSessions != nil {
		c.maxSessions = func(user User) store.Limit { return config.MaxSessions(user.(U)) }
	}
	if c.address == nil {
		c.address = remoteHost
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
	if c.rememberGrace == 0 {
		c.rememberGrace = min(defaultRememberGrace, c.idleTimeout)
	}
	if c.rememberFor < time.Second {
		return nil, fmt.Errorf("sessionguard: Config: a RememberFor of %v is shorter than a second", c.rememberFor)
	}
	if c.rememberGrace < 0 || c.rememberGrace > c.idleTimeout {
		return nil, fmt.Errorf("sessionguard: Config: a RememberGrace of %v is negative or longer than the IdleTimeout of %v", c.rememberGrace, c.idleTimeout)
	}

	for _, page := range []struct {
		field, path, fallback string
		to                    *localpath.Page
	}{
		{"LoginPath", config.LoginPath, "/login", &c.login},
		{"ReauthPath", config.ReauthPath, cmp.Or(config.LoginPath, "/login"), &c.reauth},
		{"WelcomePath", config.WelcomePath, "/", &c.welcome},
	} {
		var ok bool
		if *page.to, ok = localpath.Parse(cmp.Or(page.path, page.fallback)); !ok {
			return nil, fmt.Errorf("sessionguard: Config.%s: %q is not a path on this server", page.field, page.path)
		}
	}

	script, ok := localpath.Parse(cmp.Or(config.ScriptPath, "/sessionguard/"))
	if !ok || script.Target != script.Path || !strings.HasSuffix(script.Path, "/") {
		return nil, fmt.Errorf("sessionguard: Config.ScriptPath: %q is not a path on this server that ends in a slash", config.ScriptPath)
	}
	c.scriptPath = script.Target

	if c.backend == nil {
		c.backend = store.NewMemory()
	}
	_, c.local = c.backend.(*store.Memory)
	c.cacher, _ = c.backend.(store.Cacher)
	keys := config.Keys
	if len(keys) == 0 {
		if !c.local {
			return nil, errors.New("sessionguard: Config.Keys is missing: with this Backend, other nodes, and this one after a restart, must read the same cookies (securecookie.GenerateRandomKey(32) makes a key to keep)")
		}
		c.log.Warn("sessionguard: Config.Keys is missing: made random keys, good until this process ends; set Keys in production")
		keys = [][]byte{securecookie.GenerateRandomKey(64), securecookie.GenerateRandomKey(32)}
	}
	var err error
	if c.cookies, err = cookie.New(keys, c.idleTimeout, http.Cookie{
		Name:     config.CookieName,
		Domain:   config.CookieDomain,
		SameSite: config.SameSite,
		Secure:   !config.InsecureHTTP,
	}); err != nil {
		return nil, err
	}
	c.ownerPrefix = c.cookies.Session.Name + "="
	c.streams = c.newStreams()
	return guard, nil
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
