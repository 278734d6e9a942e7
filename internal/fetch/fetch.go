// Package fetch tells from a request's headers why it was sent: to show a page, by a
// script, for a connection, or ahead of time.
package fetch

import (
	"net"
	"net/http"
	"reflect"
	"strings"
)

// A Kind is what a client does with the response to a request.
type Kind uint8

const (
	Program    Kind = iota // reads it
	Navigation             // shows it as a page
	HTMX                   // puts it into a part of a page, but obeys its header HX-Redirect, whatever the status
)

// KindOf returns what the client does with the response to r. Only browsers send
// Sec-Fetch-Mode, and scripts cannot forge it. A script that asks for text/html, as Turbo
// does, follows redirects and shows the page at their end, unless it says that it puts the
// response into a part of one.
func KindOf(r *http.Request) Kind {
	h := r.Header // indexed, because Get has to find the canonical form of HX first
	if first(h["Hx-History-Restore-Request"]) == "true" {
		return Navigation
	}
	byHTMX := first(h["Hx-Request"]) == "true"
	switch first(h["Sec-Fetch-Mode"]) {
	case "navigate":
		return Navigation
	case "", "cors", "same-origin":
		if first(h["Hx-Request"]) != "" || first(h["Turbo-Frame"]) != "" || first(h["X-Requested-With"]) != "" {
			break
		}
		for _, accept := range h["Accept"] {
			if strings.Contains(accept, "text/html") {
				return Navigation
			}
		}
	}
	if byHTMX {
		return HTMX
	}
	return Program
}

// SameOrigin reports whether a browser says that a page of the same origin sent r, or none,
// for example because the user has typed the address. All checks of the origin let r pass.
func SameOrigin(r *http.Request) bool {
	site := first(r.Header["Sec-Fetch-Site"])
	return site == "same-origin" || site == "none"
}

// CrossOriginSubresource reports whether a page of another origin sent r for a part of
// itself: an image, a script, a fetch (OWASP ASVS 3.5.8). It is false for navigations, also
// in a frame, and where Sec-Fetch-Site is missing: browsers send it over https and to
// localhost, together with Sec-Fetch-Mode, and no script can set either. An object and an
// embed element navigate, but tell their page whether that has failed, and the size of an
// image.
//
// It is also true for the handshake of a WebSocket without Sec-Fetch-Site, as Chromium (156)
// sends it: Origin says of which origin it is. Where a proxy has removed Upgrade, as nginx does
// by default, nothing else tells it from a request that no page has sent.
func CrossOriginSubresource(r *http.Request) bool {
	switch first(r.Header["Sec-Fetch-Site"]) {
	case "same-origin", "none":
		return false
	case "":
		_, handshake := r.Header["Sec-Websocket-Version"]
		return handshake
	}
	if first(r.Header["Sec-Fetch-Mode"]) != "navigate" {
		return true
	}
	dest := first(r.Header["Sec-Fetch-Dest"])
	return dest == "object" || dest == "embed"
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// Upgrades reports whether r asks for a connection whose response cannot set a cookie: a
// WebSocket in HTTP/1.1, or in HTTP/2 (RFC 8441).
func Upgrades(r *http.Request) bool {
	_, ok := r.Header["Upgrade"]
	return ok || r.Method == http.MethodConnect
}

// Prefetches reports whether a browser sent r ahead of time, without knowing whether
// anybody wants the page. Older ones have other headers for that than Sec-Purpose: Purpose
// (Chromium, Safari), X-Purpose (Safari) and X-Moz (Firefox). Turbo, when the pointer is on
// a link, has X-Sec-Purpose, since scripts cannot send Sec-Purpose, and htmx's extension
// preload has HX-Preloaded.
func Prefetches(r *http.Request) bool {
	if len(r.Header["Sec-Purpose"]) > 0 || first(r.Header["Hx-Preloaded"]) == "true" {
		return true
	}
	for _, name := range [...]string{"Purpose", "X-Purpose", "X-Moz", "X-Sec-Purpose"} {
		for _, purpose := range r.Header[name] {
			if purpose == "prefetch" || purpose == "preview" {
				return true
			}
		}
	}
	return false
}

// IsSafe reports whether a method changes nothing (RFC 9110, section 9.2.1), so that
// [http.CrossOriginProtection] does not check it.
func IsSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// SameHeader reports whether a and b are one map.
func SameHeader(a, b http.Header) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// IsLocalhost reports whether host, with or without a port, is this machine to a browser.
func IsLocalhost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(host).IsLoopback()
}
