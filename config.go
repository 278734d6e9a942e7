package sessionguard

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/deadline"
	"github.com/sessionguard-go/sessionguard/store"
)

// Config configures a [Guard]. Only FindUser is required: the zero value of every other
// field is the secure default.
//
// The functions of a Config are called while the guard processes a request, and must not
// use the guard for that request: see [ErrInCallback].
type Config[U User] struct {
	// FindUser returns the user with this ID. If there is no such user, it returns
	// [ErrNoUser] (wrapped or not) or a nil user, and the session ends. Any other
	// error means that FindUser cannot know now: the response is a 503, and no session
	// ends. So translate sql.ErrNoRows and the like to ErrNoUser. The UserID of the user
	// must be this very ID, in the same spelling.
	//
	// FindUser is called at most once per request, before a gate lets anyone in. It is
	// called once more if somebody acts for the user, and by Login for a user that it has
	// not found yet. Its context is that of the caller that needs the user. Required.
	FindUser func(ctx context.Context, id string) (U, error)

	// Keys are secrets of at least 32 random bytes each, newest first. The keys of the
	// cookies are derived from them (HKDF, RFC 5869). The first signs and encrypts. The
	// others read older cookies. To rotate, put a new key in front, and keep the old one
	// for as long as a session can last. Default: a random key, and a warning, because
	// visitors' cookies become invalid when the process ends. Required with any Backend
	// but [store.Memory].
	Keys [][]byte

	// Backend keeps the sessions. Default: [store.NewMemory], for one process. Guards
	// with different cookie names may share a backend.
	Backend store.Backend

	// IdleTimeout ends a session this long after its user's last activity. Activity is a
	// request that used the session, the reading of its body, the end of the request, and
	// [Guard.Active]. A handler that does none of these for longer loses its session.
	// Default: 30 minutes. Minimum: a second. With a remote backend, activity is recorded
	// at most once per 1/30 of the timeout. A session may end that much early, but never
	// late.
	IdleTimeout time.Duration
	// AbsoluteTimeout ends a session this long after its login, however active the user
	// is. Default: 12 hours (NIST SP 800-63B: at most 24 h at AAL2, 12 h at AAL3), or the
	// IdleTimeout if that is longer.
	AbsoluteTimeout time.Duration

	// RememberFor is how long after its login a session with the option [Remember] may be
	// revived. Default: 30 minutes. A session then survives a restart of the browser, and
	// little more. For two weeks, set 14*24*time.Hour.
	RememberFor time.Duration
	// RememberGrace is how long after a revival the superseded token still counts as the
	// same user's. Default: 30 seconds.
	RememberGrace time.Duration
	// MaxSessions returns how many sessions a user may have at a time. A login beyond
	// that ends the session that was least recently active, also if the login is undone
	// later. With Refuse, the login is refused instead ([ErrTooManySessions]). Sessions
	// that [Remember] may still revive count. So with Refuse, a user who has lost such a
	// device cannot log in until RememberFor has passed, or an administrator ends that
	// session. Default: any number. A negative Max is an error of Login.
	//
	//	MaxSessions: func(*User) store.Limit { return store.Limit{Max: 3} },
	MaxSessions func(U) store.Limit

	// Factors returns the factors (see the option [Factors]) that a login of this user
	// needs, such as "pwd" and "otp" for a user who has set up an authenticator app. It
	// is called at every login and on every request. A login that lacks a factor is
	// pending: nobody is logged in, and only [Guard.Pending] returns the user. If a user
	// can log in in several ways, name only what all of these ways prove. A session that
	// its cookie has revived ([Remember]) does not need them again. Default: none.
	Factors func(U) []string
	// FactorTimeout is how long a pending login waits for the factors that it lacks. It
	// counts for each factor from when that was proven. Default: 5 minutes.
	FactorTimeout time.Duration
	// MayActAs reports whether actor may act as target now: see [Guard.ActAs]. It is
	// called when the acting session begins, and on every request of it. Default: nobody
	// may.
	MayActAs func(actor, target U) bool

	// MaxValuesBytes is how many bytes the values and flashes of one session may take, as
	// they are stored. [Guard.Get] says what happens beyond that, and how much a visitor
	// may have. A request decodes only the values that it uses, but a change stores all
	// of them. Default: 65536. Minimum: 4096, because a visitor's values move into the
	// session at login. Values that were stored under a higher limit stay, but cannot
	// grow.
	MaxValuesBytes int

	// BasePath is the prefix that a proxy removes from the paths of requests, such as
	// "/app". A path that arrives with the prefix is left as it is. All other paths are
	// as browsers see them, with the prefix: those in this Config and their defaults,
	// "next", the arguments of [Guard.Next] and [Guard.Logout], and redirects by
	// handlers. The cookies' path is "/" all the same, so applications on one host need
	// different CookieNames. Default: none.
	BasePath string
	// LoginPath is where a browser is sent if a page needs a login. The query value
	// "next" has the path of that page. Default: "/login".
	LoginPath string
	// ReauthPath is the page for re-authentication: see [Guard.RequireFresh]. It must ask
	// for the password although the user is logged in. If it sends such users on, they go
	// round in circles. Gates with a factor name it in the query value "factor": ask for
	// that one instead. Default: none, and the browser gets a page that says what is
	// missing.
	ReauthPath string
	// FactorPath is the page that asks for a missing factor, of a pending login or for
	// [Guard.RequireFactor]. It must be open to visitors, because nobody is logged in
	// while a login is pending. Required with Factors.
	FactorPath string
	// WelcomePath is where a browser goes if the user lacks the role. Default: "/".
	WelcomePath string
	// ScriptPath is where [Guard.Script] is served, as browsers see it. It ends in a
	// slash. Default: "/sessionguard/".
	ScriptPath string
	// Refusals replaces the responses to refused requests, one by one.
	Refusals Refusals

	// FlashSession names the gorilla session in which the guard leaves flashes for the
	// next page. Default: "flash".
	FlashSession string
	// LogoutFlash is the flash of [Guard.Logout]. A type of your own needs
	// [encoding/gob.Register] first. Default: "You have been logged out." The empty
	// string leaves none.
	LogoutFlash any
	// ForbiddenFlash is the flash for a user who is sent to WelcomePath because the page
	// is not for them. Default: "You may not see that page." The empty string leaves
	// none.
	ForbiddenFlash any

	// CrossOrigin decides which unsafe cross-origin requests are allowed. Default: none,
	// as with a zero [http.CrossOriginProtection]. That includes requests from a
	// subdomain with a CookieDomain. A WebSocket upgrade is checked as if it were a POST.
	// So is what pages of other origins load from behind a gate: see
	// [Guard.RequireLogin]. Chromium (156) sends no Sec-Fetch-Site with an upgrade. So
	// behind a proxy that changes Host, trust the site's own origin with
	// AddTrustedOrigin, or let the proxy keep Host.
	CrossOrigin *http.CrossOriginProtection

	// CookieName is the name of the session cookie. Default: "__Host-Http-session". Browsers
	// that know the prefix let neither another host nor a script set such a cookie: Chromium
	// from 140, Firefox from 143. To older ones it is "__Host-", which leaves out the script.
	// With a CookieDomain the default is "__Secure-session", and with InsecureHTTP
	// "session". Guards on one host need different names, such as "__Host-Http-staff". A
	// visitor's cookie has the suffix "-anonymous". The cookies of [Guard.PutSecret] have
	// the suffix "-secret-" and a hash.
	CookieName string
	// CookieDomain shares the cookies with subdomains, which can then set them too: see
	// "What it does not protect against" in docs/security.md. Default: none, and the
	// cookies are the host's alone (OWASP ASVS 3.3.3). If you add a domain, the cookies
	// that browsers have of the host alone are deleted as they are replaced. If you
	// change or remove it, choose another CookieName, because cookies with the old domain
	// cannot be deleted.
	CookieDomain string
	// SameSite is the cookies' attribute of that name. Default: Lax.
	SameSite http.SameSite
	// Partitioned is for pages in a frame of another site. Browsers keep the cookies
	// apart for each site at the top. They send them there even if they block third-party
	// cookies (CHIPS: Chrome 114, Firefox 141, Safari 26.2). New returns an error without
	// https and SameSite None. To change Partitioned, choose another CookieName. Default:
	// false.
	Partitioned bool
	// InsecureHTTP omits Secure and the cookie prefix, for development over plain http.
	// Anyone on the network can then steal the session.
	InsecureHTTP bool

	// DeviceProof binds sessions to the device that logged in, if its browser can, and
	// says how long a proof of the device counts: say 10*time.Minute. A copied session
	// cookie is of no use without a proof, a remembered one neither. A proof that was
	// copied too counts for at most a tenth, or a minute, longer. The protocol is Device
	// Bound Session Credentials, a draft of the W3C (Chrome on Windows, from 145). Other
	// browsers are logged in without a binding. [Guard.RequireBound] is a gate for pages
	// that need one. See docs/device.md.
	//
	// It needs https and [Guard.Script]. New returns an error for less than a second, and
	// with InsecureHTTP, a CookieDomain or Partitioned. It warns below 5 minutes, because
	// Chrome signs at most six times in nine minutes.
	//
	// Update all nodes before you set it. You may change it at any time. If a bound
	// cookie does not count any more, the response deletes it and redirects to the same
	// address (307). The browser proves its device before it follows. If DeviceProof is 0
	// again, a binding ends when its browser would next prove the device. Default: 0, and
	// no session is bound.
	DeviceProof time.Duration

	// ClientAddr returns the client's address, for [Guard.Sessions] and events. Default:
	// the address of the connection. Behind a proxy that is the proxy's, so use
	// [ClientAddrFrom] there. Values longer than 100 bytes or with control characters are
	// ignored.
	ClientAddr func(*http.Request) string
	// OnEvent receives the audit trail, in place of Logger. It is called while a request
	// is processed, so it must be quick, and safe for concurrent use. A panic in it is
	// logged and interrupts nothing. Default: one log record for each event, as by
	// [Event.Log].
	OnEvent func(context.Context, Event)
	// OnBackendCall receives how long each call of the Backend took, for metrics. method
	// is one of [store.Backend], [store.Watcher] or [store.Lister]. err is nil unless the
	// backend failed or its caller gave up: "no such session" is a result, and no
	// failure. The function must be quick, safe for concurrent use, and must not use the
	// guard. A panic in it is logged. Sessions out of the cache of a [store.Cacher] are
	// no calls. Default: nil, which costs nothing.
	OnBackendCall func(method string, took time.Duration, err error)
	// Logger receives errors, warnings of mistakes, and the events. Default:
	// [slog.Default].
	Logger *slog.Logger
}

const (
	defaultIdleTimeout     = 30 * time.Minute
	defaultAbsoluteTimeout = 12 * time.Hour
	defaultRememberFor     = 30 * time.Minute
	defaultRememberGrace   = 30 * time.Second
	defaultFactorTimeout   = 5 * time.Minute
	defaultMaxValuesBytes  = 64 << 10
	minMaxValuesBytes      = 4096 // more than a visitor's cookie holds

	// detachedTimeout bounds work that completes even if the client disconnects: a login,
	// a logout, the saving of values.
	detachedTimeout = 5 * time.Second
)

// detached returns a context, bounded by detachedTimeout, for work that must complete
// even if the client disconnects.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return deadline.After(context.WithoutCancel(ctx), detachedTimeout)
}
