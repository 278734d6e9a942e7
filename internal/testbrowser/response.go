package testbrowser

import (
	"net/http"
	"strings"
)

// A Response has the whole body. Its checks return the response, so that they can be
// chained, and fail the test at once.
type Response struct {
	*http.Response
	Body string
	T    T
}

// Expect checks the status and the Location header, which is "" if there is none.
func (r Response) Expect(status int, location string) Response {
	r.T.Helper()
	if r.StatusCode != status || r.Header.Get("Location") != location {
		r.fatalf("got %d to %q, want %d to %q\n%s", r.StatusCode, r.Header.Get("Location"), status, location, r.Body)
	}
	return r
}

// Contains checks that the body contains every text.
func (r Response) Contains(texts ...string) Response {
	r.T.Helper()
	for _, text := range texts {
		if !strings.Contains(r.Body, text) {
			r.fatalf("%q is not in\n%s", text, r.Body)
		}
	}
	return r
}

// Lacks checks that the body does not contain text.
func (r Response) Lacks(text string) Response {
	r.T.Helper()
	if strings.Contains(r.Body, text) {
		r.fatalf("%q is in\n%s", text, r.Body)
	}
	return r
}

// Has checks the value of a header field.
func (r Response) Has(name, want string) Response {
	r.T.Helper()
	if got := r.Header.Get(name); got != want {
		r.fatalf("%s is %q, want %q", name, got, want)
	}
	return r
}

// NoStore checks that no cache may keep the response.
func (r Response) NoStore() Response {
	r.T.Helper()
	return r.Has("Cache-Control", "no-store, no-cache, must-revalidate, private")
}

// Row returns the response with only the first list item that contains text.
func (r Response) Row(text string) Response {
	r.T.Helper()
	for part := range strings.SplitSeq(r.Body, "<li>") {
		if row, _, ok := strings.Cut(part, "</li>"); ok && strings.Contains(row, text) {
			r.Body = row
			return r
		}
	}
	r.fatalf("no list item contains %q in\n%s", text, r.Body)
	return r
}

// Cookie returns the cookie that the response sets or deletes under this name, or nil.
func (r Response) Cookie(name string) *http.Cookie {
	for _, c := range r.Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func (r Response) fatalf(format string, args ...any) {
	r.T.Helper()
	where := []any{r.Request.Method, r.Request.URL.Path}
	fatalf(r.T, "%s %s: "+format, append(where, args...)...)
}
