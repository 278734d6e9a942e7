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

// gateProbe is a handler behind a gate. It counts how often it ran.
type gateProbe struct{ ran atomic.Int64 }

func (p *gateProbe) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.ran.Add(1)
	io.WriteString(w, "inside")
}

// gateVerdict is what an API client was told: "inside", or why it was refused.
func gateVerdict(a response) string {
	_, code, refused := strings.Cut(a.Body, `"error":"`)
	if !refused {
		return a.Body
	}
	code, _, _ = strings.Cut(code, `"`)
	return code
}

// gatePeople makes one browser for everyone a gate may meet.
func gatePeople(s *site) map[string]*browser {
	people := map[string]*browser{}
	join := func(who string, change func(*user)) {
		s.users.change(who, func(u *user) { u.ID = who; change(u) })
		people[who] = s.browse()
		people[who].login(who)
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

	copied := people["loggedOut"].Cookies()
	people["loggedOut"].Post("/logout")
	people["loggedOut"].SetCookies(copied)
	require.NoError(s, s.guard.EndUser(s.Context(), "ended"))
	s.users.change("inactive", func(u *user) { u.Inactive = true })
	s.users.mu.Lock()
	delete(s.users.users, "deleted")
	s.users.mu.Unlock()

	people["nobody"] = s.browse()
	people["forger"] = s.browse()
	people["forger"].SetCookies(map[string]string{sessionCookie: strings.Repeat("A", 144)})
	return people
}

// Promise 4, I2, R3, OWASP ASVS 8.2.1, 8.3.1: who is let in, gate by gate,
// wherever the gate stands, and what is refused never runs.
func TestGatesLetInOnlyTheRightPeople(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		people := gatePeople(s)
		g := s.guard
		gates := []struct {
			name string
			gate func(http.Handler) http.Handler
		}{
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
		const (
			ok = "inside"
			l  = "login_required"
			f  = "forbidden"
			st = "reauthentication_required"
		)
		stranger := [...]string{l, l, l, l, l, l, l, l, l}
		want := map[string][9]string{
			"nobody": stranger, "forger": stranger, "idle": stranger, "loggedOut": stranger,
			"ended": stranger, "inactive": stranger, "deleted": stranger,
			"ada":     {ok, ok, ok, f, ok, f, ok, st, f},
			"earlier": {ok, ok, ok, f, f, f, st, st, f},
			"grace":   {ok, f, ok, f, f, f, ok, st, f},
			"both":    {ok, ok, ok, f, f, f, ok, st, ok},
			"demoted": {ok, f, f, f, f, f, ok, st, f},
		}
		require.Len(t, want, len(people))

		var probe gateProbe
		alone, outside := http.NewServeMux(), http.NewServeMux()
		for _, gate := range gates {
			alone.Handle("/"+gate.name, gate.gate(&probe))
			outside.Handle("/"+gate.name, gate.gate(g.Handler(&probe)))
		}
		for place, h := range map[string]http.Handler{"alone": alone, "outside Handler": outside, "inside Handler": g.Handler(alone)} {
			server := serve(t, h)
			for who, b := range people {
				visitor := browse(t, server)
				visitor.Header.Set("Accept", "application/json")
				visitor.SetCookies(b.Cookies())
				for i, gate := range gates {
					before := probe.ran.Load()
					a := visitor.Get("/" + gate.name)
					verdict := gateVerdict(a)
					require.Equal(t, want[who][i], verdict, "%s at %s, %s", who, gate.name, place)
					require.Equal(t, verdict == ok, probe.ran.Load() > before, "%s at %s, %s", who, gate.name, place)
					require.Equal(t, verdict == ok, a.StatusCode == http.StatusOK, "%s at %s, %s", who, gate.name, place)
					requireNoStore(t, a.Header)
				}
			}
		}
	})
}

// Promise 4, OWASP ASVS 8.3.2: a role counts from, and until, the next request.
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

// R3: the list of roles is the guard's own once the gate is made.
func TestGateKeepsItsRolesWhateverItsCallerDoes(t *testing.T) {
	s := newSite(t, nil)
	roles := []string{"Admin"}
	s.mux.Handle("/kept", s.guard.RequireRole(roles...)(&gateProbe{}))
	roles[0] = "Engineer"
	b := s.browse()
	b.login("ada")
	require.Equal(t, http.StatusForbidden, b.Get("/kept", "Sec-Fetch-Mode", "cors").StatusCode)
}

// L5: a gate that cannot tell lets nobody in, before its handler runs, and
// logs nobody out.
func TestGatesLetNobodyInWhileNobodyCanTell(t *testing.T) {
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
	usersFail := func(err error) {
		s.users.mu.Lock()
		defer s.users.mu.Unlock()
		s.users.err = err
	}
	for _, down := range []struct{ begin, end func() }{
		{func() { backend.failOn("Load") }, func() { backend.failOn() }},
		{func() { usersFail(errors.New("sql: connection refused")) }, func() { usersFail(nil) }},
	} {
		down.begin()
		for name := range gates {
			a := b.Get("/down/" + name)
			require.Equal(t, http.StatusServiceUnavailable, a.StatusCode, name)
			require.NotEmpty(t, a.Header.Get("Retry-After"))
			require.Empty(t, a.Cookies())
		}
		require.Zero(t, probe.ran.Load())
		down.end()
		require.True(t, b.loggedIn())
	}
}

// I2: however many gates and looks a request meets, each is asked once.
func TestManyGatesAskOnce(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	g := s.guard
	b := s.browse()
	b.login("ada")

	look := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := g.User(r)
		fmt.Fprint(w, u.ID)
	})
	h := g.RequireLogin(g.Handler(g.RequireRole("Engineer")(g.Passive(g.RequireFresh(time.Hour)(g.Handler(look))))))
	visitor := browse(t, serve(t, h))
	visitor.SetCookies(b.Cookies())
	loads, asked := backend.callCounts()["Load"], s.users.lookups
	require.Equal(t, "ada", visitor.Get("/").Body)
	require.Equal(t, loads+1, backend.callCounts()["Load"])
	require.Equal(t, asked+1, s.users.lookups)
}

// R3: gates of two guards do not take each other's word, not even with one
// backend and one set of keys between them.
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
	visitor := browse(t, server)
	for _, cookies := range []map[string]string{
		{sessionCookie: value},
		{"__Host-staff": value},
		{sessionCookie: value, "__Host-staff": value},
	} {
		visitor.SetCookies(cookies)
		require.Equal(t, "login_required", gateVerdict(visitor.Get("/", "Sec-Fetch-Mode", "cors")))
	}
	require.Zero(t, probe.ran.Load())
}

// Promise 2: who logs out in the middle of a request is out for the rest of it.
func TestGateRefusesAfterALogoutInTheSameRequest(t *testing.T) {
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

// RequireFunc is for what roles cannot say: it gets the user as it is now, and
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

// C1: a gate met after a cacheable answer has begun lets nobody in.
func TestGateAfterTheFirstByteLetsNobodyIn(t *testing.T) {
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
