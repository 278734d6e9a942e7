package e2e

import (
	"io"
	"net/http"
	"testing"
)

// Where a proxy hands a 401 of AuthRequest on to the browser, its header Refresh leads to the
// login page, and its challenge, of a scheme that browsers do not know, opens no dialog.
func TestRefreshOfARefusalLeadsToTheLoginPage(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		proxy, _ := serveThroughProxy(t, whole, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			if r.URL.Path == "/login" {
				_, _ = io.WriteString(w, `<!DOCTYPE html><title>login</title>`+r.URL.RawQuery)
				return
			}
			w.Header().Set("WWW-Authenticate", `Cookie form-action="/login"`)
			w.Header().Set("Location", "/login?next=%2Fwiki%2Fa%3Fb%3Dc%26d")
			w.Header().Set("Refresh", "0; url=/login?next=%2Fwiki%2Fa%3Fb%3Dc%26d")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `<a href="/login?next=%2Fwiki%2Fa%3Fb%3Dc%26d">See Other</a>`)
		})
		must(t, b.Open(proxy.URL+"/wiki/a?b=c&d"))
		must(t, b.Until(`return location.pathname + location.search == "/login?next=%2Fwiki%2Fa%3Fb%3Dc%26d"`))
	})
}
