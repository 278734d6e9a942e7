package acceptance

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// keeper is a cache in the server, as a middleware: it keeps the responses that do not forbid it.
type keeper map[string]*httptest.ResponseRecorder

func (k keeper) keep(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kept := k[r.URL.Path]
		if kept == nil {
			kept = httptest.NewRecorder()
			next.ServeHTTP(kept, r)
			if kept.Header().Get("Cache-Control") != noStore {
				k[r.URL.Path] = kept
			}
		}
		maps.Copy(w.Header(), kept.Header())
		w.WriteHeader(kept.Code)
		_, _ = w.Write(kept.Body.Bytes())
	})
}

// C1: a cache between Handler and a gate does not see the header that is sent, but only what is
// written to its own.
func TestACacheBetweenHandlerAndAGateKeepsNothing(t *testing.T) {
	for name, custom := range map[string]http.Handler{
		"default refusal": nil,
		"own refusal": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			cachingAllow(w)
			w.WriteHeader(http.StatusUnauthorized)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(c *sessionguard.Config[*user]) { c.Refusals.Login = custom })
			page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				cachingAllow(w)
				u, _ := s.guard.User(r)
				_, _ = w.Write([]byte("secret of " + u.ID))
			})
			kept := keeper{}
			s.mux.Handle("GET /page", kept.keep(s.guard.RequireLogin(page)))
			s.mux.Handle("GET /gates", kept.keep(s.guard.RequireRole("Engineer", "Admin")(otherMiddleware(s.guard.RequireLogin(page)))))
			s.mux.Handle("GET /time", kept.keep(s.guard.Status()))
			ada, grace := s.browse(), s.browse()
			ada.login("ada")
			grace.login("grace")
			for _, path := range []string{"/page", "/gates"} {
				require.NotContains(t, s.browse().Get(path).Body, "secret", path)
				require.Equal(t, "secret of ada", ada.Get(path).Body, path)
				require.Equal(t, "secret of grace", grace.Get(path).Body, path)
				require.NotContains(t, s.browse().Get(path).Body, "secret", path)
			}
			require.Contains(t, ada.Get("/time").Body, `"authenticated":true`)
			require.Contains(t, s.browse().Get("/time").Body, `"authenticated":false`)
			require.Empty(t, kept)
		})
	}
}
