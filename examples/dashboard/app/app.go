// Package app is the application of examples/dashboard, for a program to serve:
// on its own, or as one of several nodes that share their sessions
// (examples/cluster).
package app

import (
	"cmp"
	"embed"
	"errors"
	"flag"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

//go:embed templates static reports
var files embed.FS

// Options are the program's flags, and what a program with several Apps brings
// for each.
type Options struct {
	Idle, Absolute, Fresh time.Duration
	Remember              time.Duration // 0: never
	Sessions              int           // at most, of each person; 0: any number
	Secure, Activity      bool

	Backend store.Backend // nil: this process's memory
	Keys    [][]byte      // needed with any other Backend
	Users   *Directory    // nil: the demo accounts, for this App alone
	Node    string        // which one answers, as the pages say it; "": they do not
	Log     *slog.Logger  // nil: the default one
}

// Flags are the options of the command line.
func (o *Options) Flags(f *flag.FlagSet) {
	f.DurationVar(&o.Idle, "idle", 30*time.Minute, "log out after this long without a request")
	f.DurationVar(&o.Absolute, "absolute", 12*time.Hour, "log out this long after the login, whatever happens")
	f.DurationVar(&o.Fresh, "fresh", 5*time.Minute, "ask for the password again before a sensitive change after this long")
	f.DurationVar(&o.Remember, "remember", 14*24*time.Hour, "how long \"Remember me\" keeps a device logged in; 0 takes the checkbox away")
	f.IntVar(&o.Sessions, "sessions", 5, "how many sessions a person may have at once: one more ends the least recently active, and its device is told why; 0 for any number")
	f.BoolVar(&o.Activity, "activity", false, "keys, pointer and touch count as activity, not only requests")
	f.BoolVar(&o.Secure, "secure", false, "https, with a self-signed certificate")
}

// App is what the handlers share.
type App struct {
	Options
	guard         *sessionguard.Guard[*User]
	pages         map[string]*template.Template
	static        fs.FS
	reports       fs.FS
	scriptOptions []string
	stopping      chan struct{} // closed when the server shuts down
	stop          func()
}

// handler is every route, with who may take it.
func (a *App) handler() http.Handler {
	g := a.guard
	engineer := g.RequireRole("Engineer")
	admin := g.RequireRole("Admin")
	fresh := g.RequireFresh(a.Fresh)
	do := func(h http.HandlerFunc) http.Handler { return h }

	mux := http.NewServeMux()
	// Everyone
	mux.HandleFunc("GET /{$}", a.welcomePage)
	mux.HandleFunc("GET /static/{name}", a.staticFile)
	mux.HandleFunc("GET /login", a.loginPage)
	mux.HandleFunc("POST /login", a.login)
	mux.Handle("POST /logout", g.Logout("/"))
	mux.Handle("GET /session", g.Status())
	mux.Handle("/sessionguard/", g.Script())
	// Whoever is logged in
	mux.Handle("GET /account", g.RequireLogin(do(a.accountPage)))
	mux.Handle("GET /reauth", g.RequireLogin(do(a.reauthPage)))
	mux.Handle("POST /reauth", g.RequireLogin(do(a.reauth)))
	mux.Handle("POST /account/password", fresh(do(a.changePassword)))
	mux.Handle("GET /account/sessions", fresh(do(a.sessionsPage)))
	mux.Handle("POST /account/sessions/{session}/end", fresh(do(a.endSession)))
	mux.Handle("POST /account/sessions/end-others", fresh(do(a.endOthers)))
	mux.Handle("GET /api/me", g.RequireLogin(do(a.me)))
	mux.Handle("GET /live", g.RequireLogin(do(a.livePage)))
	mux.Handle("GET /events", g.Passive(g.RequireLogin(g.CancelOnEnd(do(a.events)))))
	// By role
	mux.Handle("GET /home", engineer(do(a.homePage)))
	mux.Handle("GET /reports/{name}", engineer(do(a.report)))
	mux.Handle("GET /admin", admin(do(a.adminPage)))
	mux.Handle("POST /admin/users/{id}/deactivate", admin(fresh(do(a.deactivate))))
	mux.Handle("POST /admin/users/{id}/activate", admin(fresh(do(a.activate))))
	mux.Handle("GET /admin/users/{id}/sessions", admin(fresh(do(a.personPage))))
	mux.Handle("POST /admin/users/{id}/sessions/{session}/end", admin(fresh(do(a.endPersonsSession))))
	mux.Handle("POST /admin/users/{id}/sessions/end", admin(fresh(do(a.endPerson))))

	return securityHeaders(http.MaxBytesHandler(g.Handler(mux), 64<<10))
}

// New makes an App, or says which option is wrong.
func New(o Options) (*App, error) {
	if o.Idle <= 0 || o.Absolute <= 0 || o.Fresh <= 0 {
		return nil, errors.New("-idle, -absolute and -fresh must be positive")
	}
	if o.Remember < 0 || o.Sessions < 0 {
		return nil, errors.New("-remember and -sessions must not be negative")
	}
	// A login does not outlive -absolute, so a longer -idle has no meaning.
	o.Idle = min(o.Idle, o.Absolute)
	o.Log = cmp.Or(o.Log, slog.Default())
	if o.Backend == nil {
		// Sessions are in this process's memory, so keys that end with it
		// lose nothing. With a store that outlives it, load the keys from
		// where your other secrets are.
		o.Backend, o.Keys = store.NewMemory(), [][]byte{random(64), random(32)}
	}

	var err error
	if o.Users == nil {
		if o.Users, err = NewDirectory(); err != nil {
			return nil, err
		}
	}

	a := &App{Options: o, stopping: make(chan struct{})}
	a.stop = sync.OnceFunc(func() { close(a.stopping) })
	if o.Activity {
		a.scriptOptions = []string{"data-activity", "on"}
	}
	if a.pages, err = parsePages(); err != nil {
		return nil, err
	}
	if a.static, err = fs.Sub(files, "static"); err != nil {
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
		MaxSessions:     func(*User) store.Limit { return store.Limit{Max: o.Sessions} },
		ReauthPath:      "/reauth",
		// Browsers keep cookies by host, not by port: two programs on
		// localhost that call theirs the same log each other out. Then give
		// each a CookieName of its own.
		InsecureHTTP: !o.Secure,
		Logger:       o.Log,
	})
	return a, err
}

// securityHeaders are for every answer, errors and static files included.
func securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		// No inline styles or scripts anywhere, so that injected ones do nothing.
		h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		// Not no-referrer: browsers then send "Origin: null" with our own
		// forms, and where Sec-Fetch-Site is missing as well (plain http
		// beyond localhost) the guard takes them for another site's.
		h.Set("Referrer-Policy", "same-origin")
		// Strict-Transport-Security is for your real host name: on localhost
		// it would force https on every other program there.
		next.ServeHTTP(w, r)
	})
}
