package acceptance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// waysToHijack are the ways in which a handler may take the connection.
var waysToHijack = map[string]func(http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error){
	"assertion": func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) { return w.(http.Hijacker).Hijack() },
	"controller": func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
		return http.NewResponseController(w).Hijack()
	},
}

// upgrade switches to another protocol and calls opened. Then it sends a line and returns
// the line that comes back.
func upgrade(t *testing.T, b *browser, path string, opened func()) string {
	t.Helper()
	resp, err := b.Client.Do(b.Request("GET", path, "Connection", "Upgrade", "Upgrade", "echo"))
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	defer resp.Body.Close()
	conn, ok := resp.Body.(io.ReadWriter)
	require.True(t, ok, "the body is the connection")
	opened()
	_, err = io.WriteString(conn, "hello\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	return line
}

// W1, L1: the handshake of a WebSocket counts as activity.
func TestHijackedConnectionCarriesBytesAndCommitsOnce(t *testing.T) {
	for name, hijack := range waysToHijack {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend, b := writerSite(t, "HTTP/1.1", nil)
				s.mux.Handle("GET /echo", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					u, _ := s.guard.User(r)
					conn, rw, err := hijack(w)
					if err != nil {
						http.Error(w, err.Error(), http.StatusInternalServerError)
						return
					}
					defer conn.Close()
					io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
					rw.Flush()
					line, _ := rw.ReadString('\n')
					fmt.Fprintf(rw, "%s says %s", u.ID, line)
					rw.Flush()
				})))
				require.Equal(t, http.StatusSeeOther, b.Get("/echo", "Connection", "Upgrade", "Upgrade", "echo").StatusCode)
				b.login("ada")
				advance(idle - time.Minute)
				before := backend.callCounts()
				line := upgrade(t, b, "/echo", func() {
					require.Equal(t, map[string]int{"Load": 1, "Touch": 1}, callsSince(backend, before), "committed before the connection is open")
				})
				require.Equal(t, "ada says hello\n", line)
				require.Equal(t, map[string]int{"Load": 1, "Touch": 1}, callsSince(backend, before))
				advance(idle - time.Minute)
				require.True(t, b.loggedIn())
			})
		})
	}
}

// W1: 101 is final, unlike the other 1xx statuses.
func TestSwitchingProtocolsCommits(t *testing.T) {
	s, _, b := writerSite(t, "HTTP/1.1", nil)
	s.mux.HandleFunc("GET /in", func(w http.ResponseWriter, r *http.Request) {
		_ = s.guard.Login(w, r, &user{ID: "ada"})
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "echo")
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	resp, err := b.Client.Do(b.Request("GET", "/in", "Connection", "Upgrade", "Upgrade", "echo"))
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	require.Len(t, resp.Header["Set-Cookie"], 1)
	requireNoStore(t, resp.Header)
}

// W1: a hijacked connection sends no Set-Cookie header, and a lost cookie is a lost
// login.
func TestHijackFailsIfCookieMustBeSet(t *testing.T) {
	for name, hijack := range waysToHijack {
		for cause, change := range map[string]func(*site, http.ResponseWriter, *http.Request) error{
			"login": func(s *site, w http.ResponseWriter, r *http.Request) error {
				return s.guard.Login(w, r, &user{ID: "ada"})
			},
			"logout": func(s *site, w http.ResponseWriter, r *http.Request) error { return s.guard.End(w, r) },
			"visitor's values": func(s *site, w http.ResponseWriter, r *http.Request) error {
				session, err := s.guard.Get(r, "app")
				session.Values["k"] = "v"
				return err
			},
		} {
			t.Run(cause+", "+name, func(t *testing.T) {
				s, _, b := writerSite(t, "HTTP/1.1", nil)
				s.mux.HandleFunc("POST /ws", func(w http.ResponseWriter, r *http.Request) {
					if err := change(s, w, r); err != nil {
						panic(err)
					}
					if conn, _, err := hijack(w); err == nil {
						conn.Close()
					}
					http.Error(w, "no", http.StatusTeapot) // the handler can still respond
				})
				resp := b.Post("/ws")
				require.Equal(t, http.StatusTeapot, resp.StatusCode)
				require.NotEmpty(t, resp.Header["Set-Cookie"])
				requireNoStore(t, resp.Header)
			})
		}
	}
}

// W1: an HTTP/2 request has no connection that a handler could take. The handler can
// still respond.
func TestHandlerMayRespondAfterFailedHijack(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, _, b := writerSite(t, "HTTP/2.0", nil)
		s.mux.Handle("GET /ws", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, _, err := w.(http.Hijacker).Hijack(); errors.Is(err, http.ErrNotSupported) {
				cachingAllow(w)
				http.Error(w, "no", http.StatusTeapot)
			}
		})))
		b.login("ada")
		resp := b.Get("/ws")
		require.Equal(t, http.StatusTeapot, resp.StatusCode)
		requireUncacheable(t, resp.Header)
	})
}

// upstream is the server behind a proxy. It sends a 103 and a cookie, or echoes a line.
func upstream(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		conn, rw, _ := w.(http.Hijacker).Hijack()
		defer conn.Close()
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		io.WriteString(rw, "upstream heard "+line)
		rw.Flush()
		return
	}
	w.Header().Set("Link", "</a.css>")
	w.WriteHeader(http.StatusEarlyHints)
	cachingAllow(w)
	w.Header().Set("Set-Cookie", "upstream=1")
	io.WriteString(w, "upstream")
}

// addProxyRoutes adds proxies that use transport for their upstream.
//
//	GET  /app     for logged-in users
//	POST /sso     logs in when the upstream responds
//	GET  /broken  fails when the upstream responds
func (s *site) addProxyRoutes(transport http.RoundTripper) {
	target := &url.URL{Scheme: "https", Host: "upstream.example"}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	s.mux.Handle("GET /app", s.guard.RequireLogin(proxy))
	loginProxy := *proxy
	loginProxy.ModifyResponse = func(resp *http.Response) error {
		return s.guard.Login(nil, resp.Request, &user{ID: "ada", Roles: []string{"Engineer"}})
	}
	s.mux.Handle("POST /sso", &loginProxy)
	failing := *proxy
	failing.ModifyResponse = func(*http.Response) error { return errors.New("no") }
	s.mux.Handle("GET /broken", s.guard.RequireLogin(&failing))
}

// W1: httputil.ReverseProxy clears all headers after a 1xx response of its upstream.
func TestReverseProxyBehindGuard(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, backend, b := writerSite(t, proto, nil)
		s.addProxyRoutes(browse(t, serve(t, http.HandlerFunc(upstream))).Client.Transport)

		resp := b.Post("/sso")
		require.Equal(t, "upstream", resp.Body)
		require.Len(t, resp.Header["Set-Cookie"], 2, "the upstream's and the guard's")
		requireUncacheable(t, resp.Header)

		advance(2 * time.Minute)
		before := backend.callCounts()
		resp = b.Get("/app")
		require.Equal(t, "upstream", resp.Body)
		require.Equal(t, []string{"upstream=1"}, resp.Header["Set-Cookie"])
		requireUncacheable(t, resp.Header)
		require.Equal(t, map[string]int{"Load": 1, "Touch": 1}, callsSince(backend, before))

		resp = b.Get("/broken")
		require.Equal(t, http.StatusBadGateway, resp.StatusCode)
		requireUncacheable(t, resp.Header)

		if proto == "HTTP/1.1" {
			advance(2 * time.Minute)
			before = backend.callCounts()
			line := upgrade(t, b, "/app", func() {
				require.Equal(t, map[string]int{"Load": 1, "Touch": 1}, callsSince(backend, before))
			})
			require.Equal(t, "upstream heard hello\n", line)
		}
	})
}

// L6, W1
func TestPanicUndoesLoginBeforeAndAfterFirstByte(t *testing.T) {
	for name, reason := range map[string]any{"panic": "oops", "http.ErrAbortHandler": http.ErrAbortHandler} {
		for when, begin := range map[string]func(http.ResponseWriter){
			"before the first byte": func(http.ResponseWriter) {},
			"after the first byte":  func(w http.ResponseWriter) { io.WriteString(w, "in"); w.(http.Flusher).Flush() },
			"after a bad status":    func(w http.ResponseWriter) { w.WriteHeader(1000) },
		} {
			t.Run(name+" "+when, func(t *testing.T) {
				overBoth(t, func(t *testing.T, proto string) {
					backend := newFailingBackend()
					s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
					s.mux.HandleFunc("POST /in", func(w http.ResponseWriter, r *http.Request) {
						if err := s.guard.Login(w, r, &user{ID: "ada", Roles: []string{"Engineer"}}); err != nil {
							return
						}
						session, _ := s.guard.Get(r, "app")
						session.Values["k"] = "v"
						begin(w)
						panic(reason)
					})
					b := browseOver(t, proto, s.guard.Handler(s.mux))
					before := backend.callCounts()
					if resp, err := b.Client.Do(b.Request("POST", "/in")); err == nil {
						_, err = io.ReadAll(resp.Body)
						resp.Body.Close()
						require.Error(t, err, "the response is aborted")
					}
					since := callsSince(backend, before)
					require.Equal(t, 1, since["Create"])
					require.Equal(t, 1, since["Delete"])
					require.False(t, b.loggedIn())
					require.Empty(t, sessionsOf(t, backend, "ada"))
				})
			})
		}
	}
}

// L5, L6, W1: whatever a handler writes after its page was replaced is discarded.
func TestWritesAfterReplacedPageAreDiscarded(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, backend, b := writerSite(t, proto, nil)
		var begin func(http.ResponseWriter) error
		var ran atomic.Int64
		errs := make(chan error, 1)
		s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
			s.guard.User(r)
			w.Header().Set("Content-Length", "4")
			w.Header().Set("Content-Encoding", "br")
			w.Header().Set("ETag", `"secret"`)
			err := begin(w)
			for name, again := range waysToBegin {
				if name != "http.ServeContent" {
					_ = again(w)
				}
			}
			w.Header().Set("X-Late", "secret")
			_, _, hijacked := http.NewResponseController(w).Hijack()
			if hijacked == nil {
				err = errors.New("hijacked")
			}
			ran.Add(1)
			errs <- err
		})
		b.login("ada")
		backend.failOn("Load")
		for name, way := range waysToBegin {
			begin = way
			resp := b.Get("/page", "Accept", "application/json")
			err := <-errs
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, name)
			require.True(t, strings.HasPrefix(resp.Body, "{") && strings.HasSuffix(resp.Body, "}\n"), resp.Body)
			require.NotContains(t, resp.Body, "body")
			for _, gone := range []string{"Content-Encoding", "Etag", "X-Late", "Set-Cookie"} {
				require.Empty(t, resp.Header[gone], name)
			}
			requireNoStore(t, resp.Header)
			if strings.HasPrefix(name, "Write of") || name == "io.Copy" || name == "WriteString" || name == "FlushError" {
				require.Error(t, err, "the handler gets an error: %s", name)
			}
		}
		require.EqualValues(t, len(waysToBegin), ran.Load())
	})
}
