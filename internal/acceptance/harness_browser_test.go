package acceptance

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/stretchr/testify/require"
)

// browser is a test browser at an application with the routes of newSite.
type browser struct {
	*testbrowser.Browser
	t *testing.T
}

type response = testbrowser.Response

// browse returns a browser without cookies, with connections of its own.
func browse(t *testing.T, s *server) *browser {
	t.Helper()
	transport := &http.Transport{
		DialContext:     s.network.DialContext,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{testbrowser.New(t, "https://app.example", transport), t}
}

func (s *site) browse() *browser { s.Helper(); return browse(s.T, s.server) }

// copyOf returns another browser with b's cookies.
func (s *site) copyOf(b *browser) *browser {
	s.Helper()
	other := s.browse()
	other.SetCookies(b.Cookies())
	return other
}

// login logs in and fails the test if that is refused.
func (b *browser) login(name string) response {
	b.t.Helper()
	resp := b.Post("/login?user=" + name)
	require.Equal(b.t, http.StatusSeeOther, resp.StatusCode, resp.Body)
	return resp
}

// loggedIn reports whether the server shows the browser a protected page. The request is
// passive.
func (b *browser) loggedIn() bool {
	b.t.Helper()
	return strings.HasPrefix(b.Get("/poll").Body, "secret of ")
}

const (
	sessionCookie = "__Host-Http-session"
	visitorCookie = "__Host-Http-session-anonymous"
	boundCookie   = "__Host-Http_session-bound-" // and what is the session's and the proof's
	noStore       = "no-store, no-cache, must-revalidate, private"
)

func requireNoStore(t *testing.T, h http.Header) {
	t.Helper()
	require.Equal(t, []string{noStore}, h["Cache-Control"])
	require.Equal(t, []string{"no-cache"}, h["Pragma"])
	require.Equal(t, []string{"0"}, h["Expires"])
	require.Equal(t, []string{"0"}, h["X-Accel-Expires"])
	require.Len(t, h["Vary"], 1)
	require.True(t, strings.HasSuffix(h["Vary"][0], "Cookie"), h["Vary"])
}
