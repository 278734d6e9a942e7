package acceptance

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// otherMiddleware gives its handler another request and another ResponseWriter, as
// routers and loggers do.
func otherMiddleware(next http.Handler) http.Handler {
	type key struct{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(struct{ http.ResponseWriter }{w}, r.WithContext(context.WithValue(r.Context(), key{}, 1)))
	})
}

// gzipWriter is the ResponseWriter of a typical compressing middleware.
type gzipWriter struct {
	http.ResponseWriter
	gz    *gzip.Writer
	wrote bool
}

func (g *gzipWriter) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *gzipWriter) WriteHeader(code int) {
	if !g.wrote && code >= 200 {
		g.wrote = true
		g.Header().Del("Content-Length")
		g.Header().Set("Content-Encoding", "gzip")
	}
	g.ResponseWriter.WriteHeader(code)
}

func (g *gzipWriter) Write(b []byte) (int, error) {
	if !g.wrote {
		g.WriteHeader(http.StatusOK)
	}
	return g.gz.Write(b)
}

func (g *gzipWriter) FlushError() error {
	return errors.Join(g.gz.Flush(), http.NewResponseController(g.ResponseWriter).Flush())
}

// compress is the middleware that uses gzipWriter.
func compress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := &gzipWriter{ResponseWriter: w, gz: gzip.NewWriter(w)}
		next.ServeHTTP(g, r)
		_ = g.gz.Close()
	})
}

// wrapperChains returns chains of wrappers, the outermost first.
func wrapperChains(g *sessionguard.Guard[*user]) map[string][]func(http.Handler) http.Handler {
	login, role, fresh := g.RequireLogin, g.RequireRole("Engineer"), g.RequireFresh(absolute)
	allow := g.RequireFunc(func(u *user, _ *http.Request) bool { return u.ID == "ada" })
	limit := func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Hour, "") }
	return map[string][]func(http.Handler) http.Handler{
		"gate in Handler":         {g.Handler, role},
		"gate outside Handler":    {role, g.Handler},
		"gate alone":              {role},
		"gates":                   {login, role, allow, fresh},
		"gates around Handler":    {login, g.Handler, role},
		"Handler twice":           {g.Handler, g.Handler, role},
		"NoCache outside":         {sessionguard.NoCache, g.Handler, role},
		"NoCache between":         {g.Handler, sessionguard.NoCache, role},
		"NoCache inside":          {g.Handler, role, sessionguard.NoCache},
		"NoCache twice":           {sessionguard.NoCache, sessionguard.NoCache, role},
		"other middleware":        {otherMiddleware, g.Handler, otherMiddleware, role, otherMiddleware, allow, otherMiddleware},
		"middleware, gate alone":  {otherMiddleware, role, otherMiddleware},
		"compressed in the gate":  {g.Handler, role, compress},
		"compressed outside":      {compress, g.Handler, role},
		"compressed between":      {g.Handler, compress, role},
		"http.TimeoutHandler in":  {g.Handler, role, limit},
		"http.TimeoutHandler out": {limit, g.Handler, role},
	}
}

// W1: wrappers work in any order, and nothing is loaded twice
func TestWrappersWorkInAnyOrderAndLoadOnce(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, backend, b := writerSite(t, proto, nil)
		for name, chain := range wrapperChains(s.guard) {
			var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for range 2 {
					if u, ok := s.guard.User(r); !ok || u.ID != "ada" {
						http.Error(w, "not ada", http.StatusInternalServerError)
					}
				}
				session, _ := s.guard.Get(r, "app")
				session.Values["chain"] = name
				w.Header().Set("Cache-Control", "public")
				io.WriteString(w, "inside")
			})
			for i := len(chain) - 1; i >= 0; i-- {
				h = chain[i](h)
			}
			b.SetCookies(nil)
			b.login("ada")
			advance(2 * time.Minute)

			client := browseOver(t, proto, h)
			client.SetCookies(b.Cookies())
			before, lookups := backend.callCounts(), s.users.lookups
			resp := client.Get("/")
			require.Equal(t, "inside", resp.Body, name)
			requireUncacheable(t, resp.Header)
			require.Empty(t, resp.Header["Set-Cookie"], name)
			require.Equal(t, map[string]int{"Load": 1, "Touch": 1, "Save": 1}, callsSince(backend, before), name)
			require.Equal(t, lookups+1, s.users.lookups, "%s: FindUser", name)

			if name != "NoCache twice" {
				require.Equal(t, http.StatusUnauthorized, browseOver(t, proto, h).Get("/", "Accept", "*/*").StatusCode, name)
			}
			backend.failOn("Load")
			resp = client.Get("/", "Accept", "*/*")
			backend.failOn()
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, name)
			require.Contains(t, resp.Body, `"error":"unavailable"`, name)
			requireUncacheable(t, resp.Header)
		}
	})
}

// L5, W1: a refusal that replaces a compressed page does not have its Content-Encoding.
func TestReplacedPageBehindCompressorIsReadable(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, backend, b := writerSite(t, proto, nil)
		for path, size := range map[string]int{"/small": 1, "/large": 1 << 20} {
			s.mux.Handle("GET "+path, compress(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.guard.User(r)
				w.Header().Set("Content-Type", "text/plain")
				for range size {
					io.WriteString(w, "page ")
				}
				_ = http.NewResponseController(w).Flush()
			})))
		}
		b.login("ada")
		require.Equal(t, "page ", b.Get("/small").Body)
		backend.failOn("Load")
		for _, path := range []string{"/small", "/large"} {
			resp := b.Get(path, "Accept", "application/json", "Accept-Encoding", "gzip")
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			require.Empty(t, resp.Header["Content-Encoding"])
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
			require.True(t, strings.HasPrefix(resp.Body, "{") && strings.HasSuffix(resp.Body, "}\n"), "%q", resp.Body)
		}
	})
}

// uploadedFiles counts the files of multipart forms in dir, or returns -1 if that fails.
func uploadedFiles(dir string) int {
	found, err := filepath.Glob(filepath.Join(dir, "multipart-*"))
	if err != nil {
		return -1
	}
	return len(found)
}

// uploadRequest returns a POST of a form with one file.
func uploadRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, _ := form.CreateFormFile("file", "a.txt")
	part.Write(bytes.Repeat([]byte("x"), 1000))
	form.Close()
	req, err := http.NewRequest("POST", url, &body)
	require.NoError(t, err)
	req.Header.Set("Content-Type", form.FormDataContentType())
	return req
}

// W3: the server removes uploaded files through its own request, and outer middleware
// sees the matched route.
func TestUploadedFilesAreRemovedAndRouteIsPassedOut(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		temp := t.TempDir()
		t.Setenv("TMPDIR", temp)
		s, _, b := writerSite(t, proto, nil)
		upload := func(w http.ResponseWriter, r *http.Request) {
			err := r.ParseMultipartForm(1)
			if err != nil || uploadedFiles(temp) != 1 {
				http.Error(w, "no file was made", http.StatusTeapot)
				return
			}
			if r.URL.Query().Has("panic") {
				panic("oops")
			}
			io.WriteString(w, "uploaded")
		}
		mux := http.NewServeMux()
		mux.HandleFunc("POST /plain/{id}", upload)
		mux.Handle("POST /gated/{id}", s.guard.RequireLogin(http.HandlerFunc(upload)))
		var pattern string
		outer := func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() {
					if recover() != nil {
						http.Error(w, "sorry", http.StatusInternalServerError)
					}
					pattern = r.Pattern
				}()
				h.ServeHTTP(w, r)
			})
		}
		b.login("ada")
		for name, h := range map[string]http.Handler{
			"Handler":               s.guard.Handler(mux),
			"gate around Handler":   s.guard.RequireLogin(s.guard.Handler(mux)),
			"NoCache and a gate":    sessionguard.NoCache(s.guard.RequireLogin(mux)),
			"gate within, no outer": mux,
		} {
			client := browseOver(t, proto, outer(h))
			client.SetCookies(b.Cookies())
			for _, path := range []string{"/gated/7", "/plain/7", "/gated/7?panic", "/plain/7?panic"} {
				resp := client.Do(uploadRequest(t, client.URL+path))
				if strings.HasSuffix(path, "panic") {
					require.Equal(t, http.StatusInternalServerError, resp.StatusCode, resp.Body)
				} else {
					require.Equal(t, "uploaded", resp.Body, name)
				}
				synctest.Wait() // until the server has finished the request
				require.Equal(t, "POST "+path[:len("/gated/")]+"{id}", pattern, name)
				require.Zero(t, uploadedFiles(temp), "%s %s", name, path)
			}
		}
	})
}
