package nodes

import (
	"fmt"
	"net/http"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
)

// secrets are promises about one-time secrets.
var secrets = []promise{
	{"100 requests on both nodes at once take a secret once", func(t T, a, b store.Backend) {
		one, two := newNode(t, a), newNode(t, b)
		for _, loggedIn := range []bool{false, true} {
			ada, browsers := browse(t, one), make([]*browser, 100)
			if loggedIn {
				ada.login(one, newUser())
			}
			require.Equal(t, http.StatusOK, ada.at(one).Post("/secret?name=login&value=verifier").StatusCode)
			for i := range browsers {
				browsers[i] = ada.copied()
			}
			took := 0
			for _, a := range atOnce(t, browsers, "GET", "/secret?name=login", one, two) {
				if a.StatusCode == http.StatusOK {
					require.Equal(t, "verifier", a.Body)
					took++
				} else {
					require.Equal(t, http.StatusNotFound, a.StatusCode, a.Body)
				}
			}
			require.Equal(t, 1, took, "requests that got the secret")
			for _, n := range []*node{one, two} {
				require.Equal(t, http.StatusNotFound, ada.copied().at(n).Get("/secret?name=login").StatusCode)
			}
		}
	}},
}

// secretRoutes adds
//
//	POST /secret?name=&value=  puts a secret
//	GET  /secret?name=         takes it, or responds with 404
func (n *node) secretRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /secret", func(w http.ResponseWriter, r *http.Request) {
		if err := n.guard.PutSecret(w, r, r.FormValue("name"), []byte(r.FormValue("value")), time.Minute); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /secret", func(w http.ResponseWriter, r *http.Request) {
		value, err := n.guard.TakeSecret(w, r, r.FormValue("name"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, "%s", value)
	})
}
