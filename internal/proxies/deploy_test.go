package proxies

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// startDashboard starts examples/dashboard, and returns its address.
func startDashboard(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"-addr", "ADDR", "-behind-proxy", "127.0.0.1"}, args...)
	return servers.Program(t, build(t, "dashboard"), args...).Addr
}

func logIn(b *testbrowser.Browser, name string) testbrowser.Response {
	passwords := map[string]string{"ada": "analytical-engine", "grace": "nanoseconds-matter"}
	return b.PostForm("/login", "username", name, "password", passwords[name])
}

func TestTheExampleBehindEachProxy(t *testing.T) {
	dashboard, below := startDashboard(t), startDashboard(t, "-base-path", "/app")
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			proxy := s.serve(t, []string{dashboard})
			for _, protocol := range append([]string{"HTTP/1.1", "HTTP/2.0"}, s.protocols...) {
				t.Run(protocol, func(t *testing.T) {
					b := browseTLS(t, proxy, protocol)
					require.Equal(t, protocol, b.Get("/").Proto)
					useDashboard(t, b, "")
				})
			}
		})
		t.Run(s.name+", below a prefix", func(t *testing.T) {
			proxy := s.serve(t, []string{below}, s.prefix...)
			useDashboard(t, browseTLS(t, proxy, "HTTP/2.0").At(origin+"/app"), "/app")
		})
	}
}

// useDashboard does what a user does. The paths of requests get the prefix from b.
func useDashboard(t *testing.T, b *testbrowser.Browser, prefix string) {
	t.Helper()
	b.Get("/home").Expect(http.StatusSeeOther, prefix+"/login?next="+url.QueryEscape(prefix+"/home"))
	resp := logIn(b, "ada").Expect(http.StatusSeeOther, prefix+"/home")
	session := resp.Cookie("__Host-Http-session")
	require.NotNil(t, session, "%v", resp.Cookies())
	require.True(t, session.Secure)
	b.Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace", `href="`+prefix+`/static/style.css"`).NoStore()
	b.Get("/static/style.css").Expect(http.StatusOK, "").Has("Cache-Control", "public, max-age=3600")
	b.Get("/account/sessions").Row("This device").Contains("<small>" + client + "</small>")
	require.Equal(t, http.StatusForbidden, b.Post("/logout", "Origin", "https://evil.example").StatusCode)

	stolen := b.Copy()
	next := openStream(t, b)
	require.NotEmpty(t, next(), "the stream is buffered")
	b.Post("/logout").Expect(http.StatusSeeOther, prefix+"/")
	last := ""
	for data := next(); data != ""; data = next() {
		last = data
	}
	require.Equal(t, "logged_out", last, "the stream's last event")
	b.Get("/").Expect(http.StatusOK, "").Contains("You have been logged out.").Lacks("Ada Lovelace")
	b.Get("/").Lacks("You have been logged out.")
	stolen.Get("/home").Expect(http.StatusSeeOther, prefix+"/login?next="+url.QueryEscape(prefix+"/home")+"&reason=expired")
}

func TestEachProxyLeadsFromHTTPToHTTPS(t *testing.T) {
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			if s.name == "Caddy" {
				return // by default it does, on port 80
			}
			_, port, err := net.SplitHostPort(s.serve(t, []string{"127.0.0.1:9"}).Addr)
			require.NoError(t, err)
			b := testbrowser.New(t, "http://127.0.0.3:"+port, &http.Transport{DisableKeepAlives: true})
			r := b.Request("GET", "/home?a=b")
			r.Host = "app.example.com"
			b.Do(r).Expect(http.StatusMovedPermanently, origin+"/home?a=b")
		})
	}
}

// All of the protocol's headers pass, both ways, also below a prefix.
func TestSessionsAreBoundBehindEachProxy(t *testing.T) {
	flags := []string{"-device", "10m"}
	dashboard, below := startDashboard(t, flags...), startDashboard(t, append(flags, "-base-path", "/app")...)
	for _, s := range sites {
		for prefix, serve := range map[string]func() *servers.Server{
			"":     func() *servers.Server { return s.serve(t, []string{dashboard}) },
			"/app": func() *servers.Server { return s.serve(t, []string{below}, s.prefix...) },
		} {
			t.Run(s.name+prefix, func(t *testing.T) {
				b := browseTLS(t, serve(), "HTTP/2.0")
				b.Device = testbrowser.NewDevice()
				b.PostForm(prefix+"/login", "username", "ada", "password", "analytical-engine").Expect(http.StatusSeeOther, prefix+"/home")
				b.Get(prefix+"/home").Expect(http.StatusOK, "")
				require.Equal(t, []string{"registered", "proven"}, b.Device.History())
				b.Get(prefix+"/account/device/only").Expect(http.StatusOK, "").Contains("Your browser has proven")
			})
		}
	}
}

// R1: an old browser, which sends no Sec-Fetch-Site, needs Host as it sent it.
func TestAProxyThatChangesHost(t *testing.T) {
	dashboard := startDashboard(t)
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			b := browseTLS(t, s.serve(t, []string{dashboard}, s.changedHost...), "HTTP/1.1")
			require.Equal(t, http.StatusForbidden, logIn(b, "ada").StatusCode)
			require.Empty(t, b.Cookies())
			b.Header.Set("Sec-Fetch-Site", "same-origin")
			logIn(b, "ada").Expect(http.StatusSeeOther, "/home")
			b.Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace")
			b.Header.Set("Sec-Fetch-Site", "cross-site")
			require.Equal(t, http.StatusForbidden, b.Post("/logout").StatusCode)
		})
	}
}

func TestASessionIsOverOnBothNodesBehindEachProxy(t *testing.T) {
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			first := servers.Program(t, build(t, "cluster"), "-addr", "ADDR", "-nodes", "2", "-db", "sessions.db", "-behind-proxy", "127.0.0.1")
			host, port, err := net.SplitHostPort(first.Addr)
			require.NoError(t, err)
			n, err := strconv.Atoi(port)
			require.NoError(t, err)
			// The program responds once all nodes listen.
			browse(t, first).Get("/").Expect(http.StatusOK, "")

			proxy := s.serve(t, []string{first.Addr, net.JoinHostPort(host, strconv.Itoa(n+1))}, s.nodes...)
			b := browseTLS(t, proxy, "HTTP/2.0")
			logIn(b, "ada").Expect(http.StatusSeeOther, "/home")
			stolen := b.Copy()
			onBothNodes(t, func() testbrowser.Response {
				return b.Get("/home").Expect(http.StatusOK, "").Contains("Ada Lovelace")
			})
			b.Get("/account/sessions").Row("This device").Contains("<small>" + client + "</small>")
			b.Post("/logout").Expect(http.StatusSeeOther, "/")
			onBothNodes(t, func() testbrowser.Response {
				// Three requests, so that each kind reaches both of two nodes that take turns.
				for range 2 {
					stolen.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")
				}
				return stolen.Get("/").Lacks("Ada Lovelace") // the footer names the node
			})
		})
	}
}

// onBothNodes sends requests until both nodes have responded.
func onBothNodes(t *testing.T, get func() testbrowser.Response) {
	t.Helper()
	nodes := map[string]bool{}
	for range 20 {
		body := get().Body
		for _, node := range []string{"Node 1 of 2", "Node 2 of 2"} {
			if strings.Contains(body, node) {
				nodes[node] = true
			}
		}
		if len(nodes) == 2 {
			return
		}
	}
	t.Fatalf("only %v responded", nodes)
}

// C1
func TestNoCacheOfAProxyHasAProtectedPage(t *testing.T) {
	dashboard := startDashboard(t)
	for _, s := range sites {
		t.Run(s.name, func(t *testing.T) {
			if s.cache == nil {
				return // it has none
			}
			proxy := s.serve(t, []string{dashboard}, s.cache...)
			stranger, ada, grace := browseTLS(t, proxy, "HTTP/1.1"), browseTLS(t, proxy, "HTTP/2.0"), browseTLS(t, proxy, "HTTP/2.0")
			stranger.Get("/static/style.css").Expect(http.StatusOK, "")
			require.True(t, isHit(stranger.Get("/static/style.css")), "the control: nothing is cached")

			stranger.Get("/home").Expect(http.StatusSeeOther, "/login?next=%2Fhome")
			stranger.Get("/login").Expect(http.StatusOK, "")
			logIn(ada, "ada").Expect(http.StatusSeeOther, "/home")
			logIn(grace, "grace").Expect(http.StatusSeeOther, "/home")
			for _, path := range []string{"/", "/home", "/account", "/api/me", "/session", "/reports/q2.csv", "/login"} {
				ada.Get(path)
				for name, b := range map[string]*testbrowser.Browser{"ada": ada, "grace": grace, "nobody": stranger} {
					resp := b.Get(path)
					require.False(t, isHit(resp), "%s for %s", path, name)
					if name != "ada" {
						resp.Lacks("Ada Lovelace")
					}
				}
			}
			stolen := ada.Copy()
			ada.Post("/logout").Expect(http.StatusSeeOther, "/")
			for _, path := range []string{"/home", "/account", "/reports/q2.csv"} {
				require.Equal(t, http.StatusSeeOther, stolen.Get(path).StatusCode)
				require.Equal(t, http.StatusSeeOther, stranger.Get(path).StatusCode)
			}
		})
	}
}

// isHit reports whether a response comes from a proxy's cache. Varnish then gives a second
// number, that of the request that the response was stored for.
func isHit(resp testbrowser.Response) bool {
	return strings.HasPrefix(resp.Header.Get("X-Cache"), "HIT") || strings.Contains(resp.Header.Get("X-Varnish"), " ")
}

// openStream opens the event stream. The function that it returns waits for the next event
// and returns its data, or "" at the end of the stream.
func openStream(t *testing.T, b *testbrowser.Browser) func() string {
	t.Helper()
	// A stream that is buffered would otherwise be waited for until the end of the tests.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	resp, err := b.Client.Do(b.Request("GET", "/events").WithContext(ctx))
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	require.Equal(t, http.StatusOK, resp.StatusCode)
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return data
			}
		}
		return ""
	}
}
