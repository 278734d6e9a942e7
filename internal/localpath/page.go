package localpath

import (
	"net/http"
	"net/url"
	"strings"
)

// A Page is the address of a page on this server.
type Page struct {
	Target string // path and query, as a browser sends them
	Path   string // the path alone, decoded, to compare pages by
}

// Parse returns the page at target. It reports false if target is no local path,
// or has a fragment, since no query can follow a fragment.
func Parse(target string) (Page, bool) {
	u, err := url.Parse(target)
	if err != nil || !IsLocal(target) || u.Fragment != "" {
		return Page{}, false
	}
	return Page{target, u.Path}, true
}

// Requested returns the page that the client asked for. It reads the request
// target as it arrived, because a router may have cut a prefix off r.URL, and adds
// base, a prefix that a proxy has cut off, unless the target still has it. The page's
// Target is empty if it is no local path.
func Requested(r *http.Request, base string) Page {
	u := r.URL
	if sent, err := url.ParseRequestURI(r.RequestURI); err == nil {
		u = sent
	}
	if strings.HasPrefix(u.Path, base+"/") {
		base = ""
	}
	target := base + u.RequestURI()
	if !IsLocal(target) {
		target = ""
	}
	return Page{target, base + u.Path}
}

// Shown returns the page that a browser shows while htmx asks for a part of it: what htmx
// says, which a client may have made up, or with a link that htmx follows by itself, the
// page that Requested returns.
func Shown(r *http.Request, base string) Page {
	u, err := url.Parse(r.Header.Get("HX-Current-URL"))
	if err != nil || r.Header.Get("HX-Boosted") == "true" {
		return Requested(r, base)
	}
	target := u.RequestURI()
	if u.Host == "" || !IsLocal(target) {
		target = ""
	}
	return Page{target, u.Path}
}

// From returns the page's address with query, as With does, for a client that
// asked for another page. The address of that page becomes the value "next", before
// query, if it was asked for with GET: a redirect back can repeat no other method.
func (p Page) From(method string, asked Page, query ...string) string {
	if method == http.MethodGet {
		query = append([]string{"next", asked.Target}, query...)
	}
	return p.With(query...)
}

// With returns the page's address with query, which holds names and values in
// turn, added to its own query. Pairs with an empty value are left out. Values
// are escaped; names must not need it.
func (p Page) With(query ...string) string {
	target := p.Target
	for i := 0; i < len(query); i += 2 {
		name, value := query[i], query[i+1]
		if value == "" {
			continue
		}
		separator := "?"
		if strings.Contains(target, "?") {
			separator = "&"
		}
		target += separator + name + "=" + url.QueryEscape(value)
	}
	return target
}
