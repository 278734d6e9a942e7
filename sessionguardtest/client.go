package sessionguardtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A Client is a browser of the application, without a network: it calls the application's
// handler and keeps the cookies. So it also works inside a testing/synctest bubble,
// if it is made there.
//
// It sends what browsers send: the cookies, Accept, the Sec-Fetch headers, and Origin if
// a browser would. The requests come over https, so that the guard's default cookies are
// sent. It refuses the cookies that browsers refuse, such as a __Host- one without
// Path=/, and logs that. It sends cookies whatever their SameSite.
//
// The handler runs in the calling goroutine and has returned before the client gets the
// response. Some handlers need a real server (see [httptest.NewServer]): those that wait
// for their client, that stream without an end, or that hijack the connection, as for a
// WebSocket.
//
// Methods that cannot do what they should end the test, so call them in the test's own
// goroutine.
type Client struct {
	// Origin is where the application seems to be. Default: "https://example.com".
	Origin string
	// Header has fields for every request that has no such field itself.
	Header http.Header

	t   testing.TB
	app http.Handler
	jar http.CookieJar
}

// NewClient returns a client without cookies.
func NewClient(t testing.TB, app http.Handler) *Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatalf("sessionguardtest: %v", err)
	}
	return &Client{Origin: "https://example.com", Header: http.Header{}, t: t, app: app, jar: jar}
}

// Get opens a page, as if the user had followed a link to it. The path may have a query.
func (c *Client) Get(path string) *Response {
	c.t.Helper()
	return c.Do(c.newRequest(http.MethodGet, path, nil))
}

// PostForm submits a form of one of the application's own pages.
func (c *Client) PostForm(path string, fields url.Values) *Response {
	c.t.Helper()
	r := c.newRequest(http.MethodPost, path, strings.NewReader(fields.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.Do(r)
}

// Do sends r as a browser that opens a page does. Fields of r's own header take
// precedence, such as "Sec-Fetch-Site: cross-site" for a form of another site. r is made
// by [http.NewRequest] or [httptest.NewRequest], and its URL may be a path.
func (c *Client) Do(r *http.Request) *Response {
	c.t.Helper()
	return c.send(r, http.Header{
		"Accept":         {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		"Sec-Fetch-Dest": {"document"},
		"Sec-Fetch-Mode": {"navigate"},
		"Sec-Fetch-User": {"?1"},
	})
}

// Fetch sends r as fetch does in a script of one of the application's own pages. If a
// browser would be redirected, the response to Fetch is an application/problem+json.
func (c *Client) Fetch(r *http.Request) *Response {
	c.t.Helper()
	return c.send(r, http.Header{
		"Accept":         {"*/*"},
		"Sec-Fetch-Dest": {"empty"},
		"Sec-Fetch-Mode": {"cors"},
	})
}

// Wait moves the clock by d, inside a testing/synctest bubble, and waits for all that is due
// by then. The client sends nothing meanwhile:
//
//	client.Wait(31 * time.Minute) // and the session has timed out
//
// Outside of a bubble the test fails at once: there, [Idle] moves the session instead.
func (c *Client) Wait(d time.Duration) {
	c.t.Helper()
	if p := settle(); p != nil {
		c.t.Fatalf("sessionguardtest: Wait works inside of synctest.Test only (elsewhere, use Idle): %v", p)
	}
	time.Sleep(d)
	synctest.Wait()
}

// settle is [synctest.Wait], but returns its panic, which tells that there is no bubble.
func settle() (p any) {
	defer func() { p = recover() }()
	synctest.Wait()
	return nil
}

func (c *Client) newRequest(method, path string, body io.Reader) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, path, body)
	if err != nil {
		c.t.Fatalf("sessionguardtest: %v", err)
	}
	return r
}

// send sends r with the fields of defaults that neither r nor c.Header has.
func (c *Client) send(r *http.Request, defaults http.Header) *Response {
	c.t.Helper()
	to := c.resolve(r)
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			c.t.Fatalf("sessionguardtest: %s %s: reading the request's body: %v", r.Method, to, err)
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel() // as a server does after each request
	sent := newServerRequest(ctx, r.Method, to, body)
	if r.RemoteAddr != "" {
		sent.RemoteAddr = r.RemoteAddr
	}
	maps.Copy(sent.Header, r.Header.Clone())
	c.complete(sent, defaults)
	for _, cookie := range c.jar.Cookies(to) {
		sent.AddCookie(cookie)
	}
	w := recorder{httptest.NewRecorder()}
	c.app.ServeHTTP(w, sent)

	resp := w.Result()
	c.jar.SetCookies(to, acceptable(c.t, to, resp.Cookies()))
	resp.Request = &http.Request{Method: sent.Method, URL: to, Header: sent.Header, Host: to.Host}
	return &Response{Response: resp, Body: w.Body.String(), client: c, sent: body, defaults: defaults}
}

// resolve returns the absolute URL of r.
func (c *Client) resolve(r *http.Request) *url.URL {
	c.t.Helper()
	origin, err := url.Parse(c.Origin)
	if err != nil || origin.Host == "" {
		c.t.Fatalf("sessionguardtest: Client.Origin: %q is no origin, such as https://example.com", c.Origin)
	}
	if r.URL.Host == "" && !strings.HasPrefix(r.URL.Path, "/") {
		c.t.Fatalf("sessionguardtest: %q does not begin with a slash", r.URL)
	}
	to := origin.ResolveReference(r.URL)
	to.Fragment = ""
	return to
}

// complete adds what a browser sends in any case.
func (c *Client) complete(r *http.Request, defaults http.Header) {
	add := func(name string, values ...string) {
		if _, set := r.Header[name]; !set {
			r.Header[name] = values
		}
	}
	for name, values := range c.Header {
		add(http.CanonicalHeaderKey(name), values...)
	}
	for name, values := range defaults {
		add(name, values...)
	}
	add("Sec-Fetch-Site", "same-origin")
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !safe && r.Header.Get("Sec-Fetch-Site") == "same-origin" {
		add("Origin", c.Origin)
	}
}

// request and keep make a Client a browser.

func (c *Client) request() *http.Request {
	c.t.Helper()
	base := c.resolve(&http.Request{URL: &url.URL{Path: "/"}})
	r := newRequest(c.t.Context(), base.Host, c.Header)
	for _, cookie := range c.jar.Cookies(base) {
		r.AddCookie(cookie)
	}
	return r
}

func (c *Client) keep(cookies []*http.Cookie) {
	c.t.Helper()
	to := c.resolve(&http.Request{URL: &url.URL{Path: "/"}})
	c.jar.SetCookies(to, acceptable(c.t, to, cookies))
}

// newRequest returns a request of "/" that has what header says of a browser, and nothing
// of where its request comes from.
func newRequest(ctx context.Context, host string, header http.Header) *http.Request {
	r := newServerRequest(ctx, http.MethodPost, &url.URL{Scheme: "https", Host: host, Path: "/"}, nil)
	for name, values := range header {
		switch {
		case name == "Origin", name == "Upgrade", name == "Connection", strings.HasPrefix(name, "Content-"),
			strings.HasPrefix(name, "Sec-"), strings.HasSuffix(name, "Purpose"):
		default:
			r.Header[name] = values
		}
	}
	return r
}

// newServerRequest returns a request as a server's handler gets it.
func newServerRequest(ctx context.Context, method string, to *url.URL, body []byte) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, to.RequestURI(), bytes.NewReader(body))
	r.Host = to.Host
	if to.Scheme == "https" {
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: to.Hostname()}
	}
	return r
}

// recorder leaves informational responses out, which an [httptest.ResponseRecorder] takes for
// the response itself.
type recorder struct{ *httptest.ResponseRecorder }

func (w recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.ResponseRecorder.WriteHeader(status)
	}
}
