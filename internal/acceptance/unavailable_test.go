package acceptance

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

func requireUnavailable(t *testing.T, a response) {
	t.Helper()
	require.Equal(t, http.StatusServiceUnavailable, a.StatusCode, a.Body)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	require.NotContains(t, a.Body, "secret")
	requireNoStore(t, a.Header)
}

// L5, ASVS 16.5.3: every page that depends on who is asking, and no other
func TestABackendThatIsDownIsA503AndLogsNobodyOut(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend, ran := newFailingBackend(), false
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			c.Backend = backend
			c.Refusals.Login = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran = true })
		})
		s.mux.Handle("GET /gated", s.guard.RequireLogin(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { ran = true })))
		s.mux.HandleFunc("GET /redirects", func(w http.ResponseWriter, r *http.Request) {
			if _, ok := s.guard.User(r); !ok {
				http.Redirect(w, r, "/login", http.StatusSeeOther)
			}
		})
		s.mux.HandleFunc("GET /writes-nothing", func(w http.ResponseWriter, r *http.Request) { s.guard.User(r) })
		b := s.browse()
		b.login("ada")
		cookies := b.Cookies()
		backend.failOn("*")
		for _, path := range []string{"/gated", "/home", "/admin", "/fresh", "/poll", "/status", "/", "/value?k=k", "/redirects", "/writes-nothing"} {
			for _, accept := range []string{"text/html", "application/json"} {
				a := b.Get(path, "Accept", accept)
				requireUnavailable(t, a)
				require.Empty(t, a.Cookies(), path)
				require.Equal(t, accept == "text/html", strings.HasPrefix(a.Header.Get("Content-Type"), "text/html"), path)
			}
		}
		requireUnavailable(t, b.Post("/value?k=k&v=v"))
		require.False(t, ran, "a gate answers before its handler runs, and asks nobody to log in")

		before := backend.callCounts()
		a := b.Get("/static")
		require.Equal(t, "body {}", a.Body)
		require.Equal(t, "public, max-age=3600", a.Header.Get("Cache-Control"))
		require.Equal(t, http.StatusNotFound, b.Get("/nothing-here").StatusCode)
		require.Equal(t, before, backend.callCounts(), "Handler loads nothing")

		stranger := s.browse()
		require.Equal(t, "welcome nobody []", stranger.Get("/").Body, "who has no cookie needs no backend")

		backend.failOn()
		require.Equal(t, cookies, b.Cookies())
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		require.Contains(t, s.log.String(), errBackendDown.Error())
	})
}

// L5, L6: each method alone
func TestEachFailureOfTheBackendIsA503(t *testing.T) {
	for method, ask := range map[string]func(*browser) response{
		"Load":  func(b *browser) response { return b.Get("/home") },
		"Touch": func(b *browser) response { return b.Get("/home") },
		"Save":  func(b *browser) response { return b.Post("/value?k=k&v=v") },
	} {
		t.Run(method, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				b := s.browse()
				b.login("ada")
				advance(2 * time.Minute)
				backend.failOn(method)
				a := ask(b)
				requireUnavailable(t, a)
				require.Empty(t, a.Cookies())
				backend.failOn()
				require.Equal(t, "secret of ada", b.Get("/home").Body)
				require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body, "and nothing is half done")
			})
		})
	}
}

// L5: whoever a failing login leaves logged in, it is not the new user
func TestALoginThatTheBackendRefusesLogsNobodyIn(t *testing.T) {
	for method, first := range map[string]string{"Create": "", "Load": "grace", "Delete": "grace", "Replace": "ada", "*": "ada"} {
		t.Run(method+" as "+first, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				got := make(chan error, 1)
				s.mux.HandleFunc("POST /again", func(w http.ResponseWriter, r *http.Request) {
					got <- s.guard.Login(w, r, &user{ID: "ada", Roles: []string{"Admin"}})
					u, ok := s.guard.User(r)
					fmt.Fprintf(w, "secret %v %v", u, ok)
				})
				b := s.browse()
				b.Post("/value?k=cart&v=book")
				if first != "" {
					b.login(first)
				}
				before := b.Cookies()
				backend.failOn(method)
				a := b.Post("/again")
				requireUnavailable(t, a)
				require.ErrorIs(t, <-got, sessionguard.ErrUnavailable)
				require.Empty(t, a.Cookies())
				require.Equal(t, before, b.Cookies())
				backend.failOn()
				require.Len(t, sessionsOf(t, backend, "ada"), map[string]int{"ada": 1}[first])
				if first == "" {
					require.Equal(t, "book <nil>", b.Get("/value?k=cart").Body)
				} else {
					require.Equal(t, "secret of "+first, b.Get("/home").Body)
				}
			})
		})
	}
}

// L5, ASVS 7.4.1: a logout never claims what it did not do
func TestALogoutThatCouldNotPurgeSaysSo(t *testing.T) {
	for name, failing := range map[string][]string{"Delete": {"Delete"}, "all": {"*"}} {
		for _, accept := range []string{"text/html", "application/json"} {
			t.Run(name+" "+accept, func(t *testing.T) {
				withFakeClock(t, func(t *testing.T) {
					s, backend := remoteSite(t)
					b, copied := s.browse(), s.browse()
					b.login("ada")
					copied.SetCookies(b.Cookies())
					backend.failOn(failing...)
					a := b.Post("/logout", "Accept", accept)
					requireUnavailable(t, a)
					require.NotContains(t, a.Body, "You have been logged out")
					require.Contains(t, a.Body, "could not be told")
					require.NotContains(t, b.Cookies(), sessionCookie, "this browser is logged out all the same")
					require.Contains(t, b.Cookies(), visitorCookie, "and a cookie that is new empties the back/forward cache")
					backend.failOn()
					require.Equal(t, "welcome nobody []", b.Get("/").Body, "no flash claims success")
					require.True(t, copied.loggedIn(), "what it said is true")
				})
			})
		}
	}
}

// L5: End, in a handler that does not look at its error
func TestAnEndThatCouldNotPurgeReplacesThePage(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		got := make(chan error, 1)
		s.mux.HandleFunc("POST /end", func(w http.ResponseWriter, r *http.Request) {
			got <- s.guard.End(w, r)
			fmt.Fprint(w, "secret: goodbye")
		})
		b := s.browse()
		b.login("ada")
		backend.failOn("Delete")
		requireUnavailable(t, b.Post("/end"))
		require.ErrorIs(t, <-got, sessionguard.ErrUnavailable)
		require.NotContains(t, b.Cookies(), sessionCookie)
	})
}

// L5: a logout needs no more of the backend than the deletion
func TestALogoutWorksWhileNothingCanBeLoaded(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		backend.failOn("Load", "Touch", "Save", "Create", "Replace", "ByOwner")
		require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
		require.Equal(t, "welcome nobody [You have been logged out.]", b.Get("/").Body)
		backend.failOn()
		require.Empty(t, sessionsOf(t, backend, "ada"))
	})
}

// L5: nobody may take a failure for "ended"
func TestEndingElsewhereReportsABackendThatIsDown(t *testing.T) {
	for _, method := range []string{"ByOwner", "Delete"} {
		withFakeClock(t, func(t *testing.T) {
			s, backend := remoteSite(t)
			others := make(chan error, 1)
			s.mux.Handle("POST /others", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				others <- s.guard.EndOthers(r)
			})))
			b, phone := s.browse(), s.browse()
			b.login("ada")
			phone.login("ada")
			id := statusOf(phone).Session
			backend.failOn(method)
			b.Post("/others")
			for _, err := range []error{<-others, s.guard.EndUser(t.Context(), "ada"), s.guard.EndSession(t.Context(), "ada", id)} {
				require.ErrorIs(t, err, sessionguard.ErrUnavailable)
				require.ErrorIs(t, err, errBackendDown)
				require.False(t, errors.Is(err, sessionguard.ErrNoSession))
			}
			backend.failOn()
			require.True(t, phone.loggedIn())
		})
	}
}

// L5: a Save after the first byte is the handler's to report
func TestALateSaveReportsABackendThatIsDown(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		saved := make(chan error, 1)
		s.mux.HandleFunc("POST /late", func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			fmt.Fprint(w, "begun")
			backend.failOn("Save")
			session.Values["k"] = "late"
			saved <- session.Save(r, w)
		})
		b := s.browse()
		b.login("ada")
		require.Equal(t, "begun", b.Post("/late").Body)
		require.ErrorIs(t, <-saved, sessionguard.ErrUnavailable)
		require.Contains(t, s.log.String(), "are lost")
	})
}

// L5: a backend may speak of itself in our words
func TestABackendThatReturnsErrUnavailableIsA503(t *testing.T) {
	for method, path := range map[string]string{"Load": "GET /home", "Touch": "GET /home", "Save": "POST /value?k=k&v=v", "Delete": "POST /logout"} {
		withFakeClock(t, func(t *testing.T) {
			s, backend := remoteSite(t)
			b := s.browse()
			b.login("ada")
			advance(2 * time.Minute)
			backend.fail[method] = fmt.Errorf("cluster: %w", sessionguard.ErrUnavailable)
			verb, path, _ := strings.Cut(path, " ")
			requireUnavailable(t, b.Do(b.Request(verb, path)))
		})
	}
}
