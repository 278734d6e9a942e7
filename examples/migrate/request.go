package migrate

import (
	"net/http"
	"strings"
)

// mayMove reports whether the response to r can be trusted to reach the user's own page, with
// its cookies.
//
// What this site's pages request may move a session, also by POST: a form that was open while
// the new version was installed is not lost, and a logout ends the old session too. guard.Handler
// has refused unsafe requests of other sites before. Of other sites' requests, only links that
// the user follows count, as for cookies with SameSite=Lax. Browsers drop the cookies of the
// responses to all others, and the user would be logged out: frames, images, fetches.
// Prefetches are no visits.
func mayMove(r *http.Request) bool {
	h := r.Header
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if v := strings.ToLower(h.Get(name)); strings.Contains(v, "prefetch") || strings.Contains(v, "preview") {
			return false
		}
	}
	if h.Get("Upgrade") != "" {
		return false
	}
	mode := h.Get("Sec-Fetch-Mode")
	switch h.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return mode != "no-cors" && mode != "websocket" // not for an image
	case "":
		return strings.Contains(h.Get("Accept"), "text/html") // an old browser, or plain http
	default:
		return r.Method == http.MethodGet && mode == "navigate" && h.Get("Sec-Fetch-Dest") == "document"
	}
}

// oneCookie returns the value of the only cookie of a name. If there are several, another host of
// the domain may have planted one, and nothing tells which.
func oneCookie(r *http.Request, name string) (string, bool) {
	cookies := r.CookiesNamed(name)
	if len(cookies) != 1 || cookies[0].Value == "" {
		return "", false
	}
	return cookies[0].Value, true
}
