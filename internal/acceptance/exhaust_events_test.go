package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// ASVS 16.4: a client that is not logged in, whatever it sends to whichever route, causes
// few events and little log, and no backend calls. The application's mistakes, which it finds,
// count too.
func TestAStrangersFloodCausesFewEventsAndNoBackendCalls(t *testing.T) {
	const requests = 100
	long := strings.Repeat("X", 100_000)
	forged := sessionCookie + "=" + strings.Repeat("x", 64)
	manyForged := strings.Repeat(forged+"; ", 1000)
	withFakeClock(t, func(t *testing.T) {
		events := 0
		s, backend := remoteSite(t)
		guard, err := sessionguard.New(sessionguard.Config[*user]{
			FindUser: s.users.Find, Keys: testKeys, Backend: backend, Logger: s.config.Logger,
			OnEvent: func(ctx context.Context, e sessionguard.Event) { events++; e.Log(ctx, s.config.Logger) },
		})
		require.NoError(t, err)
		s.guard, s.mux = guard, http.NewServeMux()
		s.routes()
		s.mux.Handle("/sessionguard/", guard.Script())
		s.mux.HandleFunc("/next", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, guard.Next(r, "/")) })
		s.mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "x"); guard.User(r) })
		s.mux.HandleFunc("/unsaveable", func(w http.ResponseWriter, r *http.Request) {
			session, _ := guard.Get(r, "app")
			session.Values["k"] = func() {}
		})
		s.mux.HandleFunc("/late-values", func(w http.ResponseWriter, r *http.Request) {
			session, _ := guard.Get(r, "app")
			fmt.Fprint(w, "x")
			session.Values["k"] = "v"
		})
		s.mux.HandleFunc("/reason", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, guard.EndReason(r)) })
		handler := guard.Handler(s.mux)
		before := backend.callCounts()
		for _, path := range []string{
			"/", "/home", "/admin", "/fresh", "/poll", "/status", "/value?k=k", "/static", "/logout", "/next", "/late", "/unsaveable",
			"/late-values", "/reason", "/sessionguard/status", "/sessionguard/stay", "/sessionguard/resume", "/sessionguard/logout",
		} {
			for _, method := range []string{"GET", "POST", long} {
				for _, cookies := range []string{"", forged, manyForged} {
					for _, from := range []string{"same-origin", "cross-site"} {
						advance(time.Second)
						events = 0
						logged := len(s.log.String())
						for range requests {
							r := httptest.NewRequest("GET", "https://app.example"+path, nil)
							r.Method = method
							r.Header = http.Header{"Cookie": {cookies}, "Sec-Fetch-Site": {from}, "User-Agent": {long}, "Origin": {long}}
							handler.ServeHTTP(httptest.NewRecorder(), r)
						}
						what := fmt.Sprintf("%.10s %s %.20s %s", method, path, cookies, from)
						require.LessOrEqual(t, events, 2, what)
						require.LessOrEqual(t, len(s.log.String())-logged, 4000, what)
					}
				}
			}
		}
		require.Equal(t, before, backend.callCounts())
		require.Zero(t, s.users.lookups)
	})
}

// ASVS 16.4: nor does a user who hangs up.
func TestAUserWhoHangsUpCausesFewEvents(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.users.hear = true
		b := s.browse()
		b.login("ada")
		handler := s.guard.Handler(s.mux)
		s.events.take()
		for range 100 {
			ctx, cancel := context.WithCancel(s.T.Context())
			cancel()
			r := httptest.NewRequestWithContext(ctx, "GET", "https://app.example/home", nil)
			r.Header.Set("Cookie", sessionCookie+"="+b.Cookies()[sessionCookie])
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			require.Equal(s.T, http.StatusServiceUnavailable, w.Code)
		}
		require.Len(s.T, s.events.take(), 1)
	})
}
