package authrequest

import (
	"net/http"
	"net/url"
	"sync"
)

// UserHeader has the ID of the user in a response that lets a request pass.
const UserHeader = "Remote-User"

// A Response is the [http.ResponseWriter] of an answer to a proxy. Whatever handlers write,
// its status is 204 only after Allow, and otherwise 401, 403 or 503: nginx takes any other
// for a failure, and any 2xx for permission. It has no optional methods, since the answer is
// no stream and takes no connection.
//
// A handler behind http.TimeoutHandler may still decide while its response is sent. So only
// the goroutine that sends it uses the header.
type Response struct {
	w http.ResponseWriter

	mu        sync.Mutex // guards all that follows
	verdict   int        // the status that was decided on; 0: none
	user      string     // of a verdict of 204
	challenge string     // of a 401 that has none of its own
	begun     bool
}

// NewResponse returns a response to be written to w.
func NewResponse(w http.ResponseWriter, challenge string) *Response {
	return &Response{w: w, challenge: challenge}
}

// Allow decides that the original request may pass, as that of the user with this ID. The
// ID is percent-encoded: it may contain what no header can, or what means something in one,
// such as a comma or a placeholder of Caddy's, "{env.SECRET}".
func (w *Response) Allow(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verdict, w.user = http.StatusNoContent, url.PathEscape(id)
}

// Refuse decides that it may not, in place of what was decided before. A status of 401 has
// challenge as its WWW-Authenticate.
func (w *Response) Refuse(status int, challenge string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verdict, w.challenge = status, challenge
}

// Header implements [http.ResponseWriter].
func (w *Response) Header() http.Header { return w.w.Header() }

// Write implements [http.ResponseWriter].
func (w *Response) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.w.Write(b)
}

// WriteHeader implements [http.ResponseWriter]. It sends no informational responses, which
// nginx 1.22 takes for final ones.
func (w *Response) WriteHeader(status int) {
	if status < http.StatusOK {
		return
	}
	status, user, challenge, begun := w.begin(status)
	if begun {
		return
	}
	h := w.w.Header()
	delete(h, UserHeader)
	if status == http.StatusNoContent {
		h[UserHeader] = []string{user}
	}
	if status != http.StatusUnauthorized {
		delete(h, "Location")
	} else {
		if h["Www-Authenticate"] == nil {
			h.Set("WWW-Authenticate", challenge)
		}
		if to := h.Get("Location"); to != "" {
			h.Set("Refresh", "0; url="+to) // where the proxy hands the response to the browser
		}
	}
	w.w.WriteHeader(status)
}

// begin returns what to send in place of a status that was written, and whether a response
// has begun before.
func (w *Response) begin(written int) (status int, user, challenge string, begun bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	begun, w.begun = w.begun, true
	return w.status(written), w.user, w.challenge, begun
}

// status returns the status to send in place of one that was written. Permission is what
// was allowed and is written as that: another handler may write in place of the one that
// called Allow.
func (w *Response) status(written int) int {
	switch {
	case w.verdict == http.StatusNoContent && written == http.StatusNoContent:
		return http.StatusNoContent
	case w.verdict >= http.StatusInternalServerError:
		return http.StatusServiceUnavailable
	case w.verdict > http.StatusNoContent:
		return w.verdict
	case written >= http.StatusInternalServerError:
		return http.StatusServiceUnavailable
	case written == http.StatusUnauthorized || written >= 300 && written < 400: // to a login
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}

// End ends a response that nobody has begun, as after a panic: whoever recovers from it
// might leave a 200.
func (w *Response) End() { w.WriteHeader(http.StatusServiceUnavailable) }
