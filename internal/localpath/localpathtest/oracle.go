package localpathtest

import (
	"net/url"
	"strings"
)

// Host is the server whose pages [Leaves] reads links on.
const Host = "app.example"

// Leaves returns how a link on a page of Host leads away from it, as net/url or
// as a browser reads it, or "" if the link stays.
func Leaves(link string) string {
	base := &url.URL{Scheme: "https", Host: Host, Path: "/deep/login"}
	if u, err := base.Parse(link); err != nil {
		return "net/url: " + err.Error()
	} else if u.Scheme != "https" || u.Host != Host || u.User != nil {
		return "net/url: " + u.String()
	}
	if scheme, authority := browserReads(link); scheme != "https" || authority != Host {
		return "browser: " + scheme + " " + authority
	}
	return ""
}

// browserReads returns the scheme and the authority that a browser on a page of
// Host reads in a link. It is a small model of the WHATWG URL parser (section 4.4).
func browserReads(link string) (scheme, authority string) {
	link = strings.TrimFunc(link, func(r rune) bool { return r <= ' ' })
	link = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(link)

	scheme = "https"
	if before, after, ok := strings.Cut(link, ":"); ok && isScheme(before) {
		switch before = strings.ToLower(before); before {
		case "http", "https", "ws", "wss", "ftp":
			link = strings.ReplaceAll(after, `\`, "/")
			if before == scheme && !strings.HasPrefix(link, "//") {
				return scheme, Host // "https:home" is relative to an https page
			}
			return before, browserAuthority(strings.TrimLeft(link, "/"))
		}
		return before, after
	}
	// With a special scheme, such as https, browsers read a backslash as a slash.
	link = strings.ReplaceAll(link, `\`, "/")
	if strings.HasPrefix(link, "//") {
		return scheme, browserAuthority(strings.TrimLeft(link, "/"))
	}
	return scheme, Host
}

func browserAuthority(s string) string {
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		s = s[:i]
	}
	return s
}

func isScheme(s string) bool {
	for i, c := range []byte(strings.ToLower(s)) {
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}
