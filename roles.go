package sessionguard

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/authrequest"
	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/localpath"
	"github.com/sessionguard-go/sessionguard/store"
)

// RequireLogin lets in users who are logged in, active, and within the idle and the
// absolute timeout. All other requests are refused (see [Refusals]) before next runs.
//
// Like every gate it decides anew on every request, and works with or without
// [Guard.Handler] around it. Gates can be nested: all of them must agree. Responses
// behind a gate are kept out of caches as by [NoCache], also of one between [Guard.Handler]
// and the gate.
//
// # Pages of other origins
//
// A gate refuses what a page of another origin loads, such as an image, a script, an
// object or a fetch, with 403 "cross_origin" (OWASP ASVS 3.5.8). It does so before it
// knows who is logged in. So that page cannot tell by the status, the time or the size
// whether somebody is logged in, or what they may see. Sec-Fetch-Site, -Mode and -Dest
// decide, which no script can set. Browsers send them since 2023, over https and to
// localhost. A request without them is served. A handler that calls [Guard.User] without
// a gate decides such requests by itself.
//
// Navigations are served too, so links work. Frames and windows are navigations
// (WebKitGTK 2.50 also treats objects as frames). Another page learns less from them, and
// two headers of the application end that: frame-ancestors in a Content-Security-Policy,
// and Cross-Origin-Opener-Policy.
//
// A page may load what Config.CrossOrigin would let it send a POST to. If its origin is
// trusted there, its request needs an Origin: use a fetch with mode "cors", or an element
// with crossorigin="use-credentials". A bypass pattern is for a POST or for all methods,
// and also lets other sites send a POST there. So use it for handlers of GET alone.
func (g *core) RequireLogin(next http.Handler) http.Handler {
	return g.gate(next, g.challenge, func(identity, *http.Request) (verdict, string) { return allow, "" })
}

// RequireRole lets in users who are logged in and have any of the roles. To require
// several, nest gates. Without a role it lets nobody in. It panics if a role is "",
// because it would let in every user who has an empty role.
func (g *core) RequireRole(anyOf ...string) func(http.Handler) http.Handler {
	roles := slices.Clone(anyOf)
	if slices.Contains(roles, "") {
		panic("sessionguard: RequireRole: a role is empty")
	}
	return func(next http.Handler) http.Handler {
		return g.gate(next, g.challenge, func(id identity, _ *http.Request) (verdict, string) {
			for _, role := range roles { // a method value for slices.ContainsFunc would be an allocation
				if id.user.HasRole(role) {
					return allow, ""
				}
			}
			return forbidden, ""
		})
	}
}

// RequireFunc lets in users who are logged in and for whom allowed returns true. It is for
// what roles cannot express: the owner of the requested document, the hour of the day.
func (g *Guard[U]) RequireFunc(allowed func(U, *http.Request) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return g.gate(next, g.challenge, func(id identity, r *http.Request) (verdict, string) {
			if user, ok := id.user.(U); ok && allowed != nil && allowed(user, r) {
				return allow, ""
			}
			return forbidden, ""
		})
	}
}

// gate returns next behind a login and decide, which is called with a logged-in user, and
// also returns the factor that the user lacks, if that is why. It runs without the request's
// lock. challenge is what a 401 of decide asks for.
func (c *core) gate(next http.Handler, challenge string, decide func(identity, *http.Request) (verdict, string)) http.Handler {
	return c.wrap(func(req *request, w http.ResponseWriter, r *http.Request) {
		if req.isolated { // as isolate does, whose call would cost each request 2 %
			c.refuse(req, w, r, crossOrigin)
			return
		}
		switch id := req.authenticate(r.Context()); {
		case id.err != nil:
			c.refuse(req, w, r, unavailable)
		case id.user != nil:
			v, factor := decide(id, r)
			if v != allow {
				c.challengeAndRefuse(req, w, r, v, demand{challenge, factor})
				return
			}
			if w == http.ResponseWriter(&req.writer) {
				next.ServeHTTP(w, r)
			} else { // a middleware's, which may be a cache, and sees only what is in its own header
				NoCache(next).ServeHTTP(w, r)
			}
		case id.pending:
			c.challengeAndRefuse(req, w, r, factorRequired, demand{challenge: c.stepUp})
		default:
			c.refuse(req, w, r, loginRequired)
		}
	})
}

// isolate is wrap for what depends on who is logged in, as a gate does. What a page of another origin loads
// is refused before the session is known: neither the response nor the time that it takes
// tells that page whether somebody is logged in, or what they may see.
func (c *core) isolate(serve func(*request, http.ResponseWriter, *http.Request)) http.Handler {
	return c.wrap(func(req *request, w http.ResponseWriter, r *http.Request) {
		if req.isolated {
			c.refuse(req, w, r, crossOrigin)
		} else {
			serve(req, w, r)
		}
	})
}

// checkOrigin decides, once, about a request as it came: whether it is allowed, and whether it
// is isolated, so that it stays out of what depends on who is logged in.
func (c *core) checkOrigin(r *http.Request) (allowed, isolated bool) {
	if fetch.SameOrigin(r) {
		return true, false
	}
	return c.crossOriginAllowed(r), !c.subresourceAllowed(r)
}

// subresourceAllowed reports whether r may be loaded by the page that sent it: one of this
// origin, or one that could send a POST in its place. crossOriginAllowed decides about an
// unsafe r.
func (c *core) subresourceAllowed(r *http.Request) bool {
	if !fetch.CrossOriginSubresource(r) || !fetch.IsSafe(r.Method) {
		return true
	}
	probe := *r
	probe.Method = http.MethodPost
	return c.crossOrigin.Check(&probe) == nil
}

// madeUnsafe reports whether r is unsafe, but arrived as a safe request, which is not
// checked for its origin: a middleware inside the guard took the method from a parameter
// or a header. Its Sec-Fetch-Site would not tell: "same-origin" is also that of an image in
// the page, and of the redirect after a login to the page that another site has named.
func (req *request) madeUnsafe(r *http.Request) bool {
	return r.Method != req.caller.Method && fetch.IsSafe(req.caller.Method) && !fetch.IsSafe(r.Method)
}

// revalidate is for a gate around a request that is over: somebody has kept it, it has taken
// the connection, or its response has not waited for its handler. The session may have ended
// since the request was accepted, and the user may have changed.
func (l *locked) revalidate() {
	if !l.writer.Over() || l.rec.Session == nil {
		return
	}
	ctx, cancel := detached(l.ctx())
	defer cancel()
	l.now = store.TimeOf(time.Now())
	_, err := l.core.streamSession(ctx, l.rec.Key, l.rec.Owner, l.rec.ID)
	switch ended := new(store.EndedError); {
	case err == nil:
		if l.stage == resolved { // otherwise resolve asks
			_ = l.askForUser(ctx)
		}
	case errors.As(err, &ended):
		l.setEnded(ended.Reason)
	case errors.Is(err, store.ErrNotFound):
		l.setEnded("")
	default:
		_ = l.fail(err)
	}
}

// HideCookies keeps the guard's cookies from next. It is for a reverse proxy to a server
// that is not trusted with the user's session:
//
//	mux.Handle("/reports/", guard.RequireRole("Reporter")(guard.HideCookies(proxy)))
//
// next gets the request without these cookies, so that nobody is logged in there. It
// cannot set cookies of their names. It cannot send Clear-Site-Data, which would delete
// them, nor have browsers prove their device to it (Config.DeviceProof). Other cookies
// pass.
//
// The server's pages still have the application's origin, and a script in them can act as
// the user. If you do not trust the server with that, give it a host of its own.
func (g *core) HideCookies(next http.Handler) http.Handler { return g.cookies.Hide(next) }

// AuthRequest tells a proxy whether a request for another application on the same host
// may pass: nginx's auth_request, Caddy's forward_auth, Traefik's ForwardAuth. The
// response is what RequireLogin and the gates decide about that request:
//
//	mux.Handle("/auth", guard.AuthRequest(guard.RequireRole("Engineer")))
//
// It is never a redirect, and never cached:
//
//   - 204 with the user's ID in the header Remote-User, percent-encoded as by
//     [url.PathEscape]. In an acting session ([Guard.ActAs]), that is the target's
//   - 401 or 403, whatever gates and [Refusals] write. If a gate would redirect a browser
//     to log in, the 401 has the address as Location, for nginx, and as Refresh. Browsers
//     obey Refresh if the proxy passes the response on. A missing role is a 403 and
//     leaves no flash
//   - 503 if the backend or FindUser fails
//
// The proxy must send the method and the address of the original request in
// X-Forwarded-Method and X-Forwarded-Uri. If it changes the host, it must send that in
// X-Forwarded-Host. Each must be there once. If the method or the address is missing or
// invalid, the response is 403, and the log says why. So it is if the path has a segment
// ".", "..", or "..%2f", or the address a "#", because programs read it in different ways.
//
// The proxy must pass on all other headers as they came. Origin and the Sec-Fetch-…
// headers decide whether an unsafe request comes from another site, and whether a page of
// another origin loads what is behind the gates. Both are refused, as everywhere in the
// guard.
//
// Gates see the original request, without its body, and its path as the client has
// spelled it. It counts as activity, unless Passive is one of the gates. Proxies drop the
// cookies of such a response, so it sets none. If a session has to be revived
// ([Remember]), the 401 sends the browser to a route of [Guard.Script] that revives it,
// or to the login page if Script is not served. Put no gate around AuthRequest: its
// refusals would be those of any page.
//
// A client that sends a request to the route itself learns about its own session only.
// But the other application believes the header Remote-User. So the proxy must replace
// what a client sends under this name, and nobody else may reach that application. What
// has begun there, such as a WebSocket, does not end with the session.
// docs/auth-request.md has configurations that are tested.
func (g *core) AuthRequest(gates ...func(http.Handler) http.Handler) http.Handler {
	gated := g.RequireLogin(http.HandlerFunc(g.letPass))
	for _, gate := range slices.Backward(gates) {
		gated = gate(gated)
	}
	return NoCache(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := g.enclosing(r)
		original, err := authrequest.Original(r)
		if err != nil {
			g.logError("AuthRequest refused the request of a proxy: see docs/auth-request.md", "error", err)
			http.Error(w, "The proxy does not name the original request correctly.", http.StatusForbidden)
			return
		}
		resp := authrequest.NewResponse(w, g.challenge)
		defer resp.End()
		g.attach(nil, resp, original, func(req *request, w http.ResponseWriter, r *http.Request) {
			req.raiseActivity(from)
			gated.ServeHTTP(w, r)
			if !req.writer.Started() {
				g.refuse(req, w, r, forbidden)
			}
		})
	}))
}

// letPass is what AuthRequest has behind its gates.
func (g *core) letPass(w http.ResponseWriter, r *http.Request) {
	id := g.identityOf(r)
	if resp := g.requestOf(r).authResponse(); resp != nil && id.user != nil {
		resp.Allow(id.user.UserID())
		w.WriteHeader(http.StatusNoContent)
	}
}

// authResponse returns the response of a request of AuthRequest, or nil for all others.
func (req *request) authResponse() *authrequest.Response {
	resp, _ := req.writer.Unwrap().(*authrequest.Response)
	return resp
}

// enclosing prepares the state that wrappers around AuthRequest have of r: should they refuse,
// because something around AuthRequest has used the session, then not by Config.Refusals. It
// returns what they have said of its activity.
func (c *core) enclosing(r *http.Request) activity {
	req := c.requestOf(r)
	if req == nil {
		return active
	}
	l := req.lock()
	defer l.unlock()
	l.defaultRefusals = true
	return l.activity
}

// Next returns where to go after a login: the form or query value "next" if it is a path
// on this server, else fallback (OWASP ASVS 3.7.2). Gates set "next" to the requested
// page.
//
// For a GET or HEAD it reads the query only. For other methods it also reads a form in
// the body: application/x-www-form-urlencoded of at most 10 MB, and multipart/form-data
// only if the handler has parsed it.
//
// It refuses everything that a browser could take for another site: a scheme or a host,
// and in the path "//", a backslash, a control character, or a "." or ".." segment,
// however often encoded. It also refuses what cannot be decoded again, such as a literal
// "%25", and more than 2,000 bytes.
func (g *core) Next(r *http.Request, fallback string) string {
	if next := formValue(r, "next"); localpath.IsLocal(next) {
		return next
	}
	return fallback
}

// formValue is r.FormValue for routes that anyone can request: it reads no body of a GET
// or HEAD, and parses no multipart form, for which the standard library takes 32 MB of
// memory and any amount of disk. It leaves r.Form alone where that would keep the handler's
// own r.FormValue from parsing such a form later.
func formValue(r *http.Request, name string) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return r.URL.Query().Get(name)
	}
	if r.Form == nil {
		// mime.ParseMediaType would also parse the parameters, which may be a megabyte.
		contentType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
		if !strings.EqualFold(strings.TrimSpace(contentType), "application/x-www-form-urlencoded") {
			return r.URL.Query().Get(name)
		}
		_ = r.ParseForm() // what could be read is in r.Form
	}
	return r.Form.Get(name)
}
