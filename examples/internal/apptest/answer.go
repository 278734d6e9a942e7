package apptest

import (
	"net/http"
	"strings"
	"testing"
)

// Answer is what a server said. Its methods fail the test if it is not as they say.
type Answer struct {
	*http.Response
	T    *testing.T
	Body string
}

// Expect checks the status and where the answer leads, "" for nowhere.
func (a Answer) Expect(status int, location string) Answer {
	a.T.Helper()
	if a.StatusCode != status || a.Header.Get("Location") != location {
		a.T.Fatalf("%s %s: got %d to %q, want %d to %q\n%s", a.Request.Method, a.Request.URL.Path,
			a.StatusCode, a.Header.Get("Location"), status, location, a.Body)
	}
	return a
}

// Contains checks that every text is in the page.
func (a Answer) Contains(texts ...string) Answer {
	a.T.Helper()
	for _, text := range texts {
		if !strings.Contains(a.Body, text) {
			a.T.Fatalf("%s %s: %q is not in\n%s", a.Request.Method, a.Request.URL.Path, text, a.Body)
		}
	}
	return a
}

// Lacks checks that text is not in the page.
func (a Answer) Lacks(text string) Answer {
	a.T.Helper()
	if strings.Contains(a.Body, text) {
		a.T.Fatalf("%s %s: %q is in\n%s", a.Request.Method, a.Request.URL.Path, text, a.Body)
	}
	return a
}

// Has checks a header.
func (a Answer) Has(name, want string) Answer {
	a.T.Helper()
	if got := a.Header.Get(name); got != want {
		a.T.Fatalf("%s %s: %s is %q, want %q", a.Request.Method, a.Request.URL.Path, name, got, want)
	}
	return a
}

// NoStore checks that nothing keeps the page.
func (a Answer) NoStore() Answer {
	a.T.Helper()
	return a.Has("Cache-Control", "no-store, no-cache, must-revalidate, private")
}

// Row is the item of a list that is about something.
func (a Answer) Row(about string) Answer {
	a.T.Helper()
	for part := range strings.SplitSeq(a.Body, "<li>") {
		if row, _, ok := strings.Cut(part, "</li>"); ok && strings.Contains(row, about) {
			return Answer{a.Response, a.T, row}
		}
	}
	a.T.Fatalf("no row about %q in\n%s", about, a.Body)
	return a
}

// SessionCookie is what the answer says of the session's cookie.
func (a Answer) SessionCookie() *http.Cookie {
	a.T.Helper()
	for _, cookie := range a.Cookies() {
		if cookie.Name == "session" {
			return cookie
		}
	}
	a.T.Fatalf("%s: no session cookie in %v", a.Request.URL.Path, a.Header)
	return nil
}
