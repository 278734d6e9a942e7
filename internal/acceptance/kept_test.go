package acceptance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// The tests of this file keep a request, or a copy of it, longer than it lasts.

// I2: a gate decides anew about a request whose response is over, however it was kept and
// whether its context has ended. A server's ResponseWriter may panic by then.
func TestAGateDecidesAnewAboutARequestThatIsOver(t *testing.T) {
	for name, derived := range derivations {
		for _, cancelled := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", cancelled: ", cancelled), func(t *testing.T) {
				overBoth(t, func(t *testing.T, proto string) {
					s, backend, b := writerSite(t, proto, nil)
					var kept *http.Request
					s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
						s.guard.User(r)
						io.WriteString(w, "page")
						kept = r
					})
					var login error
					s.mux.Handle("GET /in", s.guard.Passive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						login = s.guard.Login(w, r, &user{ID: "grace"})
					})))
					b.login("ada")
					require.Equal(t, "page", b.Get("/page").Body)
					advance(time.Second) // until the server has finished the request
					serve := func(path string) *httptest.ResponseRecorder {
						sub := derived(kept, path, cookieOf(b))
						if !cancelled {
							sub = sub.WithContext(context.WithoutCancel(sub.Context()))
						}
						recorder := httptest.NewRecorder()
						s.mux.ServeHTTP(recorder, sub)
						return recorder
					}
					require.Equal(t, "secret of ada", serve("/poll").Body.String())
					serve("/in")
					sub := derived(kept, "/in", cookieOf(b))
					if cancelled || fmt.Sprintf("%p", sub.Header) == fmt.Sprintf("%p", kept.Header) {
						require.ErrorIs(t, login, sessionguard.ErrHeadersSent, "it is the request whose response is over")
						require.Empty(t, sessionsOf(t, backend, "grace"))
					}
					require.NoError(t, s.guard.EndUser(t.Context(), "ada"))
					require.NotContains(t, serve("/poll").Body.String(), "secret")
				})
			})
		}
	}
}

// So it does if the request has looked at its session only, not at the user.
func TestAGateDecidesAnewAboutASessionThatWasOnlyListed(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		var kept *http.Request
		s.mux.HandleFunc("GET /list", func(w http.ResponseWriter, r *http.Request) {
			if _, err := s.guard.Sessions(r.Context(), "ada"); err != nil {
				s.Error(err)
			}
			kept = r
		})
		serve := func() string {
			recorder := httptest.NewRecorder()
			s.guard.Passive(s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "secret") }))).ServeHTTP(recorder, kept)
			return recorder.Body.String()
		}
		b := s.browse()
		b.login("ada")
		b.Get("/list")
		advance(time.Second) // until the server has finished the request
		require.NoError(s.T, s.guard.EndUser(s.Context(), "ada"))
		require.NotContains(s.T, serve(), "secret")
	})
}

// I2: so it does about a WebSocket that goes on after a logout, also if its messages are
// served as copies of its request that share the header.
func TestAGateDecidesAnewOnAHijackedConnection(t *testing.T) {
	s := newSite(t, nil)
	var before, after *httptest.ResponseRecorder
	var login error
	s.mux.Handle("GET /in", s.guard.Passive(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		login = s.guard.Login(w, r, &user{ID: "grace"})
	})))
	s.mux.Handle("GET /ws", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		serve := func(path string) *httptest.ResponseRecorder {
			recorder := httptest.NewRecorder()
			s.mux.ServeHTTP(recorder, derivations["WithContext, in the same header"](r, path, r.Header["Cookie"]))
			return recorder
		}
		before = serve("/poll")
		serve("/in")
		_ = s.guard.EndUser(r.Context(), "ada")
		after = serve("/poll")
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	})))
	b := s.browse()
	b.login("ada")
	resp, err := b.Client.Do(b.Request("GET", "/ws", "Connection", "Upgrade", "Upgrade", "echo"))
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, resp.Body) // until the server has closed the connection
	resp.Body.Close()
	require.Equal(t, "secret of ada", before.Body.String())
	require.ErrorIs(t, login, sessionguard.ErrHeadersSent, "a connection that was taken sets no cookie")
	require.NotContains(t, after.Body.String(), "secret")
}

// I2: a middleware that replaces the cookies in a request's own header, as one does that
// passes the request on elsewhere, changes nothing for a copy that has the old ones.
func TestCookiesReplacedInPlaceAreNotTheRequests(t *testing.T) {
	for name, replaced := range map[string]func(grace *browser) []string{
		"by another user's": cookieOf, "by none": func(*browser) []string { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				ada, grace := s.browse(), s.browse()
				ada.Post("/value?k=k&v=hers")
				visitor := ada.Cookies()[visitorCookie]
				grace.login("grace")
				var user string
				var value any
				s.mux.HandleFunc("GET /user", func(_ http.ResponseWriter, r *http.Request) {
					clone := r.Clone(r.Context())
					r.Header["Cookie"] = replaced(grace)
					if u, ok := s.guard.User(clone); ok {
						user = u.ID
					}
				})
				s.mux.HandleFunc("GET /visitor", func(_ http.ResponseWriter, r *http.Request) {
					clone := r.Clone(r.Context())
					r.Header["Cookie"] = replaced(grace)
					session, _ := s.guard.Get(clone, "app")
					value = session.Values["k"]
				})
				s.mux.HandleFunc("POST /end", func(w http.ResponseWriter, r *http.Request) {
					clone := r.Clone(r.Context())
					r.Header["Cookie"] = replaced(grace)
					_ = s.guard.End(w, clone)
				})
				ada.Get("/visitor")
				require.Equal(s.T, "hers", value)
				ada.login("ada")
				ada.Get("/user")
				require.Equal(s.T, "ada", user)

				thief := s.copyOf(ada)
				ada.Post("/end")
				require.False(s.T, thief.loggedIn())
				require.True(s.T, grace.loggedIn(), "a logout ends its own request's session")
				require.NotEqual(s.T, visitor, ada.Cookies()[visitorCookie])
			})
		})
	}
}

// A goroutine that has only the context of a request does not read its header, which the
// handler may change meanwhile. (For the race detector.)
func TestAContextIsUsedBesideChangesOfTheHeader(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	s.serveAs(b, func(_ http.ResponseWriter, r *http.Request) {
		ctx, clone := r.Context(), r.Clone(r.Context())
		var all sync.WaitGroup
		all.Go(func() { _, _ = s.guard.Sessions(ctx, "ada") })
		all.Go(func() { _ = s.guard.EndSession(ctx, "grace", "none") })
		all.Go(func() { s.guard.User(clone) })
		all.Go(func() { r.Header.Set("X-User", "ada") })
		all.Wait()
	})
}
