package sessionguard

import (
	"context"
	"html"
	"log/slog"
	"maps"
	"net/http"
	"strings"

	"github.com/sessionguard-go/sessionguard/internal/callstack"
	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/internal/problem"
	"github.com/sessionguard-go/sessionguard/store"
)

// Refusals replaces the responses to refused requests. A nil field keeps the default,
// which fits the client. A browser that navigates gets a redirect (303) or a short page.
// A program gets application/problem+json (RFC 9457) with a member "error" as named
// below. With a 401 it gets the header WWW-Authenticate: Cookie, with the login page as
// "form-action". htmx (HX-Request) gets the program's response with the headers
// HX-Redirect and HX-Reswap: none, so that nothing of it becomes part of another page.
// Its "next" is the page in the browser.
//
// A request is a navigation if it has Sec-Fetch-Mode: navigate. It is one also if it
// accepts text/html, as Turbo's do, and has neither X-Requested-With nor Turbo-Frame.
//
// A replacement serves programs as well as browsers, and its response is never cached. If
// it needs the guard, use a variable that is set later: var guard *Guard[*User] first,
// then guard, err = New(…). If a gate in it refuses, if it writes nothing, or if it
// panics before it has written anything, the default response is sent. The panic is
// logged.
type Refusals struct {
	// Login refuses a client that is not logged in (any more). Default: a redirect to
	// Config.LoginPath, for a GET with the page as "next"; else 401 "login_required".
	// Both have the [Guard.EndReason], if there is one, as "reason".
	Login http.Handler
	// Forbidden refuses a user without the role, or whom [Guard.RequireFunc] does not let
	// in. Default: a redirect to Config.WelcomePath with "reason=forbidden" and the flash
	// Config.ForbiddenFlash, or 403 if that is the requested page; else 403 "forbidden".
	Forbidden http.Handler
	// Reauth refuses a user whose last login is too old. Default: a redirect to
	// Config.ReauthPath, for a GET with "next", or a page that says what is missing if
	// there is none; else 401 "reauthentication_required".
	Reauth http.Handler
	// Factor refuses a pending login that lacks a factor of Config.Factors, and a user
	// who lacks the factor of [Guard.RequireFactor]. Default: a redirect to
	// Config.FactorPath, for a GET with "next", or a page that says what is missing if
	// there is none or that is the requested page; else 401 "factor_required".
	Factor http.Handler
	// Unbound refuses a user whose session is not bound to a device, or has no proof of
	// it: see [Guard.RequireBound]. Default: 403 "device_required".
	Unbound http.Handler
	// CrossOrigin refuses an unsafe request from another site, and what a page there
	// loads from behind a gate. It must not depend on the user. Default: 403
	// "cross_origin".
	CrossOrigin http.Handler
	// Unavailable responds if the backend or FindUser fails, with Retry-After set.
	// Default: 503 "unavailable". It also responds to a logout that could not end the
	// session on the server, so it must not say that all is well.
	Unavailable http.Handler
}

// A verdict is the decision about a request: allow, or why it is refused. Each verdict but
// allow has a row in refusals.
type verdict uint8

const (
	allow verdict = iota
	loginRequired
	forbidden
	reauthRequired
	factorRequired
	deviceRequired
	crossOrigin
	unavailable
	logoutIncomplete // logged out here, but the backend failed
	unsaveable       // the application's values cannot be stored
	verdicts         // how many there are
)

// A refusal is all that is particular to one verdict.
type refusal struct {
	status       int
	code, detail string // of the problem+json; code also of the event
	body         []byte // the problem+json without a reason, encoded once, since any client can ask for it

	custom func(*Refusals) http.Handler // the application's own handler; nil: there is no field for it
	page   func(*core) *localpath.Page  // where a browser is redirected; nil: nowhere, it gets a short page
	next   bool                         // with the page that was asked for as "next"
	event  bool                         // EventRefused is emitted
	level  slog.Level                   // at which the event is logged
	often  func(*core) *throttle        // throttles the event, which any client can cause; nil: every one is emitted
}

var refusals = [verdicts]refusal{
	loginRequired: {
		status: http.StatusUnauthorized, code: "login_required", detail: "Log in to continue.",
		custom: func(r *Refusals) http.Handler { return r.Login },
		page:   func(c *core) *localpath.Page { return &c.login }, next: true,
		event: true, level: slog.LevelDebug,
		often: func(c *core) *throttle { return &c.notLoggedIn },
	},
	forbidden: {
		status: http.StatusForbidden, code: "forbidden", detail: "You may not see this page.",
		custom: func(r *Refusals) http.Handler { return r.Forbidden },
		page:   func(c *core) *localpath.Page { return &c.welcome },
		event:  true, level: slog.LevelWarn,
	},
	reauthRequired: {
		status: http.StatusUnauthorized, code: "reauthentication_required", detail: "Log in again to continue.",
		custom: func(r *Refusals) http.Handler { return r.Reauth },
		page:   func(c *core) *localpath.Page { return &c.reauth }, next: true,
		event: true, level: slog.LevelInfo,
	},
	factorRequired: {
		status: http.StatusUnauthorized, code: "factor_required", detail: "Confirm with another factor to continue.",
		custom: func(r *Refusals) http.Handler { return r.Factor },
		page:   func(c *core) *localpath.Page { return &c.factor }, next: true,
		event: true, level: slog.LevelInfo,
	},
	deviceRequired: {
		status: http.StatusForbidden, code: "device_required", detail: "This page is only for logins that are bound to their device.",
		custom: func(r *Refusals) http.Handler { return r.Unbound },
		event:  true, level: slog.LevelInfo,
	},
	crossOrigin: {
		status: http.StatusForbidden, code: "cross_origin", detail: "This request came from another site and was refused.",
		custom: func(r *Refusals) http.Handler { return r.CrossOrigin },
		event:  true, level: slog.LevelWarn,
		often: func(c *core) *throttle { return &c.crossOrigins },
	},
	unavailable: { // fail emits an event with the error
		status: http.StatusServiceUnavailable, code: "unavailable",
		detail: "Your session cannot be checked right now. Nothing is lost: try again in a moment.",
		custom: func(r *Refusals) http.Handler { return r.Unavailable },
	},
	logoutIncomplete: {
		status: http.StatusServiceUnavailable, code: "logout_incomplete",
		detail: "This browser is logged out, but the server could not be told yet. Until it is, or the session times out, a copy of its cookie would still work.",
		custom: func(r *Refusals) http.Handler { return r.Unavailable },
	},
	unsaveable: {
		status: http.StatusInternalServerError, code: "internal_error", detail: "Something went wrong. What you did was not saved.",
	},
}

// outcome returns what a refusal makes of a request.
func (r *refusal) outcome() outcome {
	if r.status >= http.StatusInternalServerError {
		return failed
	}
	return denied
}

// A demand is what a refused client is asked for: the challenge of a 401, and the factor that
// its user lacks, if that is why.
type demand struct{ challenge, factor string }

// refuse responds in place of a handler.
func (c *core) refuse(req *request, w http.ResponseWriter, r *http.Request, v verdict) {
	c.challengeAndRefuse(req, w, r, v, demand{challenge: c.challenge})
}

// challengeAndRefuse is refuse with the challenge of a 401, which must have one (RFC 9110,
// section 15.5.2). No scheme is registered for a login form: browsers ignore those that they
// do not know.
func (c *core) challengeAndRefuse(req *request, w http.ResponseWriter, r *http.Request, v verdict, ask demand) {
	custom, reason, rec := req.noteRefusal(w, v)
	c.emitRefusal(req, v, reason, rec)
	req.forbidCaching(w)
	refusal, kind := &refusals[v], fetch.KindOf(r)
	if reason == store.ReasonDeviceUnproven && req.mayProve(r) {
		c.redirectBack(w, r)
		return
	}
	if auth := req.authResponse(); auth != nil {
		auth.Refuse(refusal.status, ask.challenge)
	}
	switch {
	case refusal.status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	case refusal.status == http.StatusUnauthorized:
		w.Header()["Www-Authenticate"] = []string{ask.challenge}
	case v == deviceRequired && kind == fetch.Navigation && fetch.IsSafe(r.Method) && c.mayBecomeBound(rec):
		w.Header().Set("Refresh", refreshAfter(rec))
	}
	if custom != nil {
		if req.serveCustom(custom, w, r) {
			return
		}
		// The handler wrote nothing, which a client would take for success.
		w.Header().Del("Content-Length")
	}
	target := ""
	if kind != fetch.Program {
		target = c.redirectTarget(req, r, kind, v, reason, ask.factor)
	}
	if target != "" && v == forbidden {
		req.leaveFlash(r.Context(), c.forbiddenFlash)
	}
	switch {
	case kind == fetch.Navigation && target != "":
		w.Header().Del("WWW-Authenticate")
		http.Redirect(w, r, target, http.StatusSeeOther)
		return
	case kind == fetch.Navigation:
		refusal.writePage(w)
		return
	case kind == fetch.HTMX:
		if target != "" {
			w.Header().Set("HX-Redirect", target)
		}
		w.Header().Set("HX-Reswap", "none") // htmx 4 shows errors, too
	}
	w.Header()["Content-Type"] = []string{"application/problem+json"}
	w.WriteHeader(refusal.status)
	_, _ = w.Write(problem.With(refusal.body, "reason", string(reason), "factor", ask.factor))
}

// redirectTarget returns where a browser that is refused goes, or "": nowhere.
func (c *core) redirectTarget(req *request, r *http.Request, kind fetch.Kind, v verdict, reason store.Reason, factor string) string {
	refusal := &refusals[v]
	if refusal.page == nil {
		return ""
	}
	page, base, other := *refusal.page(c), c.basePath, req.authResponse() != nil
	if other {
		base = "" // another application's address is the browser's
	}
	asked, method := localpath.Requested(r, base), r.Method
	if kind == fetch.HTMX {
		asked = localpath.Shown(r, base)
		if r.Header.Get("HX-Boosted") != "true" {
			method = http.MethodGet // by which the page was shown
		}
	}
	switch {
	case page.Target == "":
		if v == reauthRequired && c.logged.reauthPath.CompareAndSwap(false, true) {
			c.log.Error("sessionguard: RequireFresh refused a page, and Config.ReauthPath does not say where to log in again", "path", r.URL.Path)
		}
		if v == factorRequired && c.logged.factorPath.CompareAndSwap(false, true) {
			c.log.Error("sessionguard: RequireFactor refused a page, and Config.FactorPath does not say where to prove a factor", "path", r.URL.Path)
		}
		return ""
	case page.Path == asked.Path || other && v == forbidden:
		return ""
	case other && reason == store.ReasonRemembered && c.scriptServed.Load() && asked.Path != c.scriptPath+"continue":
		return localpath.Page{Target: c.scriptPath + "continue"}.From(method, asked)
	case v == forbidden:
		return page.With("reason", refusal.code)
	case !refusal.next:
		return page.Target
	}
	return page.From(method, asked, "reason", string(reason), "factor", factor)
}

// noteRefusal records a refusal that is about to be written to w. It returns the
// application's handler for it, if there is one, why the cookie's session ended,
// and the session that the request has.
func (req *request) noteRefusal(w http.ResponseWriter, v verdict) (custom http.Handler, reason store.Reason, rec store.Record) {
	l := req.lock()
	defer l.unlock()
	return l.noteRefusal(w, v)
}

func (l *locked) noteRefusal(w http.ResponseWriter, v verdict) (custom http.Handler, reason store.Reason, rec store.Record) {
	l.neverCache()
	refusal := &refusals[v]
	if w == http.ResponseWriter(&l.writer) {
		raise(&l.outcome, refusal.outcome())
	} else { // its owner may buffer or drop the refusal: see noteStatus
		raise(&l.needEffects().inner, refusal.outcome())
	}
	if refusal.custom != nil && !l.defaultRefusals { // which may itself be behind a gate
		custom = refusal.custom(&l.core.refusals)
	}
	if v == loginRequired {
		reason = l.endReason()
	}
	return custom, reason, l.held()
}

// emitRefusal reports a refusal. It runs without the request's lock, since OnEvent may be
// slower than http.TimeoutHandler allows, whose response needs the lock.
func (c *core) emitRefusal(ctx context.Context, v verdict, reason store.Reason, rec store.Record) {
	refusal := &refusals[v]
	event := Event{Name: EventRefused, Code: refusal.code, Reason: reason}
	switch {
	case !refusal.event:
	case refusal.often != nil:
		c.emitThrottled(ctx, event, refusal.often(c))
	default:
		c.emit(ctx, event, rec)
	}
}

// neverCache keeps the response out of caches, if its headers have not been sent yet.
func (l *locked) neverCache() {
	if !l.writer.Started() {
		raise(&l.exposure, personal)
	}
}

// forbidCaching keeps a response that is written to w out of the cache of a middleware, which sees
// only what is in the header of its own ResponseWriter.
func (req *request) forbidCaching(w http.ResponseWriter) {
	if w != http.ResponseWriter(&req.writer) {
		new(noStoreValues).enforce(w.Header())
	}
}

// serveCustom runs a handler from Config.Refusals, and reports whether it has responded. If
// it panics before that, the default response takes its place: a middleware that recovers
// from the panic might let the refused handler go on, or send an empty 200.
func (req *request) serveCustom(custom http.Handler, w http.ResponseWriter, r *http.Request) (responded bool) {
	var watched interface {
		http.ResponseWriter
		Started() bool
	} = &req.writer
	if w != http.ResponseWriter(&req.writer) { // somebody else's does not tell whether it was written to
		n := &noCache{request: r}
		n.writer.Init(w, n)
		watched = &n.writer
	}
	before := w.Header().Clone()
	req.setDefaultRefusals(true)
	panicked := callstack.Recover(func() { custom.ServeHTTP(watched, r) })
	req.setDefaultRefusals(false)
	if panicked == nil {
		return watched.Started()
	}
	if watched.Started() {
		panic(panicked.Value)
	}
	req.core.logError("a handler of Config.Refusals panicked", "panic", panicked.Value, "stack", string(panicked.Stack))
	h := w.Header()
	clear(h)
	maps.Copy(h, before)
	return false
}

func (req *request) setDefaultRefusals(only bool) {
	if l := req.lockToRespond((*request).lock); l != nil {
		defer l.unlock()
		l.defaultRefusals = only
	}
}

func init() {
	for i := range refusals {
		r := &refusals[i]
		r.body = problem.New(r.status, r.detail, r.code)
	}
}

func (r *refusal) writePage(w http.ResponseWriter) {
	title := html.EscapeString(http.StatusText(r.status))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(r.status)
	_, _ = w.Write([]byte("<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>" + title + "</title>\n" +
		"<h1>" + title + "</h1>\n<p>" + html.EscapeString(r.detail) + "</p>\n</html>\n"))
}

// clearForRefusal deletes from h whatever may belong to the response that is replaced.
// Headers that outer middleware is known to set stay, and so does its encoding.
func clearForRefusal(h http.Header, encoded bool) {
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
