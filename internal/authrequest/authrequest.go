// Package authrequest reads the requests by which a proxy asks whether another request may
// pass, and answers them: those of nginx's auth_request, Caddy's forward_auth and Traefik's
// ForwardAuth.
package authrequest

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
)

// Asks reports whether r may be of a proxy that asks about another request. It takes any 2xx
// for permission.
func Asks(r *http.Request) bool {
	_, ok := r.Header["X-Forwarded-Method"]
	return ok
}

// Original returns the request that the proxy asks about. Its method and address are in
// X-Forwarded-Method and X-Forwarded-Uri, without which it returns an error, and its host in
// X-Forwarded-Host, or that of r if the proxy has kept it. All else is the client's, as the
// proxy has passed it on. The original's body stays with the proxy.
//
// What is there twice, or is no method, path or host, is an error as well: somebody may have
// added to what the proxy says.
func Original(r *http.Request) (*http.Request, error) {
	method, err := single(r.Header, "X-Forwarded-Method")
	if err != nil {
		return nil, err
	}
	if method == "" || strings.ContainsFunc(method, func(c rune) bool { return c != '-' && (c < 'A' || c > 'Z') }) {
		return nil, fmt.Errorf("X-Forwarded-Method is %.100q, which is not a method", method)
	}
	if !fetch.IsSafe(r.Method) && r.Method != method {
		return nil, fmt.Errorf("X-Forwarded-Method is %.100q, but the request is a %.100q", method, r.Method)
	}
	uri, err := single(r.Header, "X-Forwarded-Uri")
	if err != nil {
		return nil, err
	}
	address, err := url.ParseRequestURI(uri)
	if err != nil || !strings.HasPrefix(uri, "/") {
		return nil, fmt.Errorf("X-Forwarded-Uri is %.100q, which is not a path", uri)
	}
	// No client sends a fragment. Programs that split one off would read another path or query
	// than gates, to which it would be a part of that.
	if strings.Contains(uri, "#") {
		return nil, fmt.Errorf("X-Forwarded-Uri is %.100q, which has a fragment", uri)
	}
	// A browser resolves "..", but not "..%2f". The proxy has resolved it to choose the
	// application and the gates, and these would decide about another path than that.
	if path, _, _ := strings.Cut(uri, "?"); localpath.Climbs(path) {
		return nil, fmt.Errorf("X-Forwarded-Uri is %.100q, which has a dot segment", uri)
	}
	host := r.Host
	if _, ok := r.Header["X-Forwarded-Host"]; ok {
		if host, err = single(r.Header, "X-Forwarded-Host"); err != nil {
			return nil, err
		}
	}
	if host == "" || strings.ContainsAny(host, " ,;/\\@?#") {
		return nil, fmt.Errorf("X-Forwarded-Host is %.100q, which is not a host", host)
	}
	original := r.WithContext(r.Context())
	original.Method, original.URL, original.RequestURI, original.Host = method, address, uri, host
	original.Body, original.ContentLength = http.NoBody, 0
	original.Form, original.PostForm, original.MultipartForm = nil, nil, nil // of the proxy's, if it was parsed
	original.Header = withUpgrade(r.Header)
	return original, nil
}

// single returns the value of a header field that must be there once.
func single(h http.Header, name string) (string, error) {
	values := h[name]
	if len(values) != 1 {
		return "", fmt.Errorf("%s has arrived %d times instead of once", name, len(values))
	}
	return values[0], nil
}

// withUpgrade returns h with the field Upgrade if it is that of a WebSocket handshake: proxies
// remove it, as a matter of the connection (RFC 9110, section 7.6.1).
func withUpgrade(h http.Header) http.Header {
	if _, ok := h["Upgrade"]; ok || h.Get("Sec-WebSocket-Key") == "" && h.Get("Sec-WebSocket-Version") == "" && h.Get("Sec-Fetch-Mode") != "websocket" {
		return h
	}
	h = h.Clone()
	h.Set("Upgrade", "websocket")
	return h
}
