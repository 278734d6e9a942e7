package e2e

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// serveSite serves an https site at a loopback address of its own, which to browsers is a
// site of its own, and returns its origin.
func serveSite(t *testing.T, handler http.HandlerFunc) (origin string) {
	t.Helper()
	return serveSiteAt(t, nextAddress(), handler)
}

func serveSiteAt(t *testing.T, address string, handler http.HandlerFunc) (origin string) {
	t.Helper()
	listener, err := net.Listen("tcp", address+":0")
	must(t, err)
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate().tls}},
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return "https://" + listener.Addr().String()
}

// Ways in which an injected script can try to set a cookie named arguments[0]. Each leads to
// a request whose cookies the server returns.
var plantings = map[string]string{
	"document.cookie":             `document.cookie = name + "=evil; path=/; secure"`,
	"document.cookie, HttpOnly":   `document.cookie = name + "=evil; path=/; secure; httponly"`,
	"document.cookie, two spaces": `document.cookie = "  " + name + "=evil; path=/; secure"`,
	"document.cookie, no name":    `document.cookie = "=" + name + "=evil; path=/; secure"`,
	"document.cookie, a value":    `document.cookie = name + "; path=/; secure"`,
	"document.cookie, path":       `document.cookie = name + "=evil; path=/e2e; secure"`,
	"document.cookie, domain":     `document.cookie = name + "=evil; path=/; secure; domain=" + location.hostname`,
	"cookieStore":                 `await cookieStore.set({ name, value: "evil", path: "/" })`,
	"cookieStore, partitioned":    `await cookieStore.set({ name, value: "evil", path: "/", sameSite: "none", partitioned: true })`,
	"cookieStore, no name":        `await cookieStore.set({ name: "", value: name + "=evil", path: "/" })`,
}

// An injected script must not be able to plant a session: the user would go on in the
// attacker's. Chromium and Firefox prevent it by the name of the cookie. WebKitGTK knows no
// prefix.
func TestScriptCannotPlantTheCookiesOfTheGuard(t *testing.T) {
	const ours = "__Host-Http-session"
	names := []string{ours, ours + "-anonymous", ours + "-secret-" + strings.Repeat("a", 26), "__Http-session", "__Host-session", "__Secure-session"}
	forEachEngine(t, func(t *testing.T, b *browser) {
		origin := serveSite(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/e2e/cookies":
				_, _ = io.WriteString(w, strings.Join(r.Header["Cookie"], "; "))
			case "/e2e/set":
				w.Header().Set("Set-Cookie", r.FormValue("line"))
			default:
				w.Header().Set("Content-Type", "text/html")
				_, _ = io.WriteString(w, "<!DOCTYPE html><title>Injected</title>")
			}
		})
		must(t, b.Open(origin+"/e2e/"))
		planted := map[string][]string{}
		for _, name := range names {
			var hows []string
			must(t, b.Eval(`return (async (name, plantings) => {
				const planted = []
				for (const [how, script] of Object.entries(plantings)) {
					try { await eval("(async () => {" + script + "})()") } catch {}
					const sent = await (await fetch("/e2e/cookies")).text()
					if (sent.includes(name + "=")) planted.push(how)
					for (const path of ["/", "/e2e"]) for (const key of [name, ""]) for (const more of ["", "; samesite=none; partitioned"])
						document.cookie = key + "=; secure; max-age=0; path=" + path + more
				}
				return planted
			})(...arguments)`, &hows, name, plantings))
			planted[name] = hows
		}
		for _, name := range names {
			slices.Sort(planted[name])
			t.Logf("%s: script plants %s by %q", b.Version(), name, planted[name])
			switch protected := b.engine != webkit && strings.Contains(name, "__H") && strings.Contains(name, "Http-"); {
			case protected && len(planted[name]) > 0:
				t.Errorf("script has planted %s by %q", name, planted[name])
			case !protected && !slices.Contains(planted[name], "document.cookie"):
				t.Errorf("script could not plant %s, so that the test proves nothing", name)
			}
		}

		// The server sets it, and no script changes or deletes it.
		for _, name := range names[:3] {
			var sent string
			must(t, b.Eval(`return (async (name) => {
				await fetch("/e2e/set?line=" + encodeURIComponent(name + "=ours; Path=/; HttpOnly; Secure; SameSite=Lax"))
				for (const rest of ["=evil; path=/; secure", "=; path=/; secure; max-age=0", "=evil; path=/; secure; samesite=none; partitioned"])
					document.cookie = name + rest
				try { await cookieStore.set({ name, value: "evil", path: "/" }) } catch {}
				try { await cookieStore.delete(name) } catch {}
				return (await fetch("/e2e/cookies")).text()
			})(arguments[0])`, &sent, name))
			if !slices.Contains(strings.Split(sent, "; "), name+"=ours") || strings.Contains(sent, name+"=evil") {
				t.Errorf("%s: the server's cookie is sent as %q", name, sent)
			}
		}
	})
}

// Browsers that know the prefix keep no cookie that lacks what its name promises. WebKitGTK
// does not know it.
func TestBrowsersRefuseCookiesThatBreakTheirPrefix(t *testing.T) {
	forEachEngine(t, func(t *testing.T, b *browser) {
		origin := serveSite(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			if line := r.FormValue("line"); line != "" {
				w.Header().Set("Set-Cookie", line)
			}
			_, _ = io.WriteString(w, strings.Join(r.Header["Cookie"], "; "))
		})
		must(t, b.Open(origin))
		for _, c := range []struct {
			line string
			kept bool
		}{
			{"__Host-Http-a=1; Path=/; Secure; HttpOnly", true},
			{"__Http-b=1; Path=/; Secure; HttpOnly", true},
			{"__Host-Http-c=1; Path=/; Secure", false},
			{"__Host-Http-d=1; Path=/; HttpOnly", false},
			{"__Host-Http-e=1; Path=/x; Secure; HttpOnly", false},
			{"__host-http-f=1; Path=/; Secure", false},
			{"__Http-g=1; Path=/; Secure", false},
			{"=__Host-Http-h=1; Path=/; Secure", false},
		} {
			var sent string
			must(t, b.Eval(`return fetch("/x?line=" + encodeURIComponent(arguments[0])).then(() => fetch("/x")).then((r) => r.text())`, &sent, c.line))
			name, _, _ := strings.Cut(strings.TrimPrefix(c.line, "="), "=")
			kept := strings.Contains(sent, name+"=")
			t.Logf("%s: %-50s kept: %t", b.Version(), c.line, kept)
			if b.engine != webkit && kept != c.kept {
				t.Errorf("%s: kept: %t", c.line, kept)
			}
		}
	})
}
