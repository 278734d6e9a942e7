package sessionguardtest

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
)

// A Response has the whole body. Its checks end the test, with the status and the beginning
// of the body, if they fail. Otherwise they return the response, so that they can be chained:
//
//	client.Get("/account").HasStatus(http.StatusOK).Contains("Ada")
type Response struct {
	*http.Response // its cookies are in Cookies(); its Body has been read
	Body           string

	client   *Client
	sent     []byte      // the request's body
	defaults http.Header // see Client.send
}

// maxRedirects is how many browsers follow.
const maxRedirects = 20

// Follow follows the redirect, and those that it leads to, and returns the last response. The
// test ends if there is no redirect, or if one leads to another site.
func (r *Response) Follow() *Response {
	r.client.t.Helper()
	if !r.isRedirect() {
		r.fail("want a redirect")
	}
	for n := 0; r.isRedirect(); n++ {
		if n == maxRedirects {
			r.fail("want an end after %d redirects", n)
		}
		r = r.follow()
	}
	return r
}

func (r *Response) follow() *Response {
	r.client.t.Helper()
	to, err := r.Location()
	if err != nil {
		r.fail("want a Location that can be read: %v", err)
	}
	if to.Host != r.Request.URL.Host || to.Scheme != r.Request.URL.Scheme {
		r.fail("cannot follow that to another site")
	}
	method, body := http.MethodGet, []byte(nil)
	keeps := r.StatusCode == http.StatusTemporaryRedirect || r.StatusCode == http.StatusPermanentRedirect
	if keeps || r.Request.Method == http.MethodHead {
		method, body = r.Request.Method, r.sent
	}
	next := r.client.newRequest(method, to.String(), bytes.NewReader(body))
	if kind := r.Request.Header["Content-Type"]; keeps && kind != nil {
		next.Header["Content-Type"] = kind
	}
	if site := r.Request.Header["Sec-Fetch-Site"]; site != nil { // nor has a browser forgotten it
		next.Header["Sec-Fetch-Site"] = site
	}
	return r.client.send(next, r.defaults)
}

func (r *Response) isRedirect() bool {
	switch r.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// HasStatus checks the status.
func (r *Response) HasStatus(want int) *Response {
	r.client.t.Helper()
	if r.StatusCode != want {
		r.fail("want %d", want)
	}
	return r
}

// RedirectsTo checks that the response is a redirect with this Location, query included.
func (r *Response) RedirectsTo(location string) *Response {
	r.client.t.Helper()
	if !r.isRedirect() || r.Header.Get("Location") != location {
		r.fail("want a redirect to %s", location)
	}
	return r
}

// Contains checks that the body contains every one of the texts.
func (r *Response) Contains(texts ...string) *Response {
	r.client.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.Body, text) {
			r.fail("want %q in the body", text)
		}
	}
	return r
}

// Lacks checks that the body contains none of the texts.
func (r *Response) Lacks(texts ...string) *Response {
	r.client.t.Helper()
	for _, text := range texts {
		if strings.Contains(r.Body, text) {
			r.fail("want no %q in the body", text)
		}
	}
	return r
}

// fail ends the test with what was received and what was wanted.
func (r *Response) fail(format string, args ...any) {
	r.client.t.Helper()
	got := r.Status
	if location := r.Header.Get("Location"); location != "" {
		got += " to " + location
	}
	r.client.t.Fatalf("%s %s: got %s, %s\n%s", r.Request.Method, r.Request.URL.RequestURI(), got, fmt.Sprintf(format, args...), excerpt(r.Body))
}

// excerpt returns the first lines of a body.
func excerpt(body string) string {
	const maxLines, maxBytes = 20, 2000
	end := min(len(body), maxBytes)
	for i, lines := 0, 0; i < end; i++ {
		if body[i] == '\n' {
			if lines++; lines == maxLines {
				end = i
			}
		}
	}
	if end < len(body) {
		return strings.ToValidUTF8(body[:end], "") + "\n…"
	}
	return body
}
