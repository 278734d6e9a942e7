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
