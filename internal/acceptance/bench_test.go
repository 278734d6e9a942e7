package acceptance

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/sessions"
	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// benchWriter is a ResponseWriter that allocates nothing.
type benchWriter struct {
	header http.Header
	status int
}

func (w *benchWriter) Header() http.Header         { return w.header }
func (w *benchWriter) WriteHeader(status int)      { w.status = status }
func (w *benchWriter) Write(b []byte) (int, error) { return len(b), nil }

func (w *benchWriter) reset() { clear(w.header); w.status = http.StatusOK }

// benchSite is a guard whose FindUser allocates nothing.
type benchSite struct {
	guard *sessionguard.Guard[*user]
	ada   *user
}

func newBenchSite(tb testing.TB, backend store.Backend, configure ...func(*sessionguard.Config[*user])) *benchSite {
	s := &benchSite{ada: &user{ID: "ada", Roles: []string{"Engineer"}}}
	config := sessionguard.Config[*user]{
		FindUser: func(context.Context, string) (*user, error) { return s.ada, nil },
		Keys:     testKeys,
		Backend:  backend,
		Logger:   slog.New(slog.DiscardHandler),
	}
	for _, f := range configure {
		f(&config)
	}
	guard, err := sessionguard.New(config)
	require.NoError(tb, err)
	s.guard = guard
	return s
}

// login returns a request with the cookie of a new session that has five values.
func (s *benchSite) login(tb testing.TB) *http.Request {
	tb.Helper()
	return benchCookie(tb, s.guard.Handler(http.HandlerFunc(s.logIn)))
}

func (s *benchSite) logIn(w http.ResponseWriter, r *http.Request) {
	_ = s.guard.Login(w, r, s.ada)
	session, _ := s.guard.Get(r, "app")
	benchValues(session)
}

// benchValues sets typical values of an application.
func benchValues(session *sessions.Session) {
	session.Values["name"], session.Values["theme"], session.Values["cart"] = "Ada Lovelace", "dark", 12
	session.Values["admin"], session.Values["since"] = false, int64(1_700_000_000)
}

// benchCookie returns a request with the first cookie that h sets.
func benchCookie(tb testing.TB, h http.Handler) *http.Request {
	tb.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("POST", "/", nil))
	cookies := rec.Result().Cookies()
	require.NotEmpty(tb, cookies)
	r := httptest.NewRequest("GET", "/home", nil)
	r.Header.Set("Cookie", cookies[0].Name+"="+cookies[0].Value)
	r.Header.Set("Sec-Fetch-Site", "same-origin") // as browsers do
	return r
}

var benchBody = []byte("hello")

var benchPage = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(benchBody) })

// benchRead is a page that reads a value.
func benchRead(store sessions.Store) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if session, _ := store.Get(r, "app"); session.Values["theme"] != "dark" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write(benchBody)
	})
}

// benchWrite is a page that changes a value in every request.
func benchWrite(store sessions.Store) http.Handler {
	n := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := store.Get(r, "app")
		n++
		session.Values["cart"] = n
		_ = session.Save(r, w)
		_, _ = w.Write(benchBody)
	})
}

// benchRemote is a backend that the guard treats as remote. It returns each LastSeen earlier
// than recorded, by late.
type benchRemote struct {
	store.Backend
	late time.Duration
}

func (b benchRemote) Load(ctx context.Context, key store.Key) (store.Record, error) {
	r, err := b.Backend.Load(ctx, key)
	r.LastSeen = r.LastSeen.Add(-b.late)
	return r, err
}

// BenchmarkProtectedRequest measures what one request costs beyond net/http: to read the
// cookie, find the session and the user, check the role, extend the idle deadline and
// forbid caching. "CookieStore" is gorilla's own store, for comparison.
func BenchmarkProtectedRequest(b *testing.B) {
	memory := func() *benchSite { return newBenchSite(b, nil) }
	remote := func(late time.Duration) *benchSite { return newBenchSite(b, benchRemote{store.NewMemory(), late}) }
	gated := func(s *benchSite, page http.Handler) http.Handler {
		return s.guard.Handler(s.guard.RequireRole("Engineer")(page))
	}
	run := func(name string, status int, h http.Handler, requests ...*http.Request) {
		b.Run(name, func(b *testing.B) {
			w := &benchWriter{header: http.Header{}}
			var r http.Request // gorilla writes its registry to the request
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				w.reset()
				r = *requests[i%len(requests)]
				h.ServeHTTP(w, &r)
			}
			require.Equal(b, status, w.status)
		})
	}

	s := memory()
	r := s.login(b)
	run("bare", 200, benchPage, r)
	run("NoCache", 200, sessionguard.NoCache(benchPage), r)
	run("no look", 200, s.guard.Handler(benchPage), r)
	run("hit", 200, gated(s, benchPage), r)
	run("gate alone", 200, s.guard.RequireRole("Engineer")(benchPage), r)

	unknown := memory().login(b)
	forged := unknown.Clone(unknown.Context())
	forged.Header.Set("Cookie", forged.Header.Get("Cookie")[:60]+"AAAA"+forged.Header.Get("Cookie")[64:])
	run("miss", 401, gated(s, benchPage), unknown)
	run("forged", 401, gated(s, benchPage), forged)

	many := make([]*http.Request, 20_000) // a millisecond passes before the same session comes again
	for i := range many {
		many[i] = s.login(b)
	}
	run("touch due", 200, gated(s, benchPage), many...)

	near := remote(0)
	run("remote/hit", 200, gated(near, benchPage), near.login(b))
	run("remote/miss", 401, gated(near, benchPage), unknown)
	run("remote/forged", 401, gated(near, benchPage), forged)
	late := remote(2 * time.Minute)
	run("remote/touch due", 200, gated(late, benchPage), late.login(b))

	gorilla := sessions.NewCookieStore(bytes.Repeat([]byte("a"), 64), bytes.Repeat([]byte("e"), 32))
	cookie := benchCookie(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := gorilla.Get(r, "app")
		benchValues(session)
		_ = session.Save(r, w)
	}))
	run("value read", 200, gated(s, benchRead(s.guard)), r)
	run("value written", 200, gated(s, benchWrite(s.guard)), r)
	run("CookieStore/value read", 200, benchRead(gorilla), cookie)
	run("CookieStore/value written", 200, benchWrite(gorilla), cookie)
}

// The design's target is one allocation of at most 512 B over the bare handler. It
// includes extending the idle deadline and setting the caching headers.
func TestProtectedRequestCostsOneAllocationOverTheBareHandler(t *testing.T) {
	s := newBenchSite(t, nil)
	r := s.login(t)
	r.Header.Set("Sec-Fetch-Site", "same-origin") // as a browser does
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	w := &benchWriter{header: http.Header{}}
	role := s.guard.RequireRole("Engineer")
	allocations := func(h http.Handler) float64 {
		return testing.AllocsPerRun(1000, func() { w.reset(); h.ServeHTTP(w, r) })
	}
	bare := allocations(benchPage)
	for name, h := range map[string]http.Handler{
		"Handler and gate":      s.guard.Handler(role(benchPage)),
		"Handler and two gates": s.guard.Handler(s.guard.RequireLogin(role(benchPage))),
		"gate alone":            role(benchPage),
		"Handler alone":         s.guard.Handler(benchPage),
		"NoCache":               sessionguard.NoCache(benchPage),
		"Handler and User":      s.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.guard.User(r); benchPage(w, r) })),
		"RequireFunc":           s.guard.RequireFunc(func(u *user, _ *http.Request) bool { return u.HasRole("Engineer") })(benchPage),
		"RequireFresh":          s.guard.RequireFresh(time.Hour)(benchPage),
		"Passive gate":          s.guard.Passive(role(benchPage)),
	} {
		require.Equal(t, 1.0, allocations(h)-bare, name)
		require.Equal(t, http.StatusOK, w.status, name)
	}
	requireNoStore(t, benchHeader(role(benchPage), r))
}

// The end of a request that has taken a while is activity once more, at no further cost.
func TestALongerRequestAllocatesNoMore(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newBenchSite(t, nil)
		r, w := s.login(t), &benchWriter{header: http.Header{}}
		allocations := func(takes time.Duration) float64 {
			h := s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { advance(takes); benchPage(w, r) }))
			return testing.AllocsPerRun(1000, func() { w.reset(); h.ServeHTTP(w, r) })
		}
		require.Equal(t, allocations(time.Microsecond), allocations(time.Second))
	})
}

func benchHeader(h http.Handler, r *http.Request) http.Header {
	w := &benchWriter{header: http.Header{}}
	h.ServeHTTP(w, r)
	return w.header
}
