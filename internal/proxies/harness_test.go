// Package proxies tests applications behind real proxies: nginx, HAProxy, Caddy, Apache,
// Varnish and Squid, from Debian's packages.
package proxies

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// user is a user by name; there is everybody.
type user string

func (u user) UserID() string    { return string(u) }
func (user) IsActive() bool      { return true }
func (user) HasRole(string) bool { return true }

// pages are protected pages, by path. Each allows caching as loudly as it can.
var pages = map[string]http.HandlerFunc{
	"/plain":      func(http.ResponseWriter, *http.Request) {},
	"/vary":       func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Vary", "Accept-Encoding") },
	"/vary-twice": func(w http.ResponseWriter, _ *http.Request) { w.Header()["Vary"] = []string{"Cookie", "Accept"} },
	"/vary-lower": func(w http.ResponseWriter, _ *http.Request) { w.Header()["vary"] = []string{"Accept"} },
	"/vary-star":  func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Vary", "*") },
}

// startApp starts an application whose pages show a user's secret, and returns its address.
// remove are headers that are taken out of its responses.
//
//	POST /login?user=…  logs in, and redirects to "next" if there is one
//	     /auth          guard.AuthRequest()
//	POST /logout
//	GET  /plain …       the pages
//	GET  /hints         103 Early Hints, and then a page
func startApp(t *testing.T, remove ...string) string {
	t.Helper()
	guard := newGuard(t, nil)
	secret := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("Etag", `"1"`)
		u, _ := guard.User(r)
		// The response to a request with If-None-Match is 304: some caches ask.
		http.ServeContent(w, r, "secret.txt", time.Unix(1e9, 0), strings.NewReader("secret of "+string(u)))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", logInAs(guard))
	mux.Handle("/auth", guard.AuthRequest())
	mux.Handle("POST /logout", guard.Logout("/"))
	for path, prepare := range pages {
		mux.Handle("GET "+path, guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			prepare(w, r)
			secret(w, r)
		})))
	}
	mux.HandleFunc("GET /hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		secret(w, r)
	})
	return serve(t, removing(remove, guard.Handler(mux)))
}

func newGuard(t *testing.T, crossOrigin *http.CrossOriginProtection) *sessionguard.Guard[user] {
	t.Helper()
	guard, err := sessionguard.New(sessionguard.Config[user]{
		FindUser:     func(_ context.Context, id string) (user, error) { return user(id), nil },
		CrossOrigin:  crossOrigin,
		InsecureHTTP: true,
		Logger:       slog.New(slog.DiscardHandler),
		OnEvent:      func(context.Context, sessionguard.Event) {},
	})
	require.NoError(t, err)
	return guard
}

// logInAs logs in the user that the query names.
func logInAs(guard *sessionguard.Guard[user]) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := guard.Login(w, r, user(r.URL.Query().Get("user"))); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		} else if next := guard.Next(r, ""); next != "" {
			http.Redirect(w, r, next, http.StatusSeeOther)
		}
	}
}

// serve serves an application, and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	app := httptest.NewUnstartedServer(h)
	app.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	app.Start()
	t.Cleanup(app.Close)
	return strings.TrimPrefix(app.URL, "http://")
}

// removing takes the named headers out of the responses of next.
func removing(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(remover{w, names}, r)
	})
}

type remover struct {
	http.ResponseWriter
	names []string
}

func (w remover) WriteHeader(status int) {
	for _, name := range w.names {
		w.Header().Del(name)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w remover) Write(b []byte) (int, error) {
	for _, name := range w.names {
		w.Header().Del(name)
	}
	return w.ResponseWriter.Write(b)
}

// browse returns a browser at a server, without cookies.
func browse(t *testing.T, s *servers.Server) *testbrowser.Browser {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return testbrowser.New(t, "http://"+s.Addr, transport)
}

// login returns a browser in which a user is logged in.
func login(t *testing.T, s *servers.Server, name string) *testbrowser.Browser {
	t.Helper()
	b := browse(t, s)
	require.Equal(t, http.StatusOK, b.Post("/login?user="+name).StatusCode)
	require.NotEmpty(t, b.Cookies())
	return b
}

// get is Get for responses that may be broken: it returns what arrived.
func get(b *testbrowser.Browser, path string) string {
	resp, err := b.Client.Do(b.Request("GET", path, "Accept", "text/html"))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}
