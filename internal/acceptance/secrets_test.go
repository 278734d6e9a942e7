package acceptance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

const secretCookie = sessionCookie + "-secret-" // and a hash of the secret's name

// secretRoutes adds to a site:
//
//	POST /put?name=&value=&for=  puts a secret, for ten minutes by default
//	GET  /take?name=             takes it: "took <value>", 400 with the error, or 503
func (s *site) secretRoutes() *site {
	s.mux.HandleFunc("POST /put", func(w http.ResponseWriter, r *http.Request) {
		lifetime := 10 * time.Minute
		if given := r.FormValue("for"); given != "" {
			lifetime, _ = time.ParseDuration(given)
		}
		err := s.guard.PutSecret(w, r, r.FormValue("name"), []byte(r.FormValue("value")), lifetime)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	s.mux.HandleFunc("GET /take", func(w http.ResponseWriter, r *http.Request) {
		value, err := s.guard.TakeSecret(w, r, r.FormValue("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "took %s", value)
	})
	return s
}

func (b *browser) put(name, value string) response {
	b.t.Helper()
	resp := b.PostForm("/put", "name", name, "value", value)
	require.Equal(b.t, http.StatusOK, resp.StatusCode, resp.Body)
	return resp
}

func (b *browser) take(name string) string { b.t.Helper(); return b.Get("/take?name=" + name).Body }

var noSecret = sessionguard.ErrNoSecret.Error() + "\n"

// secrets returns the browser's secret cookies.
func (b *browser) secrets() map[string]string {
	b.t.Helper()
	secrets := map[string]string{}
	for name, value := range b.Cookies() {
		if strings.Contains(name, "-secret-") {
			secrets[name] = value
		}
	}
	return secrets
}

// A secret is taken once, whoever has a copy of its cookie, on every node.
func TestASecretIsTakenOnce(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		nodes := [2]*site{}
		for i := range nodes {
			nodes[i] = newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend }).secretRoutes()
		}
		for _, loggedIn := range []bool{false, true} {
			b := nodes[0].browse()
			if loggedIn {
				b.login("ada")
			}
			requireNoStore(t, b.put("oidc:1", "nonce").Header)
			require.Len(t, b.secrets(), 1)
			copied := nodes[1].copyOf(b)
			require.Equal(t, "took nonce", b.take("oidc:1"))
			require.Empty(t, b.secrets(), "the cookie is deleted")
			require.Equal(t, noSecret, b.take("oidc:1"))
			for range 2 {
				require.Equal(t, noSecret, nodes[0].copyOf(copied).take("oidc:1"))
				require.Equal(t, noSecret, nodes[1].copyOf(copied).take("oidc:1"))
				advance(5 * time.Minute)
			}
		}
	})
}
