// Package testbrowser is the client of this module's tests: it keeps cookies as a browser
// does and follows no redirects. The package also has two ways to reach a server without a
// real network, which would stop the clock of testing/synctest.
package testbrowser

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// T is the part of [testing.T] that a browser needs.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
	Context() context.Context
}

// A Browser sends requests to a server and keeps the cookies. Its methods may be called by
// several goroutines at the same time, except SetCookies.
type Browser struct {
	T      T            // fails if a request gets no response
	Client *http.Client // with the cookie jar
	URL    string       // of the server, without a path
	Header http.Header  // sent with every request, unless the request has the field
	Device *Device      // nil: the browser cannot bind sessions

	received *received // shared by all that At returns
}

type received struct {
	mu      sync.Mutex
	cookies []*http.Cookie
}

// New returns a browser without cookies that asks for HTML. A nil transport is
// [http.DefaultTransport].
func New(t T, serverURL string, transport http.RoundTripper) *Browser {
	t.Helper()
	return &Browser{
		T: t,
		Client: &http.Client{
			Jar:           newJar(t),
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		URL:      serverURL,
		Header:   http.Header{"Accept": {"text/html"}},
		received: &received{},
	}
}

// Copy returns another browser with the same cookies and without a device, on the same
// server: a thief's.
func (b *Browser) Copy() *Browser {
	b.T.Helper()
	client := *b.Client
	other := &Browser{T: b.T, Client: &client, URL: b.URL, Header: b.Header.Clone(), received: &received{}}
	other.SetCookies(b.Cookies())
	return other
}

// At returns the same browser at another node of the application. Browsers keep cookies by
// host and not by port, so nodes on ports of one host get the same cookies.
func (b *Browser) At(serverURL string) *Browser {
	other := *b
	other.URL = serverURL
	return &other
}

// Cookies returns the value of each cookie that the browser would send.
func (b *Browser) Cookies() map[string]string {
	b.T.Helper()
	values := map[string]string{}
	for _, c := range b.Client.Jar.Cookies(b.base()) {
		values[c.Name] = c.Value
	}
	return values
}

// SetCookies replaces all cookies of the browser.
func (b *Browser) SetCookies(values map[string]string) {
	b.T.Helper()
	base, jar := b.base(), newJar(b.T)
	for name, value := range values {
		c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: base.Scheme == "https"}
		jar.SetCookies(base, []*http.Cookie{c})
	}
	b.Client.Jar = jar
}

// Received returns every cookie that a response to Open, or to the device, has set or
// deleted, in order.
func (b *Browser) Received() []*http.Cookie {
	b.received.mu.Lock()
	defer b.received.mu.Unlock()
	return slices.Clone(b.received.cookies)
}

// Request returns a request that ends with the test. header is name, value, name, value …
// Only Send and Do add the browser's own Header.
func (b *Browser) Request(method, path string, header ...string) *http.Request {
	b.T.Helper()
	return b.request(method, path, nil, header...)
}

func (b *Browser) request(method, path string, body io.Reader, header ...string) *http.Request {
	b.T.Helper()
	r, err := http.NewRequestWithContext(b.T.Context(), method, b.URL+path, body)
	if err != nil {
		fatalf(b.T, "%v", err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" && r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "*/*") // as a script's fetch does
	}
	return r
}

// Open sends a request and returns once the header of the response has arrived.
func (b *Browser) Open(r *http.Request) (*http.Response, error) {
	for name, values := range b.Header {
		if _, set := r.Header[name]; !set {
			r.Header[name] = values
		}
	}
	var soon []*deviceSession
	if b.Device != nil {
		soon = b.Device.before(b, r)
	}
	resp, err := b.Client.Do(r)
	if err != nil {
		return nil, err
	}
	b.receive(resp)
	if b.Device != nil {
		b.Device.after(b, resp, soon)
	}
	return resp, nil
}

func (b *Browser) receive(resp *http.Response) {
	b.received.mu.Lock()
	defer b.received.mu.Unlock()
	b.received.cookies = append(b.received.cookies, resp.Cookies()...)
}

// Send sends a request and reads the whole response. It returns an error where Do fails the
// test.
func (b *Browser) Send(r *http.Request) (Response, error) {
	resp, err := b.Open(r)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Response{Response: resp, Body: string(body), T: b.T}, err
}

// Do sends a request and reads the whole response.
func (b *Browser) Do(r *http.Request) Response {
	b.T.Helper()
	resp, err := b.Send(r)
	if err != nil {
		fatalf(b.T, "%s %s: %v", r.Method, r.URL, err)
	}
	return resp
}

// Get sends a GET request. header is name, value, name, value …
func (b *Browser) Get(path string, header ...string) Response {
	b.T.Helper()
	return b.Do(b.Request("GET", path, header...))
}

// Post sends a POST request without a body. header is name, value, name, value …
func (b *Browser) Post(path string, header ...string) Response {
	b.T.Helper()
	return b.Do(b.Request("POST", path, header...))
}

// PostForm submits a form. fields is name, value, name, value …
func (b *Browser) PostForm(path string, fields ...string) Response {
	b.T.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	body := strings.NewReader(form.Encode())
	return b.Do(b.request("POST", path, body, "Content-Type", "application/x-www-form-urlencoded"))
}

func (b *Browser) base() *url.URL {
	b.T.Helper()
	base, err := url.Parse(b.URL)
	if err != nil {
		fatalf(b.T, "%v", err)
	}
	return base
}

func newJar(t T) http.CookieJar {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		fatalf(t, "%v", err)
	}
	return jar
}

func fatalf(t T, format string, args ...any) {
	t.Helper()
	t.Errorf(format, args...)
	t.FailNow()
}
