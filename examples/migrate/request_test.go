package migrate_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRequestsThatMoveAnOldSession(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		header []string // in place of the browser's, "" for none
		moves  bool
	}{
		"a page of this site":              {"GET", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"}, true},
		"the address bar":                  {"GET", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}, true},
		"a form of this site":              {"POST", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate"}, true},
		"a script of this site":            {"GET", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"}, true},
		"a link of another site":           {"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, true},
		"a browser of old":                 {"GET", []string{"Accept", "text/html,*/*"}, true},
		"an image of this site":            {"GET", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, false},
		"an image in another site":         {"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, false},
		"an image in a browser of old":     {"GET", []string{"Accept", "image/png,*/*"}, false},
		"a frame in another site":          {"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, false},
		"a script of another site":         {"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, false},
		"a script of a sibling":            {"GET", []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, false},
		"a form of another site":           {"POST", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, false},
		"a form that another site GETs":    {"HEAD", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, false},
		"a prefetch":                       {"GET", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Purpose", "prefetch"}, false},
		"a prerendered page":               {"GET", []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "navigate", "Sec-Purpose", "prefetch;prerender"}, false},
		"a prefetch of Safari, of Firefox": {"GET", []string{"Accept", "text/html", "Purpose", "prefetch", "X-Moz", "prefetch"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, ofCookies())
			user := s.logIn("ada")
			s.update()
			user.Header = http.Header{}
			user.Do(user.Request(c.method, "/", c.header...))
			_, has := user.Cookies()["session"]
			if c.moves {
				require.Equal(t, 1, s.sessions("ada"))
				require.False(t, has)
				return
			}
			require.Zero(t, s.sessions("ada"))
			require.True(t, has)
			user.Header = s.browse().Header
			user.Get("/home").Expect(http.StatusOK, "").Contains("Hello, ada") // nothing is lost
		})
	}
}

func TestWebSocketDoesNotMoveAnOldSession(t *testing.T) {
	s := newSite(t, ofCookies())
	user := s.logIn("ada")
	s.update()
	user.Get("/", "Connection", "Upgrade", "Upgrade", "websocket")
	require.Zero(t, s.sessions("ada"))
}

// What does not need the session is cached as before, once there is no old cookie any more.
func TestOldSessionCostsOthersNothing(t *testing.T) {
	s := newSite(t, ofCookies())
	s.update()
	s.browse().Get("/public").Expect(http.StatusOK, "").Has("Cache-Control", "")
}
