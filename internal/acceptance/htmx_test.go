package acceptance

import (
	"net/http"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// R3: no login page becomes part of another page. htmx obeys HX-Redirect whatever the
// status; "next" is then the page that the browser shows.
func TestHTMXIsSentToTheLoginPage(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.ReauthPath = "/reauth" })
	s.mux.Handle("/board/1", s.guard.RequireLogin(s.mux))
	s.mux.Handle("/stale", s.guard.RequireFresh(0)(s.mux))
	ada := s.browse()
	ada.login("ada")
	for name, test := range map[string]struct {
		browser *browser
		method  string
		path    string
		header  []string
		status  int
		want    string
	}{
		"a part of a page":         {s.browse(), "GET", "/home", []string{"HX-Current-URL", "https://app.example/board?tab=1#top"}, 401, "/login?next=%2Fboard%3Ftab%3D1"},
		"a form":                   {s.browse(), "DELETE", "/board/1", []string{"HX-Current-URL", "https://app.example/board"}, 401, "/login?next=%2Fboard"},
		"a boosted link":           {s.browse(), "GET", "/home?a=b", []string{"HX-Boosted", "true", "HX-Current-URL", "https://app.example/board"}, 401, "/login?next=%2Fhome%3Fa%3Db"},
		"a boosted form":           {s.browse(), "POST", "/board/1", []string{"HX-Boosted", "true", "HX-Current-URL", "https://app.example/board"}, 401, "/login"},
		"too old a login":          {ada, "GET", "/stale", []string{"HX-Current-URL", "https://app.example/board"}, 401, "/reauth?next=%2Fboard"},
		"a missing role":           {ada, "GET", "/admin", []string{"HX-Current-URL", "https://app.example/board"}, 403, "/?reason=forbidden"},
		"on the login page itself": {s.browse(), "GET", "/home", []string{"HX-Current-URL", "https://app.example/login"}, 401, ""},
		"a page that is none":      {s.browse(), "GET", "/home", []string{"HX-Current-URL", "https://app.example//evil.example"}, 401, "/login"},
		"no page":                  {s.browse(), "GET", "/home", nil, 401, "/login"},
		"another site":             {s.browse(), "POST", "/value", []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := test.browser.Request(test.method, test.path, append([]string{"Accept", "*/*", "HX-Request", "true"}, test.header...)...)
			resp := test.browser.Do(req)
			require.Equal(t, test.status, resp.StatusCode)
			require.Equal(t, test.want, resp.Header.Get("HX-Redirect"))
			require.Equal(t, "none", resp.Header.Get("HX-Reswap"))
			require.Empty(t, resp.Header.Get("Location"))
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
		})
	}
	require.Equal(t, "welcome ada [You may not see that page.]", ada.Get("/").Body, "once, of the missing role")
	require.Equal(t, http.StatusSeeOther, s.browse().Get("/home", "HX-Request", "true", "HX-History-Restore-Request", "true").StatusCode, "a whole page")
}

func TestALogoutTakesHTMXAndTurboAlong(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	resp := b.Post("/logout", "Accept", "*/*", "HX-Request", "true")
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	require.Equal(t, "/", resp.Header.Get("HX-Redirect"))
	require.False(t, b.loggedIn())

	b.login("ada")
	resp = b.Post("/logout", "Sec-Fetch-Mode", "cors", "Accept", "text/vnd.turbo-stream.html, text/html, application/xhtml+xml")
	require.Equal(t, http.StatusSeeOther, resp.StatusCode)
	require.Equal(t, "/", resp.Header.Get("Location"))
	require.Empty(t, b.Post("/logout", "Accept", "*/*").Header["Hx-Redirect"])
}
