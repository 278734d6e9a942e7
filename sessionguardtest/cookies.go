package sessionguardtest

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// acceptable returns those cookies of a response that a browser keeps. A [cookiejar.Jar] knows
// only some of the rules.
func acceptable(t testing.TB, from *url.URL, cookies []*http.Cookie) []*http.Cookie {
	t.Helper()
	var kept []*http.Cookie
	for _, c := range cookies {
		if why := refusal(from, c); why != "" {
			t.Logf("sessionguardtest: browsers refuse the cookie %s: %s", c.Name, why)
			continue
		}
		kept = append(kept, c)
	}
	return kept
}

// refusal returns why a browser refuses a cookie (draft-ietf-httpbis-rfc6265bis, section
// 5.7; draft-ietf-httpbis-layered-cookies for the prefixes with Http), or "".
func refusal(from *url.URL, c *http.Cookie) string {
	name := strings.ToLower(c.Name)
	isHost := strings.HasPrefix(name, "__host-")
	isHTTP := strings.HasPrefix(name, "__http-") || strings.HasPrefix(name, "__host-http-")
	switch {
	case len(c.Name)+len(c.Value) > 4096:
		return "it has more than 4096 bytes"
	case c.Secure && from.Scheme != "https" && !isLocal(from.Hostname()):
		return "it is Secure, and this is plain http"
	case !c.Secure && (isHost || isHTTP || strings.HasPrefix(name, "__secure-")):
		return "its prefix needs Secure"
	case !c.Secure && (c.SameSite == http.SameSiteNoneMode || c.Partitioned):
		return "SameSite=None and Partitioned need Secure"
	case isHost && (c.Path != "/" || c.Domain != ""):
		return "its prefix needs Path=/ and no Domain"
	case isHTTP && !c.HttpOnly:
		return "its prefix needs HttpOnly"
	}
	return ""
}

// isLocal reports whether browsers trust plain http to host.
func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
