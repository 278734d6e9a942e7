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

// protection says what of the application's protection reaches the browser: a
// test that sees no leak means something only beside one that does.
type protection string

const (
	none          protection = "none"           // no caching headers, no script, nothing at logout but a deleted cookie
	recipe        protection = "recipe"         // the caching headers alone, as everybody copies them
	recipeResent  protection = "recipe resent"  // and the session cookie on every answer, as some frameworks do
	withoutScript protection = "without script" // everything but the script, as with JavaScript turned off
	scriptOnly    protection = "script only"    // the script, and nothing else
	whole         protection = "whole"          // as the application answers
)

func (p protection) keepsHeaders() bool { return p != none && p != scriptOnly }
func (p protection) keepsScript() bool  { return p == whole || p == scriptOnly }

// keepsAnonymous is about the cookie that a logout sets: a change that takes
// pages out of Chromium's back/forward cache.
func (p protection) keepsAnonymous() bool { return p == whole || p == withoutScript }

var (
	guardScript = regexp.MustCompile(`(?i)<script[^>]*\ssrc="/sessionguard/[^>]*></script>`)
	head        = regexp.MustCompile(`(?i)<head(\s[^>]*)?>`)
)

const samplerTag = `<script src="/e2e/sampler.js"></script>`

// edit changes an answer of the application on its way to the browser.
func (p protection) edit(answer *http.Response) error {
	if !p.keepsAnonymous() {
		answer.Header["Set-Cookie"] = slices.DeleteFunc(answer.Header["Set-Cookie"], func(line string) bool {
			name, _, _ := strings.Cut(line, "=")
			return strings.HasSuffix(name, "-anonymous")
		})
	}
	if p == recipeResent {
		resend(answer)
	}
	if kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind != "text/html" {
		return nil
	}
	if !p.keepsHeaders() {
		for _, name := range []string{"Cache-Control", "Pragma", "Expires"} {
			answer.Header.Del(name)
		}
	}
	page, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if !p.keepsScript() {
		page = guardScript.ReplaceAllLiteral(page, nil)
	}
	if at := head.FindIndex(page); at != nil {
		page = slices.Insert(page, at[1], []byte(samplerTag)...)
	}
	answer.Body = io.NopCloser(bytes.NewReader(page))
	answer.ContentLength = int64(len(page))
	if answer.Header.Get("Content-Length") != "" {
		answer.Header.Set("Content-Length", strconv.Itoa(len(page)))
	}
	return nil
}

// resend sets the session cookie to what it is, unless the answer changes it.
func resend(answer *http.Response) {
	cookie, ok := sessionCookie(answer.Request)
	if !ok || slices.ContainsFunc(answer.Cookies(), func(c *http.Cookie) bool { return c.Name == cookie.Name }) {
		return
	}
	cookie.Path, cookie.HttpOnly, cookie.SameSite = "/", true, http.SameSiteLaxMode
	cookie.Secure = answer.Request.URL.Scheme == "https"
	answer.Header.Add("Set-Cookie", cookie.String())
}

// sessionCookie finds the guard's, by its default name with or without prefix.
func sessionCookie(r *http.Request) (*http.Cookie, bool) {
	for _, cookie := range r.Cookies() {
		if cookie.Name == "session" || cookie.Name == "__Host-session" {
			return cookie, true
		}
	}
	return nil, false
}
