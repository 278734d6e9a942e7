package sessionguard

import (
	"net/http"
	"strings"

	"github.com/sessionguard-go/sessionguard/internal/response"
)

// NoCache keeps what next answers out of every cache: the browser's memory and
// disk, proxies and CDNs (OWASP ASVS 14.3.2). It needs no guard.
//
// Every answer goes out with
//
//	Cache-Control: no-store, no-cache, must-revalidate, private
//	Pragma: no-cache
//	Expires: 0
//
// and without the headers that tell a CDN otherwise, whatever next, an error
// page of the standard library, or a panic on its way to a recoverer does to
// them.
//
// It does not by itself empty the back/forward cache: current Chromium keeps
// such pages there for up to three minutes after the session has ended on the
// server alone (measured with Chromium 156). [Guard.Script] is for that.
func NoCache(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := new(noCache)
		n.writer.Init(w, n)
		returned := false
		defer func() {
			if !returned { // the page that an outer recoverer makes is not cached either
				n.noStore.enforce(w.Header())
				n.writer.Discard()
			}
		}()
		next.ServeHTTP(&n.writer, r)
		n.writer.Finish()
		n.noStore.enforce(w.Header()) // for an outer handler that buffers the response
		returned = true
	})
}

// noCache is a response behind [NoCache].
type noCache struct {
	writer  response.Writer
	noStore noStoreValues
}

func (n *noCache) Commit(int) bool            { return true }
func (n *noCache) BeforeHeader(h http.Header) { n.noStore.enforce(h) }
func (n *noCache) BeforeHijack() error        { return nil }

// noStoreValues are the three headers' values, kept per request because a
// header's slice belongs to whoever holds the header.
type noStoreValues [3]string

// enforce puts the three headers in h, and takes out every other that governs
// caching. Header names are compared without regard to case, since a handler
// may write to the map directly.
func (v *noStoreValues) enforce(h http.Header) {
	for name := range h {
		switch name {
		case "Cache-Control", "Pragma", "Expires": // set below, which is cheaper than deleting them first
		default:
			if governsCaching(name) {
				delete(h, name)
			}
		}
	}
	*v = noStoreValues{"no-store, no-cache, must-revalidate, private", "no-cache", "0"}
	h["Cache-Control"] = v[0:1:1]
	h["Pragma"] = v[1:2:2]
	h["Expires"] = v[2:3:3]
}

// governsCaching knows Cache-Control and its targeted forms (RFC 9213: CDN-,
// Cloudflare-CDN-, Vercel-CDN-, Netlify-CDN-, Akamai-, Fastly-, X-LiteSpeed-…),
// Surrogate-Control, Edge-Control (Akamai), and X-Accel-Expires (nginx).
func governsCaching(name string) bool {
	name = http.CanonicalHeaderKey(name)
	switch name {
	case "Cache-Control", "Pragma", "Expires", "Surrogate-Control", "Edge-Control", "X-Accel-Expires":
		return true
	}
	return strings.HasSuffix(name, "-Cache-Control")
}
