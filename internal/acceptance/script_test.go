package acceptance

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"html"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// addScriptRoutes serves the guard script, and pages that include it.
func addScriptRoutes(s *site) {
	s.mux.Handle("/sessionguard/", s.guard.Script())
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "<!DOCTYPE html><head>%s</head>", s.guard.ScriptTag(r, "data-warn", "90"))
	})
	s.mux.Handle("/page", s.guard.RequireLogin(page))
	s.mux.Handle("/passive", s.guard.Passive(page))
	s.mux.Handle("/public", page)
	s.mux.Handle("/form", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, s.guard.ScriptTag(r, "data-next", "/form"))
	}))
}

// scriptTag returns the attributes of the script element in page.
func scriptTag(t *testing.T, page string) map[string]string {
	t.Helper()
	element := regexp.MustCompile(`<script((?: [a-z-]+="[^"<>]*")+)></script>`).FindStringSubmatch(page)
	require.NotNil(t, element, page)
	attributes := map[string]string{}
	for _, match := range regexp.MustCompile(` ([a-z-]+)="([^"]*)"`).FindAllStringSubmatch(element[1], -1) {
		if _, again := attributes[match[1]]; !again { // the first one counts, as in browsers
			attributes[match[1]] = html.UnescapeString(match[2])
		}
	}
	return attributes
}

func TestScriptIsSmallAndImmutableUnderItsHashedName(t *testing.T) {
	s := newSite(t, nil)
	addScriptRoutes(s)
	b := s.browse()
	src := scriptTag(t, b.Get("/public").Body)["src"]
	require.Regexp(t, `^/sessionguard/guard\.[0-9a-f]{16}\.js$`, src)

	resp := b.Get(src)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/javascript; charset=utf-8", resp.Header.Get("Content-Type"))
	require.Equal(t, http.StatusMethodNotAllowed, b.Post(src).StatusCode)
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "public, max-age=31536000, immutable", resp.Header.Get("Cache-Control"))
	require.Empty(t, resp.Cookies())
	require.NotContains(t, resp.Body, "// ")
	require.Contains(t, resp.Body, "pagehide")
	var compressed bytes.Buffer
	w, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	require.NoError(t, err)
	_, err = w.Write([]byte(resp.Body))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Less(t, compressed.Len(), 5400)

	// For a page without a ScriptTag, and for one of another version of the program.
	for _, name := range []string{"guard.js", "guard.0123456789abcdef.js"} {
		other := b.Get("/sessionguard/" + name)
		require.Equal(t, resp.Body, other.Body)
		require.Equal(t, "no-cache", other.Header.Get("Cache-Control"))
		again := b.Get("/sessionguard/"+name, "If-None-Match", other.Header.Get("ETag"))
		require.Equal(t, http.StatusNotModified, again.StatusCode)
		require.Equal(t, "no-cache", again.Header.Get("Cache-Control"))
	}
	for _, path := range []string{"", "guard", "guard.js/", "other.js", "status.js", "guard.js/nothing"} {
		require.Equal(t, http.StatusNotFound, b.Get("/sessionguard/"+path).StatusCode, path)
	}
}

// C3: the page knows whose it is and how long its session lasts, without a request
func TestScriptTagNamesSessionAndItsTimeouts(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		addScriptRoutes(s)
		b := s.browse()
		resp := b.Get("/public")
		tag := scriptTag(s.T, resp.Body)
		require.Contains(s.T, tag, "data-session", "empty on a visitor's page, which is not the same as missing")
		require.Empty(s.T, tag["data-session"])
		require.NotContains(s.T, tag, "data-idle-seconds")
		require.Equal(s.T, "90", tag["data-warn"])
		requireNoStore(s.T, resp.Header)

		b.login("ada")
		id := statusOf(b).Session
		advance(10 * time.Minute)
		for _, path := range []string{"/public", "/page"} {
			resp := b.Get(path)
			tag := scriptTag(s.T, resp.Body)
			require.Equal(s.T, id, tag["data-session"])
			require.Equal(s.T, "1800", tag["data-idle-seconds"], path)
			require.Equal(s.T, "42600", tag["data-absolute-seconds"])
			require.NotContains(s.T, tag, "data-next")
			requireNoStore(s.T, resp.Header)
		}
		next, named := scriptTag(s.T, b.Post("/page").Body)["data-next"]
		require.True(s.T, named, "the response to a POST cannot be requested again")
		require.Empty(s.T, next)
		require.Equal(s.T, "/form", scriptTag(s.T, b.Post("/form").Body)["data-next"], "the application's value takes precedence")

		advance(idle)
		require.Empty(s.T, scriptTag(s.T, b.Get("/public").Body)["data-session"])
	})
}

func TestScriptTagOfPassivePageHasRecordedDeadline(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		addScriptRoutes(s)
		b := s.browse()
		b.login("ada")
		advance(10 * time.Minute)
		require.Equal(s.T, "1200", scriptTag(s.T, b.Get("/passive").Body)["data-idle-seconds"])
		require.Equal(s.T, 1200, statusOf(b).Idle)
	})
}

func TestScriptTagEscapesAttributes(t *testing.T) {
	s := newSite(t, nil)
	s.mux.Handle("/sessionguard/", s.guard.Script())
	s.mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		tag := s.guard.ScriptTag(r, "data-idle-title", `"><script>alert(1)</script>`, "nonce", "a b",
			"src", "https://evil.example", "onload", "alert(1)", `data-x" onload="alert(1)`, "y", "data-", "", "data-activity")
		_ = template.Must(template.New("").Parse("<head>{{.}}</head>")).Execute(w, tag)
	})
	page := s.browse().Get("/page").Body
	require.Equal(t, 1, strings.Count(page, "<script"))
	tag := scriptTag(t, page)
	require.Equal(t, `"><script>alert(1)</script>`, tag["data-idle-title"])
	require.Equal(t, "a b", tag["nonce"])
	require.Contains(t, tag, "data-activity", "a name without a value")
	require.NotContains(t, tag, "onload")
	require.NotContains(t, page, "evil.example")
	require.Contains(t, s.log.String(), `names="[src onload data-x\" onload=\"alert(1)]"`)
}

func TestScriptTagWithoutScriptIsLoggedOnce(t *testing.T) {
	s := newSite(t, nil)
	s.mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, s.guard.ScriptTag(r)) })
	b := s.browse()
	b.Get("/page")
	b.Get("/page")
	require.Equal(t, 1, strings.Count(s.log.String(), "ScriptTag without Script"))
}

// L1, L2: "Stay signed in" is a request like any other, and no more
func TestStayIsActivityAndMovesNoAbsoluteTimeout(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		addScriptRoutes(s)
		b := s.browse()
		b.login("ada")
		start := time.Now()
		advance(20 * time.Minute)
		// Numbers that the client sends do not count.
		resp := b.Post("/sessionguard/stay?idle_seconds=99999&absolute_seconds=99999&seconds=99999")
		require.Equal(s.T, http.StatusOK, resp.StatusCode)
		requireNoStore(s.T, resp.Header)
		require.JSONEq(s.T, `{"authenticated":true,"session":"`+statusOf(b).Session+`","idle_seconds":1800,"absolute_seconds":42000}`, resp.Body)
		require.Equal(s.T, 1800, statusOf(b).Idle, "the activity was recorded")

		for statusOf(b).Authenticated {
			require.Less(s.T, time.Since(start), absolute)
			advance(5 * time.Minute)
			b.Post("/sessionguard/stay")
		}
		require.GreaterOrEqual(s.T, time.Since(start), absolute)
		require.JSONEq(s.T, `{"authenticated":false,"idle_seconds":0,"absolute_seconds":0,"reason":"absolute"}`, b.Post("/sessionguard/stay").Body)
	})
}

// L1: the requests that the script makes by itself do not extend the session
func TestAutomaticScriptRequestsAreNoActivity(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		addScriptRoutes(s)
		b := s.browse()
		b.Header.Set("Sec-Fetch-Mode", "navigate")
		b.login("ada")
		for range 6 {
			advance(idle/6 - time.Second)
			b.Get("/sessionguard/status")
			require.Equal(s.T, "/page", b.Get("/sessionguard/resume?next=%2Fpage").Header.Get("Location"))
			b.Get("/sessionguard/stay") // refused: not a POST
		}
		advance(6 * time.Second)
		require.False(s.T, b.loggedIn())
	})
}

// R1, C1
func TestScriptRoutesAllowOnlyTheirMethods(t *testing.T) {
	s := newSite(t, nil)
	addScriptRoutes(s)
	for path, allowed := range map[string]string{"status": "GET, HEAD", "resume": "GET, HEAD", "stay": "POST", "logout": "POST"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS"} {
			if strings.Contains(allowed, method) {
				continue
			}
			b := s.browse()
			resp := b.Do(b.Request(method, "/sessionguard/"+path))
			require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
			require.Equal(t, allowed, resp.Header.Get("Allow"))
			requireNoStore(t, resp.Header)
		}
	}
	ada := s.browse()
	ada.login("ada")
	for _, path := range []string{"/sessionguard/stay", "/sessionguard/logout"} {
		require.Equal(t, http.StatusForbidden, ada.Post(path, "Sec-Fetch-Site", "cross-site").StatusCode)
	}
	require.True(t, ada.loggedIn())
	resp := ada.Post("/sessionguard/logout")
	require.Equal(t, "/", resp.Header.Get("Location"))
	require.False(t, ada.loggedIn())
}

// R2, R3: the script resumes a hidden page here. A logged-in user gets the page, any
// other client the login.
func TestResumeRedirectsToPageOrLogin(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.WelcomePath = "/hello"; c.LoginPath = "/in?a=b" })
	addScriptRoutes(s)
	ada, visitor := s.browse(), s.browse()
	ada.login("ada")
	const resume = "/sessionguard/resume"
	for query, want := range map[string]struct{ ada, visitor string }{
		"":                                 {"/hello", "/in?a=b"},
		"?next=/page%3Fx=y%23part":         {"/page?x=y#part", "/in?a=b&next=%2Fpage%3Fx%3Dy%23part"},
		"?next=/page&reason=idle":          {"/page", "/in?a=b&next=%2Fpage&reason=idle"},
		"?reason=absolute":                 {"/hello", "/in?a=b&reason=absolute"},
		"?reason=%22%3E%3Cscript%3E":       {"/hello", "/in?a=b"},
		"?reason=logged-out":               {"/hello", "/in?a=b"},
		"?next=//evil.example":             {"/hello", "/in?a=b"},
		"?next=https://evil.example":       {"/hello", "/in?a=b"},
		"?next=/%255cevil.example":         {"/hello", "/in?a=b"},
		"?next=/in%3Fnext=/in&reason=idle": {"/in?next=/in", "/in?a=b&reason=idle"},
	} {
		for b, location := range map[*browser]string{ada: want.ada, visitor: want.visitor} {
			resp := b.Get(resume+query, "Sec-Fetch-Mode", "navigate")
			require.Equal(t, http.StatusSeeOther, resp.StatusCode, query)
			require.Equal(t, location, resp.Header.Get("Location"), query)
			requireNoStore(t, resp.Header)
		}
	}
	resp := visitor.Get(resume+"?next=/page", "Sec-Fetch-Mode", "cors")
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
}

// If the application replaces Refusals.Login, resume responds with the replacement. A
// login that leads back to resume ends at the page.
func TestResumeUsesCustomRefusal(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.Refusals.Login = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://sso.example/?back="+url.QueryEscape(r.RequestURI), http.StatusFound)
		})
	})
	addScriptRoutes(s)
	b := s.browse()
	resp := b.Get("/sessionguard/resume?next=%2Fpage", "Sec-Fetch-Mode", "navigate")
	to, err := url.Parse(resp.Header.Get("Location"))
	require.NoError(t, err)
	b.login("ada")
	require.Equal(t, "/page", b.Get(to.Query().Get("back")).Header.Get("Location"))
}

// L5
func TestScriptRoutesReportBackendFailureAs503(t *testing.T) {
	s, backend := remoteSite(t)
	addScriptRoutes(s)
	b := s.browse()
	b.login("ada")
	backend.failOn("*")
	for _, resp := range []response{
		b.Get("/sessionguard/status"), b.Post("/sessionguard/stay"), b.Get("/sessionguard/resume?next=/page"), b.Get("/page"),
	} {
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Empty(t, resp.Cookies())
	}
	require.Equal(t, http.StatusOK, b.Get(scriptSrc(t, s)).StatusCode, "serving the script needs no backend")
	backend.failOn()
	require.True(t, b.loggedIn())
}

// scriptSrc returns the path of the script.
func scriptSrc(t *testing.T, s *site) string {
	return scriptTag(t, string(s.guard.ScriptTag(s.browse().Request("GET", "/"))))["src"]
}

func TestScriptMayBeServedAtAnotherPath(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.ScriptPath = "/app/guard/" })
	s.mux.Handle("/app/guard/", http.StripPrefix("/app/guard", s.guard.Script()))
	src := scriptSrc(t, s)
	require.True(t, strings.HasPrefix(src, "/app/guard/guard."), src)
	b := s.browse()
	require.Equal(t, http.StatusOK, b.Get(src).StatusCode)
	b.login("ada")
	require.Contains(t, b.Get("/app/guard/status").Body, `"authenticated":true`)

	for _, path := range []string{"guard/", "/guard", "//evil.example/", "https://evil.example/", "/a?b/", "/a%2fb/", "/../"} {
		_, err := sessionguard.New(sessionguard.Config[*user]{FindUser: s.users.Find, Keys: testKeys, ScriptPath: path})
		require.ErrorContains(t, err, "ScriptPath", path)
	}
}

// A custom refusal that is written to a wrapped ResponseWriter is no activity, so its
// script tag does not count it.
func TestScriptTagOfCustomRefusalHasRecordedDeadline(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		addScriptRoutes(s)
		s.config.Refusals.Forbidden = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tag := s.guard.ScriptTag(r)
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, tag)
		})
		var err error
		s.guard, err = sessionguard.New(s.config)
		require.NoError(s.T, err)
		inner := http.NewServeMux()
		inner.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
			u := testUsers["ada"]
			require.NoError(s.T, s.guard.Login(w, r, &u))
		})
		inner.Handle("/admin", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.guard.RequireRole("Admin")(http.NotFoundHandler()).ServeHTTP(opaqueWriter{w}, r)
		}))
		b := browse(s.T, serve(s.T, s.guard.Handler(inner)))
		b.Post("/login")
		advance(10 * time.Minute)
		require.Equal(s.T, "1200", scriptTag(s.T, b.Get("/admin").Body)["data-idle-seconds"])
	})
}
