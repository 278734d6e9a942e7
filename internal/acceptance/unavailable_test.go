package acceptance

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// requireUnavailable checks that resp is a 503 and shows nothing of a protected page.
func requireUnavailable(t *testing.T, resp response) {
	t.Helper()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, resp.Body)
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	require.NotContains(t, resp.Body, "secret")
	require.NotContains(t, resp.Body, errBackendDown.Error(), "ASVS 16.5.1")
	requireNoStore(t, resp.Header)
}

// L5, ASVS 16.5.3: if the backend is down, every page that depends on the session is a
// 503, and no other page
func TestBackendFailureIs503AndLogsNobodyOut(t *testing.T) {
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
				resp := b.Get(path, "Accept", accept)
				requireUnavailable(t, resp)
				require.Empty(t, resp.Cookies(), path)
				require.Equal(t, accept == "text/html", strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html"), path)
			}
		}
		requireUnavailable(t, b.Post("/value?k=k&v=v"))
		require.False(t, ran, "a gate responds before its handler runs, and does not ask for a login")

		before := backend.callCounts()
		resp := b.Get("/static")
		require.Equal(t, "body {}", resp.Body)
		require.Equal(t, "public, max-age=3600", resp.Header.Get("Cache-Control"))
		require.Equal(t, http.StatusNotFound, b.Get("/nothing-here").StatusCode)
		require.Equal(t, before, backend.callCounts(), "Handler loads nothing")

		visitor := s.browse()
		require.Equal(t, "welcome nobody []", visitor.Get("/").Body, "a request without a cookie needs no backend")

		backend.failOn()
		require.Equal(t, cookies, b.Cookies())
		require.Equal(t, "secret of ada", b.Get("/home").Body)
		require.Contains(t, s.log.String(), errBackendDown.Error())
	})
}

// L5, L6
func TestFailureOfEachBackendMethodIs503(t *testing.T) {
	for method, send := range map[string]func(*browser) response{
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
				resp := send(b)
				requireUnavailable(t, resp)
				require.Empty(t, resp.Cookies())
				backend.failOn()
				require.Equal(t, "secret of ada", b.Get("/home").Body)
				require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body, "nothing is half done")
			})
		})
	}
}

// L5: after a failed login, the browser is logged in as before, or not at all
func TestLoginWithFailingBackendLogsNobodyIn(t *testing.T) {
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
				resp := b.Post("/again")
				requireUnavailable(t, resp)
				require.ErrorIs(t, <-got, sessionguard.ErrUnavailable)
				require.Empty(t, resp.Cookies())
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

// L5, ASVS 7.4.1: a logout that could not end the session does not claim success
func TestIncompleteLogoutIsReported(t *testing.T) {
	for name, failing := range map[string][]string{"Delete": {"Delete"}, "all": {"*"}} {
		for _, accept := range []string{"text/html", "application/json"} {
			t.Run(name+" "+accept, func(t *testing.T) {
				withFakeClock(t, func(t *testing.T) {
					s, backend := remoteSite(t)
					b, copied := s.browse(), s.browse()
					b.login("ada")
					copied.SetCookies(b.Cookies())
					backend.failOn(failing...)
					resp := b.Post("/logout", "Accept", accept)
					requireUnavailable(t, resp)
					require.NotContains(t, resp.Body, "You have been logged out")
					require.Contains(t, resp.Body, "could not be told")
					require.NotContains(t, b.Cookies(), sessionCookie, "the browser is logged out all the same")
					require.Contains(t, b.Cookies(), visitorCookie, "a fresh cookie empties the back/forward cache")
					backend.failOn()
					require.Equal(t, "welcome nobody []", b.Get("/").Body, "no flash claims success")
					require.True(t, copied.loggedIn(), "the session is alive, as the page said")
				})
			})
		}
	}
}

// L5: if End could not end the session, the page is replaced with a 503 even if the
// handler ignores the error
func TestIncompleteEndReplacesThePage(t *testing.T) {
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

// A second attempt ends what the first could not, and claims no success if it cannot either.
func TestLogoutAfterAnIncompleteEndTriesAgain(t *testing.T) {
	for name, want := range map[string]int{"the backend is up again": http.StatusSeeOther, "the backend is still down": http.StatusServiceUnavailable} {
		t.Run(name, func(t *testing.T) {
			backend := newFailingBackend()
			s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
			s.mux.HandleFunc("POST /twice", func(w http.ResponseWriter, r *http.Request) {
				require.NoError(t, s.guard.Login(w, r, &user{ID: "ada"}))
				backend.failOn("Delete")
				require.ErrorIs(t, s.guard.End(w, r), sessionguard.ErrUnavailable)
				if want == http.StatusSeeOther {
					backend.failOn()
				}
				s.guard.Logout("/").ServeHTTP(w, r)
			})
			require.Equal(t, want, s.browse().Post("/twice").StatusCode)
			records, err := backend.Backend.ByOwner(s.Context(), sessionCookie+"=ada", "", store.MaxPage)
			require.NoError(t, err)
			require.Equal(t, want == http.StatusServiceUnavailable, len(records) == 1)
		})
	}
}

// L5: a logout needs nothing from the backend but the deletion
func TestLogoutNeedsOnlyDelete(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		backend.failOn("Load", "Touch", "Save", "Create", "Replace", "LoadByID", "ByOwner", "DeleteByID")
		require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
		require.Equal(t, "welcome nobody [You have been logged out.]", b.Get("/").Body)
		backend.failOn()
		require.Empty(t, sessionsOf(t, backend, "ada"))
	})
}

// L5: a failure to end a session cannot be mistaken for a success, or for a session that
// does not exist
func TestEndingOtherSessionsReportsBackendFailure(t *testing.T) {
	for _, method := range []string{"ByOwner", "DeleteByID"} {
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
			failures := []error{<-others, s.guard.EndUser(t.Context(), "ada")}
			if method == "DeleteByID" {
				failures = append(failures, s.guard.EndSession(t.Context(), "ada", id))
			}
			for _, err := range failures {
				require.ErrorIs(t, err, sessionguard.ErrUnavailable)
				require.ErrorIs(t, err, errBackendDown)
				require.False(t, errors.Is(err, sessionguard.ErrNoSession))
			}
			backend.failOn()
			require.True(t, phone.loggedIn())
		})
	}
}

// L5: after the first byte, only the handler can report that a Save failed
func TestLateSaveReportsBackendFailure(t *testing.T) {
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

// L5: a backend may return an error that wraps ErrUnavailable
func TestBackendErrorWrappingErrUnavailableIs503(t *testing.T) {
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
