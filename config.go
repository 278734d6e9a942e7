package sessionguard

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// Config configures a [Guard]. Only FindUser is required: the zero value of every other
// field is the secure default.
//
// The functions of a Config are called while the guard processes a request, and must not
// use the guard for that request: see [ErrInCallback].
type Config[U User] struct {
	// FindUser returns the user with this ID. If there is none it returns [ErrNoUser]
	// (wrapped counts) or a nil user, which ends the session. Any other error means that
	// this cannot be decided now: the response is a 503 and nothing ends, so translate
	// sql.ErrNoRows and the like. Its UserID must be this very ID, in the same spelling.
	// FindUser is called at most once per request, before a gate lets anyone in, once more
	// if somebody acts for the user, and by Login for a user it has not found yet, with the
	// context of the caller that needs the user. Required.
	FindUser func(ctx context.Context, id string) (U, error)

	// Keys are secrets of at least 32 random bytes each, newest first. The cookies' own keys
	// are derived from them (HKDF, RFC 5869). The first signs and encrypts, and the others
	// read cookies made before it came: to rotate, put a new one in front, and keep the
	// old one for as long as a session can last. Default: a random one and a warning, since
	// visitors' cookies then become invalid when the process ends. Required with any Backend
	// but [store.Memory].
	Keys [][]byte

	// Backend keeps the sessions. Default: [store.NewMemory], for one process. Guards
	// with different cookie names may share a backend.
	Backend store.Backend

	// IdleTimeout ends a session this long after its user's last activity: a request that used
	// the session, the reading of its body, its end, or [Guard.Active]. A handler that does
	// none of these for longer loses its session meanwhile. Default: 30 minutes. Minimum: a
	// second. With a remote backend, activity is recorded at most once per 1/30 of it, so a
	// session may end that much early, never late.
	IdleTimeout time.Duration
	// AbsoluteTimeout ends a session this long after its login, however active it is.
	// Default: 12 hours (NIST SP 800-63B: at most 24 h at AAL2, 12 h at AAL3), or the
	// IdleTimeout if that is longer.
	AbsoluteTimeout time.Duration

	// RememberFor is how long after its login a session that asked for [Remember] may be
	// revived. Default: 30 minutes, which does little more than survive a restart of the
	// browser: say 14*24*time.Hour for two weeks.
	RememberFor time.Duration
	// RememberGrace is how long after a revival the superseded token still counts as the
	// same person's. Default: 30 seconds.
	RememberGrace time.Duration
	// MaxSessions returns how many sessions a user may have at a time, and whether a login
	// beyond that is refused ([ErrTooManySessions]) or ends the session that was least
	// recently active, also if the login is undone later. Sessions that [Remember] may
	// still revive count: with Refuse, a user who has lost such a device cannot log in
	// until RememberFor has passed or an administrator ends the session. Default: any
	// number. A negative Max is an error of Login.
	//
	//	MaxSessions: func(*User) store.Limit { return store.Limit{Max: 3} },
	MaxSessions func(U) store.Limit

	// Factors returns which factors (see the option [Factors]) this user's login needs to be
	// whole, such as "pwd" and "otp" for a user who has set up an authenticator app. It is
	// asked at every login and on every request. Whoever lacks one is nobody, as far as
	// gates, [Guard.User] and all else are concerned but [Guard.Pending]. If users can log in
	// in several ways, name only what each of them needs. Default: none.
	Factors func(U) []string
	// FactorTimeout is how long a login waits for the factors that it lacks, counted for each
	// one from when it was proven. Default: 5 minutes.
	FactorTimeout time.Duration
	// MayActAs reports whether actor may act as target now: see [Guard.ActAs]. It is asked
	// when that begins and on every request of it. Default: nobody may.
	MayActAs func(actor, target U) bool

	// MaxValuesBytes is how many bytes the values and flashes of one session may take, as
	// they are stored: see [Guard.Get] for what happens beyond that, and for visitors. Every
	// request that uses values decodes what it uses, and every change is stored with all
	// the others. Default: 65536. Minimum: 4096, because a visitor's values move into the
	// session at login. Values that were stored under a higher limit stay, but do not grow.
	MaxValuesBytes int

	// BasePath is the prefix that a proxy removes from the paths of requests, such as
	// "/app". A path that arrives with it is left as it is. All other paths here, "next",
	// the arguments of [Guard.Next] and [Guard.Logout], and what a handler redirects to, are
	// paths as browsers see them, with the prefix; so are the defaults. The cookies' path
	// is "/" all the same: applications on one host need different CookieNames. Default: none.
	BasePath string
	// LoginPath is where a page that needs a login sends a browser, with its own path as
	// the query value "next". Default: "/login".
	LoginPath string
	// ReauthPath is the same for [Guard.RequireFresh]. It must ask for the password although
	// the user is logged in: a page that sends such users on would send them round in
	// circles. Gates with a factor say in the query value "factor" which to ask for instead.
	// Default: none, and the browser gets a page that says what is missing.
	ReauthPath string
	// FactorPath is the same for a login that lacks a factor, and for [Guard.RequireFactor]:
	// the page that asks for it. It must be open to visitors, since nobody is logged in
	// there. Required with Factors.
	FactorPath string
	// WelcomePath is where a browser goes if the user lacks the role. Default: "/".
	WelcomePath string
	// ScriptPath is where [Guard.Script] is served, as browsers see it. It ends in a
	// slash. Default: "/sessionguard/".
	ScriptPath string
	// Refusals replaces the responses to refused requests, one by one.
	Refusals Refusals

	// FlashSession names the gorilla session in which the guard leaves its flashes for the
	// next page. Default: "flash".
	FlashSession string
	// LogoutFlash is that of [Guard.Logout]. An own type needs [encoding/gob.Register]
	// first. Default: "You have been logged out." The empty string leaves none.
	LogoutFlash any
	// ForbiddenFlash is that for a user who is sent to WelcomePath because the page is not
	// for them. Default: "You may not see that page." The empty string leaves none.
	ForbiddenFlash any

	// CrossOrigin decides which unsafe cross-origin requests are allowed. Default: none,
	// as with a zero [http.CrossOriginProtection]: not even those from a subdomain with a
	// CookieDomain. A WebSocket upgrade is checked as if it were a POST, and so is what pages
	// of other origins load from behind a gate: see [Guard.RequireLogin]. Chromium (156) sends
	// no Sec-Fetch-Site with an upgrade: behind a proxy that changes Host, trust the site's
	// own origin with AddTrustedOrigin, or let the proxy keep Host.
	CrossOrigin *http.CrossOriginProtection

	// CookieName is the name of the session cookie. Default: "__Host-Http-session", which no
	// other host can set, nor script in Chromium (from 140) and Firefox (from 143); with a
	// CookieDomain "__Secure-session", and with InsecureHTTP "session". Guards on one host need
	// different names, such as "__Host-Http-staff". A visitor's cookie has the suffix
	// "-anonymous", and those of [Guard.PutSecret] have the suffix "-secret-" and a hash.
	CookieName string
	// CookieDomain shares the cookies with subdomains, which can then set them too: see
	// "What it does not protect against" in the README. Default: none, so that they are the
	// host's alone (OWASP ASVS 3.3.3). If it is added, the cookies that browsers have of the
	// host alone are deleted as they are replaced. If it is changed or removed, choose another
	// CookieName, because those with the old domain cannot be deleted.
	CookieDomain string
	// SameSite is the cookies' attribute of that name. Default: Lax.
	SameSite http.SameSite
	// Partitioned is for pages in a frame of another site. Browsers keep the cookies apart for
	// each site at the top, and send them there also where they block third-party cookies
	// (CHIPS: Chrome 114, Firefox 141, Safari 26.2). It requires https and SameSite None, and
	// otherwise New returns an error. To change it, choose another CookieName. Default: false.
	Partitioned bool
	// InsecureHTTP omits Secure and the cookie prefix, for development over plain http.
	// Anyone on the network can then steal the session.
	InsecureHTTP bool

	// DeviceProof binds sessions to the device that logged in, where its browser can (Device
	// Bound Session Credentials, a draft of the W3C: Chrome on Windows, from 145), and says for how
	// long a proof of the device counts: 10*time.Minute. A copied cookie, a remembered one too,
	// is of no use then, after at most a tenth, or a minute, longer. Other browsers are logged in
	// as without it; [Guard.RequireBound] is a gate for what is worth more. It needs https and
	// [Guard.Script], and New returns an error for less than a second, and with InsecureHTTP,
	// a CookieDomain or Partitioned. Below 5 minutes it warns: Chrome signs at most six times in nine minutes.
	// Update all nodes before you set it. It may be changed at any time: where a bound cookie counts
	// no more, the response deletes it and asks for the same request again (307), before which the
	// browser proves its device; set back to 0, a binding ends when its browser would next prove it.
	// Default: 0, no session is bound.
	DeviceProof time.Duration

	// ClientAddr returns the client's address, for [Guard.Sessions] and events. Default:
	// that of the connection, which behind a proxy is the proxy's: use [ClientAddrFrom] there.
	// Values longer than 100 bytes or containing control characters are ignored.
	ClientAddr func(*http.Request) string
	// OnEvent gets the audit trail, in place of Logger. It is called while a request is
	// processed: it must be quick and safe for concurrent use. A panic in it is logged and
	// interrupts nothing. Default: one log record for each event, as by [Event.Log].
	OnEvent func(context.Context, Event)
	// OnBackendCall is told how long each call of the Backend took, for metrics: method is that
	// of [store.Backend], [store.Watcher] or [store.Lister]. err is nil unless the backend
	// failed or its caller gave up; that there is no such session is a result. It must be quick
	// and safe for concurrent use, must not use the guard, and a panic in it is logged. Sessions
	// out of a [store.Cacher] are no calls. Default: nobody is told, which costs nothing.
	OnBackendCall func(method string, took time.Duration, err error)
	// Logger gets errors and mistakes, and the events. Default: [slog.Default].
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
	return context.WithTimeout(context.WithoutCancel(ctx), detachedTimeout)
}
