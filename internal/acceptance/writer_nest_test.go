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

// nestPlain is middleware that gives its handler another request and writer, as
// routers and loggers do.
func nestPlain(next http.Handler) http.Handler {
	type key struct{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(struct{ http.ResponseWriter }{w}, r.WithContext(context.WithValue(r.Context(), key{}, 1)))
	})
}

// nestGzip is compressing middleware of the usual kind.
type nestGzip struct {
	http.ResponseWriter
	gz    *gzip.Writer
	wrote bool
}

func (g *nestGzip) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *nestGzip) WriteHeader(code int) {
	if !g.wrote && code >= 200 {
		g.wrote = true
		g.Header().Del("Content-Length")
		g.Header().Set("Content-Encoding", "gzip")
	}
	g.ResponseWriter.WriteHeader(code)
}

func (g *nestGzip) Write(b []byte) (int, error) {
	if !g.wrote {
		g.WriteHeader(http.StatusOK)
	}
	return g.gz.Write(b)
}

func (g *nestGzip) FlushError() error {
	return errors.Join(g.gz.Flush(), http.NewResponseController(g.ResponseWriter).Flush())
}

func nestCompress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := &nestGzip{ResponseWriter: w, gz: gzip.NewWriter(w)}
		next.ServeHTTP(g, r)
		_ = g.gz.Close()
	})
}

// W1: "nothing is loaded twice"
func TestWrappersWorkInAnyOrderAndLoadOnce(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, backend, b := writerSite(t, proto, nil)
		g := s.guard
		login, role, fresh := g.RequireLogin, g.RequireRole("Engineer"), g.RequireFresh(absolute)
		allow := g.RequireFunc(func(u *user, _ *http.Request) bool { return u.ID == "ada" })
		chains := map[string][]func(http.Handler) http.Handler{
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
			"other middleware":        {nestPlain, g.Handler, nestPlain, role, nestPlain, allow, nestPlain},
			"middleware, gate alone":  {nestPlain, role, nestPlain},
			"compressed in the gate":  {g.Handler, role, nestCompress},
			"compressed outside":      {nestCompress, g.Handler, role},
			"compressed between":      {g.Handler, nestCompress, role},
			"http.TimeoutHandler in":  {g.Handler, role, func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Hour, "") }},
			"http.TimeoutHandler out": {func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Hour, "") }, g.Handler, role},
		}
		for name, chain := range chains {
			var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for range 2 {
					if u, ok := g.User(r); !ok || u.ID != "ada" {
						http.Error(w, "who?", http.StatusInternalServerError)
					}
				}
				session, _ := g.Get(r, "app")
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

			client := writerBrowse(t, proto, h)
			client.SetCookies(b.Cookies())
			before, asked := backend.callCounts(), s.users.lookups
			a := client.Get("/")
			require.Equal(t, "inside", a.Body, name)
			requireUncacheable(t, a.Header)
			require.Empty(t, a.Header["Set-Cookie"], name)
			require.Equal(t, map[string]int{"Load": 1, "Touch": 1, "Save": 1}, writerSince(backend, before), name)
			require.Equal(t, asked+1, s.users.lookups, "%s: FindUser", name)

			if name != "NoCache twice" {
				require.Equal(t, http.StatusUnauthorized, writerBrowse(t, proto, h).Get("/", "Accept", "*/*").StatusCode, name)
			}
			backend.failOn("Load")
			a = client.Get("/", "Accept", "*/*")
			backend.failOn()
			require.Equal(t, http.StatusServiceUnavailable, a.StatusCode, name)
			require.Contains(t, a.Body, `"error":"unavailable"`, name)
			requireUncacheable(t, a.Header)
		}
	})
}

// L5, W1: the page that replaces another has none of its encoding.
func TestAReplacedPageBehindACompressorIsReadable(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, backend, b := writerSite(t, proto, nil)
		for path, size := range map[string]int{"/small": 1, "/large": 1 << 20} {
			s.mux.Handle("GET "+path, nestCompress(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
			a := b.Get(path, "Accept", "application/json", "Accept-Encoding", "gzip")
			require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
			require.Empty(t, a.Header["Content-Encoding"])
			require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"))
			require.True(t, strings.HasPrefix(a.Body, "{") && strings.HasSuffix(a.Body, "}\n"), "%q", a.Body)
		}
	})
}

// W3: the server removes upload files by its own request.
func TestUploadFilesAreRemovedAndTheRouteIsSeen(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		temp := t.TempDir()
		t.Setenv("TMPDIR", temp)
		files := func() int {
			found, err := filepath.Glob(filepath.Join(temp, "multipart-*"))
			if err != nil {
				return -1
			}
			return len(found)
		}
		s, _, b := writerSite(t, proto, nil)
		upload := func(w http.ResponseWriter, r *http.Request) {
			err := r.ParseMultipartForm(1)
			n := files()
			if err != nil || n != 1 {
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
			client := writerBrowse(t, proto, outer(h))
			client.SetCookies(b.Cookies())
			for _, path := range []string{"/gated/7", "/plain/7", "/gated/7?panic", "/plain/7?panic"} {
				var body bytes.Buffer
				form := multipart.NewWriter(&body)
				part, _ := form.CreateFormFile("file", "a.txt")
				part.Write(bytes.Repeat([]byte("x"), 1000))
				form.Close()
				req, err := http.NewRequest("POST", client.URL+path, &body)
				require.NoError(t, err)
				req.Header.Set("Content-Type", form.FormDataContentType())
				a := client.Do(req)
				if strings.HasSuffix(path, "panic") {
					require.Equal(t, http.StatusInternalServerError, a.StatusCode, a.Body)
				} else {
					require.Equal(t, "uploaded", a.Body, name)
				}
				synctest.Wait() // for the server to finish the request
				require.Equal(t, "POST "+path[:len("/gated/")]+"{id}", pattern, name)
				require.Zero(t, files(), "%s %s", name, path)
			}
		}
	})
}
