package acceptance

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// crossOriginSource is the origin that the headers of a request state.
type crossOriginSource struct {
	site, origin string // Sec-Fetch-Site and Origin; "": absent
	trusted      bool
}

var crossOriginSources = []crossOriginSource{
	{"same-origin", "https://app.example", true},
	{"same-origin", "", true},
	{"none", "", true}, // typed into the address bar
	{"", "", true},     // not a browser
	{"", "https://app.example", true},
	{"cross-site", "https://evil.example", false},
	{"cross-site", "", false},
	{"cross-site", "https://app.example", false}, // Sec-Fetch-Site decides, because a page cannot forge it
	{"cross-site", "null", false},
	{"same-site", "https://other.app.example", false},
	{"same-site", "", false},
	{"SAME-ORIGIN", "", false},
	{"unheard-of", "", false},
	{"", "https://evil.example", false},
	{"", "https://app.example.evil.example", false},
	{"", "https://app.example@evil.example", false},
	{"", "https://app.example:8443", false},
	{"", "null", false}, // a sandboxed frame, a data: page
	{"", "://", false},
}

func (c crossOriginSource) headers() []string {
	var h []string
	if c.site != "" {
		h = append(h, "Sec-Fetch-Site", c.site)
	}
	if c.origin != "" {
		h = append(h, "Origin", c.origin)
	}
	return h
}

// R1, OWASP ASVS 3.5.1 and 3.5.3: an unsafe cross-origin request is refused before its
// handler runs and without a call of the backend or FindUser. A WebSocket handshake is as
// unsafe as a POST.
func TestUnsafeCrossOriginRequestsAreRefusedBeforeAnythingRuns(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	var probe gateProbe
	s.mux.Handle("/act", &probe)
	s.mux.Handle("/gated", s.guard.RequireLogin(&probe))
	b := s.browse()
	b.login("ada")

	for _, source := range crossOriginSources {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "post", "websocket"} {
			for _, path := range []string{"/act", "/gated"} {
				label := fmt.Sprintf("%s %s, %+v", method, path, source)
				header := source.headers()
				httpMethod := method
				unsafe := method != "GET" && method != "HEAD" && method != "OPTIONS"
				if method == "websocket" {
					httpMethod, header = "GET", append(header, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-Fetch-Mode", "websocket")
				} else if !unsafe { // a gate refuses all others: see TestWhatAnotherOriginLoadsTellsNothing
					header = append(header, "Sec-Fetch-Mode", "navigate")
				}
				ran, calls, lookups := probe.ran.Load(), backend.callCounts(), s.users.lookups
				resp := b.Do(b.Request(httpMethod, path, header...))
				if source.trusted || !unsafe {
					require.Equal(t, ran+1, probe.ran.Load(), label)
					require.Equal(t, http.StatusOK, resp.StatusCode, label)
					continue
				}
				require.Equal(t, http.StatusForbidden, resp.StatusCode, label)
				require.Equal(t, ran, probe.ran.Load(), label)
				require.Equal(t, calls, backend.callCounts(), label)
				require.Equal(t, lookups, s.users.lookups, label)
				require.Empty(t, resp.Cookies(), label)
				requireNoStore(t, resp.Header)
			}
		}
	}
	require.True(t, b.loggedIn())
}

// R1: another site can neither log a user in as somebody else (login CSRF) nor log a user
// out.
func TestAnotherSiteCanNeitherLogInNorLogOut(t *testing.T) {
	s := newSite(t, nil)
	for _, source := range crossOriginSources {
		if source.trusted {
			continue
		}
		visitor, ada := s.browse(), s.browse()
		require.Equal(t, http.StatusForbidden, visitor.Post("/login?user=grace", source.headers()...).StatusCode, "%+v", source)
		require.Empty(t, visitor.Cookies())
		ada.login("ada")
		require.Equal(t, http.StatusForbidden, ada.Post("/login?user=grace", source.headers()...).StatusCode, "%+v", source)
		require.Equal(t, http.StatusForbidden, ada.Post("/logout", source.headers()...).StatusCode, "%+v", source)
		require.Equal(t, "secret of ada", ada.Get("/poll").Body, "%+v", source)
	}
}

// R1: every wrapper of the guard checks the origin, also without Handler around it.
func TestEveryWrapperAloneRefusesCrossOriginRequests(t *testing.T) {
	s := newSite(t, nil)
	g := s.guard
	ada := s.browse()
	ada.login("ada")
	var probe gateProbe
	for name, h := range map[string]http.Handler{
		"Handler":      g.Handler(&probe),
		"RequireLogin": g.RequireLogin(&probe),
		"RequireRole":  g.RequireRole("Engineer")(&probe),
		"RequireFunc":  g.RequireFunc(func(*user, *http.Request) bool { return true })(&probe),
		"RequireFresh": g.RequireFresh(time.Hour)(&probe),
		"Passive":      g.Passive(&probe),
		"Logout":       g.Logout("/"),
		"Status":       g.Status(),
	} {
		b := browse(t, serve(t, h))
		b.SetCookies(ada.Cookies())
		resp := b.Post("/", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors")
		require.Equal(t, "cross_origin", gateVerdict(resp), name)
		require.Empty(t, resp.Cookies(), name)
		require.Zero(t, probe.ran.Load(), name)
	}
	require.True(t, ada.loggedIn())
}

// R1: the application can trust other origins with its own http.CrossOriginProtection.
func TestConfiguredCrossOriginProtectionDecides(t *testing.T) {
	own := http.NewCrossOriginProtection()
	require.NoError(t, own.AddTrustedOrigin("https://partner.example"))
	own.AddInsecureBypassPattern("POST /callback")
	own.AddInsecureBypassPattern("POST /socket")
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.CrossOrigin = own })
	var probe gateProbe
	for _, path := range []string{"/callback", "/callback/more", "/act", "/socket"} {
		s.mux.Handle(path, &probe)
	}
	for _, test := range []struct {
		method, path, origin string
		upgrade, allowed     bool
	}{
		{"POST", "/act", "https://partner.example", false, true},
		{"GET", "/act", "https://partner.example", true, true},
		{"POST", "/act", "http://partner.example", false, false},
		{"POST", "/act", "https://evil.example", false, false},
		{"GET", "/act", "https://evil.example", true, false},
		{"POST", "/callback", "https://idp.example", false, true},
		{"PUT", "/callback", "https://idp.example", false, false},
		{"POST", "/callback/more", "https://idp.example", false, false},
		{"POST", "/act?x=/callback", "https://idp.example", false, false},
		{"GET", "/socket", "https://idp.example", true, true}, // checked like a POST
		{"GET", "/callback/more", "https://idp.example", true, false},
	} {
		b := s.browse()
		header := []string{"Sec-Fetch-Site", "cross-site", "Origin", test.origin}
		if test.upgrade {
			header = append(header, "Connection", "Upgrade", "Upgrade", "websocket")
		}
		before := probe.ran.Load()
		b.Do(b.Request(test.method, test.path, header...))
		require.Equal(t, test.allowed, probe.ran.Load() > before, "%+v", test)
	}
}

// R1: a request with upgrade headers is unsafe, however they are spelled or listed.
func TestEverySpellingOfAnUpgradeIsUnsafe(t *testing.T) {
	s := newSite(t, nil)
	var probe gateProbe
	s.mux.Handle("/socket", &probe)
	b := s.browse()
	for _, header := range [][]string{
		{"Connection", "Upgrade", "Upgrade", "websocket"},
		{"Connection", "keep-alive, Upgrade", "upgrade", "WebSocket"},
		{"Upgrade", "websocket"},
		{"Connection", "upgrade", "UPGRADE", "h2c", "Upgrade", "websocket"},
		{"Connection", "upgrade", "Upgrade", ""},
	} {
		resp := b.Get("/socket", append(header, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")...)
		require.Equal(t, http.StatusForbidden, resp.StatusCode, header)
	}
	require.Zero(t, probe.ran.Load())
}
