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

// responseStarts has ways to send the headers of a response.
var responseStarts = map[string]func(http.ResponseWriter){
	"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
	"Write":       func(w http.ResponseWriter) { io.WriteString(w, "page of ") },
	"Flush":       func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
}

// sessionUses has ways to use the session. One without an error of its own returns
// ErrHeadersSent, and the response shows whether it was refused.
var sessionUses = map[string]func(*site, http.ResponseWriter, *http.Request) error{
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
}

// C1: once the headers are sent it is too late to forbid caching, so the session must not
// be used.
func TestLateResolveAfterCacheableResponseIsRefusedAndLogged(t *testing.T) {
	for start, startResponse := range responseStarts {
		for name, use := range sessionUses {
			t.Run(start+" then "+name, func(t *testing.T) {
				s, backend := remoteSite(t)
				errs, logged := make(chan error, 1), make(chan string, 1)
				s.mux.HandleFunc("GET /late", func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Cache-Control", "public")
					startResponse(w)
					errs <- use(s, w, r)
					logged <- s.log.String()
					if u, ok := s.guard.User(r); ok { // refused again
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
				log := <-logged
				require.Contains(t, log, "use the session before writing")
				require.Contains(t, log, "/late")
				require.Equal(t, before, backend.callCounts(), "the backend is not called")
			})
		}
	}
}

// C1: a handler may change the values of its header, but not those of another response.
func TestResponsesNeverShareAHeaderSlice(t *testing.T) {
	s := newSite(t, nil)
	calls := 0
	change := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		requireNoStore(t, w.Header())
		calls++
		for _, name := range []string{"Cache-Control", "Pragma", "Expires", "X-Accel-Expires", "Vary"} {
			w.Header()[name][0] = "public"
		}
	}
	b := s.browse()
	b.login("ada")
	for name, h := range map[string]http.Handler{
		"gate":    s.guard.RequireLogin(http.HandlerFunc(change)),
		"NoCache": sessionguard.NoCache(http.HandlerFunc(change)),
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
		require.Equal(t, 3, calls, name)
		calls = 0
	}
}

// C1, R3: an empty io.Copy sends nothing, so it is not too late to forbid caching.
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
