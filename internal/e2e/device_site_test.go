package e2e

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
)

// deviceKeys are the secrets of the sites' guards.
var deviceKeys = [][]byte{bytes.Repeat([]byte("k"), 32)}

// bindingFeatures turn Device Bound Session Credentials on in Chromium 156 on Linux, with
// keys in software and without its quota of six signatures in nine minutes.
const bindingFeatures = "DeviceBoundSessions:RefreshQuota/false,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"

// bindingChromium is Chromium with Device Bound Session Credentials. The tests share one
// browser, and each uses a site of its own: to a browser, sites have nothing in common.
var bindingChromium = &engine{
	name: "Chromium with bound sessions", packages: chromium.packages,
	start: func(b *browser) error {
		b.features = bindingFeatures
		return startChromium(b)
	},
}

// A deviceSite is an application whose sessions are bound to the device, and a browser.
type deviceSite struct {
	*testing.T
	*browser
	origin  string
	guard   atomic.Pointer[sessionguard.Guard[isolationUser]]
	handler atomic.Pointer[http.Handler]
	memory  *store.Memory
	backend *failingBackend

	mu       sync.Mutex
	requests []*deviceRequest
	events   []sessionguard.Event
	// proxy is what stands between the browser and the application; nil: nothing.
	proxy func(application http.Handler) http.Handler
}

// A deviceRequest is a request that has reached the site.
type deviceRequest struct {
	Method, Path string // with the query
	Bound        bool   // whether it came with a bound cookie
	Skipped      string // the header Secure-Session-Skipped
	Identifier   string // the header Sec-Secure-Session-Id: of what the browser has for a session
	Status       int    // 0 before the response
}

// failingBackend cannot find sessions by their IDs while it is down: no browser can prove
// anything, and everything else works.
type failingBackend struct {
	store.Backend
	down atomic.Bool
}

func (b *failingBackend) LoadByID(ctx context.Context, owner, id string) (store.Record, error) {
	if b.down.Load() {
		return store.Record{}, errors.New("the backend is down")
	}
	return b.Backend.LoadByID(ctx, owner, id)
}

// newDeviceSite starts a site for the browser that the tests share.
func newDeviceSite(t *testing.T, configure ...func(*sessionguard.Config[isolationUser])) *deviceSite {
	t.Helper()
	return newDeviceSiteIn(t, sharedBrowser(t, bindingChromium), configure...)
}

// newDeviceSiteIn starts a site for a browser, which shows its start page.
func newDeviceSiteIn(t *testing.T, b *browser, configure ...func(*sessionguard.Config[isolationUser])) *deviceSite {
	t.Helper()
	s := &deviceSite{T: t, browser: b, memory: store.NewMemory()}
	s.backend = &failingBackend{Backend: s.memory}
	s.start(configure...)
	s.origin = serveSite(t, s.serve)
	s.open("/")
	t.Cleanup(func() {
		if err := b.Open("about:blank"); err != nil { // so that the idle browser runs no page of a test
			t.Error(err)
		}
		if t.Failed() {
			for _, r := range s.received() {
				t.Logf("%+v", r)
			}
		}
	})
	return s
}

// start starts the application, as after a restart of its program if it has run before.
func (s *deviceSite) start(configure ...func(*sessionguard.Config[isolationUser])) {
	s.Helper()
	guard, handler := s.newNode(configure...)
	s.guard.Store(guard)
	s.handler.Store(&handler)
}

// newNode returns what a program of the site runs, of which there may be several.
func (s *deviceSite) newNode(configure ...func(*sessionguard.Config[isolationUser])) (*sessionguard.Guard[isolationUser], http.Handler) {
	s.Helper()
	config := sessionguard.Config[isolationUser]{
		FindUser:    func(_ context.Context, id string) (isolationUser, error) { return isolationUser(id), nil },
		Keys:        deviceKeys,
		Backend:     s.backend,
		DeviceProof: 10 * time.Minute,
		Logger:      slog.New(slog.DiscardHandler),
		OnEvent: func(_ context.Context, e sessionguard.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, e)
		},
	}
	for _, c := range configure {
		c(&config)
	}
	guard, err := sessionguard.New(config)
	must(s.T, err)
	return guard, guard.Handler(deviceApplication(s.T, guard))
}

// serve records a request and passes it on.
func (s *deviceSite) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/favicon.ico" {
		return
	}
	request := &deviceRequest{
		Method: r.Method, Path: r.URL.RequestURI(), Skipped: r.Header.Get("Secure-Session-Skipped"), Identifier: r.Header.Get("Sec-Secure-Session-Id"),
		Bound: strings.Contains(strings.Join(r.Header["Cookie"], ";"), "-bound-"),
	}
	s.mu.Lock()
	s.requests = append(s.requests, request)
	proxy := s.proxy
	s.mu.Unlock()
	handler := *s.handler.Load()
	if proxy != nil {
		handler = proxy(handler)
	}
	handler.ServeHTTP(&deviceWriter{w, func(status int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if request.Status == 0 {
			request.Status = status
		}
	}}, r)
}

// A deviceWriter tells when a response begins, and with which status.
type deviceWriter struct {
	http.ResponseWriter
	began func(status int)
}

func (w *deviceWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *deviceWriter) Write(p []byte) (int, error) {
	w.began(http.StatusOK) // or it has begun, and this is not the first
	return w.ResponseWriter.Write(p)
}

func (w *deviceWriter) WriteHeader(status int) {
	w.began(status)
	w.ResponseWriter.WriteHeader(status)
}

// setProxy changes what stands between the browser and the application.
func (s *deviceSite) setProxy(proxy func(http.Handler) http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proxy = proxy
}

// without is a proxy that takes a header out of the responses.
func without(header string) func(http.Handler) http.Handler {
	return func(application http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			application.ServeHTTP(&deviceWriter{w, func(int) { w.Header().Del(header) }}, r)
		})
	}
}

// received returns the requests since the last call of forget.
func (s *deviceSite) received() (all []deviceRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		all = append(all, *r)
	}
	return all
}

func (s *deviceSite) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.events = nil, nil
}

// count returns how many requests for a path there were, with or without a query, and with
// any status if that is 0.
func (s *deviceSite) count(method, path string, status int) (n int) {
	for _, r := range s.received() {
		asked, _, _ := strings.Cut(r.Path, "?")
		if r.Method == method && (asked == path || r.Path == path) && (status == 0 || r.Status == status) {
			n++
		}
	}
	return n
}

// eventCodes returns the codes of the events of that name.
func (s *deviceSite) eventCodes(name sessionguard.EventName) (codes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Name == name {
			codes = append(codes, e.Code)
		}
	}
	return codes
}

// waitFor waits until something has happened that the browser cannot tell. Chromium 156 takes
// up to half a minute to write its files.
func (s *deviceSite) waitFor(what string, happened func() bool) {
	s.Helper()
	for end := time.Now().Add(40 * time.Second); !happened(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			url, _ := s.URL()
			s.Fatalf("waited too long for %s, at %s", what, url)
		}
	}
}

func (s *deviceSite) open(path string) {
	s.Helper()
	must(s.T, s.Open(s.origin+path))
}

// openTwoTabs opens a page in two tabs, and stays in the second.
func (s *deviceSite) openTwoTabs() (first, second string) {
	s.Helper()
	s.open("/page")
	first, err := s.Tab()
	must(s.T, err)
	second, err = s.NewTab()
	must(s.T, err)
	must(s.T, s.Switch(second))
	s.open("/page")
	return first, second
}

func (s *deviceSite) until(script string, args ...any) {
	s.Helper()
	must(s.T, s.Until(script, args...))
}

// leave runs a script that leaves the page.
func (s *deviceSite) leave(script string, args ...any) {
	s.Helper()
	must(s.T, s.Eval("const args = arguments; setTimeout(() => {"+strings.ReplaceAll(script, "arguments", "args")+"})", nil, args...))
}

// post submits a form from the current page: fields are name, value, name, value…
func (s *deviceSite) post(path string, fields ...string) {
	s.Helper()
	s.leave(`const form = Object.assign(document.createElement("form"), { method: "post", action: arguments[0] })
		for (let i = 0; i < arguments[1].length; i += 2)
			form.append(Object.assign(document.createElement("input"), { name: arguments[1][i], value: arguments[1][i + 1] }))
		document.body.append(form)
		form.submit()`, path, append([]string{}, fields...))
}

// shows is a condition: the page at a path shows a text.
const shows = `return location.pathname === arguments[0] && document.readyState === "complete" && document.documentElement.innerText.includes(arguments[1])`

// logIn logs in by the form.
func (s *deviceSite) logIn(user string, fields ...string) {
	s.Helper()
	s.open("/login")
	s.post("/login", append([]string{"user", user}, fields...)...)
	s.until(shows, "/page", "the secret of "+user)
}

// logInBound logs in, and waits until the session is bound. The time for which requests
// without a proof still count is over then.
func (s *deviceSite) logInBound(user string, fields ...string) {
	s.Helper()
	s.logIn(user, fields...)
	s.waitUntilBound(user)
}

func (s *deviceSite) waitUntilBound(user string) {
	s.Helper()
	s.waitFor("a bound session", func() bool {
		s.fetch("/") // the browser proves with its next request
		return s.isBound(user)
	})
	s.proveLongAgo(user)
}

// isBound reports whether the one session of a user is bound.
func (s *deviceSite) isBound(user string) bool {
	s.Helper()
	sessions, err := s.guard.Load().Sessions(s.Context(), user)
	must(s.T, err)
	return len(sessions) == 1 && !sessions[0].Bound.IsZero()
}

// proveLongAgo moves the first proof of a user's devices, if there was one, an hour back.
func (s *deviceSite) proveLongAgo(user string) {
	s.Helper()
	for try := 0; ; try++ {
		var err error
		for _, rec := range s.records(user) {
			if rec.Detail().Device == nil || rec.Detail().Device.Proven == 0 {
				continue
			}
			session, details, device := *rec.Session, rec.Detail(), *rec.Detail().Device
			device.Proven = device.Proven.Add(-time.Hour)
			details.Device, session.Details = &device, &details
			session.Version++
			rec.Session = &session
			err = errors.Join(err, s.backend.Save(s.Context(), rec))
		}
		if err == nil {
			return
		}
		if try == 10 { // a request has saved it meanwhile
			s.Fatal(err)
		}
	}
}

// records returns a user's sessions.
func (s *deviceSite) records(user string) []store.Record {
	s.Helper()
	records, err := s.backend.ByOwner(s.Context(), "__Host-Http-session="+user, "", store.MaxPage)
	must(s.T, err)
	return records
}

// fetch returns what a script of the page gets for a path: the status and the body.
func (s *deviceSite) fetch(path string) (status int, body string) {
	s.Helper()
	var got struct {
		Status int
		Body   string
	}
	must(s.T, s.Eval(`return fetch(arguments[0]).then(async (r) => ({ status: r.status, body: await r.text() }))`, &got, path))
	return got.Status, got.Body
}

// goesOn fails the test if the browser is not logged in.
func (s *deviceSite) goesOn(user string) {
	s.Helper()
	if status, body := s.fetch("/echo"); status != http.StatusOK || !strings.Contains(body, "the secret of "+user) {
		s.Errorf("the browser got %d %s", status, body)
	}
}
