package acceptance

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// held is a request whose handler waits.
type held struct {
	entered, release chan struct{}
	response         chan response
}

// hold sends a request to a new route and returns once its handler has called wait. That
// call returns when the test calls finish.
func hold(s *site, b *browser, method string, wrap func(http.Handler) http.Handler, handler func(w http.ResponseWriter, r *http.Request, wait func())) *held {
	h := &held{make(chan struct{}), make(chan struct{}), make(chan response, 1)}
	wait := func() { close(h.entered); <-h.release }
	s.mux.Handle(method+" /held", wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler(w, r, wait) })))
	req := b.Request(method, "/held")
	req.Header.Set("Accept", "text/html")
	go func() {
		defer close(h.response)
		if resp, err := b.Client.Do(req); err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			h.response <- response{Response: resp, Body: string(body)}
		}
	}()
	<-h.entered
	return h
}

func (h *held) finish(t *testing.T) response {
	t.Helper()
	close(h.release)
	resp, ok := <-h.response
	require.True(t, ok, "the request got a response")
	return resp
}

// sessionEnds has ways to end ada's session. Some log the browser in again.
var sessionEnds = map[string]func(*site, *browser){
	"logout":              func(_ *site, b *browser) { b.Post("/logout") },
	"EndUser":             func(s *site, _ *browser) { _ = s.guard.EndUser(context.Background(), "ada") },
	"EndAll":              func(s *site, _ *browser) { _ = s.guard.EndAll(context.Background()) },
	"another login":       func(_ *site, b *browser) { b.login("grace") },
	"re-authentication":   func(_ *site, b *browser) { b.login("ada") },
	"deactivation":        func(s *site, b *browser) { s.users.change("ada", func(u *user) { u.Inactive = true }); b.Get("/poll") },
	"logout, login again": func(_ *site, b *browser) { b.Post("/logout"); b.login("ada") },
}

// requestsInFlight has requests and what their handlers do before and after the session
// ends.
var requestsInFlight = map[string]struct {
	method        string
	wrap          func(*site) func(http.Handler) http.Handler
	before, after func(*site, http.ResponseWriter, *http.Request) // nil: nothing
}{
	"touch":                           {"GET", requireLogin, nil, nil},
	"change a value":                  {"POST", requireLogin, nil, changeValue},
	"change a value, passive":         {"GET", func(s *site) func(http.Handler) http.Handler { return s.guard.Passive }, nil, changeValue},
	"save an earlier change":          {"POST", inHandler, changeValue, nil},
	"call Save for an earlier change": {"POST", inHandler, changeValue, saveValues},
}

func requireLogin(s *site) func(http.Handler) http.Handler { return s.guard.RequireLogin }
func inHandler(s *site) func(http.Handler) http.Handler    { return s.guard.Handler }

func changeValue(s *site, _ http.ResponseWriter, r *http.Request) {
	session, _ := s.guard.Get(r, "app")
	session.Values["k"] = "late"
}

func saveValues(s *site, w http.ResponseWriter, r *http.Request) {
	session, _ := s.guard.Get(r, "app")
	session.Save(r, w)
}

// L3, ASVS 7.4.1: however the session ends, a request in flight cannot undo that.
func TestRequestInFlightDoesNotResurrectTheSession(t *testing.T) {
	for ending, end := range sessionEnds {
		for request, inFlight := range requestsInFlight {
			t.Run(ending+"/"+request, func(t *testing.T) {
				onBoth(t, func(s *site, backend *failingBackend) {
					b, slow := s.browse(), s.browse()
					b.login("ada")
					slow.SetCookies(b.Cookies())
					old := b.Cookies()
					advance(2 * time.Minute) // a touch is due
					h := hold(s, slow, inFlight.method, inFlight.wrap(s), func(w http.ResponseWriter, r *http.Request, wait func()) {
						s.guard.User(r)
						if inFlight.before != nil {
							inFlight.before(s, w, r)
						}
						wait()
						if inFlight.after != nil {
							inFlight.after(s, w, r)
						}
						io.WriteString(w, "secret of ada")
					})
					end(s, b)
					newer := b.Cookies()
					resp := h.finish(s.T)
					require.Equal(s.T, http.StatusSeeOther, resp.StatusCode, "a refusal in place of the page: %s", resp.Body)
					require.True(s.T, strings.HasPrefix(resp.Header.Get("Location"), "/login"), resp.Header.Get("Location"))
					require.NotContains(s.T, resp.Body, "secret")
					require.Empty(s.T, resp.Cookies(), "the cookie of a newer login is kept")
					requireNoStore(s.T, resp.Header)

					replay := s.browse()
					replay.SetCookies(old)
					require.False(s.T, replay.loggedIn())
					b.SetCookies(newer)
					if b.loggedIn() {
						require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=k").Body, "no value of the old session is in the newer one")
					} else if backend != nil {
						require.Empty(s.T, sessionsOf(s.T, backend, "ada"))
					}
				})
			})
		}
	}
}

// L3, ASVS 7.4.5: a session that only a request in flight keeps beyond its idle deadline
// can be ended like any other.
func TestSessionKeptAliveByASlowRequestCanBeEnded(t *testing.T) {
	for name, end := range map[string]func(*site, string) error{
		"EndUser":    func(s *site, _ string) error { return s.guard.EndUser(context.Background(), "ada") },
		"EndSession": func(s *site, id string) error { return s.guard.EndSession(context.Background(), "ada", id) },
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				b := s.browse()
				b.login("ada")
				id := statusOf(b).Session
				advance(idle - time.Second)
				h := hold(s, b, "GET", s.guard.RequireLogin, func(w http.ResponseWriter, r *http.Request, wait func()) {
					wait()
					io.WriteString(w, "secret")
				})
				advance(10 * time.Second)
				if err := end(s, id); name == "EndUser" {
					require.NoError(s.T, err)
				}
				require.NotContains(s.T, h.finish(s.T).Body, "secret")
				require.False(s.T, b.loggedIn())
			})
		})
	}
}

// L3, R3
func TestAPIRequestInFlightDuringLogoutGetsA401(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b, slow := s.browse(), s.browse()
		b.login("ada")
		slow.SetCookies(b.Cookies())
		advance(2 * time.Minute)
		asJSON := func(next http.Handler) http.Handler {
			return s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Set("Accept", "application/json")
				next.ServeHTTP(w, r)
			}))
		}
		h := hold(s, slow, "GET", asJSON, func(w http.ResponseWriter, r *http.Request, wait func()) {
			w.Header().Set("Content-Disposition", `attachment; filename="of ada.csv"`)
			wait()
			io.WriteString(w, "secret of ada")
		})
		b.Post("/logout")
		resp := h.finish(s.T)
		require.Equal(s.T, http.StatusUnauthorized, resp.StatusCode)
		require.Equal(s.T, "application/problem+json", resp.Header.Get("Content-Type"))
		require.Empty(s.T, resp.Header.Get("Content-Disposition"))
		require.Contains(s.T, resp.Body, "login_required")
	})
}

// L3: after the first byte the page cannot be replaced, but nothing is saved.
func TestLateSaveDoesNotResurrectTheSession(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		b, slow := s.browse(), s.browse()
		b.login("ada")
		slow.SetCookies(b.Cookies())
		saved := make(chan error, 1)
		h := hold(s, slow, "GET", s.guard.RequireLogin, func(w http.ResponseWriter, r *http.Request, wait func()) {
			session, _ := s.guard.Get(r, "app")
			io.WriteString(w, "begun")
			wait()
			session.Values["k"] = "late"
			saved <- session.Save(r, w)
		})
		b.Post("/logout")
		require.Equal(s.T, "begun", h.finish(s.T).Body)
		require.ErrorIs(s.T, <-saved, sessionguard.ErrNoSession)
		require.False(s.T, slow.loggedIn())
		if backend != nil {
			require.Empty(s.T, sessionsOf(s.T, backend, "ada"))
		}
		require.Empty(s.T, s.log.String(), "this is not a failure")
	})
}

// L3: what a logout does to the page of a request that it overtakes. The session is never
// brought back; whether the page is sent depends on whether anything has to be stored.
func TestLogoutThatOvertakesARequest(t *testing.T) {
	change := func(s *site, r *http.Request) {
		session, _ := s.guard.Get(r, "app")
		session.Values["k"] = "v"
	}
	for _, test := range []struct {
		name           string
		passive        bool
		after          time.Duration // since the last activity, when the request is accepted
		do             func(*site, *http.Request)
		memory, remote int
	}{
		{"activity a moment ago", false, 0, nil, 200, 200},
		{"a touch is due with Memory", false, 30 * time.Second, nil, 303, 200},
		{"a touch is due with any backend", false, 2 * time.Minute, nil, 303, 303},
		{"passive", true, 2 * time.Minute, nil, 200, 200},
		{"passive, but it changes values", true, 0, change, 303, 303},
	} {
		for backend, want := range map[string]int{"in process": test.memory, "remote": test.remote} {
			t.Run(test.name+", "+backend, func(t *testing.T) {
				withFakeClock(t, func(t *testing.T) {
					s := newSite(t, func(c *sessionguard.Config[*user]) {
						if backend == "remote" {
							c.Backend = newFailingBackend()
						}
					})
					b := s.browse()
					b.login("ada")
					advance(test.after)
					wrap := s.guard.RequireLogin
					if test.passive {
						wrap = func(next http.Handler) http.Handler { return s.guard.Passive(s.guard.RequireLogin(next)) }
					}
					other := s.copyOf(b)
					h := hold(s, b, "GET", wrap, func(w http.ResponseWriter, r *http.Request, wait func()) {
						wait()
						if test.do != nil {
							test.do(s, r)
						}
						io.WriteString(w, "the page")
					})
					other.Post("/logout")
					resp := h.finish(t)
					require.Equal(t, want, resp.StatusCode, resp.Body)
					require.False(t, b.loggedIn(), "nothing brings the session back")
				})
			})
		}
	}
}
