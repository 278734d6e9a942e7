package acceptance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// allocated returns how many bytes do allocates.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A small request for the guard script with thousands of ranges gets no response that is many
// times as long.
func TestTheScriptIsServedWhole(t *testing.T) {
	s := newSite(t, nil)
	s.mux.Handle("/sessionguard/", s.guard.Script())
	b := s.browse()
	whole := b.Get("/sessionguard/guard.js")
	require.Equal(t, http.StatusOK, whole.StatusCode)
	var ranges strings.Builder
	for i := range 9000 {
		fmt.Fprintf(&ranges, ",%d-%d", i, i)
	}
	for _, value := range []string{"bytes=0-9", "bytes=" + ranges.String()[1:]} {
		resp := b.Get("/sessionguard/guard.js", "Range", value)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%d bytes for %d", len(resp.Body), len(value))
		require.Equal(t, whole.Body, resp.Body)
	}
	etag := whole.Header.Get("ETag")
	require.Equal(t, http.StatusNotModified, b.Get("/sessionguard/guard.js", "If-None-Match", etag).StatusCode)
}

// K2: what a stranger sends in a header or query of up to a megabyte makes no route of the
// guard, and no login page that calls Next, allocate many times as much.
func TestAStrangersHeadersAreNotMultiplied(t *testing.T) {
	var many strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&many, "; a%d=b", i)
	}
	params := many.String()
	query := strings.ReplaceAll(params[2:], "; ", "&")
	ours := strings.Repeat(sessionCookie+"=x; "+visitorCookie+"=y; ", 10_000)
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.mux.Handle("/sessionguard/", s.guard.Script())
		s.mux.HandleFunc("/next", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, s.guard.Next(r, "/")) })
		handler := s.guard.Handler(s.mux)
		before := backend.callCounts()
		for _, path := range []string{
			"/", "/home", "/poll", "/status", "/logout", "/next",
			"/sessionguard/status", "/sessionguard/stay", "/sessionguard/resume", "/sessionguard/logout",
		} {
			for _, method := range []string{"GET", "POST"} {
				for what, header := range map[string]http.Header{
					"nothing":      {},
					"a query":      {},
					"accept":       {"Accept": strings.Split(params, ";")},
					"content type": {"Content-Type": {"application/x-www-form-urlencoded" + params}},
					"multipart":    {"Content-Type": {"multipart/form-data; boundary=x" + params}},
					"others":       {"Content-Type": {"text/plain" + params}},
					"cookies":      {"Cookie": {params}},
					"our cookies":  {"Cookie": {ours}},
					"lines":        {"Cookie": strings.SplitAfter(ours, ";")},
					"origin":       {"Origin": {"https://" + params}},
				} {
					target := "https://app.example" + path
					if what == "a query" {
						target += "?" + query
					}
					r := httptest.NewRequest(method, target, strings.NewReader("next=%2Fx"))
					r.Header = header
					w := httptest.NewRecorder()
					n := allocated(func() { handler.ServeHTTP(w, r) })
					most := uint64(2_000_000)
					if path == "/next" && what == "content type" {
						most = 12_000_000 // r.ParseForm, as in every handler that reads a form
					}
					if n > most {
						t.Errorf("%s %s with %s: %d bytes", method, path, what, n)
					}
				}
			}
		}
		require.Equal(t, before, backend.callCounts())
	})
}
