package sessionguard

import (
	"net/http"
	"strings"

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
//
// and none that tell a CDN otherwise, whatever next, an error page of the standard
// library, or a panic on its way to a recoverer does to them.
//
// NoCache alone does not empty the back/forward cache: current Chromium keeps such pages
// there for up to three minutes after a session has ended only on the server (measured
// with Chromium 156). That is what [Guard.Script] is for.
func NoCache(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := new(noCache)
		n.writer.Init(w, n)
		returned := false
		defer func() {
			n.noStore.enforce(w.Header()) // an outer handler may buffer, or recover and write an error page
			if !returned {
				n.writer.Discard()
			}
		}()
		next.ServeHTTP(&n.writer, r)
		n.writer.Finish()
		returned = true
	})
}

// noCache is the state of a response behind [NoCache].
type noCache struct {
	writer  response.Writer
	noStore noStoreValues
}

// Commit implements [response.Hooks].
func (n *noCache) Commit(int) bool {
	n.noStore.enforce(n.writer.Unwrap().Header())
	return true
}

// BeforeHeader implements [response.Hooks].
func (n *noCache) BeforeHeader(h http.Header) { n.noStore.enforce(h) }

// BeforeHijack implements [response.Hooks].
func (n *noCache) BeforeHijack() error { return nil }

// noStoreValues holds the values of the three headers. Each request has its own, because
// whoever has a header may change its values.
type noStoreValues [3]string

// enforce sets the three headers in h, and deletes all others that govern caching. It
// compares names without regard to case, since a handler may write to the map directly.
func (v *noStoreValues) enforce(h http.Header) {
	inPlace := 0
	for name, values := range h {
		want := ""
		switch name {
		case "Cache-Control":
			want = noStore[0]
		case "Pragma":
			want = noStore[1]
		case "Expires":
			want = noStore[2]
		default:
			if governsCaching(name) {
				delete(h, name)
			}
			continue
		}
		if len(values) == 1 && values[0] == want {
			inPlace++
		}
	}
	if inPlace == len(noStore) {
		return // from an earlier call
	}
	*v = noStore
	h["Cache-Control"] = v[0:1:1]
	h["Pragma"] = v[1:2:2]
	h["Expires"] = v[2:3:3]
}

// noStore has the values of Cache-Control, Pragma and Expires.
var noStore = noStoreValues{"no-store, no-cache, must-revalidate, private", "no-cache", "0"}

// governsCaching reports whether name is Cache-Control or one of its targeted forms (RFC
// 9213: CDN-, Cloudflare-CDN-, Vercel-CDN-, Netlify-CDN-, Akamai-, Fastly-, X-LiteSpeed-…),
// Pragma, Expires, Surrogate-Control, Edge-Control (Akamai), or X-Accel-Expires (nginx).
func governsCaching(name string) bool {
	name = http.CanonicalHeaderKey(name)
	switch name {
	case "Cache-Control", "Pragma", "Expires", "Surrogate-Control", "Edge-Control", "X-Accel-Expires":
		return true
	}
	return strings.HasSuffix(name, "-Cache-Control")
}
