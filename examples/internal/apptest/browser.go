// Package apptest is what the tests of the examples share: a browser without a screen, and
// the program that they start.
package apptest

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Browser has a cookie jar and follows no redirects. What goes wrong fails its test.
type Browser struct {
	*testing.T
	Client http.Client
	URL    string // of the application
	Agent  string // what it says it is
}

// Browse is a browser without cookies.
func Browse(t *testing.T, url string) *Browser {
	b := &Browser{T: t, URL: url}
	b.Client = http.Client{
		Jar:           b.jar(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return b
}

// Copy is another browser with the same cookies.
func (b *Browser) Copy() *Browser {
	b.Helper()
	other := *b
	other.Client.Jar = b.jar()
	other.Client.Jar.SetCookies(b.base(), b.Cookies())
	return &other
}

// At is the same browser on another node: it keeps cookies by host, not by port.
func (b *Browser) At(url string) *Browser {
	other := *b
	other.URL = url
	return &other
}

// Cookies are those that it sends.
func (b *Browser) Cookies() []*http.Cookie {
	b.Helper()
	return b.Client.Jar.Cookies(b.base())
}

func (b *Browser) jar() http.CookieJar {
	b.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	return jar
}

func (b *Browser) base() *url.URL {
	b.Helper()
	base, err := url.Parse(b.URL)
	if err != nil {
		b.Fatal(err)
	}
	return base
}

// Direct answers requests without a network, which would stop the clock of
// testing/synctest.
type Direct struct{ http.Handler }

// RoundTrip implements [http.RoundTripper].
func (d Direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	sent := httptest.NewRequest(r.Method, r.URL.String(), r.Body)
	sent.Header = r.Header
	d.ServeHTTP(w, sent)
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

// Passwords are the demo accounts'.
var Passwords = map[string]string{
	"ada":   "analytical-engine",
	"grace": "nanoseconds-matter",
	"eve":   "deactivated-demo",
}

// Login posts the login form.
func (b *Browser) Login(name string) Answer {
	b.Helper()
	return b.Post("/login", "username", name, "password", Passwords[name])
}

// Session is the public ID of the browser's session.
func (b *Browser) Session() string {
	b.Helper()
	var status struct{ Session string }
	if err := json.Unmarshal([]byte(b.Get("/session").Body), &status); err != nil || status.Session == "" {
		b.Fatal(err, status)
	}
	return status.Session
}

// Stream opens /events and returns a function that waits for the next event's
// data, "" at the end.
func (b *Browser) Stream() (*http.Response, func() string) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), "GET", b.URL+"/events", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	w, err := b.Client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { w.Body.Close() })
	lines := bufio.NewScanner(w.Body)
	return w, func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		return ""
	}
}

// Do sends a request; header is name, value, name, value…
func (b *Browser) Do(method, path string, body io.Reader, header ...string) Answer {
	b.Helper()
	r, err := http.NewRequest(method, b.URL+path, body)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("User-Agent", b.Agent)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := b.Client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		b.Fatal(err)
	}
	return Answer{w, b.T, string(text)}
}

// Get asks for a page.
func (b *Browser) Get(path string, header ...string) Answer {
	b.Helper()
	return b.Do("GET", path, nil, header...)
}

// Post sends a form: name, value, name, value…
func (b *Browser) Post(path string, fields ...string) Answer {
	b.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return b.Do("POST", path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}
