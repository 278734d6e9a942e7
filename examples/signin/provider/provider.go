// Package provider is a small OpenID provider, "Example ID", for trying and testing
// applications that let people log in with one. The protocol is that of zitadel/oidc. What is
// here are the accounts, the login page and the logout, which tells the application
// (OpenID Connect Back-Channel Logout 1.0).
//
// The provider's own sessions are kept by a guard too. Its public session IDs are the "sid"
// of the tokens.
package provider

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sessionguard-go/sessionguard"
	dashboard "github.com/sessionguard-go/sessionguard/examples/dashboard/app"
	"github.com/zitadel/oidc/v3/pkg/op"
)

//go:embed templates
var files embed.FS

// Options configures a Provider.
type Options struct {
	// Issuer is the provider's URL, at which browsers and the application find it.
	Issuer string
	Client Client
	Users  *dashboard.Directory
	Log    *slog.Logger // nil: the default one
}

// A Provider is an OpenID provider with one client.
type Provider struct {
	Options
	guard    *sessionguard.Guard[*dashboard.User]
	protocol *op.Provider
	storage  *storage
	signer   jose.Signer // of logout tokens
	page     *template.Template
	static   fs.FS
}

// New returns a provider. Its keys are made anew, so tokens from before a restart are invalid.
func New(o Options) (*Provider, error) {
	o.Log = cmp.Or(o.Log, slog.Default())
	p := &Provider{Options: o}
	var err error
	if p.page, err = template.ParseFS(files, "templates/*.html"); err != nil {
		return nil, err
	}
	if p.static, err = dashboard.Static(); err != nil {
		return nil, err
	}
	p.guard, err = sessionguard.New(sessionguard.Config[*dashboard.User]{
		FindUser:     p.Users.Find,
		Keys:         [][]byte{random(32)},
		CookieName:   "example-id", // not that of an application on the same host
		InsecureHTTP: true,         // a loopback address has no certificate
		Logger:       o.Log,
	})
	if err != nil {
		return nil, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	p.storage = newStorage(o.Client, key, p.endSession)
	if p.signer, err = logoutSigner(p.storage.key); err != nil {
		return nil, err
	}
	p.protocol, err = op.NewProvider(&op.Config{
		CryptoKey:                         [32]byte(random(32)),
		CodeMethodS256:                    true,
		DefaultLogoutRedirectURI:          "/",
		BackChannelLogoutSupported:        true,
		BackChannelLogoutSessionSupported: true,
	}, p.storage, op.StaticIssuer(o.Issuer), op.WithAllowInsecure(), op.WithCORSOptions(nil))
	return p, err
}

// Handler returns the provider's handler.
func (p *Provider) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", p.protocol) // /authorize, /oauth/token, /keys, /end_session, …
	mux.HandleFunc("GET /{$}", p.home)
	mux.HandleFunc("GET /static/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, p.static, r.PathValue("name"))
	})
	mux.HandleFunc("GET /login", p.loginPage)
	mux.HandleFunc("POST /login", p.login)
	mux.HandleFunc("POST /logout", p.logout)
	return p.securityHeaders(http.MaxBytesHandler(p.guard.Handler(mux), 64<<10))
}

func (p *Provider) securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		// The login form leads back to the application: Chromium applies form-action to
		// redirects as well.
		h.Set("Content-Security-Policy", fmt.Sprintf("default-src 'self'; base-uri 'none'; form-action 'self' %s; frame-ancestors 'none'; object-src 'none'", p.Client.Origin))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// Subjects returns what tokens call each user, by user ID. A subject is not a login name: it
// never changes and is never given to somebody else (OpenID Connect Core 1.0, section 8).
func Subjects() map[string]string {
	return map[string]string{"ada": "person-1815", "grace": "person-1906", "eve": "person-1932"}
}

func userOf(subject string) string {
	for userID, s := range Subjects() {
		if s == subject {
			return userID
		}
	}
	return ""
}

// endSession ends a session of the provider, and tells the application.
func (p *Provider) endSession(ctx context.Context, subject, sid string) error {
	err := p.guard.EndSession(ctx, userOf(subject), sid)
	// If it has timed out, the application may have one from it all the same.
	if err != nil && !errors.Is(err, sessionguard.ErrNoSession) {
		return err
	}
	p.tellClient(ctx, subject, sid)
	return nil
}

func random(size int) []byte {
	b := make([]byte, size)
	rand.Read(b) // never returns an error: a failure ends the process
	return b
}

const (
	tokenLifetime       = time.Hour
	authRequestLifetime = 10 * time.Minute
)
