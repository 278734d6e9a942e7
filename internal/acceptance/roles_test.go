package acceptance

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// gateProbe is a handler behind a gate. It counts its calls.
type gateProbe struct{ ran atomic.Int64 }

func (p *gateProbe) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.ran.Add(1)
	io.WriteString(w, "inside")
}

// gateVerdict returns how a gate responded to an API client: "inside", or the code of the
// refusal.
func gateVerdict(resp response) string {
	_, code, refused := strings.Cut(resp.Body, `"error":"`)
	if !refused {
		return resp.Body
	}
	code, _, _ = strings.Cut(code, `"`)
	return code
}

// gateClients returns a browser for each kind of client that a gate may meet.
func gateClients(s *site) map[string]*browser {
	clients := map[string]*browser{}
	join := func(name string, change func(*user)) {
		s.users.change(name, func(u *user) { u.ID = name; change(u) })
		clients[name] = s.browse()
		clients[name].login(name)
	}
	roles := func(roles ...string) func(*user) { return func(u *user) { u.Roles = roles } }

	join("idle", roles("Engineer", "Admin"))
	advance(idle)
	join("earlier", roles("Engineer"))
	advance(5 * time.Minute)
	join("ada", roles("Engineer"))
	join("grace", roles("Admin"))
	join("both", roles("Engineer", "Admin"))
	join("demoted", roles("Engineer"))
	s.users.change("demoted", roles())
	join("loggedOut", roles("Engineer", "Admin"))
	join("ended", roles("Engineer", "Admin"))
	join("inactive", roles("Engineer", "Admin"))
	join("deleted", roles("Engineer", "Admin"))

	copied := clients["loggedOut"].Cookies()
	clients["loggedOut"].Post("/logout")
	clients["loggedOut"].SetCookies(copied)
	require.NoError(s, s.guard.EndUser(s.Context(), "ended"))
	s.users.change("inactive", func(u *user) { u.Inactive = true })
	s.users.mu.Lock()
	delete(s.users.users, "deleted")
	s.users.mu.Unlock()

	clients["visitor"] = s.browse()
	clients["forger"] = s.browse()
	clients["forger"].SetCookies(map[string]string{sessionCookie: strings.Repeat("A", 64)})
	return clients
}

// A namedGate is a gate with the path that it guards.
type namedGate struct {
	name string
	gate func(http.Handler) http.Handler
}

func namedGates(g *sessionguard.Guard[*user]) []namedGate {
	return []namedGate{
		{"login", g.RequireLogin},
		{"engineer", g.RequireRole("Engineer")},
		{"anyOf", g.RequireRole("Admin", "Engineer")},
		{"noRole", g.RequireRole()},
		{"func", g.RequireFunc(func(u *user, r *http.Request) bool { return u.ID == "ada" && r.URL.Path == "/func" })},
		{"nilFunc", g.RequireFunc(nil)},
		{"fresh", g.RequireFresh(5 * time.Minute)},
		{"freshNever", g.RequireFresh(0)},
		{"allOf", func(next http.Handler) http.Handler {
			return g.RequireRole("Engineer")(g.RequireRole("Admin")(next))
		}},
	}
}

// wantVerdicts returns the verdicts of namedGates by client of gateClients.
func wantVerdicts() map[string][9]string {
	const (
		ok = "inside"
		l  = "login_required"
		f  = "forbidden"
		re = "reauthentication_required"
	)
	notLoggedIn := [...]string{l, l, l, l, l, l, l, l, l}
	return map[string][9]string{
		"visitor": notLoggedIn, "forger": notLoggedIn, "idle": notLoggedIn, "loggedOut": notLoggedIn,
		"ended": notLoggedIn, "inactive": notLoggedIn, "deleted": notLoggedIn,
		"ada":     {ok, ok, ok, f, ok, f, ok, re, f},
		"earlier": {ok, ok, ok, f, f, f, re, re, f},
		"grace":   {ok, f, ok, f, f, f, ok, re, f},
		"both":    {ok, ok, ok, f, f, f, ok, re, ok},
		"demoted": {ok, f, f, f, f, f, ok, re, f},
	}
}

// Promise 4, I2, R3, OWASP ASVS 8.2.1, 8.3.1: each gate admits the users that it should,
// wherever it stands, and a refused handler never runs.
func TestGatesAdmitOnlyAuthorizedUsers(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		clients, gates, want := gateClients(s), namedGates(s.guard), wantVerdicts()
		require.Len(t, want, len(clients))

		var probe gateProbe
		alone, outside := http.NewServeMux(), http.NewServeMux()
		for _, gate := range gates {
			alone.Handle("/"+gate.name, gate.gate(&probe))
			outside.Handle("/"+gate.name, gate.gate(s.guard.Handler(&probe)))
		}
		for place, h := range map[string]http.Handler{"alone": alone, "outside Handler": outside, "inside Handler": s.guard.Handler(alone)} {
			server := serve(t, h)
			for name, client := range clients {
				b := browse(t, server)
				b.Header.Set("Accept", "application/json")
				b.SetCookies(client.Cookies())
				for i, gate := range gates {
					before := probe.ran.Load()
					resp := b.Get("/" + gate.name)
					verdict := gateVerdict(resp)
					admitted := verdict == "inside"
					require.Equal(t, want[name][i], verdict, "%s at %s, %s", name, gate.name, place)
					require.Equal(t, admitted, probe.ran.Load() > before, "%s at %s, %s", name, gate.name, place)
					require.Equal(t, admitted, resp.StatusCode == http.StatusOK, "%s at %s, %s", name, gate.name, place)
					requireNoStore(t, resp.Header)
				}
			}
		}
	})
}

// Promise 4, OWASP ASVS 8.3.2: a changed role takes effect with the next request.
func TestRolesAreReadAgainOnEveryRequest(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	for _, admin := range []bool{false, true, false} {
		s.users.change("ada", func(u *user) {
			u.Roles = nil
			if admin {
				u.Roles = []string{"Admin"}
			}
		})
		require.Equal(t, admin, b.Get("/admin").Body == "secret of ada")
	}
}

// R3: a gate copies its roles, so that its caller cannot change them later.
func TestGateCopiesItsRoles(t *testing.T) {
	s := newSite(t, nil)
	roles := []string{"Admin"}
	s.mux.Handle("/kept", s.guard.RequireRole(roles...)(&gateProbe{}))
	roles[0] = "Engineer"
	b := s.browse()
	b.login("ada")
	require.Equal(t, http.StatusForbidden, b.Get("/kept", "Sec-Fetch-Mode", "cors").StatusCode)
}

// L5: if the backend or FindUser fails, a gate responds with 503 before its handler runs,
// and no session ends.
func TestGatesFailClosedAndLogNobodyOut(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	var probe gateProbe
	g := s.guard
	gates := map[string]func(http.Handler) http.Handler{
		"login": g.RequireLogin, "role": g.RequireRole("Engineer"), "fresh": g.RequireFresh(time.Hour),
		"func": g.RequireFunc(func(*user, *http.Request) bool { return true }),
	}
	for name, gate := range gates {
		s.mux.Handle("/down/"+name, gate(&probe))
	}
	b := s.browse()
	b.login("ada")
	failFindUser := func(err error) {
		s.users.mu.Lock()
		defer s.users.mu.Unlock()
		s.users.err = err
	}
	for _, failure := range []struct{ begin, end func() }{
		{func() { backend.failOn("Load") }, func() { backend.failOn() }},
		{func() { failFindUser(errors.New("sql: connection refused")) }, func() { failFindUser(nil) }},
	} {
		failure.begin()
		for name := range gates {
			resp := b.Get("/down/" + name)
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, name)
			require.NotEmpty(t, resp.Header.Get("Retry-After"))
			require.Empty(t, resp.Cookies())
		}
		require.Zero(t, probe.ran.Load())
		failure.end()
		require.True(t, b.loggedIn())
	}
}

// I2: a request loads the session and the user once, however many gates it passes and
// however often it calls User.
func TestManyGatesLoadSessionAndUserOnce(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	g := s.guard
	b := s.browse()
	b.login("ada")

	showUser := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := g.User(r)
		fmt.Fprint(w, u.ID)
	})
	h := g.RequireLogin(g.Handler(g.RequireRole("Engineer")(g.Passive(g.RequireFresh(time.Hour)(g.Handler(showUser))))))
	client := browse(t, serve(t, h))
	client.SetCookies(b.Cookies())
	loads, lookups := backend.callCounts()["Load"], s.users.lookups
	require.Equal(t, "ada", client.Get("/").Body)
	require.Equal(t, loads+1, backend.callCounts()["Load"])
	require.Equal(t, lookups+1, s.users.lookups)
}

// R3: a gate does not rely on the gate of another guard, not even with the same backend
// and the same keys.
func TestGatesOfTwoGuardsMustBothAgree(t *testing.T) {
	shared := store.NewMemory()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = shared })
	staff, err := sessionguard.New(sessionguard.Config[*user]{
		FindUser: s.users.Find, Keys: testKeys, Backend: shared, CookieName: "__Host-staff",
	})
	require.NoError(t, err)
	var probe gateProbe
	server := serve(t, s.guard.Handler(staff.RequireLogin(s.guard.RequireLogin(&probe))))
	b := s.browse()
	b.login("grace")
	value := b.Cookies()[sessionCookie]
	client := browse(t, server)
	for _, cookies := range []map[string]string{
		{sessionCookie: value},
		{"__Host-staff": value},
		{sessionCookie: value, "__Host-staff": value},
	} {
		client.SetCookies(cookies)
		require.Equal(t, "login_required", gateVerdict(client.Get("/", "Sec-Fetch-Mode", "cors")))
	}
	require.Zero(t, probe.ran.Load())
}

// Promise 2: after a logout in the middle of a request, the rest of the request is not
// logged in.
func TestGateRefusesAfterLogoutInSameRequest(t *testing.T) {
	s := newSite(t, nil)
	var probe gateProbe
	gate := s.guard.RequireLogin(&probe)
	s.mux.Handle("POST /leave", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = s.guard.End(w, r)
		gate.ServeHTTP(w, r)
	})))
	b := s.browse()
	b.login("ada")
	require.Equal(t, "login_required", gateVerdict(b.Post("/leave", "Sec-Fetch-Mode", "cors")))
	require.Zero(t, probe.ran.Load())
}

// RequireFunc is for decisions that need more than roles: it gets the user as of now, and
// the request as the router has matched it.
func TestRequireFuncDecidesByUserAndRequest(t *testing.T) {
	s := newSite(t, nil)
	owner := s.guard.RequireFunc(func(u *user, r *http.Request) bool {
		return r.PathValue("owner") == u.ID && u.HasRole("Engineer")
	})
	s.mux.Handle("GET /of/{owner}", owner(&gateProbe{}))
	b := s.browse()
	b.login("ada")
	require.Equal(t, "inside", b.Get("/of/ada").Body)
	require.Equal(t, http.StatusForbidden, b.Get("/of/grace", "Sec-Fetch-Mode", "cors").StatusCode)
	s.users.change("ada", func(u *user) { u.Roles = nil })
	require.Equal(t, http.StatusForbidden, b.Get("/of/ada", "Sec-Fetch-Mode", "cors").StatusCode)
}

// C1: a gate that runs after a cacheable response has begun admits nobody.
func TestGateAfterFirstByteAdmitsNobody(t *testing.T) {
	s := newSite(t, nil)
	var probe gateProbe
	gate := s.guard.RequireLogin(&probe)
	s.mux.HandleFunc("GET /begun", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public")
		io.WriteString(w, "head")
		gate.ServeHTTP(w, r)
	})
	b := s.browse()
	b.login("ada")
	require.NotContains(t, b.Get("/begun").Body, "inside")
	require.Zero(t, probe.ran.Load())
}

// I3, ASVS 7.5.1, 7.5.3
func TestFreshnessCountsFromLoginOnly(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		advance(5*time.Minute - time.Second)
		require.Equal(s.T, "secret of ada", b.Get("/fresh").Body)
		b.Post("/value?k=a&v=b")
		advance(time.Second)
		resp := b.Get("/fresh")
		require.Equal(s.T, http.StatusSeeOther, resp.StatusCode)
		require.Equal(s.T, "/login?next=%2Ffresh", resp.Header.Get("Location"))
		require.True(s.T, b.loggedIn(), "a login that is not fresh is still a login")

		b.login("ada")
		require.Equal(s.T, "secret of ada", b.Get("/fresh").Body)
		advance(5 * time.Minute)
		require.NotEqual(s.T, "secret of ada", b.Get("/fresh").Body)
	})
}
