package acceptance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// site is an application behind a guard, on a TLS server. Tests may add routes to its mux
// while it runs.
type site struct {
	*testing.T
	guard        *sessionguard.Guard[*user]
	config       sessionguard.Config[*user]
	users        *userDatabase
	mux          *http.ServeMux
	server       *server
	log          *logBuffer // Config.Logger; of the events, only EventUnavailable is logged
	events       *eventList // every event
	loginOptions func(name string) []sessionguard.LoginOption
}

var testKeys = [][]byte{bytes.Repeat([]byte("k"), 32)}

// The default timeouts.
const (
	idle     = 30 * time.Minute
	absolute = 12 * time.Hour
)

// newSite starts a site with the routes that most tests use. The network is in memory, so
// newSite works under withFakeClock too.
//
//	POST /login?user=…   logs in, 303 to Next or /home; 403 if refused
//	POST /logout         guard.Logout("/")
//	GET  /               "welcome", the user's ID or "nobody", and the flashes
//	GET  /home           for an Engineer or Admin: "secret of <id>"
//	GET  /admin          the same for an Admin
//	GET  /fresh          the same for a login less than 5 minutes ago
//	GET  /poll           the same for any login; a passive request
//	GET  /status         guard.Status()
//	GET  /value?k=       value and error of session "app"
//	POST /value?k=&v=    sets the value
//	GET  /static         Cache-Control: public; does not use the session
func newSite(t *testing.T, configure func(*sessionguard.Config[*user])) *site {
	t.Helper()
	s := &site{T: t, users: &userDatabase{users: maps.Clone(testUsers)}, mux: http.NewServeMux(), log: &logBuffer{}, events: &eventList{}}
	s.config = sessionguard.Config[*user]{
		ReauthPath: "/login",
		FindUser:   s.users.Find,
		Keys:       testKeys,
		Logger:     slog.New(slog.NewTextHandler(s.log, nil)),
	}
	s.config.OnEvent = func(ctx context.Context, e sessionguard.Event) {
		s.events.add(e)
		if e.Name == sessionguard.EventUnavailable {
			e.Log(ctx, s.config.Logger)
		}
	}
	if configure != nil {
		configure(&s.config)
	}
	var err error
	s.guard, err = sessionguard.New(s.config)
	require.NoError(t, err)
	s.routes()
	s.server = serve(t, s.guard.Handler(s.mux))
	return s
}

func (s *site) routes() {
	g := s.guard
	s.mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		u, err := s.users.Find(r.Context(), r.FormValue("user"))
		if err == nil {
			var options []sessionguard.LoginOption
			if s.loginOptions != nil {
				options = s.loginOptions(u.ID)
			}
			err = g.Login(w, r, u, options...)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, g.Next(r, "/home"), http.StatusSeeOther)
	})
	s.mux.Handle("POST /logout", g.Logout("/"))
	s.mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if u, ok := g.User(r); ok {
			name = u.ID
		}
		session, _ := g.Get(r, "flash")
		fmt.Fprintf(w, "welcome %s %v", name, session.Flashes())
	})
	secret := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := g.User(r)
		fmt.Fprintf(w, "secret of %s", u.ID)
	})
	s.mux.Handle("GET /home", g.RequireRole("Engineer", "Admin")(secret))
	s.mux.Handle("GET /admin", g.RequireRole("Admin")(secret))
	s.mux.Handle("GET /fresh", g.RequireFresh(5*time.Minute)(secret))
	s.mux.Handle("GET /poll", g.Passive(g.RequireLogin(secret)))
	s.mux.Handle("/status", g.Status())
	s.mux.HandleFunc("GET /value", func(w http.ResponseWriter, r *http.Request) {
		session, err := g.Get(r, "app")
		fmt.Fprintf(w, "%v %v", session.Values[r.FormValue("k")], err)
	})
	s.mux.HandleFunc("POST /value", func(w http.ResponseWriter, r *http.Request) {
		session, _ := g.Get(r, "app")
		session.Values[r.FormValue("k")] = r.FormValue("v")
	})
	s.mux.HandleFunc("GET /static", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		io.WriteString(w, "body {}")
	})
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// eventList keeps all events of a guard.
type eventList struct {
	mu  sync.Mutex
	all []sessionguard.Event
}

func (l *eventList) add(e sessionguard.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

// take removes all events and returns those with these names, or all if there are none.
func (l *eventList) take(names ...sessionguard.EventName) (taken []sessionguard.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if len(names) == 0 || slices.Contains(names, e.Name) {
			taken = append(taken, e)
		}
	}
	l.all = nil
	return taken
}
