package acceptance

import (
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/testbrowser"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// How long a bound session's cookie is good, in tests that do not say otherwise.
const (
	deviceProof = 10 * time.Minute
	deviceSlack = time.Minute      // longer, for the server
	deviceGrace = 30 * time.Second // after the first proof, without any
)

const (
	bindPath  = "/sessionguard/bind"
	provePath = "/sessionguard/prove"
	forget    = `{"continue":false}`
)

// fromAnotherSite is the header of a navigation that another site has led to.
var fromAnotherSite = []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}

// deviceSite returns a site whose sessions are bound where the browser can.
//
//	     /sessionguard/  guard.Script()
//	GET  /login          guard.EndReason
//	GET  /bound          for a bound session: "bound"
//	GET  /proven         for a session that was proven less than 2 minutes ago: "bound"
func deviceSite(t *testing.T, configure ...func(*sessionguard.Config[*user])) *site {
	t.Helper()
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.DeviceProof = deviceProof
		for _, f := range configure {
			f(c)
		}
	})
	s.deviceRoutes()
	return s
}

func (s *site) deviceRoutes() {
	bound := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "bound") })
	s.mux.Handle("/sessionguard/", s.guard.Script())
	s.mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, string(s.guard.EndReason(r)))
	})
	s.mux.Handle("/bound", s.guard.RequireBound(0)(bound))
	s.mux.Handle("/proven", s.guard.RequireBound(2*time.Minute)(bound))
}

// rememberingDeviceSite is a deviceSite whose logins are remembered for two weeks.
func rememberingDeviceSite(t *testing.T, configure ...func(*sessionguard.Config[*user])) *site {
	t.Helper()
	configure = append(configure, func(c *sessionguard.Config[*user]) { c.RememberFor = twoWeeks })
	s := deviceSite(t, configure...)
	s.loginOptions = func(string) []sessionguard.LoginOption {
		return []sessionguard.LoginOption{sessionguard.Remember()}
	}
	return s
}

// browseWithDevice returns a browser that registers and proves keys by itself.
func (s *site) browseWithDevice() *browser {
	s.Helper()
	b := s.browse()
	b.Device = testbrowser.NewDevice()
	return b
}

// bound returns a browser whose session is bound.
func (s *site) bound(name string) *browser {
	s.Helper()
	b := s.browseWithDevice()
	b.login(name)
	b.Get("/static") // after which the browser proves its device for the first time
	require.Equal(s, "bound", b.Get("/bound").Body)
	return b
}

// bySelf returns a browser whose session is bound, with the key and the identifier, for a test
// that proves by itself.
func (s *site) bySelf(name string) (b *browser, key *testbrowser.Key, id string) {
	s.Helper()
	b = s.bound(name)
	id = b.Device.Identifiers()[0]
	key, b.Device = b.Device.Key(id), nil
	return b, key, id
}

// thiefOf returns a browser without a device, and with the session cookie of another.
func (s *site) thiefOf(b *browser) *browser {
	s.Helper()
	thief := s.browse()
	thief.SetCookies(map[string]string{sessionCookie: b.Cookies()[sessionCookie]})
	return thief
}

// boundCookies returns the bound cookies that a browser would send.
func (b *browser) boundCookies() map[string]string {
	b.t.Helper()
	cookies := b.Cookies()
	maps.DeleteFunc(cookies, func(name, _ string) bool { return !strings.HasPrefix(name, boundCookie) })
	return cookies
}

// boundSessions returns what the names of the bound cookies have in common with others of the
// same sessions.
func (b *browser) boundSessions() []string {
	b.t.Helper()
	sessions := map[string]bool{}
	for name := range b.boundCookies() {
		sessions[name[:len(name)-3]] = true
	}
	return slices.Sorted(maps.Keys(sessions))
}

// addCookies gives the browser more cookies.
func (b *browser) addCookies(more map[string]string) {
	b.t.Helper()
	b.SetCookies(merge(b.Cookies(), more))
}

var (
	offered    = regexp.MustCompile(`^\(ES256 RS256\);path="` + bindPath + `";challenge="([A-Za-z0-9_-]+)"$`)
	challenged = regexp.MustCompile(`^"([A-Za-z0-9_-]{43})";id="([A-Za-z0-9_-]+)"$`)
	identified = regexp.MustCompile(`"session_identifier":"([A-Za-z0-9_-]+)"`)
)

// offerOf returns the challenge that a response offers for a registration.
func offerOf(t *testing.T, resp response) string {
	t.Helper()
	m := offered.FindStringSubmatch(resp.Header.Get("Secure-Session-Registration"))
	require.NotNil(t, m, "the response offers nothing: %v", resp.Header)
	return m[1]
}

// register sends a JWS that registers a key, and returns the identifier that it brings.
func (b *browser) register(jws string) (response, string) {
	b.t.Helper()
	resp := b.Post(bindPath, "Secure-Session-Response", jws)
	if m := identified.FindStringSubmatch(resp.Body); m != nil {
		return resp, m[1]
	}
	return resp, ""
}

// challenge asks for a challenge.
func (b *browser) challenge(id string) string {
	b.t.Helper()
	resp := b.Post(provePath, "Sec-Secure-Session-Id", id)
	require.Equal(b.t, http.StatusForbidden, resp.StatusCode, resp.Body)
	m := challenged.FindStringSubmatch(resp.Header.Get("Secure-Session-Challenge"))
	require.NotNil(b.t, m, "%v", resp.Header)
	require.Equal(b.t, id, m[2])
	require.Empty(b.t, resp.Cookies())
	return m[1]
}

// sendProof sends a JWS that proves the device of a session.
func (b *browser) sendProof(id, jws string) response {
	b.t.Helper()
	return b.Post(provePath, "Sec-Secure-Session-Id", id, "Secure-Session-Response", jws)
}

// proveDevice asks for a challenge and signs it.
func (b *browser) proveDevice(key *testbrowser.Key, id string) response {
	b.t.Helper()
	return b.sendProof(id, key.Proof(b.challenge(id)))
}

// requireUnproven checks that the request is refused as one without a proof, and that no
// cookie changes. But a bound cookie that does not count is deleted first, and the same request
// asked for again: from the device, it would come with a proof.
func (b *browser) requireUnproven() {
	b.t.Helper()
	resp := b.Get("/home")
	if had := b.boundCookies(); resp.StatusCode == http.StatusTemporaryRedirect {
		require.Equal(b.t, "/home", resp.Header.Get("Location"))
		requireNoStore(b.t, resp.Header)
		require.Len(b.t, resp.Cookies(), 1)
		require.Negative(b.t, resp.Cookies()[0].MaxAge)
		require.NotContains(b.t, had, resp.Cookies()[0].Name)
		resp = b.Get("/home")
	}
	require.Equal(b.t, "/login?next=%2Fhome&reason=device_unproven", resp.Header.Get("Location"), resp.Body)
	require.Empty(b.t, resp.Cookies())
	require.False(b.t, b.loggedIn())
}

// stored returns the sessions of a user, as the backend has them.
func (s *site) stored(backend store.Backend, name string) []store.Record {
	s.Helper()
	records, err := backend.ByOwner(s.Context(), sessionCookie+"="+name, "", store.MaxPage)
	require.NoError(s, err)
	return records
}
