package sessionguard

import (
	"net/http"
	"slices"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/localpath"
)

// RequireLogin lets in users who are logged in, active, and within the idle and the
// absolute timeout. All other requests are refused (see [Refusals]) before next runs.
//
// Like every gate it decides anew on every request, and works with or without
// [Guard.Handler] around it. Gates can be nested: all of them must agree. Responses behind
// a gate are kept out of caches as by [NoCache].
func (g *core) RequireLogin(next http.Handler) http.Handler {
	return g.gate(next, func(identity, *http.Request) verdict { return allow })
}

// RequireRole lets in users who are logged in and have any of the roles. To require
// several, nest gates. Without a role it lets nobody in.
func (g *core) RequireRole(anyOf ...string) func(http.Handler) http.Handler {
	roles := slices.Clone(anyOf)
	return func(next http.Handler) http.Handler {
		return g.gate(next, func(id identity, _ *http.Request) verdict {
			for _, role := range roles { // a method value for slices.ContainsFunc would be an allocation
				if id.user.HasRole(role) {
					return allow
				}
			}
			return forbidden
		})
	}
}

// RequireFunc lets in users who are logged in and for whom allowed returns true. It is for
// what roles cannot express: the owner of the requested document, the hour of the day.
func (g *Guard[U]) RequireFunc(allowed func(U, *http.Request) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return g.gate(next, func(id identity, r *http.Request) verdict {
			if user, ok := id.user.(U); ok && allowed != nil && allowed(user, r) {
				return allow
			}
			return forbidden
		})
	}
}

// RequireFresh lets in users who have logged in less than age ago, for pages that are
// worth asking for the password again (OWASP ASVS 7.5.1). Only [Guard.Login] resets that
// clock. A browser is sent to Config.ReauthPath.
func (g *core) RequireFresh(age time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return g.gate(next, func(id identity, _ *http.Request) verdict {
			if fresh(id.rec, id.now, age) {
				return allow
			}
			return reauthRequired
		})
	}
}

// gate returns next behind a login and decide, which is called with a logged-in user. It
// runs without the request's lock.
func (c *core) gate(next http.Handler, decide func(identity, *http.Request) verdict) http.Handler {
	return c.wrap(func(req *request, w http.ResponseWriter, r *http.Request) {
		id := req.authenticate(r.Context())
		v := loginRequired
		switch {
		case id.err != nil:
			v = unavailable
		case id.user != nil:
			v = decide(id, r)
		}
		if v != allow {
			c.refuse(req, w, r, v)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Next returns where to go after a login: the form or query value "next" if it is a path
// on this server, else fallback (OWASP ASVS 3.7.2). Gates set it to the requested page.
//
// It refuses everything that a browser could take for another site: a scheme or a host,
// and in the path "//", a backslash, a control character, or a "." or ".." segment,
// however often encoded. It also refuses what cannot be decoded again, such as a literal
// "%25", and more than 2,000 bytes.
func (g *core) Next(r *http.Request, fallback string) string {
	if next := r.FormValue("next"); localpath.IsLocal(next) {
		return next
	}
	return fallback
}
