package e2e

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// protection selects which of the application's protections reach the browser. A test
// without a leak proves something only beside a control that leaks.
type protection string

const (
	none          protection = "none"           // no caching headers, no script, and a logout that only deletes its cookie
	recipe        protection = "recipe"         // only the commonly copied caching headers
	recipeResent  protection = "recipe resent"  // the same, with the session cookie on every response, as some frameworks do
	withoutScript protection = "without script" // everything but the script, as with JavaScript turned off
	scriptOnly    protection = "script only"    // only the script
	unpartitioned protection = "unpartitioned"  // the cookies are not Partitioned
	whole         protection = "whole"          // the application's responses, unchanged
)

func (p protection) keepsHeaders() bool { return p != none && p != scriptOnly }
func (p protection) keepsScript() bool  { return p == whole || p == scriptOnly || p == unpartitioned }

// keepsVisitorCookie reports whether the visitor's cookie that a logout sets is kept. The
// change evicts pages from Chromium's back/forward cache.
func (p protection) keepsVisitorCookie() bool {
	return p == whole || p == withoutScript || p == unpartitioned
}

var (
	guardScriptTag = regexp.MustCompile(`(?i)<script[^>]*\ssrc="/sessionguard/[^>]*></script>`)
	headTag        = regexp.MustCompile(`(?i)<head(\s[^>]*)?>`)
)

const samplerTag = `<script src="/e2e/sampler.js"></script>`

// editResponse removes protections from a response, and adds the sampler to a page, and the
// library if there is one.
func (p protection) editResponse(response *http.Response, l *library) error {
	if !p.keepsVisitorCookie() {
		response.Header["Set-Cookie"] = slices.DeleteFunc(response.Header["Set-Cookie"], func(line string) bool {
			name, _, _ := strings.Cut(line, "=")
			return strings.HasSuffix(name, "-anonymous")
		})
	}
	if p == unpartitioned {
		for i, line := range response.Header["Set-Cookie"] {
			response.Header["Set-Cookie"][i] = strings.TrimSuffix(line, "; Partitioned")
		}
	}
	if p == recipeResent {
		resendSessionCookie(response)
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "text/html" {
		return nil
	}
	if !p.keepsHeaders() {
		for _, name := range []string{"Cache-Control", "Pragma", "Expires"} {
			response.Header.Del(name)
		}
	}
	if !p.keepsHeaders() || p == recipe || p == recipeResent { // by which a cookie that changes is another page
		response.Header.Del("X-Accel-Expires")
		response.Header.Del("Vary")
	}
	page, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	response.Body.Close()
	if !p.keepsScript() {
		page = guardScriptTag.ReplaceAllLiteral(page, nil)
	}
	if at := headTag.FindIndex(page); at != nil {
		page = slices.Insert(page, at[1], []byte(samplerTag)...)
	}
	if l != nil {
		page = l.addTo(page)
	}
	response.Body = io.NopCloser(bytes.NewReader(page))
	response.ContentLength = int64(len(page))
	if response.Header.Get("Content-Length") != "" {
		response.Header.Set("Content-Length", strconv.Itoa(len(page)))
	}
	return nil
}

// resendSessionCookie sets the session cookie to its current value, unless the response
// sets it anyway.
func resendSessionCookie(response *http.Response) {
	cookie, ok := sessionCookie(response.Request)
	if !ok || slices.ContainsFunc(response.Cookies(), func(c *http.Cookie) bool { return c.Name == cookie.Name }) {
		return
	}
	cookie.Path, cookie.HttpOnly, cookie.SameSite = "/", true, http.SameSiteLaxMode
	cookie.Secure = response.Request.URL.Scheme == "https"
	response.Header.Add("Set-Cookie", cookie.String())
}

// sessionCookie returns the guard's session cookie, by its default name with or without
// the prefix.
func sessionCookie(r *http.Request) (*http.Cookie, bool) {
	for _, cookie := range r.Cookies() {
		if cookie.Name == "session" || cookie.Name == "__Host-Http-session" {
			return cookie, true
		}
	}
	return nil, false
}
