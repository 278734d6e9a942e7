package acceptance

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

var cookieValue = regexp.MustCompile(`=[A-Za-z0-9_=-]{60,};`)

// cookieLines returns the sorted Set-Cookie lines of a response, with V for random values.
func cookieLines(resp response) []string {
	var lines []string
	for _, line := range resp.Header["Set-Cookie"] {
		lines = append(lines, cookieValue.ReplaceAllString(line, "=V;"))
	}
	slices.Sort(lines)
	return lines
}

// cookieShapes has configurations with the cookie name and attributes that they produce.
var cookieShapes = []struct {
	name, cookie, attributes string
	configure                func(*sessionguard.Config[*user])
}{
	{"default", "__Host-Http-session", "HttpOnly; Secure; SameSite=Lax", func(*sessionguard.Config[*user]) {}},
	{"CookieDomain", "__Secure-session", "Domain=app.example; HttpOnly; Secure; SameSite=Lax", func(c *sessionguard.Config[*user]) {
		c.CookieDomain = "app.example"
	}},
	{"InsecureHTTP", "session", "HttpOnly; SameSite=Lax", func(c *sessionguard.Config[*user]) { c.InsecureHTTP = true }},
	{"insecure with a domain", "session", "Domain=app.example; HttpOnly; SameSite=Lax", func(c *sessionguard.Config[*user]) {
		c.InsecureHTTP, c.CookieDomain = true, "app.example"
	}},
	{"Strict", "__Host-Http-session", "HttpOnly; Secure; SameSite=Strict", func(c *sessionguard.Config[*user]) {
		c.SameSite = http.SameSiteStrictMode
	}},
	{"Partitioned", "__Host-Http-session", "HttpOnly; Secure; SameSite=None; Partitioned", func(c *sessionguard.Config[*user]) {
		c.SameSite, c.Partitioned = http.SameSiteNoneMode, true
	}},
	{"Partitioned with a domain", "__Secure-session", "Domain=app.example; HttpOnly; Secure; SameSite=None; Partitioned", func(c *sessionguard.Config[*user]) {
		c.CookieDomain, c.SameSite, c.Partitioned = "app.example", http.SameSiteNoneMode, true
	}},
	{"own name", "staff", "HttpOnly; Secure; SameSite=Lax", func(c *sessionguard.Config[*user]) { c.CookieName = "staff" }},
}

// K1, C2, ASVS 3.3.1–3.3.4: every Set-Cookie line that the guard ever sends, literally.
func TestEveryCookieHasEveryAttribute(t *testing.T) {
	for _, shape := range cookieShapes {
		t.Run(shape.name, func(t *testing.T) {
			s := newSite(t, shape.configure)
			attributes, hasDomain := strings.CutPrefix(shape.attributes, "Domain=app.example; ")
			domain := strings.TrimSuffix(shape.attributes, attributes)
			line := func(name, value, age string) string {
				return fmt.Sprintf("%s=%s; Path=/; %s%s%s", name, value, domain, age, attributes)
			}
			// The line of a cookie that has come, and that of the host's own if ours has a domain.
			again := func(name, value, age string) []string {
				lines := []string{line(name, value, age)}
				if hasDomain {
					lines = append(lines, fmt.Sprintf("%s=; Path=/; Max-Age=0; %s", name, attributes))
				}
				return lines
			}
			sorted := func(lines ...[]string) []string {
				all := slices.Concat(lines...)
				slices.Sort(all)
				return all
			}
			visitor := shape.cookie + "-anonymous"
			b := s.browse()

			require.Empty(t, cookieLines(b.Get("/")), "a visitor without values")
			require.Equal(t, []string{line(visitor, "V", "")}, cookieLines(b.Post("/value?k=a&v=1")), "with values")
			require.Empty(t, cookieLines(b.Get("/value?k=a")), "reading values")
			require.Equal(t, sorted(again(visitor, "", "Max-Age=0; "), []string{line(shape.cookie, "V", "")}), cookieLines(b.login("ada")))
			require.Equal(t, []string{shape.cookie}, cookieNames(b), "the browser has deleted the visitor cookie")

			for _, path := range []string{"/home", "/admin", "/fresh", "/poll", "/status", "/value?k=a", "/", "/static", "/none"} {
				require.Empty(t, cookieLines(b.Get(path)), "an ordinary request: %s", path)
			}
			require.Empty(t, cookieLines(b.Post("/value?k=a&v=2")), "values of a session")
			require.Equal(t, sorted(again(shape.cookie, "V", "")), cookieLines(b.login("ada")), "re-authentication")

			require.Equal(t, sorted([]string{line(visitor, "V", "")}, again(shape.cookie, "", "Max-Age=0; ")), cookieLines(b.Post("/logout")))
			require.Equal(t, []string{visitor}, cookieNames(b))
			require.Equal(t, sorted(again(visitor, "", "Max-Age=0; ")), cookieLines(b.Get("/")), "the flash was shown")
			require.Empty(t, cookieNames(b))
			require.Equal(t, []string{line(visitor, "V", ""), line(shape.cookie, "", "Max-Age=0; ")}, cookieLines(b.Post("/logout")), "a visitor's logout")
		})
	}
}

func cookieNames(b *browser) []string {
	var names []string
	for name := range b.Cookies() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// K1: one Set-Cookie per name, whatever a handler calls and in which order.
func TestResponseSetsEachCookieOnce(t *testing.T) {
	s := newSite(t, nil)
	ada := &user{ID: "ada", Roles: []string{"Engineer"}}
	do := map[byte]func(http.ResponseWriter, *http.Request){
		'i': func(w http.ResponseWriter, r *http.Request) { _ = s.guard.Login(w, r, ada) },
		'o': func(w http.ResponseWriter, r *http.Request) { _ = s.guard.End(w, r) },
		'v': func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = "v"
			_ = session.Save(r, w)
			_ = session.Save(r, w)
		},
	}
	s.mux.HandleFunc("POST /do", func(w http.ResponseWriter, r *http.Request) {
		for _, step := range []byte(r.URL.RawQuery) {
			do[step](w, r)
		}
	})
	for _, steps := range []string{"i", "ii", "io", "oi", "oo", "ioi", "oio", "vi", "iv", "vio", "viv", "ovi", "vovivo"} {
		for _, before := range []string{"", "v", "i"} {
			b := s.browse()
			b.Post("/do?" + before)
			resp := b.Post("/do?" + steps)
			names := map[string]int{}
			for _, c := range resp.Cookies() {
				names[c.Name]++
				require.Equal(t, 1, names[c.Name], "%s after %q: %v", steps, before, resp.Header["Set-Cookie"])
			}
			require.Equal(t, strings.LastIndex(steps, "i") > strings.LastIndex(steps, "o"), b.loggedIn(), "%s after %q", steps, before)
		}
	}
}

// C2: if a cookie changes, Chromium drops the earlier pages from its back/forward cache.
// If a cookie is deleted, it does not (BROWSERS.md).
func TestEveryLogoutSetsAnHttpOnlyCookieToAFreshValue(t *testing.T) {
	withFakeClock(t, func(t *testing.T) { // so that no time passes
		s := newSite(t, nil)
		s.mux.HandleFunc("POST /end", func(w http.ResponseWriter, r *http.Request) {
			if s.guard.End(w, r) == nil {
				io.WriteString(w, "bye")
			}
		})
		b := s.browse()
		seen := map[string]bool{}
		for range 3 {
			for _, path := range []string{"/logout", "/end"} {
				for _, loggedIn := range []bool{true, false, true} {
					if loggedIn {
						b.login("ada")
					}
					resp := b.Post(path)
					var fresh *http.Cookie
					for _, c := range resp.Cookies() {
						if c.Name == visitorCookie {
							fresh = c
						}
					}
					require.NotNil(t, fresh, path)
					require.True(t, fresh.HttpOnly)
					require.Zero(t, fresh.MaxAge, "set, not deleted")
					require.NotEmpty(t, fresh.Value)
					require.False(t, seen[fresh.Value])
					require.Empty(t, resp.Header["Clear-Site-Data"])
					seen[fresh.Value] = true
					require.Equal(t, fresh.Value, b.Cookies()[visitorCookie])
				}
			}
		}
	})
}

// K2: cookies of an old key are read, and the next cookie is signed with the new key.
func TestKeyRotationLogsNobodyOut(t *testing.T) {
	newKeys := [][]byte{bytes.Repeat([]byte("n"), 32)}
	backend := newFailingBackend()
	siteWith := func(keys ...[]byte) *site {
		return newSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.Keys = backend, keys })
	}
	before, during, after := siteWith(testKeys...), siteWith(slices.Concat(newKeys, testKeys)...), siteWith(newKeys...)
	move := func(from *browser, to *site) *browser {
		b := to.browse()
		b.SetCookies(from.Cookies())
		return b
	}
	visitor := before.browse()
	visitor.Post("/value?k=a&v=1")
	member := before.browse()
	member.login("ada")

	require.Equal(t, "1 <nil>", move(visitor, during).Get("/value?k=a").Body)
	require.True(t, move(member, during).loggedIn())

	// Until the guard sets a new cookie, the browser has the one of the old key.
	calls := backend.callCounts()
	require.Equal(t, "<nil> <nil>", move(visitor, after).Get("/value?k=a").Body)
	resp := move(member, after).Get("/home")
	require.Equal(t, http.StatusSeeOther, resp.StatusCode)
	require.Empty(t, resp.Header["Set-Cookie"])
	require.Equal(t, calls, backend.callCounts(), "a cookie of a withdrawn key counts as none")

	visitor, member = move(visitor, during), move(member, during)
	visitor.Post("/value?k=b&v=2")
	member.login("ada")
	require.Equal(t, "1 <nil>", move(visitor, after).Get("/value?k=a").Body)
	require.True(t, move(member, after).loggedIn())
	require.False(t, move(member, before).loggedIn())
	require.Equal(t, "<nil> <nil>", move(visitor, before).Get("/value?k=b").Body)
}

// Withdrawing a signing key ends no live session of the in-process backend, because a
// session that is found there proves the cookie genuine.
func TestWithdrawnKeyEndsNoSessionInTheSameProcess(t *testing.T) {
	backend := store.NewMemory()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	b := s.browse()
	b.login("ada")
	rotated := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.Keys = backend, nil })
	other := rotated.browse()
	other.SetCookies(b.Cookies())
	require.True(t, other.loggedIn())
	require.NoError(t, rotated.guard.EndUser(t.Context(), "ada"))
	require.False(t, other.loggedIn())
}

// K2: a logout ends the session of every cookie, but each only once. Otherwise a request of
// a megabyte could cause thousands of backend calls.
func TestLogoutDeletesTheSessionOfARepeatedCookieOnce(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	b := s.browse()
	b.login("ada")
	req := b.Request("POST", "/logout")
	req.Header.Set("Cookie", strings.Repeat(sessionCookie+"="+b.Cookies()[sessionCookie]+"; ", 2000))
	before := backend.callCounts()["Delete"]
	require.Equal(t, http.StatusSeeOther, b.Do(req).StatusCode)
	require.Equal(t, 1, backend.callCounts()["Delete"]-before)
}
