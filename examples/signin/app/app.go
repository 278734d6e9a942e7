// Package app is the application of examples/signin: it shows the ways in which people prove
// who they are. Each has a file: login.go (passwords, and what comes after them), totp.go,
// passkeys.go, openid.go (logins with a provider) and openidlogout.go (logouts at it).
package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/sessionguard-go/sessionguard"
)

//go:embed templates static
var files embed.FS

// name is what people call the application, also in their authenticator app.
const name = "Difference & Co."

// freshFor is how long after a login the account can be changed without another one.
const freshFor = 5 * time.Minute

// Options configures an App.
type Options struct {
	// Origin is where browsers find the application, such as "https://example.com". A
	// passkey is good for one host, which must be a name.
	Origin   string
	Provider ProviderOptions

	Accounts Accounts     // required
	Log      *slog.Logger // nil: the default one
}

// App is the application. Its handlers share it.
type App struct {
	Options
	guard    *sessionguard.Guard[*User]
	users    *Directory
	passkeys *webauthn.WebAuthn
	openID   *relyingParty
	pages    map[string]*template.Template
	static   []fs.FS // the later one is searched if the earlier one has no such file
}

// New returns an App. It asks the OpenID provider for its configuration, so that must be
// running.
func New(ctx context.Context, o Options) (*App, error) {
	o.Log = cmp.Or(o.Log, slog.Default())
	a := &App{Options: o, users: newDirectory(o.Accounts, o.Provider.Subjects)}
	origin, err := url.Parse(o.Origin)
	if err != nil {
		return nil, err
	}
	if a.passkeys, err = newWebAuthn(origin); err != nil {
		return nil, err
	}
	if a.openID, err = newRelyingParty(ctx, o.Origin, o.Provider); err != nil {
		return nil, err
	}
	if a.pages, err = parsePages(); err != nil {
		return nil, err
	}
	if a.static, err = staticFiles(); err != nil {
		return nil, err
	}
	a.guard, err = sessionguard.New(sessionguard.Config[*User]{
		FindUser: a.users.Find,
		// The sessions end with this process, so its keys may end with it too.
		Keys:       [][]byte{random(32)},
		Factors:    requiredFactors,
		FactorPath: "/factor",
		ReauthPath: "/reauth",
		// Not that of another application on localhost, nor the provider's.
		CookieName:   "signin",
		InsecureHTTP: origin.Scheme != "https",
		Logger:       o.Log,
	})
	return a, err
}

// Handler returns the application's handler: every route, behind the gate it needs.
func (a *App) Handler() http.Handler {
	g := a.guard
	hardwareKey := g.RequireFactor(factorHardwareKey)
	sensitive := a.requireFreshLogin
	handler := func(h http.HandlerFunc) http.Handler { return h }

	mux := http.NewServeMux()
	// For everyone
	mux.HandleFunc("GET /{$}", a.welcomePage)
	mux.HandleFunc("GET /static/{name}", a.staticFile)
	mux.HandleFunc("GET /login", a.loginPage)
	mux.HandleFunc("POST /login", a.login)
	mux.HandleFunc("POST /logout", a.logout)
	mux.HandleFunc("POST /passkey/options", a.passkeyOptions)
	mux.HandleFunc("POST /passkey", a.passkeyLogin)
	mux.HandleFunc("POST /openid/login", a.openIDLogin)
	mux.HandleFunc("GET /openid/callback", a.openIDCallback)
	mux.HandleFunc("POST /openid/logout", a.backChannelLogout)
	mux.Handle("GET /session", g.Status())
	mux.Handle("/sessionguard/", g.Script())
	// For those who have logged in, wholly or not
	mux.HandleFunc("GET /factor", a.factorPage)
	mux.HandleFunc("POST /factor", a.factor)
	// For every logged-in user
	mux.Handle("GET /home", g.RequireLogin(handler(a.homePage)))
	mux.Handle("GET /reauth", g.RequireLogin(handler(a.reauthPage)))
	mux.Handle("POST /reauth", g.RequireLogin(handler(a.reauth)))
	mux.Handle("GET /vault", hardwareKey(handler(a.vaultPage)))
	// Whoever changes how an account is logged in to has logged in a moment ago
	mux.Handle("GET /account", sensitive(handler(a.accountPage)))
	mux.Handle("GET /account/totp", sensitive(handler(a.totpPage)))
	mux.Handle("GET /account/totp.png", sensitive(handler(a.totpImage)))
	mux.Handle("POST /account/totp", sensitive(handler(a.enableTOTP)))
	mux.Handle("POST /account/totp/remove", sensitive(handler(a.removeTOTP)))
	mux.Handle("POST /account/passkeys/options", sensitive(handler(a.registrationOptions)))
	mux.Handle("POST /account/passkeys", sensitive(handler(a.registerPasskey)))
	mux.Handle("POST /account/passkeys/remove", sensitive(handler(a.removePasskey)))

	return a.securityHeaders(http.MaxBytesHandler(g.Handler(mux), 64<<10))
}

// requireFreshLogin is for the pages that change how an account is logged in to. Whoever has
// a second factor has to prove that again, so that a password and an unattended laptop are
// not enough to replace it (OWASP ASVS 7.5.1).
func (a *App) requireFreshLogin(next http.Handler) http.Handler {
	gated := a.guard.RequireFresh(freshFor)(next)
	gatedTwice := a.guard.RequireFresh(freshFor, factorMultiple)(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, ok := a.guard.User(r); ok && requiredFactors(user) != nil {
			gatedTwice.ServeHTTP(w, r)
			return
		}
		gated.ServeHTTP(w, r)
	})
}

// EndStreams ends what would keep a server from shutting down.
func (a *App) EndStreams() { a.guard.EndStreams() }

// securityHeaders sets headers on every response, including errors and static files.
func (a *App) securityHeaders(next http.Handler) http.Handler {
	// Chromium applies form-action to redirects too, and two forms lead to the provider:
	// that of the login and that of the logout.
	policy := fmt.Sprintf("default-src 'self'; base-uri 'none'; form-action 'self' %s; frame-ancestors 'none'; object-src 'none'", a.openID.origin)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

func random(size int) []byte {
	b := make([]byte, size)
	rand.Read(b) // never returns an error: a failure ends the process
	return b
}
