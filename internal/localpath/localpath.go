// Package localpath decides which addresses stay on this server, and builds the
// addresses of pages that a browser is redirected to.
package localpath

import (
	"net/url"
	"strings"
)

const (
	// maxLength bounds the work for a target, and the length of a redirect.
	maxLength = 2000
	// maxDecodings bounds how often a path is decoded until it stays the same.
	maxDecodings = 8
)

// IsLocal reports whether target is a path on this server, with or without a
// query and a fragment, so that a redirect to it leads nowhere else (OWASP ASVS
// 3.7.2). It is strict: whatever browsers, net/url, proxies and routers may read
// in different ways is refused.
//
//   - Whatever does not begin with a slash: a scheme (RFC 3986 section 3.1), a
//     relative path, or a space or control character, which browsers strip (WHATWG
//     URL section 4.4).
//   - An authority, with or without userinfo: "//host" (RFC 3986 section 4.2), and
//     "/\host", since browsers read a backslash as a slash (WHATWG URL section 4.4).
//   - A backslash or a control character anywhere. Browsers remove tabs and line
//     ends, so that "/\t/host" is "//host" to them (WHATWG URL section 4.4).
//   - In the path, an empty segment and the segments "." and ".." (RFC 3986 section
//     5.2.4): "/.//host" becomes "//host" without them.
//   - All of these percent-encoded in the path, however often, as a proxy or a router
//     may decode once more than expected. Up to 7 layers of encoding are decoded and
//     checked; a target with more is refused.
//   - An escape that is invalid, or becomes so by decoding, such as a literal "%25".
//   - More than 2,000 bytes.
//
// Escapes in the query and the fragment are not decoded: they cannot lead away.
func IsLocal(target string) bool {
	if len(target) > maxLength || !strings.HasPrefix(target, "/") {
		return false
	}
	// The checks below refuse a scheme and an authority too. net/url is a second
	// opinion on them, and checks the fragment's escapes.
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return false
	}
	if strings.ContainsFunc(target, isMisread) {
		return false
	}
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	for range maxDecodings {
		if !isPlainPath(path) {
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

// Climbs reports whether some server would take a path for one that lies elsewhere: whether
// it has a segment "." or "..", also after a backslash, with a parameter as in "..;a" (which
// Tomcat ignores), or percent-encoded, however often.
func Climbs(path string) bool {
	for range maxDecodings {
		slashes := func(c rune) bool { return c == '/' || c == '\\' }
		for segment := range strings.FieldsFuncSeq(path, slashes) {
			if segment, _, _ = strings.Cut(segment, ";"); segment == "." || segment == ".." {
				return true
			}
		}
		decoded := decodeDots.Replace(path)
		if decoded == path {
			return false
		}
		path = decoded
	}
	return true
}

// decodeDots decodes what matters to Climbs. An invalid escape next to it, at which
// url.PathUnescape would stop, does not keep another server from decoding it.
var decodeDots = strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%5c", `\`, "%5C", `\`, "%3b", ";", "%3B", ";", "%25", "%")

// isPlainPath reports whether every parser reads path, which begins with a slash,
// in the same way.
func isPlainPath(path string) bool {
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.Contains(path, "//") && !strings.ContainsFunc(path, isMisread)
}

// isMisread reports whether c is a character that browsers remove from a URL or
// read as a slash, or a control character that another parser may stop at.
func isMisread(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }
