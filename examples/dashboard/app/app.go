// Package app is the application of examples/dashboard. A program serves it on its own, or
// on several nodes that share their sessions (examples/cluster).
package app

import (
	"cmp"
	"embed"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

//go:embed templates static reports
var files embed.FS

// Options holds the program's flags, and what a program with several nodes sets for each.
type Options struct {
	Idle, Absolute, Fresh time.Duration
	Remember              time.Duration // 0: no device is remembered
	Sessions              int           // the maximum per user; 0: no limit
	Secure, Activity      bool
	Proxies               []netip.Prefix // those that may end TLS and name the client
	Device                time.Duration  // how long a proof of the device counts; 0: no session is bound to one
	BasePath              string         // the prefix that a proxy removes from paths, or ""
	FramedBy              string         // the origin of another site that may show the pages in a frame, or ""

	Backend store.Backend // nil: this process's memory
	Keys    [][]byte      // required with any other Backend
	Users   *Directory    // nil: the demo accounts, for this App alone
	Node    string        // the node's name, shown on its pages; "": none is shown
	Log     *slog.Logger  // nil: the default one
}

// Flags defines the command line's flags on f.
func (o *Options) Flags(f *flag.FlagSet) {
	f.DurationVar(&o.Idle, "idle", 30*time.Minute, "log out after this long without a request")
	f.DurationVar(&o.Absolute, "absolute", 12*time.Hour, "log out this long after the login, regardless of activity")
	f.DurationVar(&o.Fresh, "fresh", 5*time.Minute, "ask for the password again before a sensitive change after this long")
	f.DurationVar(&o.Remember, "remember", 14*24*time.Hour, "how long \"Remember me\" keeps a device logged in; 0 removes the checkbox")
	f.IntVar(&o.Sessions, "sessions", 5, "how many sessions a user may have at once: one more ends the least recently active, whose login page says why; 0 for no limit")
	f.BoolVar(&o.Activity, "activity", false, "keys, pointer and touch count as activity, not only requests")
	f.BoolVar(&o.Secure, "secure", false, "use https, with a self-signed certificate")
	f.DurationVar(&o.Device, "device", 0, "bind logins to their device, where the browser can, and have it prove the device after this long, such as 10m; needs https; experimental")
	f.Func("behind-proxy", "serve a proxy at these `addresses`, such as 127.0.0.1 or 10.0.0.0/8, separated by commas: it ends TLS, so the cookies are Secure, and its X-Forwarded-For names the client", o.setProxies)
	f.StringVar(&o.FramedBy, "framed-by", "", "the `origin` of another site, such as https://portal.example, that may show the pages in a frame; needs https")
	f.StringVar(&o.BasePath, "base-path", "", "the `prefix`, such as /app, that a proxy removes from the paths of requests")
}

// setProxies sets the proxies' addresses and networks.
func (o *Options) setProxies(list string) error {
	o.Proxies = nil
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		prefix, err := netip.ParsePrefix(text)
		if addr, notAddr := netip.ParseAddr(text); notAddr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("%q is neither an address nor a network", text)
		}
		o.Proxies = append(o.Proxies, prefix)
	}
	return nil
}

// check returns an error that names the invalid option.
func (o *Options) check() error {
	if o.Idle <= 0 || o.Absolute <= 0 || o.Fresh <= 0 {
		return errors.New("-idle, -absolute and -fresh must be positive")
	}
	if o.Remember < 0 || o.Sessions < 0 {
		return errors.New("-remember and -sessions must not be negative")
	}
	if o.Device != 0 && !o.Secure && len(o.Proxies) == 0 {
		return errors.New("-device needs https: add -secure")
	}
	return nil
}

// App is the application. Its handlers share it.
type App struct {
	Options
	guard         *sessionguard.Guard[*User]
	pages         map[string]*template.Template
	static        fs.FS
	reports       fs.FS
	scriptOptions []string
	clientAddr    func(*http.Request) string
	pin           string // the hash of a self-signed certificate's key, as Chromium's flags name it; "" if there is none
}

// handler returns the application's handler: every route, behind the gate it needs.
func (a *App) handler() http.Handler {
	g := a.guard
	engineer := g.RequireRole("Engineer")
	admin := g.RequireRole("Admin")
	fresh := g.RequireFresh(a.Fresh)
	handler := func(h http.HandlerFunc) http.Handler { return h }

	mux := http.NewServeMux()
	// For everyone
	mux.HandleFunc("GET /{$}", a.welcomePage)
	mux.HandleFunc("GET /static/{name}", a.staticFile)
	mux.HandleFunc("GET /login", a.loginPage)
	mux.HandleFunc("POST /login", a.login)
	mux.Handle("POST /logout", g.Logout(a.at("/")))
	mux.Handle("POST /act/stop", g.StopActing(a.at("/admin")))
	mux.Handle("GET /session", g.Status())
	mux.Handle("/sessionguard/", g.Script())
	// For every logged-in user
	mux.Handle("GET /account", g.RequireLogin(handler(a.accountPage)))
	mux.Handle("GET /reauth", g.RequireLogin(handler(a.reauthPage)))
	mux.Handle("POST /reauth", g.RequireLogin(handler(a.reauth)))
	mux.Handle("POST /account/password", fresh(handler(a.changePassword)))
	mux.Handle("GET /account/sessions", fresh(handler(a.sessionsPage)))
	mux.Handle("POST /account/sessions/{session}/end", fresh(handler(a.endSession)))
	mux.Handle("POST /account/sessions/{session}/label", fresh(handler(a.renameSession)))
	mux.Handle("POST /account/sessions/end-others", fresh(handler(a.endOthers)))
	mux.Handle("GET /api/me", g.RequireLogin(handler(a.me)))
	mux.Handle("GET /live", g.RequireLogin(handler(a.livePage)))
	mux.Handle("GET /events", g.Passive(g.RequireLogin(g.CancelUnproven(handler(a.events)))))
	if a.Device != 0 {
		mux.Handle("GET /account/device", g.RequireLogin(handler(a.devicePage)))
		mux.Handle("GET /account/device/only", g.RequireBound(0)(handler(a.provenPage)))
	}
	// By role
	mux.Handle("GET /home", engineer(handler(a.homePage)))
	mux.Handle("GET /reports/{name}", engineer(handler(a.report)))
	mux.Handle("GET /admin", admin(handler(a.adminPage)))
	mux.Handle("GET /admin/everyone", admin(fresh(handler(a.everyonePage))))
	mux.Handle("POST /admin/everyone", admin(fresh(handler(a.endEveryone))))
	mux.Handle("POST /admin/users/{id}/deactivate", admin(fresh(handler(a.deactivate))))
	mux.Handle("POST /admin/users/{id}/activate", admin(fresh(handler(a.activate))))
	mux.Handle("POST /admin/users/{id}/act", admin(fresh(handler(a.act))))
	mux.Handle("GET /admin/users/{id}/sessions", admin(fresh(handler(a.personPage))))
	mux.Handle("POST /admin/users/{id}/sessions/{session}/end", admin(fresh(handler(a.endPersonsSession))))
	mux.Handle("POST /admin/users/{id}/sessions/end", admin(fresh(handler(a.endPerson))))

	return a.securityHeaders(http.MaxBytesHandler(g.Handler(a.withNotFound(mux)), 64<<10))
}

// New returns an App, or an error that names the invalid option.
func New(o Options) (*App, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	// A session does not outlive -absolute, so a longer -idle has no effect.
	o.Idle = min(o.Idle, o.Absolute)
	o.Log = cmp.Or(o.Log, slog.Default())
	if o.Backend == nil {
		// The sessions end with this process, so its keys may end with it too. With
		// a persistent store, load the keys from where you keep your other secrets.
		o.Backend, o.Keys = store.NewMemory(), [][]byte{random(32)}
	}

	var err error
	if o.Users == nil {
		if o.Users, err = NewDirectory(); err != nil {
			return nil, err
		}
	}

	a := &App{Options: o}
	if o.Activity {
		a.scriptOptions = []string{"data-activity", "on"}
	}
	// Without a proxy nobody is trusted, and the address is that of the connection.
	a.clientAddr = sessionguard.ClientAddrFrom("X-Forwarded-For", o.Proxies...)
	if a.pages, err = parsePages(); err != nil {
		return nil, err
	}
	if a.static, err = Static(); err != nil {
		return nil, err
	}
	if a.reports, err = fs.Sub(files, "reports"); err != nil {
		return nil, err
	}
	a.guard, err = sessionguard.New(sessionguard.Config[*User]{
		FindUser:        a.Users.Find,
		Backend:         o.Backend,
		Keys:            o.Keys,
		IdleTimeout:     o.Idle,
		AbsoluteTimeout: o.Absolute,
		RememberFor:     o.Remember,
		MayActAs:        mayActAs,
		MaxSessions:     func(*User) store.Limit { return store.Limit{Max: o.Sessions} },
		BasePath:        o.BasePath,
		ReauthPath:      a.at("/reauth"),
		DeviceProof:     o.Device,
		Refusals:        sessionguard.Refusals{Unbound: http.HandlerFunc(a.unboundPage)},
		// Browsers keep cookies by host, not by port: two programs on localhost with
		// the same cookie name log each other out. Give each its own CookieName.
		InsecureHTTP: !o.Secure && len(o.Proxies) == 0,
		SameSite:     a.sameSite(),
		Partitioned:  o.FramedBy != "",
		ClientAddr:   a.clientAddr,
		Logger:       o.Log,
	})
	return a, err
}

// sameSite returns None for pages in a frame of another site, to which browsers send no other
// cookies.
func (a *App) sameSite() http.SameSite {
	if a.FramedBy != "" {
		return http.SameSiteNoneMode
	}
	return http.SameSiteLaxMode
}

// at returns a path as browsers see it.
func (a *App) at(path string) string { return a.BasePath + path }

// securityHeaders sets headers on every response, including errors and static files.
func (a *App) securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		// The pages have no inline styles or scripts, so injected ones can be blocked.
		h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; object-src 'none'; frame-ancestors "+cmp.Or(a.FramedBy, "'none'"))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		// Not no-referrer: browsers would send "Origin: null" with our own forms. Where
		// Sec-Fetch-Site is also missing (plain http beyond localhost), the guard would
		// refuse them as cross-site.
		h.Set("Referrer-Policy", "same-origin")
		// Set Strict-Transport-Security on your real host name. On localhost it would
		// force https on every other program there.
		next.ServeHTTP(w, r)
	})
}
