// Package localpath decides which addresses stay on this server, and makes those that
// a browser is redirected to.
package localpath

import (
	"net/http"
	"net/url"
	"strings"
)

// IsLocal decides whether a browser sent to next stays on this server.
func IsLocal(next string) bool {
	if len(next) > 2000 || !strings.HasPrefix(next, "/") {
		return false
	}
	u, err := url.Parse(next)
	if err != nil || strings.ContainsFunc(next, misread) ||
		u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return false
	}
	path, _, _ := strings.Cut(next, "?")
	path, _, _ = strings.Cut(path, "#")
	// A proxy or a router may decode once more than we expect.
	for range 8 {
		if !plainPath(path) {
			return false
		}
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return false
		}
		if decoded == path {
			return true
		}
		path = decoded
	}
	return false
}

// plainPath says that nothing in a path is read differently by another parser.
func plainPath(path string) bool {
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.Contains(path, "//") && !strings.ContainsFunc(path, misread)
}

// misread says that browsers drop c from a URL or take it for a slash.
func misread(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }

// A Page is a page of the application that a browser is sent to.
type Page struct {
	Target, Path string
}

func Parse(target string) (Page, bool) {
	u, err := url.Parse(target)
	if err != nil || !IsLocal(target) || u.Fragment != "" { // a query cannot follow a fragment
		return Page{}, false
	}
	return Page{target, u.Path}, true
}

// From is the Page for someone who asked for another page.
func (d Page) From(method string, asked Page, query ...string) string {
	if method == http.MethodGet {
		query = append([]string{"next", asked.Target}, query...)
	}
	return d.With(query...)
}

// With is the Page with a query of names and values. Empty ones are left out.
func (d Page) With(query ...string) string {
	target := d.Target
	for i := 0; i < len(query); i += 2 {
		if query[i+1] == "" {
			continue
		}
		separator := "?"
		if strings.Contains(target, "?") {
			separator = "&"
		}
		target += separator + query[i] + "=" + url.QueryEscape(query[i+1])
	}
	return target
}

// Requested is the page that the client asked for, as it asked: a router may
// have cut a prefix off r.URL. Its target is empty if it is no local path.
func Requested(r *http.Request) Page {
	u := r.URL
	if asked, err := url.ParseRequestURI(r.RequestURI); err == nil {
		u = asked
	}
	target := u.RequestURI()
	if !IsLocal(target) {
		target = ""
	}
	return Page{target, u.Path}
}
