package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// site is the application on a real server, with passwords that are hashed
// quickly and counted.
type site struct {
	*testing.T
	app     *app
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

func testOptions() options {
	return options{
		idle:     30 * time.Minute,
		absolute: 12 * time.Hour,
		fresh:    5 * time.Minute,
		remember: 14 * 24 * time.Hour,
		sessions: 5,
		log:      slog.New(slog.DiscardHandler),
	}
}

// newSite is the application without a server: its browsers call the handler,
// so that it can be used where testing/synctest holds the clock.
func newSite(t *testing.T, o options) *site {
	t.Helper()
	hasher, counted := quickHasher()
	a, err := newApp(o, hasher)
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
	t.Cleanup(s.app.stop)
	s.handler, s.url = nil, server.URL
	return s
}

// browser has a cookie jar and follows no redirects.
type browser struct {
	*testing.T
	client http.Client
	url    string
	agent  string // what it says it is
}

func (s *site) browse() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.Fatal(err)
	}
	b := &browser{T: s.T, url: s.url}
	b.client = http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if s.handler != nil {
		b.client.Transport = direct{s.handler}
	}
	return b
}

// copy is another browser with the same cookies.
func (b *browser) copy() *browser {
	b.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	jar.SetCookies(b.base(), b.cookies())
	other := *b
	other.client.Jar = jar
	return &other
}

func (b *browser) cookies() []*http.Cookie { return b.client.Jar.Cookies(b.base()) }

func (b *browser) base() *url.URL {
	base, err := url.Parse(b.url)
	if err != nil {
		b.Fatal(err)
	}
	return base
}

// direct answers requests without a network.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	sent := httptest.NewRequest(r.Method, r.URL.String(), r.Body)
	sent.Header = r.Header
	d.ServeHTTP(w, sent)
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

// as is a browser that has logged in.
func (s *site) as(name string) *browser {
	s.Helper()
	return s.on(firefox, name)
}

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"
	iphone  = "Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1"
)

// on is a browser that says what it is and has logged in.
func (s *site) on(agent, name string) *browser {
	s.Helper()
	b := s.browse()
	b.agent = agent
	b.login(name).expect(http.StatusSeeOther, "/home")
	return b
}

// remembering is a browser that has logged in with the box ticked.
func (s *site) remembering(name string) *browser {
	s.Helper()
	b := s.browse()
	b.post("/login", "username", name, "password", passwordOf(name), "remember", "on").expect(http.StatusSeeOther, "/home")
	return b
}

func passwordOf(name string) string {
	for _, a := range demoAccounts {
		if a.user.ID == name {
			return a.password
		}
	}
	return ""
}

func (b *browser) login(name string) answer {
	b.Helper()
	return b.post("/login", "username", name, "password", passwordOf(name))
}

// session is the public ID of the browser's session.
func (b *browser) session() string {
	b.Helper()
	var status struct{ Session string }
	if err := json.Unmarshal([]byte(b.get("/session").body), &status); err != nil || status.Session == "" {
		b.Fatal(err, status)
	}
	return status.Session
}

// isOut checks that a page leads to the login, and that the login page says why.
func (b *browser) isOut(path string, reason store.Reason) {
	b.Helper()
	to := "/login?next=" + url.QueryEscape(path)
	if reason == "" {
		b.get(path).expect(http.StatusSeeOther, to)
		b.get(to).expect(http.StatusOK, "").contains("Please log in to continue.")
		return
	}
	b.get(path).expect(http.StatusSeeOther, to+"&reason="+string(reason)).noStore()
	b.get("/login").expect(http.StatusOK, "").contains(`role="status">` + endings[reason])
}

type answer struct {
	*http.Response
	t    *testing.T
	body string
}

func (b *browser) do(method, path string, body io.Reader, header ...string) answer {
	b.Helper()
	r, err := http.NewRequest(method, b.url+path, body)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("User-Agent", b.agent)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := b.client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		b.Fatal(err)
	}
	return answer{w, b.T, string(text)}
}

func (b *browser) get(path string, header ...string) answer {
	b.Helper()
	return b.do("GET", path, nil, header...)
}

// post sends a form: name, value, name, value…
func (b *browser) post(path string, fields ...string) answer {
	b.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return b.do("POST", path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}

// expect checks the status and where the answer leads, "" for nowhere.
func (a answer) expect(status int, location string) answer {
	a.t.Helper()
	if a.StatusCode != status || a.Header.Get("Location") != location {
		a.t.Fatalf("%s %s: got %d to %q, want %d to %q\n%s", a.Request.Method, a.Request.URL.Path,
			a.StatusCode, a.Header.Get("Location"), status, location, a.body)
	}
	return a
}

func (a answer) contains(texts ...string) answer {
	a.t.Helper()
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			a.t.Fatalf("%s %s: %q is not in\n%s", a.Request.Method, a.Request.URL.Path, text, a.body)
		}
	}
	return a
}

func (a answer) lacks(text string) answer {
	a.t.Helper()
	if strings.Contains(a.body, text) {
		a.t.Fatalf("%s %s: %q is in\n%s", a.Request.Method, a.Request.URL.Path, text, a.body)
	}
	return a
}

func (a answer) header(name, want string) answer {
	a.t.Helper()
	if got := a.Header.Get(name); got != want {
		a.t.Fatalf("%s %s: %s is %q, want %q", a.Request.Method, a.Request.URL.Path, name, got, want)
	}
	return a
}

func (a answer) noStore() answer {
	a.t.Helper()
	return a.header("Cache-Control", "no-store, no-cache, must-revalidate, private")
}
