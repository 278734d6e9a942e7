package acceptance

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// C1: too late to forbid the caching, so nothing may be seen.
func TestLateResolveAfterCacheableResponseIsRefusedAndLogged(t *testing.T) {
	for _, begin := range []struct {
		name string
		how  func(http.ResponseWriter)
	}{
		{"WriteHeader", func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }},
		{"Write", func(w http.ResponseWriter) { io.WriteString(w, "page of ") }},
		{"Flush", func(w http.ResponseWriter) { w.(http.Flusher).Flush() }},
	} {
		for name, look := range map[string]func(*site, http.ResponseWriter, *http.Request) error{
			"Get": func(s *site, _ http.ResponseWriter, r *http.Request) error {
				_, err := s.guard.Get(r, "app")
				return err
			},
			"EndOthers": func(s *site, _ http.ResponseWriter, r *http.Request) error { return s.guard.EndOthers(r) },
			"Login": func(s *site, w http.ResponseWriter, r *http.Request) error {
				return s.guard.Login(w, r, &user{ID: "ada", Roles: []string{"Engineer"}})
			},
			"Save": func(s *site, w http.ResponseWriter, r *http.Request) error {
				session, _ := s.guard.Get(r, "app")
				session.Values["k"] = "late"
				return session.Save(r, w)
			},
			"a gate": func(s *site, w http.ResponseWriter, r *http.Request) error {
				s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.WriteString(w, "secret")
				})).ServeHTTP(w, r)
				return sessionguard.ErrHeadersSent
			},
			"Status": func(s *site, w http.ResponseWriter, r *http.Request) error {
				s.guard.Status().ServeHTTP(w, r)
				return sessionguard.ErrHeadersSent
			},
			"User": func(s *site, _ http.ResponseWriter, r *http.Request) error {
				if _, ok := s.guard.User(r); ok {
					return nil
				}
				return sessionguard.ErrHeadersSent
			},
		} {
			t.Run(begin.name+" then "+name, func(t *testing.T) {
				backend := newFailingBackend()
				s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
				errs := make(chan error, 1)
				s.mux.HandleFunc("GET /late", func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", "public")
					begin.how(w)
					errs <- look(s, w, r)
					if u, ok := s.guard.User(r); ok { // and still not
						io.WriteString(w, "secret of "+u.ID)
					}
				})
				b := s.browse()
				b.login("ada")
				before := backend.callCounts()
				resp := b.Get("/late")
				require.ErrorIs(t, <-errs, sessionguard.ErrHeadersSent)
				require.NotContains(t, resp.Body, "secret")
				require.NotContains(t, resp.Body, "authenticated\":true")
				require.Equal(t, "public", resp.Header.Get("Cache-Control"))
				if name != "Login" { // which does not look
					require.Contains(t, s.log.String(), "use the session before writing")
					require.Contains(t, s.log.String(), "/late")
				}
				require.Equal(t, before, backend.callCounts(), "the backend is not asked")
			})
		}
	}
}

// C1: a header's slice belongs to whoever holds the header.
func TestResponsesNeverShareAHeaderSlice(t *testing.T) {
	s := newSite(t, nil)
	spoiled := 0
	spoil := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		requireNoStore(t, w.Header())
		spoiled++
		for _, name := range []string{"Cache-Control", "Pragma", "Expires"} {
			w.Header()[name][0] = "public"
		}
	}
	b := s.browse()
	b.login("ada")
	for name, h := range map[string]http.Handler{
		"gate":    s.guard.RequireLogin(http.HandlerFunc(spoil)),
		"NoCache": sessionguard.NoCache(http.HandlerFunc(spoil)),
	} {
		for range 3 {
			rec := httptest.NewRecorder()
			r := b.Request("GET", "/")
			for name, value := range b.Cookies() {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
			h.ServeHTTP(rec, r)
			requireNoStore(t, rec.Result().Header)
		}
		require.Equal(t, 3, spoiled, name)
		spoiled = 0
	}
}

// C1, R3: nothing was sent yet, so the refusal still can be kept from caches.
func TestRefusalAfterAnEmptyCopyIsNotCached(t *testing.T) {
	s := newSite(t, nil)
	s.mux.HandleFunc("GET /late", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = io.Copy(w, onlyReader{strings.NewReader("")})
		s.guard.RequireLogin(http.NotFoundHandler()).ServeHTTP(w, r)
	})
	b := s.browse()
	for _, accept := range []string{"text/html", "application/json"} {
		resp := b.Get("/late", "Accept", accept)
		require.NotEqual(t, http.StatusNotFound, resp.StatusCode)
		requireUncacheable(t, resp.Header)
	}
}
