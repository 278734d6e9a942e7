package sessionguard

import (
	"net/http"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/localpath"
)

// RequireLogin lets in whoever is logged in, is active, and is within the idle
// and the absolute timeout. Everyone else is refused (see [Refusals]) before
// next runs.
//
// Like every gate it decides anew on every request, works with or without
// [Guard.Handler] around it, and may be nested: all of the gates must agree.
// What it lets in is protected from caching as by [NoCache].
func (g *core) RequireLogin(next http.Handler) http.Handler {
	return g.gate(next, func(sight, *http.Request) refusal { return admitted })
}

// RequireRole lets in whoever is logged in and has any of the roles. For all
// of several, nest gates. Without a role it lets nobody in.
func (g *core) RequireRole(anyOf ...string) func(http.Handler) http.Handler {
	roles := append([]string(nil), anyOf...)
	return func(next http.Handler) http.Handler {
		return g.gate(next, func(seen sight, _ *http.Request) refusal {
			for _, role := range roles {
				if seen.user.HasRole(role) {
					return admitted
				}
			}
			return forbidden
		})
	}
}

// RequireFunc lets in whoever is logged in and whom allow lets in, for what
// roles cannot say: the owner of the thing asked for, the hour of the day.
func (g *Guard[U]) RequireFunc(allow func(U, *http.Request) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return g.gate(next, func(seen sight, r *http.Request) refusal {
			if user, ok := seen.user.(U); ok && allow != nil && allow(user, r) {
				return admitted
			}
			return forbidden
		})
	}
}

// RequireFresh lets in whoever has logged in less than age ago, to protect what
// is worth asking for the password again (OWASP ASVS 7.5.1). Nothing but
// [Guard.Login] resets that clock. A browser is sent to Config.ReauthPath.
func (g *core) RequireFresh(age time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return g.gate(next, func(seen sight, _ *http.Request) refusal {
			if fresh(seen.rec, seen.now, age) {
				return admitted
			}
			return stale
		})
	}
}

// gate lets in whoever is logged in and whom decide admits.
func (c *core) gate(next http.Handler, decide func(sight, *http.Request) refusal) http.Handler {
	return c.wrap(func(st *request, w http.ResponseWriter, r *http.Request) {
		seen := st.admit(r.Context())
		why := noSession
		switch {
		case seen.err != nil:
			why = unavailable
		case seen.user != nil:
			why = decide(seen, r)
		}
		if why != admitted {
			c.refuse(st, w, r, why)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Next is where to go after a login: the form or query value "next" if it is a
// path on this server, else fallback (OWASP ASVS 3.7.2). A gate puts the page
// that was asked for there.
//
// It refuses everything that a browser could take for another site: a scheme or
// host, and in the path "//", a backslash, a control character, "." and ".."
// segments, encoded (however often) or not. Also what cannot be decoded again,
// such as a literal "%25", and more than 2,000 bytes.
func (g *core) Next(r *http.Request, fallback string) string {
	if next := r.FormValue("next"); localpath.IsLocal(next) {
		return next
	}
	return fallback
}
