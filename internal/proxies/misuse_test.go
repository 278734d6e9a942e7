package proxies

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// siteOf returns the site of a proxy.
func siteOf(t *testing.T, name string) site {
	t.Helper()
	for _, s := range sites {
		if s.name == name {
			return s
		}
	}
	t.Fatal(name)
	return site{}
}

// docs/proxies.md, "What to leave off": what a proxy's own error page takes away.
func TestErrorPagesOfAProxyReplaceRefusals(t *testing.T) {
	dashboard := startDashboard(t)
	unavailable := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // as Logout is, if its backend fails
		http.SetCookie(w, &http.Cookie{Name: "session", MaxAge: -1})
		w.Header().Set("Retry-After", "5")
		w.Header().Set("Cache-Control", "no-store, no-cache, must-revalidate, private")
		http.Error(w, "not logged out everywhere", http.StatusServiceUnavailable)
	}))
	for proxy, override := range map[string][]string{
		"nginx": {"  location / {", `  location = /error { internal; root DIR; }
			‹proxy_intercept_errors› on; error_page 401 403 503 /error; location / {`},
		"Apache": {"ProxyPreserveHost", "‹ProxyErrorOverride› On\n  ProxyPreserveHost"},
	} {
		for name, changes := range map[string][]string{"as documented": nil, "with its own pages": override} {
			t.Run(proxy+", "+name, func(t *testing.T) {
				kept := changes == nil
				s := siteOf(t, proxy)
				b := browseTLS(t, s.serve(t, []string{dashboard}, changes...), "HTTP/1.1")
				resp := b.Get("/api/me", "Accept", "application/json")
				require.Equal(t, kept, strings.Contains(resp.Body, `"error":"login_required"`))
				require.Equal(t, kept, resp.Header.Get("Cache-Control") != "", "no-store")

				b = browseTLS(t, s.serve(t, []string{unavailable}, changes...), "HTTP/1.1")
				resp = b.Post("/logout")
				require.Equal(t, kept, resp.Cookie("session") != nil)
				require.Equal(t, kept, resp.Header.Get("Retry-After") != "")
			})
		}
	}
}

// docs/proxies.md, "What to leave off": the response to a login is lost after the application
// has processed it.
func TestARetriedLoginIsTwoSessions(t *testing.T) {
	for _, test := range []struct {
		proxy, name string
		changes     []string
		sessions    int
	}{
		{"nginx", "as documented", nil, 1},
		{"nginx", "retrying", []string{"proxy_pass", "proxy_next_upstream error timeout ‹non_idempotent›; proxy_pass"}, 2},
		{"HAProxy", "as documented", nil, 1},
		{"HAProxy", "retrying", []string{"\nbackend app\n", "\nbackend app\n  ‹retry-on all-retryable-errors›\n"}, 2},
		{"HAProxy", "retrying GET only", []string{"\nbackend app\n", "\nbackend app\n  retry-on all-retryable-errors\n" +
			"  ‹http-request disable-l7-retry unless METH_GET›\n"}, 1},
		{"Varnish", "as documented", nil, 1},
		{"Varnish", "retrying", []string{"sub vcl_pipe", "sub vcl_backend_error { ‹return (retry)›; }\nsub vcl_pipe"}, 2},
		{"Caddy", "as documented", nil, 1},
		{"Apache", "as documented", nil, 1},
	} {
		t.Run(test.proxy+", "+test.name, func(t *testing.T) {
			status, sessions := loseALogin(t, siteOf(t, test.proxy), test.changes)
			require.Equal(t, test.sessions, sessions)
			require.Equal(t, test.sessions == 2, status == http.StatusOK, "the user gets %d", status)
		})
	}
}

// loseALogin logs in at two nodes, of which the one that is asked first loses its response.
// It returns the status that the browser gets, if any, and the number of sessions.
func loseALogin(t *testing.T, s site, changes []string) (status, sessions int) {
	t.Helper()
	guard := newGuard(t, nil)
	var lost atomic.Bool
	login := guard.Handler(logInAs(guard))
	node := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			return
		}
		if lost.CompareAndSwap(false, true) {
			login.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		login.ServeHTTP(w, r)
	})
	// Some proxies treat a failure on a connection that they reuse in another way.
	b := browseTLS(t, s.serve(t, []string{serve(t, node), serve(t, node)}, slices.Concat(changes, s.nodes)...), "HTTP/1.1")
	for range 2 {
		b.Get("/")
	}
	if resp, err := b.Send(b.Request("POST", "/login?user=ada")); err == nil {
		status = resp.StatusCode
	}
	require.True(t, lost.Load())
	list, err := guard.Sessions(t.Context(), "ada")
	require.NoError(t, err)
	return status, len(list)
}

// A visitor's cookie that is as large as it can be passes each proxy, beside a long policy.
func TestTheLargestCookiePassesEachProxy(t *testing.T) {
	guard := newGuard(t, nil)
	app := serve(t, guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := guard.Get(r, "cart")
		for n := 4096; ; n -= 64 {
			session.Values["items"] = strings.Repeat("x", n)
			if err := session.Save(r, w); !errors.Is(err, sessionguard.ErrValuesTooLarge) {
				break
			}
		}
		w.Header().Set("Content-Security-Policy", "default-src "+strings.Repeat("'self' ", 150))
	})))
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			b := browseTLS(t, s.serve(t, []string{app}), "HTTP/2.0")
			b.Get("/").Expect(http.StatusOK, "")
			require.Greater(t, len(b.Cookies()["session-anonymous"]), 2500)
			b.Get("/").Expect(http.StatusOK, "")
		})
	}
	t.Run("nginx with its default", func(t *testing.T) {
		s := siteOf(t, "nginx")
		proxy := s.serve(t, []string{app}, "    proxy_buffer_size 16k;\n    proxy_buffers 8 16k;\n", "")
		require.Equal(t, http.StatusBadGateway, browseTLS(t, proxy, "HTTP/2.0").Get("/").StatusCode)
	})
}
