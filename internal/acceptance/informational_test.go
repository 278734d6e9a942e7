package acceptance

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// hinting sends informational responses that allow caching, and then its page.
func hinting(use func(r *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		cachingAllow(w)
		w.Header()["Vary"] = []string{"Accept"}
		w.Header().Set("Link", "</style.css>; rel=preload")
		for _, status := range []int{http.StatusContinue, http.StatusProcessing, http.StatusEarlyHints, 199} {
			w.WriteHeader(status)
		}
		use(r)
		io.WriteString(w, "hello")
	}
}

// hintingHandlers are ways to protect a response that informational ones precede.
func hintingHandlers(g *sessionguard.Guard[*user]) map[string]http.Handler {
	nothing := func(*http.Request) {}
	return map[string]http.Handler{
		"a gate":                g.Handler(g.RequireLogin(hinting(nothing))),
		"a gate alone":          g.RequireLogin(hinting(nothing)),
		"a gate around Handler": g.RequireLogin(g.Handler(hinting(nothing))),
		"User afterwards":       g.Handler(hinting(func(r *http.Request) { g.User(r) })),
		"Get afterwards":        g.Handler(hinting(func(r *http.Request) { _, _ = g.Get(r, "app") })),
		"NoCache":               sessionguard.NoCache(hinting(nothing)),
		"NoCache in a gate":     g.RequireLogin(sessionguard.NoCache(hinting(nothing))),
		"nothing":               g.Handler(hinting(nothing)),
	}
}

// C1, RFC 9110 15.2: a proxy that does not know informational responses may take one for
// the final response.
func TestInformationalResponsesAreNotCached(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := newSite(t, nil)
		ada := s.browse()
		ada.login("ada")
		for name, h := range hintingHandlers(s.guard) {
			b := browseOver(t, proto, h)
			b.SetCookies(ada.Cookies())
			var mu sync.Mutex
			hints := map[int]http.Header{}
			r := b.Request("GET", "/")
			resp := b.Do(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					mu.Lock()
					defer mu.Unlock()
					hints[code] = http.Header(h)
					return nil
				},
			})))
			require.Equal(t, http.StatusOK, resp.StatusCode, name)
			mu.Lock()
			require.NotEmpty(t, hints)
			for status, hint := range hints {
				requireUncacheable(t, hint)
				require.Equal(t, []string{"Accept, Cookie"}, hint["Vary"], "%s: %d", name, status)
				require.Equal(t, "</style.css>; rel=preload", hint.Get("Link"))
			}
			require.Contains(t, hints, http.StatusEarlyHints)
			mu.Unlock()
			if name != "nothing" {
				requireUncacheable(t, resp.Header)
				continue
			}
			for header, values := range cachingHeader {
				if header == http.CanonicalHeaderKey(header) && header != "Trailer" {
					require.Subset(t, resp.Header[header], values, "a page that does not use the session stays cacheable")
				}
			}
			require.Equal(t, []string{"Accept"}, resp.Header["Vary"])
		}
	})
}

// RFC 9110 15.2: nginx 1.22 speaks HTTP/1.0 to the application, unless it is told otherwise.
func TestNoInformationalResponseInHTTP10(t *testing.T) {
	s := newSite(t, nil)
	ada := s.browse()
	ada.login("ada")
	for name, h := range hintingHandlers(s.guard) {
		for _, proto := range []string{"HTTP/1.0", "HTTP/1.1"} {
			plain, err := serve(t, h).network.DialContext(t.Context(), "", "")
			require.NoError(t, err)
			conn := tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
			fmt.Fprintf(conn, "GET / %s\r\nHost: app.example\r\nCookie: %s=%s\r\nConnection: close\r\n\r\n",
				proto, sessionCookie, ada.Cookies()[sessionCookie])
			response, err := io.ReadAll(bufio.NewReader(conn))
			require.NoError(t, err)
			conn.Close()
			require.Contains(t, string(response), "hello")
			statuses := strings.Count(string(response), "HTTP/1.")
			require.Equal(t, map[string]int{"HTTP/1.0": 1, "HTTP/1.1": 5}[proto], statuses, "%s: %s", name, response)
		}
	}
}
