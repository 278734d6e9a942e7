package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// silentRecoverer recovers from every panic and writes nothing.
func silentRecoverer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { _ = recover() }()
		next.ServeHTTP(w, r)
	})
}

// brokenRefusals are handlers for Config.Refusals that do not respond.
var brokenRefusals = map[string]http.HandlerFunc{
	"panics": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Content-Encoding", "gzip")
		panic("a broken template")
	},
	"aborts": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"writes nothing": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
	},
	"only hints": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) },
}

// R3, L6: whatever a custom refusal fails to do, and whatever middleware is around it, the
// refused page is not sent, and no empty 200 either.
func TestARefusalThatDoesNotRespondGetsTheDefault(t *testing.T) {
	nothing := func(next http.Handler) http.Handler { return next }
	for broken, refusal := range brokenRefusals {
		for around, middleware := range map[string]func(http.Handler) http.Handler{
			"nothing": nothing, "recoverer": silentRecoverer, "compressor": compress,
			"another's writer": otherMiddleware, "NoCache": sessionguard.NoCache,
			"http.TimeoutHandler":   func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Hour, "") },
			"recoverer, compressed": func(h http.Handler) http.Handler { return silentRecoverer(compress(h)) },
		} {
			if broken == "only hints" && around == "http.TimeoutHandler" {
				continue // it takes 103 for the final status
			}
			t.Run(broken+", "+around, func(t *testing.T) {
				withFakeClock(t, func(t *testing.T) {
					s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) {
						c.Refusals = sessionguard.Refusals{Login: refusal, Forbidden: refusal, Reauth: refusal, CrossOrigin: refusal, Unavailable: refusal}
					})
					gates := http.NewServeMux()
					gates.Handle("/g/login", s.guard.RequireLogin(http.NotFoundHandler()))
					gates.Handle("/g/role", s.guard.RequireRole("Admin")(http.NotFoundHandler()))
					gates.Handle("/g/fresh", s.guard.RequireFresh(0)(http.NotFoundHandler()))
					gates.HandleFunc("/g/page", func(w http.ResponseWriter, r *http.Request) { // recovers itself, and goes on
						s.guard.User(r)
						for range 3 {
							_ = recovered(func() { io.WriteString(w, "secret") })
						}
					})
					s.mux.Handle("/", middleware(gates))
					b, visitor := s.browse(), s.browse()
					b.login("ada")
					get := func(b *browser, path string) response {
						resp := b.Get(path, "Sec-Fetch-Mode", "cors")
						requireNoStore(t, resp.Header)
						return resp
					}
					require.Equal(t, "login_required", gateVerdict(get(visitor, "/g/login")))
					require.Equal(t, "forbidden", gateVerdict(get(b, "/g/role")))
					require.Equal(t, "reauthentication_required", gateVerdict(get(b, "/g/fresh")))
					require.Equal(t, http.StatusSeeOther, visitor.Get("/g/login").StatusCode)
					resp := b.Post("/g/page", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors")
					require.Equal(t, "cross_origin", gateVerdict(resp))
					advance(2 * time.Minute)
					backend.failOn("Touch")
					resp = get(b, "/g/page")
					require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
					require.Equal(t, "unavailable", gateVerdict(resp))
					require.NotContains(t, resp.Body, "secret")
					require.Equal(t, broken == "panics", strings.Contains(s.log.String(), "a broken template"))
				})
			})
		}
	}
}

// recovered calls do and returns what it panics with.
func recovered(do func()) (p any) {
	defer func() { p = recover() }()
	do()
	return nil
}

// A refusal that has begun when its handler panics is all that the client gets, also if the
// refused handler recovers and writes its page again.
func TestARefusalThatPanicsHalfwayIsNotFollowedByThePage(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := refusalSite(t, func(c *sessionguard.Config[*user]) {
			c.Refusals.Unavailable = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusTeapot)
				io.WriteString(w, "half")
				panic("a broken template")
			})
		})
		var panicked any
		s.mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
			s.guard.User(r)
			panicked = recovered(func() { io.WriteString(w, "secret") })
			io.WriteString(w, "secret")
		})
		b := s.browse()
		b.login("ada")
		advance(2 * time.Minute)
		backend.failOn("Touch")
		resp := b.Get("/page")
		require.Equal(t, http.StatusTeapot, resp.StatusCode)
		require.Equal(t, "half", resp.Body)
		require.Equal(t, "a broken template", fmt.Sprint(panicked))
	})
}
