package sessionguard

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/sessionguard-go/sessionguard/internal/fetch"
	"github.com/sessionguard-go/sessionguard/internal/response"
)

// NoCache keeps the responses of next out of every cache: the browser's memory and disk,
// proxies and CDNs (OWASP ASVS 14.3.2). It needs no guard.
//
// Every response has the headers
//
//	Cache-Control: no-store, no-cache, must-revalidate, private
//	Pragma: no-cache
//	Expires: 0
//	X-Accel-Expires: 0
//	Vary: Cookie
//
// and no others that tell a CDN to keep it. Neither next nor an error page of the
// standard library can change that, nor a panic on its way to a middleware that recovers.
// The last two headers are for proxies that are told to ignore the others: nginx obeys
// X-Accel-Expires, and Vary keeps one user's page from another. "Cookie" is added to what
// next sets in Vary. Informational responses, such as 103 Early Hints, have the headers
// too, because proxies are known to take one for the final response. HTTP/1.0 clients get
// no informational responses (RFC 9110, section 15.2).
//
// NoCache alone does not empty the back/forward cache. If a session has ended only on the
// server, current Chromium keeps its pages there for up to three minutes (measured with
// Chromium 156). [Guard.Script] hides them.
func NoCache(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := &noCache{request: r}
		n.writer.Init(w, n)
		returned := false
		defer func() {
			n.noStore.enforce(w.Header()) // an outer handler may buffer, or recover and write an error page
			if !returned {
				n.writer.Abandon()
			}
		}()
		next.ServeHTTP(&n.writer, r)
		n.writer.Finish()
		returned = true
	})
}

// noCache is the state of a response behind [NoCache].
type noCache struct {
	request *http.Request
	writer  response.Writer[*noCache]
	noStore noStoreValues
}

// Commit implements [response.Hooks].
func (n *noCache) Commit(int) bool {
	n.noStore.enforce(n.writer.Unwrap().Header())
	return true
}

// BeforeHeader implements [response.Hooks].
func (n *noCache) BeforeHeader(h http.Header) { n.noStore.enforce(h) }

// BeforeInformational implements [response.Hooks].
func (n *noCache) BeforeInformational(h http.Header) bool { return informational(h, n.request) }

// BeforeHijack implements [response.Hooks].
func (n *noCache) BeforeHijack() error { return nil }

// Context implements [response.Hooks].
func (n *noCache) Context() context.Context { return n.request.Context() }

// informational sets the no-store headers in h, that of an informational response to r, and
// reports whether it may be sent. HTTP/1.0 has none (RFC 9110, section 15.2): nginx 1.22,
// for one, takes a 103 for the final response.
func informational(h http.Header, r *http.Request) bool {
	new(noStoreValues).enforce(h)
	return r.ProtoAtLeast(1, 1)
}

// noStoreValues holds the values of the five headers. Each request has its own, because
// whoever has a header may change its values. Expires and X-Accel-Expires share one.
type noStoreValues [4]string

// enforce sets the five headers in h, and deletes all others that govern caching. It
// compares names without regard to case, since a handler may write to the map directly. It
// runs several times for a response, and usually finds the headers in place.
func (v *noStoreValues) enforce(h http.Header) {
	inPlace := 0
	var respelled []string // the values of Vary under other spellings of its name
	for name, values := range h {
		switch want := noStoreValue(name); {
		case want != "":
			if is(values, want) {
				inPlace++
			}
		case name == "Vary":
			if is(values, varyByCookie(values)) {
				inPlace++
			}
		case strings.EqualFold(name, "Vary"):
			respelled = append(respelled, values...)
			delete(h, name)
		case governsCaching(name):
			delete(h, name)
		}
	}
	if respelled == nil && inPlace == 5 {
		return
	}
	vary := varyByCookie(append(slices.Clip(h["Vary"]), respelled...)) // may read v[3]
	*v = noStore
	v[3] = vary
	h["Cache-Control"] = v[0:1:1]
	h["Pragma"] = v[1:2:2]
	h["Expires"] = v[2:3:3]
	h["X-Accel-Expires"] = v[2:3:3]
	h["Vary"] = v[3:4:4]
}

// noStore has the values of Cache-Control, Pragma, both forms of Expires, and Vary.
var noStore = noStoreValues{"no-store, no-cache, must-revalidate, private", "no-cache", "0", "Cookie"}

// noStoreValue returns the value of the header with this name, or "" if it is Vary or none of
// the five.
func noStoreValue(name string) string {
	switch name {
	case "Cache-Control":
		return noStore[0]
	case "Pragma":
		return noStore[1]
	case "Expires", "X-Accel-Expires":
		return noStore[2]
	}
	return ""
}

func is(values []string, want string) bool { return len(values) == 1 && values[0] == want }

// varyByCookie returns the values of Vary with the member "Cookie". They become one line,
// because nginx 1.22 knows the last line only. A "*" is replaced: Varnish 7.1 and Squid
// 5.7, told to cache such a response all the same, ignore it, and Squid the other members.
func varyByCookie(values []string) string {
	members := strings.Join(values, ", ")
	if members == "" || members == noStore[3] {
		return noStore[3]
	}
	found := false
	for member := range strings.SplitSeq(members, ",") {
		member = strings.TrimSpace(member)
		if member == "*" {
			return noStore[3]
		}
		found = found || strings.EqualFold(member, noStore[3])
	}
	if found {
		return members
	}
	return members + ", " + noStore[3]
}

// governsCaching reports whether name is Cache-Control or one of its targeted forms (RFC
// 9213: CDN-, Cloudflare-CDN-, Vercel-CDN-, Netlify-CDN-, Akamai-, Fastly-, X-LiteSpeed-…),
// Pragma, Expires, Surrogate-Control, Edge-Control (Akamai), or X-Accel-Expires (nginx).
func governsCaching(name string) bool {
	if name == "" || strings.IndexByte("lasLAS", name[len(name)-1]) < 0 {
		return false // none of these ends so, and most headers need no closer look
	}
	name = http.CanonicalHeaderKey(name)
	switch name {
	case "Cache-Control", "Pragma", "Expires", "Surrogate-Control", "Edge-Control", "X-Accel-Expires":
		return true
	}
	return strings.HasSuffix(name, "-Cache-Control")
}

// enforceNoStore sets the no-store headers of a response that must not be cached.
func (l *locked) enforceNoStore() {
	if l.exposure > public {
		l.noStore.enforce(l.writer.Unwrap().Header())
	}
}

// hasBegun reports whether w is for the response of req and that has begun, so that no
// other state can set a cookie there either, and how far it is kept out of caches.
func (req *request) hasBegun(w http.ResponseWriter) (bool, exposure) {
	over := req.writer.Over() && !req.writer.Hijacked() // and the server's ResponseWriter may panic
	if over || !req.writer.Started() || !fetch.SameHeader(w.Header(), req.writer.Unwrap().Header()) {
		return false, public
	}
	l := req.lock()
	defer l.unlock()
	return true, l.exposure
}
