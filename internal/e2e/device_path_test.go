package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/sessionguard-go/sessionguard"
)

// A strippingProxy passes on what is below /app, without that, to another server. It keeps
// which version of HTTP each request came with.
type strippingProxy struct {
	application http.Handler

	mu       sync.Mutex
	versions map[string]string // by path
}

func newStrippingProxy(t *testing.T, application http.HandlerFunc) *strippingProxy {
	server := httptest.NewServer(application)
	t.Cleanup(server.Close)
	target, err := url.Parse(server.URL)
	must(t, err)
	return &strippingProxy{
		versions: map[string]string{},
		application: http.StripPrefix("/app", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		}}),
	}
}

func (p *strippingProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" { // the logout leads here
		_, _ = io.WriteString(w, "Elsewhere")
		return
	}
	p.mu.Lock()
	p.versions[r.URL.Path] = r.Proto
	p.mu.Unlock()
	p.application.ServeHTTP(w, r)
}

func (p *strippingProxy) version(path string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.versions[path]
}

// A session is bound, proven and ended over HTTP/2, below a path that a proxy removes, with
// cookies of SameSite Strict. A link on another site comes without any of them, and neither
// needs a proof nor costs the device.
func TestBoundSessionsOverHTTP2BelowAPathWithSameSiteStrict(t *testing.T) {
	s := newDeviceSite(t, func(c *sessionguard.Config[isolationUser]) {
		c.BasePath, c.SameSite = "/app", http.SameSiteStrictMode
	})
	proxy := newStrippingProxy(t, func(w http.ResponseWriter, r *http.Request) { (*s.handler.Load()).ServeHTTP(w, r) })
	s.setProxy(func(http.Handler) http.Handler { return proxy })
	const prove = "/app/sessionguard/prove"
	held := func(method, path string) {
		t.Helper()
		all := s.received()
		if last := all[len(all)-1]; s.count("POST", prove, http.StatusOK) != 1 || s.count(method, path, http.StatusOK) != 1 || !last.Bound {
			t.Errorf("%s %s was not held back for a proof: %+v", method, path, all)
		}
	}

	s.open("/app/login")
	s.post("/app/login", "user", "ada", "next", "/app/page")
	s.until(shows, "/app/page", "the secret of ada")
	s.waitUntilBound("ada")
	for _, path := range []string{"/app/page", "/app/sessionguard/bind", prove} {
		if version := proxy.version(path); version != "HTTP/2.0" {
			t.Errorf("%s came by %q", path, version)
		}
	}

	s.expire()
	s.forget()
	s.open("/app/page")
	s.until(shows, "/app/page", "the secret of ada")
	held("GET", "/app/page")
	s.expire()
	s.forget()
	s.post("/app/page", "name", "kept")
	s.until(shows, "/app/page", "the secret of ada: name=kept")
	held("POST", "/app/page")
	if response, body := s.steal(browserCookie.isBound).try("/app/echo"); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("the thief got %s %s", response.Status, body)
	}

	other := serveSite(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!DOCTYPE html><title>Mail</title><a href="%s/app/page">read more</a>`, s.origin)
	})
	s.expire()
	s.forget()
	must(t, s.Open(other+"/"))
	s.leave(`document.querySelector("a").click()`)
	s.until(shows, "/app/login", "Log in")
	if first := s.received()[0]; first.Path != "/app/page" || first.Bound || first.Skipped != "" || first.Status != http.StatusSeeOther {
		t.Errorf("the link on another site waited: %+v", s.received())
	}
	s.open("/app/page")
	s.until(shows, "/app/page", "the secret of ada")

	s.post("/app/logout")
	s.until(shows, "/", "Elsewhere")
	if records := s.records("ada"); len(records) != 0 || len(s.boundCookies()) != 0 {
		t.Errorf("after the logout: %+v, cookies %v", records, s.cookies())
	}
	s.waitFor("the end of the browser's part", func() bool {
		s.forget()
		s.fetch("/")
		return s.count("POST", prove, 0) == 0
	})
}
