package app

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/examples/internal/apptest"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/sessionguard-go/sessionguard/store"
)

// site is the application on a real server, with passwords that are hashed
// quickly and counted.
type site struct {
	*testing.T
	app     *App
	handler http.Handler
	hashes  *hashes
	url     string
}

// hashes are the passwords that were hashed, and how often.
type hashes struct {
	mu  sync.Mutex
	all []hashed
}

type hashed struct {
	password   string
	iterations int
}

func (h *hashes) take() []hashed {
	h.mu.Lock()
	defer h.mu.Unlock()
	taken := h.all
	h.all = nil
	return taken
}

func quickHasher() (*hasher, *hashes) {
	h, counted := newHasher(), &hashes{}
	h.iterations = 2
	derive := h.derive
	h.derive = func(password string, salt []byte, iterations int) ([]byte, error) {
		counted.mu.Lock()
		defer counted.mu.Unlock()
		counted.all = append(counted.all, hashed{password, iterations})
		return derive(password, salt, iterations)
	}
	return h, counted
}

func testOptions() Options {
	return Options{
		Idle:     30 * time.Minute,
		Absolute: 12 * time.Hour,
		Fresh:    5 * time.Minute,
		Remember: 14 * 24 * time.Hour,
		Sessions: 5,
		Log:      slog.New(slog.DiscardHandler),
	}
}

// newSite is the application without a server: its browsers call the handler,
// so that it can be used where testing/synctest holds the clock.
func newSite(t *testing.T, o Options) *site {
	t.Helper()
	hasher, counted := quickHasher()
	if o.Users == nil {
		var err error
		if o.Users, err = newDirectory(hasher); err != nil {
			t.Fatal(err)
		}
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	counted.take()
	return &site{T: t, app: a, handler: a.handler(), hashes: counted, url: "http://dashboard.example"}
}

// serve starts the application on a real server.
func serve(t *testing.T, configure ...func(*http.Server)) *site {
	t.Helper()
	s := newSite(t, testOptions())
	server := httptest.NewUnstartedServer(s.handler)
	for _, c := range configure {
		c(server.Config)
	}
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(s.app.guard.EndStreams)
	s.handler, s.url = nil, server.URL
	return s
}

func (s *site) browse() *testbrowser.Browser {
	var transport http.RoundTripper // the network's
	if s.handler != nil {
		transport = testbrowser.HandlerTransport{Handler: s.handler}
	}
	return testbrowser.New(s.T, s.url, transport)
}

// as returns a browser that has logged in.
func (s *site) as(name string) *testbrowser.Browser {
	s.Helper()
	return s.on(firefox, name)
}

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"
	iphone  = "Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1"
)

// on returns a browser with this User-Agent that has logged in.
func (s *site) on(agent, name string) *testbrowser.Browser {
	s.Helper()
	b := s.browse()
	b.Header.Set("User-Agent", agent)
	apptest.Login(b, name).Expect(http.StatusSeeOther, "/home")
	return b
}

// remembering returns a browser that has logged in with the box ticked.
func (s *site) remembering(name string) *testbrowser.Browser {
	s.Helper()
	b := s.browse()
	b.PostForm("/login", "username", name, "password", apptest.Passwords[name], "remember", "on").Expect(http.StatusSeeOther, "/home")
	return b
}

// isOut checks that a page leads to the login, and that the login page says why.
func isOut(b *testbrowser.Browser, path string, reason store.Reason) {
	b.T.Helper()
	to := "/login?next=" + url.QueryEscape(path)
	if reason == "" {
		b.Get(path).Expect(http.StatusSeeOther, to)
		b.Get(to).Expect(http.StatusOK, "").Contains("Please log in to continue.")
		return
	}
	b.Get(path).Expect(http.StatusSeeOther, to+"&reason="+string(reason)).NoStore()
	b.Get("/login").Expect(http.StatusOK, "").Contains(`role="status">` + endings[reason])
}

// client returns a browser without a network, for which the clock of testing/synctest moves.
func (s *site) client() *sessionguardtest.Client {
	s.Helper()
	return sessionguardtest.NewClient(s.T, s.handler)
}

// loggedIn returns one that has logged in with the form, which may have more fields.
func (s *site) loggedIn(name string, fields ...string) *sessionguardtest.Client {
	s.Helper()
	c := s.client()
	c.PostForm("/login", credentials(name, fields...)).RedirectsTo("/home")
	return c
}

// credentials returns the fields of the login form for a demo account, and more.
func credentials(name string, fields ...string) url.Values {
	form := url.Values{"username": {name}, "password": {apptest.Passwords[name]}}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return form
}

// ended checks that the session has ended for a reason, that a page leads to the login, and
// that the login page says why.
func (s *site) ended(c *sessionguardtest.Client, path string, reason store.Reason) {
	s.Helper()
	sessionguardtest.LoggedOut(s.T, s.app.guard, c, reason)
	s.noStore(c.Get(path)).RedirectsTo("/login?next=" + url.QueryEscape(path) + "&reason=" + string(reason))
	c.Get("/login").HasStatus(http.StatusOK).Contains(`role="status">` + endings[reason])
}

// sessionMaxAge returns the MaxAge of the session cookie that a response sets.
func sessionMaxAge(resp *sessionguardtest.Response) int {
	for _, c := range resp.Cookies() {
		if c.Name == "session" {
			return c.MaxAge
		}
	}
	return -1
}

// sessionOf returns the public ID of the only session that a user has.
func (s *site) sessionOf(name string) string {
	s.Helper()
	sessions, err := s.app.guard.Sessions(s.Context(), name)
	if err != nil || len(sessions) != 1 {
		s.Fatalf("%d sessions: %v", len(sessions), err)
	}
	return sessions[0].ID
}

// noStore checks that no cache may keep a response.
func (s *site) noStore(resp *sessionguardtest.Response) *sessionguardtest.Response {
	s.Helper()
	if got := resp.Header.Get("Cache-Control"); got != "no-store, no-cache, must-revalidate, private" {
		s.Fatalf("Cache-Control is %q", got)
	}
	return resp
}
