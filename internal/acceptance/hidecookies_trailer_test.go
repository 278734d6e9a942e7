package acceptance

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a server's trailers set is what its header sets, to whatever merges the two on the way.
func TestHideCookiesKeepsTheGuardsCookiesFromTrailers(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := newSite(t, nil)
		for name, h := range map[string]http.HandlerFunc{
			"announced": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Trailer", "Set-Cookie, Clear-Site-Data, X-Sum")
				_, _ = io.WriteString(w, "page")
				w.Header().Set("Set-Cookie", sessionCookie+"=evil")
				w.Header().Set("Clear-Site-Data", `"cookies"`)
				w.Header().Set("X-Sum", "1")
			},
			"announced, in a header that was kept": func(w http.ResponseWriter, _ *http.Request) {
				h := w.Header()
				h["trailer"] = []string{"set-cookie"}
				h["Trailer"] = []string{"X-Sum, Set-Cookie", "clear-site-data"}
				_, _ = io.WriteString(w, "page")
				h.Set("Set-Cookie", sessionCookie+"=evil")
				h.Set("Clear-Site-Data", `"cookies"`)
				h.Set("X-Sum", "1")
			},
			"not announced": func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "page")
				_ = http.NewResponseController(w).Flush()
				w.Header().Set(http.TrailerPrefix+"Set-Cookie", sessionCookie+"=evil")
				w.Header()[http.TrailerPrefix+"clear-site-data"] = []string{`"cookies"`}
				w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
			},
			"not announced, and set before": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set(http.TrailerPrefix+"Set-Cookie", sessionCookie+"=evil")
				w.Header().Set(http.TrailerPrefix+"Clear-Site-Data", `"cookies"`)
				w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
				_, _ = io.WriteString(w, "page")
				_ = http.NewResponseController(w).Flush()
			},
		} {
			resp := browseOver(t, proto, s.guard.Handler(s.guard.HideCookies(h))).Get("/")
			require.Equal(t, "page", resp.Body, name)
			require.Empty(t, resp.Header["Set-Cookie"], name)
			require.Equal(t, http.Header{"X-Sum": {"1"}}, resp.Trailer, name)
		}
	})
}
