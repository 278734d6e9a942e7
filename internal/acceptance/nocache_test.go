package acceptance

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// cachingHeader has fields with which a handler might allow caching.
var cachingHeader = http.Header{
	"Cache-Control": {"public, max-age=31536000", "immutable"}, "cache-control": {"public"}, "CACHE-CONTROL": {"max-age=9"},
	"Pragma": {"cache", "more"}, "pragma": {"public"}, "Expires": {"Thu, 01 Dec 2094 16:00:00 GMT"}, "expires": {"never"},
	"CDN-Cache-Control": {"max-age=9"}, "cloudflare-cdn-cache-control": {"max-age=9"}, "Vercel-CDN-Cache-Control": {"max-age=9"},
	"Surrogate-Control": {"max-age=9"}, "edge-control": {"cache-maxage=1d"}, "X-Accel-Expires": {"86400"}, "Akamai-Cache-Control": {"max-age=9"},
	"Trailer": {"Cache-Control, Pragma, Expires, Surrogate-Control"},
}

// cachingAllow sets the fields of cachingHeader.
func cachingAllow(w http.ResponseWriter) {
	for name, v := range cachingHeader {
		w.Header()[name] = append([]string(nil), v...)
	}
}

// cachingCase is a response whose handler allows caching.
type cachingCase struct {
	name, method string
	request      []string
	status       int
	serve        http.HandlerFunc
}

func cachingCases(t *testing.T) []cachingCase {
	dir := t.TempDir()
	report := filepath.Join(dir, "q3.csv")
	require.NoError(t, os.WriteFile(report, []byte("quarter,revenue\n3,7\n"), 0o600))
	file := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { cachingAllow(w); http.ServeFile(w, r, name) }
	}
	content := func(w http.ResponseWriter, r *http.Request) {
		cachingAllow(w)
		w.Header().Set("ETag", `"7"`)
		http.ServeContent(w, r, "q3.csv", time.Unix(1e9, 0), strings.NewReader("quarter,revenue\n3,7\n"))
	}
	return []cachingCase{
		{"ServeFile 200", "GET", nil, 200, file(report)},
		{"ServeFile 404", "GET", nil, 404, file(filepath.Join(dir, "none"))},
		{"ServeFile 416", "GET", []string{"Range", "bytes=900-"}, 416, file(report)},
		{"ServeFile directory redirect", "GET", nil, 301, file(dir)},
		{"FileServer index redirect", "GET", nil, 301, func(w http.ResponseWriter, r *http.Request) {
			cachingAllow(w)
			r.URL.Path = "/index.html"
			http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
		}},
		{"ServeContent 200", "GET", nil, 200, content},
		{"ServeContent HEAD", "HEAD", nil, 200, content},
		{"ServeContent 206", "GET", []string{"Range", "bytes=1-3"}, 206, content},
		{"ServeContent 206 multipart", "GET", []string{"Range", "bytes=1-3,5-6"}, 206, content},
		{"ServeContent 304 by ETag", "GET", []string{"If-None-Match", `"7"`}, 304, content},
		{"ServeContent 304 by date", "GET", []string{"If-Modified-Since", "Sun, 09 Sep 2001 01:46:40 GMT"}, 304, content},
		{"ServeContent 412", "GET", []string{"If-Match", `"8"`}, 412, content},
		{"http.Error", "GET", nil, 500, func(w http.ResponseWriter, r *http.Request) { cachingAllow(w); http.Error(w, "no", 500) }},
		{"http.Redirect", "GET", nil, http.StatusPermanentRedirect, func(w http.ResponseWriter, r *http.Request) {
			cachingAllow(w)
			http.Redirect(w, r, "/", http.StatusPermanentRedirect)
		}},
		{"200", "GET", nil, 200, func(w http.ResponseWriter, r *http.Request) { cachingAllow(w); io.WriteString(w, "hello") }},
		{"HEAD", "HEAD", nil, 200, func(w http.ResponseWriter, r *http.Request) { cachingAllow(w); io.WriteString(w, "hello") }},
		{"no response", "GET", nil, 200, func(w http.ResponseWriter, r *http.Request) {}},
		{"only headers", "GET", nil, 200, func(w http.ResponseWriter, r *http.Request) { cachingAllow(w) }},
		{"204", "GET", nil, 204, func(w http.ResponseWriter, r *http.Request) { cachingAllow(w); w.WriteHeader(204) }},
		{"headers after WriteHeader", "GET", nil, 200, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200); cachingAllow(w) }},
		{"headers after Write", "GET", nil, 200, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x"); cachingAllow(w) }},
		{"headers after Flush", "GET", nil, 200, func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); cachingAllow(w) }},
		{"headers removed after WriteHeader", "GET", nil, 200, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200); clear(w.Header()) }},
		{"103 before", "GET", nil, 200, func(w http.ResponseWriter, r *http.Request) {
			cachingAllow(w)
			w.WriteHeader(103)
			clear(w.Header()) // as httputil.ReverseProxy does
			cachingAllow(w)
			io.WriteString(w, "hello")
		}},
		{"panic, and a recoverer that writes", "GET", nil, 500, func(w http.ResponseWriter, r *http.Request) { cachingAllow(w); panic("oops") }},
		{"panic without headers", "GET", nil, 500, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }},
		// An io.Copy that sends nothing: the headers can still change.
		{"io.Copy of nothing, then headers", "GET", nil, 200, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, onlyReader{strings.NewReader("")})
			cachingAllow(w)
		}},
		{"io.Copy that fails, then ServeFile 404", "GET", nil, 404, func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(w, iotest.ErrReader(errors.New("upstream is gone"))); err != nil {
				file(filepath.Join(dir, "none"))(w, r)
			}
		}},
	}
}

// requireUncacheable requires the five no-store headers and no other that governs caching.
func requireUncacheable(t *testing.T, h http.Header) {
	t.Helper()
	requireNoStore(t, h)
	for name := range h {
		lower := strings.ToLower(name)
		switch {
		case name == "Cache-Control" || name == "Pragma" || name == "Expires" || name == "X-Accel-Expires":
		case strings.Contains(lower, "cache"), strings.Contains(lower, "surrogate"), strings.Contains(lower, "expires"),
			strings.Contains(lower, "edge"), lower == "pragma":
			t.Errorf("%s: %q was sent", name, h[name])
		}
	}
}

// cachingRecoverer responds with 500 after a panic.
func cachingRecoverer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				http.Error(w, "sorry", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// C1, ASVS 14.3.2
func TestNoResponseThatUsedTheSessionIsCached(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	g := s.guard
	user := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, ok := g.User(r); !ok {
				panic("not logged in")
			}
			next.ServeHTTP(w, r)
		})
	}
	values := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.Get(r, "app")
			next.ServeHTTP(w, r)
		})
	}
	for name, protect := range map[string]func(http.Handler) http.Handler{
		"gate in Handler":      func(h http.Handler) http.Handler { return g.Handler(g.RequireLogin(h)) },
		"gate alone":           g.RequireLogin,
		"gate outside Handler": func(h http.Handler) http.Handler { return g.RequireRole("Engineer")(g.Handler(h)) },
		"User":                 func(h http.Handler) http.Handler { return g.Handler(user(h)) },
		"Get":                  func(h http.Handler) http.Handler { return g.Handler(values(h)) },
		"NoCache":              sessionguard.NoCache,
		"NoCache in Handler":   func(h http.Handler) http.Handler { return g.Handler(sessionguard.NoCache(h)) },
	} {
		t.Run(name, func(t *testing.T) {
			var mux http.ServeMux
			server := serve(t, cachingRecoverer(&mux))
			client := browse(t, server)
			client.SetCookies(b.Cookies())
			for _, c := range cachingCases(t) {
				t.Run(c.name, func(t *testing.T) {
					path := "/" + strings.ReplaceAll(c.name, " ", "-")
					mux.Handle(path, protect(c.serve))
					resp := client.Do(client.Request(c.method, path, c.request...))
					require.Equal(t, c.status, resp.StatusCode, resp.Body)
					requireUncacheable(t, resp.Header)
				})
			}
		})
	}
}

// C1: the headers are set before middleware further out sees the response, also if it
// buffers the response until the handler returns.
func TestResponseIsNotCachedBehindABufferingWriter(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	for name, h := range map[string]http.HandlerFunc{
		"Flush": func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			http.ServeFile(w, r, filepath.Join(t.TempDir(), "none"))
		},
		"Hijack": func(w http.ResponseWriter, r *http.Request) {
			if _, _, err := w.(http.Hijacker).Hijack(); err != nil {
				http.ServeFile(w, r, filepath.Join(t.TempDir(), "none"))
			}
		},
		"WriteHeader": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			http.ServeFile(w, r, filepath.Join(t.TempDir(), "none"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, http.TimeoutHandler(s.guard.RequireLogin(h), time.Minute, "timeout"))
			client := browse(t, server)
			client.SetCookies(b.Cookies())
			resp := client.Get("/")
			require.Equal(t, http.StatusNotFound, resp.StatusCode)
			requireUncacheable(t, resp.Header)
		})
	}
}

// C1, R3: a cached refusal could be shown to the next user of the browser.
func TestNoRefusalIsCached(t *testing.T) {
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { cachingAllow(w); w.WriteHeader(418) })
	silent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { cachingAllow(w) })
	for name, refusals := range map[string]sessionguard.Refusals{
		"default": {},
		"own":     {Login: own, Forbidden: own, Reauth: own, CrossOrigin: own, Unavailable: own},
		"silent":  {Login: silent, Forbidden: silent, Reauth: silent, CrossOrigin: silent, Unavailable: silent},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				backend := newFailingBackend()
				s := newSite(t, func(c *sessionguard.Config[*user]) { c.Refusals, c.Backend = refusals, backend })
				s.mux.HandleFunc("GET /maybe", func(w http.ResponseWriter, r *http.Request) {
					cachingAllow(w)
					s.guard.User(r)
					io.WriteString(w, "hello")
				})
				b := s.browse()
				requireNotCached := func(paths ...string) {
					t.Helper()
					for _, path := range paths {
						for _, accept := range []string{"text/html", "application/json"} {
							resp := b.Get(path, "Accept", accept)
							require.NotContains(t, resp.Body, "secret")
							require.NotContains(t, resp.Body, "hello")
							requireUncacheable(t, resp.Header)
						}
					}
				}
				requireNotCached("/home", "/admin", "/poll")
				b.login("ada")
				advance(6 * time.Minute)
				requireNotCached("/admin", "/fresh")
				requireUncacheable(t, b.Post("/static", "Sec-Fetch-Site", "cross-site").Header)
				backend.failOn("*")
				requireNotCached("/home", "/maybe")
				requireUncacheable(t, b.Post("/logout").Header)
			})
		})
	}
}

// C1: a static file, which does not use the session, stays cacheable.
func TestResponseWithoutTheSessionKeepsItsCachingHeaders(t *testing.T) {
	s := newSite(t, nil)
	s.mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "style.css", time.Unix(1e9, 0), strings.NewReader("body {}"))
	})
	s.mux.HandleFunc("GET /cdn", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("CDN-Cache-Control", "max-age=9")
		w.Header().Set("Expires", "Thu, 01 Dec 2094 16:00:00 GMT")
	})
	b := s.browse()
	for range 2 { // as a visitor, then logged in
		resp := b.Get("/static")
		require.Equal(t, []string{"public, max-age=3600"}, resp.Header["Cache-Control"])
		require.Equal(t, "body {}", resp.Body)
		require.Empty(t, resp.Header["Pragma"])
		require.Empty(t, resp.Header["Expires"])
		require.Empty(t, resp.Header["Set-Cookie"])
		require.Empty(t, b.Get("/file").Header["Cache-Control"])
		require.Equal(t, http.StatusNotModified, b.Get("/file", "If-Modified-Since", "Sun, 09 Sep 2001 01:46:40 GMT").StatusCode)
		resp = b.Get("/cdn")
		require.Equal(t, "max-age=9", resp.Header.Get("CDN-Cache-Control"))
		require.Equal(t, "Thu, 01 Dec 2094 16:00:00 GMT", resp.Header.Get("Expires"))
		b.login("ada")
	}
}
