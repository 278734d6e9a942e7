package sessionguardtest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/stretchr/testify/require"
)

func TestAClientSendsWhatABrowserSends(t *testing.T) {
	_, app := newApp(t, nil)
	client := sessionguardtest.NewClient(t, app)
	client.Header.Set("User-Agent", "tester")
	post := func() *http.Request { return httptest.NewRequest("POST", "/seen", strings.NewReader("{}")) }
	for want, got := range map[string]*sessionguardtest.Response{
		"GET text/html||same-origin navigate document|tester":                      client.Get("/seen?a=b"),
		"POST text/html|https://example.com|same-origin navigate document|tester":  client.PostForm("/seen", nil),
		"GET */*||same-origin cors empty|tester":                                   client.Fetch(httptest.NewRequest("GET", "/seen", nil)),
		"POST */*|https://example.com|same-origin cors empty|tester":               client.Fetch(post()),
		"POST text/html|https://example.com|same-origin navigate document|tester ": client.Do(post()),
	} {
		require.Equal(t, strings.TrimSpace(want), got.HasStatus(http.StatusOK).Body)
	}
	// What the request itself says takes precedence.
	r := post()
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Origin", "https://evil.example")
	client.Do(r).HasStatus(http.StatusForbidden)
	r = httptest.NewRequest("GET", "https://example.com/seen", nil)
	r.Header.Set("User-Agent", "another")
	r.Header.Set("Accept", "text/plain")
	client.Fetch(r).Contains("GET text/plai||same-origin cors empty|another")
}

func TestHandlersGetWhatAServerGivesThem(t *testing.T) {
	var got *http.Request
	client := sessionguardtest.NewClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		require.NoError(t, r.Context().Err())
		w.WriteHeader(http.StatusEarlyHints)
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		http.Error(w, r.FormValue("name")+string(body), http.StatusTeapot)
	}))
	client.Get("/a%2Fb?name=ada").HasStatus(http.StatusTeapot).Contains("ada")
	require.Equal(t, "/a%2Fb?name=ada", got.RequestURI)
	require.Equal(t, "/a%2Fb?name=ada", got.URL.String())
	require.Equal(t, "example.com", got.Host)
	require.NotNil(t, got.TLS)
	require.Error(t, got.Context().Err())

	client.Origin = "http://other.example:8080"
	client.Do(httptest.NewRequest("PUT", "/", strings.NewReader("body"))).Contains("body")
	require.Equal(t, "other.example:8080", got.Host)
	require.Nil(t, got.TLS)
	require.EqualValues(t, 4, got.ContentLength)
	client.PostForm("/", url.Values{"name": {"ada & eve"}}).Contains("")
	require.Equal(t, "application/x-www-form-urlencoded", got.Header.Get("Content-Type"))
	r, err := http.NewRequest("DELETE", "/x", nil)
	require.NoError(t, err)
	r.RemoteAddr = "203.0.113.9:1"
	client.Do(r)
	require.Equal(t, "DELETE /x 203.0.113.9:1", got.Method+" "+got.URL.Path+" "+got.RemoteAddr)
}

// elsewhere sets and shows cookies and redirects.
var elsewhere = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	switch status := map[string]int{"/303": 303, "/307": 307, "/302": 302, "/308": 308, "/301": 301}[r.URL.Path]; {
	case status != 0:
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: r.URL.Path[1:], Secure: true, Path: "/"})
		http.Redirect(w, r, r.FormValue("to"), status)
	case r.URL.Path == "/loop":
		http.Redirect(w, r, "/loop", http.StatusFound)
	case r.URL.Path == "/not-modified":
		w.WriteHeader(http.StatusNotModified)
	default:
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %v %s\n", r.Method, r.URL, body, r.Header.Get("Content-Type"), r.Cookies(), r.Header.Get("Sec-Fetch-Mode"))
	}
})

func TestAClientFollowsRedirectsWhenItIsAskedTo(t *testing.T) {
	client := sessionguardtest.NewClient(t, elsewhere)
	form := url.Values{"a": {"b"}}
	client.Get("/303?to=/end%3Fx").RedirectsTo("/end?x").Follow().Contains("GET /end?x   [seen=303] navigate")
	client.PostForm("/303?to=/end", form).Follow().Contains("GET /end   [seen=303]")
	client.PostForm("/302?to=/end", form).Follow().Contains("GET /end   [seen=302]")
	client.PostForm("/307?to=/308%3Fto=end", form).Follow().Contains("POST /end a=b application/x-www-form-urlencoded [seen=308]")
	client.Fetch(httptest.NewRequest("GET", "/301?to=https://example.com/end", nil)).Follow().Contains("GET /end   [seen=301] cors")
	client.Do(httptest.NewRequest("HEAD", "/303?to=/end", nil)).Follow().HasStatus(http.StatusOK)
	require.Equal(t, "301", client.Get("/301?to=/").Cookies()[0].Value)
}

func TestAFailedCheckSaysWhatWasReceived(t *testing.T) {
	long := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "<h1>Oops</h1>\n"+strings.Repeat("line\n", 100)+"the end")
	})
	check := func(app http.Handler, check func(c *sessionguardtest.Client)) string {
		return failureOf(t, func(t testing.TB) { check(sessionguardtest.NewClient(t, app)) })
	}
	require.Equal(t, "GET /x?y: got 200 OK, want 404\n<h1>Oops</h1>\n"+strings.Repeat("line\n", 19)+"…",
		check(long, func(c *sessionguardtest.Client) { c.Get("/x?y").HasStatus(http.StatusNotFound) }))
	for want, do := range map[string]func(c *sessionguardtest.Client){
		"GET /303?to=/end: got 303 See Other to /end, want a redirect to /home": func(c *sessionguardtest.Client) { c.Get("/303?to=/end").RedirectsTo("/home") },
		"POST /: got 200 OK, want a redirect to /\nPOST /":                      func(c *sessionguardtest.Client) { c.PostForm("/", nil).RedirectsTo("/") },
		"GET /: got 200 OK, want a redirect":                                    func(c *sessionguardtest.Client) { c.Get("/").Follow() },
		"GET /not-modified: got 304 Not Modified, want a redirect":              func(c *sessionguardtest.Client) { c.Get("/not-modified").Follow() },
		`GET /: got 200 OK, want "lost" in the body`:                            func(c *sessionguardtest.Client) { c.Get("/").Contains("GET", "lost") },
		`GET /: got 200 OK, want no "GET" in the body`:                          func(c *sessionguardtest.Client) { c.Get("/").Lacks("lost", "GET") },
		"want an end after 20 redirects":                                        func(c *sessionguardtest.Client) { c.Get("/loop").Follow() },
		"cannot follow that to another site":                                    func(c *sessionguardtest.Client) { c.Get("/303?to=https://other.example/").Follow() },
		"cannot follow that to another site ":                                   func(c *sessionguardtest.Client) { c.Get("/303?to=http://example.com/").Follow() },
		`"login" does not begin with a slash`:                                   func(c *sessionguardtest.Client) { c.Get("login") },
		`"example.com" is no origin`:                                            func(c *sessionguardtest.Client) { c.Origin = "example.com"; c.Get("/") },
		"invalid control character in URL":                                      func(c *sessionguardtest.Client) { c.Get("/\n") },
		"Wait works inside of synctest.Test only (elsewhere, use Idle)":         func(c *sessionguardtest.Client) { c.Wait(time.Hour) },
	} {
		require.Contains(t, check(elsewhere, do), strings.TrimSpace(want))
	}
}

func TestWaitMovesTheClockAndLetsAllRunThatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := sessionguardtest.NewClient(t, elsewhere)
		began, rang := time.Now(), false
		time.AfterFunc(time.Hour, func() { rang = true })
		client.Wait(time.Hour)
		require.Equal(t, time.Hour, time.Since(began))
		require.True(t, rang)
	})
}
