package sessionguard

import (
	"encoding/json"
	"errors"
	"html"
	"net/http"
	"strings"

	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/internal/response"
	"github.com/sessionguard-go/sessionguard/store"
)

// Refusals replaces the answers to refused requests. A field left nil keeps the
// default, which fits the client: a browser that navigates is redirected with
// 303 or gets a short page, and everything else gets application/problem+json
// (RFC 9457) with a member "error" as named below. A navigation is a request
// with Sec-Fetch-Mode: navigate, or, where a client does not send that header,
// one that accepts text/html.
//
// A replacement answers programs as well as browsers. One that needs the guard
// itself can name a variable that [New] sets: var guard *Guard[*User] first, then
// guard, err = New(…). Whatever it answers is never cached. One that is refused
// itself, being behind a gate, or that writes nothing gets the default.
type Refusals struct {
	// Login answers who is not logged in, or no longer. Default: a redirect to
	// Config.LoginPath, for a GET with the page as "next"; else 401
	// "login_required". Both say why the session ended, as "reason", if
	// [Guard.EndReason] knows.
	Login http.Handler
	// Forbidden answers who lacks the role. Default: a redirect to
	// Config.WelcomePath, or 403 if that is the page asked for; else 403
	// "forbidden".
	Forbidden http.Handler
	// Stale answers who has not logged in recently enough. Default: a redirect
	// to Config.ReauthPath, for a GET with "next"; else 401
	// "reauthentication_required".
	Reauth http.Handler
	// CrossOrigin answers an unsafe request from another site, whose own
	// handler has not run. Default: 403 "cross_origin".
	CrossOrigin http.Handler
	// Unavailable answers when the backend or FindUser could not, and has
	// Retry-After set. Default: 503 "unavailable". After a logout that could
	// not end the session on the server the same handler is asked, so it
	// must not say that all is well.
	Unavailable http.Handler
}

// EndReason says why the session ended that the cookie of r names: that of a login
// page's visitor, for example. It is empty if there is no such cookie, if the session
// lives, for a logout in the same browser, and for the token from before somebody
// logged in again. The reason of a session that did not end by itself is kept for an
// hour at least; what ended longer ago, or expired unseen, is [store.ReasonExpired].
// [store.ReasonRemembered] says that it has not ended for a person: see [Remember].
//
// The default answers to who is refused carry the same as "reason", and so does
// [Guard.Status]. Nobody learns it without the cookie of the session, but a query
// value can be made up by anyone: choose a text by it, never show it.
func (g *core) EndReason(r *http.Request) store.Reason {
	st, err := g.wrapped(r)
	if err != nil {
		return ""
	}
	l := st.lock()
	defer l.unlock()
	if l.look(r.Context()) != nil {
		return ""
	}
	return l.reason()
}

func (st *locked) reason() store.Reason {
	if st.slow == nil || st.rec.Session != nil {
		return ""
	}
	return st.slow.reason
}

// reasonAt asks why a session has ended that was there a moment ago.
func (c *core) reasonAt(st *locked, key store.Key) store.Reason {
	ctx, cancel := st.settle()
	defer cancel()
	_, err := c.follow(ctx, key)
	var ended *store.EndedError
	if errors.As(err, &ended) {
		return ended.Reason
	}
	return store.ReasonLoggedOut // which leaves nothing behind
}

// A refusal is why a request was not let in.
type refusal uint8

const (
	admitted refusal = iota
	noSession
	forbidden
	stale
	crossOrigin
	unavailable
	stillThere // logged out here, but the backend could not be told
	broken     // the application's values cannot be stored
)

// refusals are the default answers: to a client that is no browser, and, where
// there is nowhere to send it, to one that is.
var refusals = [...]struct {
	status       int
	code, detail string
}{
	noSession:   {http.StatusUnauthorized, "login_required", "Log in to continue."},
	forbidden:   {http.StatusForbidden, "forbidden", "You may not see this page."},
	stale:       {http.StatusUnauthorized, "reauthentication_required", "Confirm your password to continue."},
	crossOrigin: {http.StatusForbidden, "cross_origin", "This request came from another site and was refused."},
	unavailable: {http.StatusServiceUnavailable, "unavailable", "Your session cannot be checked right now. Nothing is lost: try again in a moment."},
	stillThere: {http.StatusServiceUnavailable, "logout_incomplete",
		"This browser is logged out, but the server could not be told. Until the session times out, a copy of its cookie would still work."},
	broken: {http.StatusInternalServerError, "internal_error", "Something went wrong. What you did was not saved."},
}

// refuse answers in place of a handler.
func (c *core) refuse(st *request, w http.ResponseWriter, r *http.Request, why refusal) {
	l := st.lock()
	if !l.writer.Started() { // later it is too late to forbid its caching
		l.exposure = max(l.exposure, personal)
	}
	result := denied
	if refusals[why].status >= http.StatusInternalServerError {
		result = failed
	}
	if w == http.ResponseWriter(&l.writer) {
		l.outcome = max(l.outcome, result)
	} else { // a part of a page may have asked, and not show it
		l.inner = max(l.inner, result)
	}
	own := c.refusals.handler(why)
	if l.refusing {
		own = nil // it is itself behind a gate
	}
	var reason store.Reason
	if why == noSession {
		reason = l.reason()
	}
	rec := l.rec
	l.unlock()
	refused := Event{Name: EventRefused, Code: refusals[why].code, Reason: reason}
	switch why {
	case noSession, forbidden, stale:
		c.emit(st, refused, rec)
	case crossOrigin:
		c.emitOften(st, refused, &c.foreign)
	}

	if refusals[why].status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	if own != nil {
		st.ask(own, w, r)
		if outermost, ok := w.(*response.Writer); !ok || outermost.Started() {
			return
		}
		// It answered nothing, which a client would take for success.
	}
	if !navigates(r) {
		problem(w, why, reason)
		return
	}
	switch asked := localpath.Requested(r); {
	case why == noSession && asked.Path != c.login.Path:
		http.Redirect(w, r, c.login.From(r.Method, asked, "reason", string(reason)), http.StatusSeeOther)
	case why == stale && asked.Path != c.reauth.Path:
		http.Redirect(w, r, c.reauth.From(r.Method, asked), http.StatusSeeOther)
	case why == forbidden && asked.Path != c.welcome.Path:
		http.Redirect(w, r, c.welcome.Target, http.StatusSeeOther)
	default:
		page(w, why)
	}
}

// ask runs a refusal of the application's.
func (st *request) ask(own http.Handler, w http.ResponseWriter, r *http.Request) {
	set := func(refusing bool) {
		l := st.lock()
		l.refusing = refusing
		l.unlock()
	}
	set(true)
	defer set(false)
	own.ServeHTTP(w, r)
}

func (own Refusals) handler(why refusal) http.Handler {
	switch why {
	case noSession:
		return own.Login
	case forbidden:
		return own.Forbidden
	case stale:
		return own.Reauth
	case crossOrigin:
		return own.CrossOrigin
	case unavailable, stillThere:
		return own.Unavailable
	}
	return nil
}

// navigates says whether the client shows the answer as a page. Only browsers
// send Sec-Fetch-Mode, and scripts cannot forge it.
func navigates(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(accept, "text/html") {
			return true
		}
	}
	return false
}

func problem(w http.ResponseWriter, why refusal, reason store.Reason) {
	answer := refusals[why]
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(answer.status)
	_ = json.NewEncoder(w).Encode(struct {
		Title  string       `json:"title"`
		Status int          `json:"status"`
		Detail string       `json:"detail"`
		Error  string       `json:"error"`
		Reason store.Reason `json:"reason,omitempty"`
	}{http.StatusText(answer.status), answer.status, answer.detail, answer.code, reason})
}

func page(w http.ResponseWriter, why refusal) {
	answer := refusals[why]
	title := html.EscapeString(http.StatusText(answer.status))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(answer.status)
	_, _ = w.Write([]byte("<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>" + title + "</title>\n" +
		"<h1>" + title + "</h1>\n<p>" + html.EscapeString(answer.detail) + "</p>\n</html>\n"))
}

func (st *request) refuseMethod(w http.ResponseWriter, allowed string) {
	l := st.lock()
	if !l.writer.Started() { // a cached 405 would outlive the mistake
		l.exposure = max(l.exposure, personal)
	}
	l.unlock()
	w.Header().Set("Allow", allowed)
	http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
}

// clearAnswer takes out of h whatever may belong to the page that is being
// replaced. What outer middleware is known to set stays, and its encoding.
func clearAnswer(h http.Header, encoded bool) {
	for name := range h {
		switch http.CanonicalHeaderKey(name) {
		case "Content-Encoding":
			if encoded {
				continue
			}
		case "Date", "Server", "Vary", "Strict-Transport-Security", "Referrer-Policy", "Permissions-Policy",
			"X-Frame-Options", "X-Content-Type-Options", "X-Robots-Tag", "Reporting-Endpoints",
			"X-Request-Id", "X-Correlation-Id", "Traceparent":
			continue
		}
		if !strings.HasPrefix(name, "Content-Security-Policy") &&
			!strings.HasPrefix(name, "Cross-Origin-") &&
			!strings.HasPrefix(name, "Access-Control-") {
			delete(h, name)
		}
	}
}

// crossOriginAllowed decides whether r may have its effect. A WebSocket
// handshake is a GET that browsers let every site make with the user's cookies.
func (c *core) crossOriginAllowed(r *http.Request) bool {
	if r.Method == http.MethodGet && isUpgrade(r.Header) {
		probe := *r
		probe.Method = http.MethodPost
		r = &probe
	}
	return c.crossOrigin.Check(r) == nil
}

func isUpgrade(h http.Header) bool {
	_, ok := h["Upgrade"]
	return ok
}
