package authrequest

import (
	"net/http"
	"net/url"
)

// UserHeader has the ID of the user in a response that lets a request pass.
const UserHeader = "Remote-User"

// A Response is the [http.ResponseWriter] of an answer to a proxy. Whatever handlers write,
// its status is 204 only after Allow, and otherwise 401, 403 or 503: nginx takes any other
// for a failure, and any 2xx for permission. It has no optional methods, since the answer is
// no stream and takes no connection.
type Response struct {
	w         http.ResponseWriter
	verdict   int    // the status that was decided on; 0: none
	challenge string // of a 401 that has none of its own
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
	w.verdict = http.StatusNoContent
	w.w.Header()[UserHeader] = []string{url.PathEscape(id)}
}

// Refuse decides that it may not, in place of what was decided before. A status of 401 has
// challenge as its WWW-Authenticate.
func (w *Response) Refuse(status int, challenge string) {
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
	if w.begun || status < http.StatusOK {
		return
	}
	w.begun = true
	h := w.w.Header()
	status = w.status(status)
	if status != http.StatusNoContent {
		delete(h, UserHeader)
	}
	if status != http.StatusUnauthorized {
		delete(h, "Location")
	} else {
		if h["Www-Authenticate"] == nil {
			h.Set("WWW-Authenticate", w.challenge)
		}
		if to := h.Get("Location"); to != "" {
			h.Set("Refresh", "0; url="+to) // where the proxy hands the response to the browser
		}
	}
	w.w.WriteHeader(status)
}

// status returns the status to send in place of one that was written.
func (w *Response) status(written int) int {
	switch {
	case w.verdict == http.StatusNoContent && written < 300:
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
