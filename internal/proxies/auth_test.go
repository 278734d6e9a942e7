package proxies

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/stretchr/testify/require"
)

// asking are the proxies that ask the application before they hand a request on to another
// one, as docs/auth-request.md configures them.
var asking = []struct {
	name  string
	start func(t servers.T, site string) *servers.Server
}{
	{"nginx", servers.NginxSite},
	{"Caddy", servers.CaddySite},
}

// startAsking starts a proxy with its section of docs/auth-request.md.
func startAsking(t *testing.T, name string, start func(t servers.T, site string) *servers.Server, app, other string) *servers.Server {
	t.Helper()
	page, err := os.ReadFile("../../docs/auth-request.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## "+name+"\n\n```")
	require.True(t, found)
	_, section, _ = strings.Cut(section, "\n")
	section, _, found = strings.Cut(section, "\n```\n")
	require.True(t, found)
	for text, replacement := range map[string]string{
		"127.0.0.1:8080": app, "127.0.0.1:3000": other,
		"listen 443 ssl; # server_name, ssl_certificate …": "listen ADDR;",
		"https://app.example {":                            "http://ADDR {",
		"__Host-Http-session":                              "session", // without TLS
	} {
		section = strings.ReplaceAll(section, text, replacement)
	}
	require.Contains(t, section, "ADDR")
	return start(t, section)
}

// remoteUser has the names that are REMOTE_USER to a CGI application, of which some servers
// take any such character for "_".
var remoteUser = regexp.MustCompile(`(?i)^remote[^a-z]user$`)

// startWiki starts another application. Its pages say what arrived, and may be cached.
func startWiki(t *testing.T) string {
	t.Helper()
	wiki := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")
		for name := range r.Header {
			if remoteUser.MatchString(name) && name != "Remote-User" {
				fmt.Fprintf(w, "smuggled %s ", name)
			}
		}
		fmt.Fprintf(w, "%s %s for %q with %q", r.Method, r.RequestURI, r.Header["Remote-User"], r.Header["Cookie"])
		if body, _ := io.ReadAll(r.Body); len(body) > 0 {
			fmt.Fprintf(w, " %q", body)
		}
	}))
	t.Cleanup(wiki.Close)
	return strings.TrimPrefix(wiki.URL, "http://")
}

func TestTheLoginOfAnotherApplication(t *testing.T) {
	for _, p := range asking {
		t.Run(p.name, func(t *testing.T) {
			proxy := startAsking(t, p.name, p.start, startApp(t), startWiki(t))
			b := browse(t, proxy)

			// A browser is sent to the login page, and comes back to the page.
			const page = "/wiki/a%20b?c=d&e=%26&f=%22"
			resp := b.Get(page)
			to := resp.Header.Get("Location")
			if p.name != "nginx" {
				require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
				to = strings.TrimPrefix(resp.Header.Get("Refresh"), "0; url=")
			} else {
				require.Equal(t, http.StatusSeeOther, resp.StatusCode)
			}
			require.Equal(t, "/login?next=%2Fwiki%2Fa%2520b%3Fc%3Dd%26e%3D%2526%26f%3D%2522", to)
			back := b.Post(to + "&user=ada").Header.Get("Location")
			require.Equal(t, page, back)
			b.Client.Jar.SetCookies(b.Request("GET", "/").URL, []*http.Cookie{{Name: "theme", Value: "dark"}, {Name: "asession", Value: "1"}})
			resp = b.Get(back)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Regexp(t, `^GET /wiki/a%20b\?c=d&e=%26&f=%22 for \["ada"\] with \["(theme=dark; asession=1|asession=1; theme=dark)"\]$`, resp.Body)
			require.Equal(t, []string{"no-store, private"}, resp.Header["Cache-Control"])
			require.Empty(t, resp.Header["Expires"])

			resp = b.PostForm("/wiki/save", "text", "a long text")
			require.Contains(t, resp.Body, `POST /wiki/save for ["ada"]`)
			require.Contains(t, resp.Body, `"text=a+long+text"`, "the body")

			resp = browse(t, proxy).Get("/wiki/?" + strings.Repeat("&", 1900))
			to = resp.Header.Get("Location") + resp.Header.Get("Refresh")
			require.Contains(t, to, strings.Repeat("%26", 1900), "a long address")

			program := browse(t, proxy)
			program.Header.Set("Accept", "application/json")
			resp = program.Get(page)
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			require.NotEmpty(t, resp.Header["Www-Authenticate"])

			b.Post("/logout")
			require.NotContains(t, b.Get(page).Body, "ada")
		})
	}
}

// Whatever a client sends, it neither becomes somebody else nor gets past the checks.
func TestNobodySmugglesAnythingPastAuthRequest(t *testing.T) {
	for _, p := range asking {
		t.Run(p.name, func(t *testing.T) {
			proxy := startAsking(t, p.name, p.start, startApp(t), startWiki(t))
			b := login(t, proxy, "ada")
			token := b.Cookies()["session"]
			for _, test := range []struct {
				lines  string // of the request
				status int    // 0: whatever it is
			}{
				{"GET /wiki/ HTTP/1.1", 200},
				{"GET /wiki/ HTTP/1.1\nRemote-User: root", 200},
				{"GET /wiki/ HTTP/1.1\nremote-user: root\nREMOTE-USER: root", 200},
				{"GET /wiki/ HTTP/1.1\nRemote_User: root\nRemote-User: root", 200},
				{"GET /wiki/ HTTP/1.1\nX-Forwarded-User: root\nX-Remote-User: root", 200},
				{"GET /wiki/ HTTP/1.1\nConnection: Remote-User", 200},
				{"GET /wiki/ HTTP/1.1\nConnection: Remote-User\nRemote-User: root", 200},
				{"GET /wiki/ HTTP/1.1\nConnection: X-Forwarded-Method, X-Forwarded-Uri, X-Forwarded-Host", 200},
				{"POST /wiki/ HTTP/1.1\nContent-Length: 0", 200},
				{"POST /wiki/ HTTP/1.1\nContent-Length: 0\nSec-Fetch-Site: same-origin", 200},
				{"POST /wiki/ HTTP/1.1\nContent-Length: 0\nSec-Fetch-Site: cross-site", 403},
				{"POST /wiki/ HTTP/1.1\nContent-Length: 0\nOrigin: http://ADDR", 200},
				{"POST /wiki/ HTTP/1.1\nContent-Length: 0\nOrigin: https://evil.example", 403},
				{"POST /wiki/ HTTP/1.1\nContent-Length: 0\nOrigin: https://evil.example\nX-Forwarded-Method: GET", 403},
				{"POST /wiki/ HTTP/1.1\nContent-Length: 0\nOrigin: https://evil.example\nX-Forwarded-Method: GET\nX-Forwarded-Method: GET", 403},
				{"POST /wiki/ HTTP/1.1\nContent-Length: 0\nOrigin: https://evil.example\nX-Forwarded-Host: evil.example", 403},
				{"POST /wiki/ HTTP/1.1\nContent-Length: 0\nOrigin: https://evil.example\nConnection: X-Forwarded-Method\nX-Forwarded-Method: GET", 403},
				{"POST /wiki/ HTTP/1.1\nContent-Length: 0\nOrigin: https://evil.example\nX_Forwarded_Method: GET\nX-HTTP-Method-Override: GET", 403},
				{"DELETE /wiki/ HTTP/1.1\nSec-Fetch-Site: cross-site", 403},
				{"PURGE /wiki/ HTTP/1.1\nSec-Fetch-Site: cross-site", 403},
				{"GET /wiki/ HTTP/1.1\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", 200},
				{"HEAD /wiki/ HTTP/1.1\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", 200},
				{"GET /wiki/ HTTP/1.1\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors", 403},
				{"HEAD /wiki/ HTTP/1.1\nSec-Fetch-Site: same-site\nSec-Fetch-Mode: no-cors", 403},
				{"GET /wiki/ HTTP/1.1\nOrigin: https://evil.example\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==", 403},
				{"GET /wiki/../wiki/ HTTP/1.1", 403},
				{"GET /x/..%2fwiki/ HTTP/1.1", 0},
				{"POST /x/..%2fwiki/ HTTP/1.1\nContent-Length: 0\nOrigin: https://evil.example", 0},
				{"GET /wiki/public/..%2fsecret HTTP/1.1", 403},
				{"GET /wiki/secret#/wiki/public.css HTTP/1.1", 0}, // Caddy escapes it for both
				{"GET /wiki/?a=secret#&a=public HTTP/1.1", 0},
				{"GET //wiki/ HTTP/1.1", 0},
				{"GET /wiki/{env.PATH}?{env.PATH} HTTP/1.1", 200},
				{"GET /wiki/ HTTP/1.1\nRemote.User: root\nRemote~User: root\nREMOTE_USER: root\nRemote_user: root", 200},
				{"GET http://ADDR/wiki/ HTTP/1.1", 200},
				{"GET /wiki/ HTTP/1.1\nCookie: session=planted", 0},
				{"GET /wiki/ HTTP/1.1\nCookie: a=1;session=planted ;b=2", 0},
				{"GET /wiki/ HTTP/1.1\nCookie: Session=planted; a=1", 200},
			} {
				status, body := send(t, proxy.Addr, test.lines, "session="+token)
				if test.status != 0 {
					require.Equal(t, test.status, status, "%s\n%s", test.lines, body)
				}
				require.NotContains(t, body, "root", test.lines)
				require.NotContains(t, body, "smuggled", test.lines)
				require.NotContains(t, body, "#", test.lines)
				require.NotContains(t, body, token, test.lines)
				if status == http.StatusOK && !strings.HasPrefix(test.lines, "HEAD") && !strings.Contains(test.lines, "Connection: Remote-User") {
					require.Contains(t, body, `for ["ada"]`, test.lines)
				}
			}
			stranger := "GET /wiki/ HTTP/1.1\nRemote-User: root\nAccept: */*"
			status, body := send(t, proxy.Addr, stranger, "theme=dark")
			require.Equal(t, http.StatusUnauthorized, status, body)
		})
	}
}

// What a client says of its address is not in the audit trail, whichever route it requests.
func TestNobodyForgesAnAddressPastAuthRequest(t *testing.T) {
	for _, p := range asking {
		t.Run(p.name, func(t *testing.T) {
			addresses := make(chan string, 10)
			guard, err := sessionguard.New(sessionguard.Config[user]{
				FindUser:     func(_ context.Context, id string) (user, error) { return user(id), nil },
				ClientAddr:   sessionguard.ClientAddrFrom("X-Forwarded-For", netip.MustParsePrefix("127.0.0.1/32")),
				OnEvent:      func(_ context.Context, e sessionguard.Event) { addresses <- e.Address },
				Logger:       slog.New(slog.DiscardHandler),
				InsecureHTTP: true,
			})
			require.NoError(t, err)
			mux := http.NewServeMux()
			nobody := guard.RequireFunc(func(user, *http.Request) bool { return false })
			mux.Handle("/auth", guard.AuthRequest(nobody))
			mux.HandleFunc("POST /login", logInAs(guard))
			addr := serve(t, guard.Handler(mux))
			proxy := startAsking(t, p.name, p.start, addr, startWiki(t))
			cookies := "session=" + login(t, proxy, "ada").Cookies()["session"]
			<-addresses
			for _, lines := range []string{"POST /login?user=grace HTTP/1.1\nContent-Length: 0", "GET /wiki/ HTTP/1.1"} {
				for _, header := range []string{"X-Forwarded-For: " + forged, "X-Forwarded-For: " + forged + "\nX-Forwarded-For: " + forged,
					"X-Forwarded-For: " + forged + "\nConnection: X-Forwarded-For", "X-Real-IP: " + forged} {
					send(t, proxy.Addr, lines+"\n"+header, cookies)
					require.NotEmpty(t, addresses, "the event")
					for len(addresses) > 0 {
						require.Equal(t, client, <-addresses, "%s\n%s", lines, header)
					}
					cookies = "session=" + login(t, proxy, "ada").Cookies()["session"]
					<-addresses
				}
			}
		})
	}
}

// send sends a request as it is, with cookies, and returns the response's status and body.
func send(t *testing.T, addr, lines, cookies string) (int, string) {
	t.Helper()
	conn, err := dialFrom(client).Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	lines = strings.ReplaceAll(lines+"\nHost: ADDR\nCookie: "+cookies, "ADDR", addr)
	fmt.Fprint(conn, strings.ReplaceAll(lines, "\n", "\r\n")+"\r\n\r\n")
	method, _, _ := strings.Cut(lines, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err, lines)
	defer resp.Body.Close()
	var body strings.Builder
	_ = resp.Write(&body)
	return resp.StatusCode, body.String()
}
