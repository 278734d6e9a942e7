package nodes

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard"
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

// TakeSecrets puts and takes n secrets of a minute, each as another visitor, and so leaves n
// marks in the backend. n is a multiple of 8.
func TakeSecrets(t T, backend store.Backend, n int) {
	t.Helper()
	guard, err := sessionguard.New(config{
		FindUser: func(_ context.Context, id string) (*user, error) { return &user{id}, nil },
		Keys:     keys, Backend: backend, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	puts := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := guard.PutSecret(w, r, "n", nil, time.Minute); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	takes := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := guard.TakeSecret(w, r, "n"); err != nil {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	var took atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range n / 8 {
				put, take := httptest.NewRecorder(), httptest.NewRecorder()
				puts.ServeHTTP(put, httptest.NewRequest("POST", "https://app.example/", nil))
				r := httptest.NewRequest("GET", "https://app.example/", nil)
				for _, c := range put.Result().Cookies() {
					r.AddCookie(c)
				}
				if takes.ServeHTTP(take, r); take.Code == http.StatusOK {
					took.Add(1)
				}
			}
		})
	}
	all.Wait()
	require.EqualValues(t, n, took.Load())
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
