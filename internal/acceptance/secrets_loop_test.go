package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// A handler that puts any number sets four cookies, and deletes none that no browser has.
func TestPuttingSecretsInALoop(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	s.mux.HandleFunc("POST /loop", func(w http.ResponseWriter, r *http.Request) {
		for i := range 200 {
			require.NoError(t, s.guard.PutSecret(w, r, fmt.Sprint(i), []byte("v"), time.Minute))
			if r.FormValue("take") != "" {
				_, err := s.guard.TakeSecret(w, r, fmt.Sprint(i))
				require.NoError(t, err)
			}
		}
	})
	b := s.browse()
	require.Len(t, b.Post("/loop").Header["Set-Cookie"], 4)
	require.Equal(t, "took v", b.take("197"))
	require.Len(t, b.secrets(), 3)
	require.Len(t, b.Post("/loop?take=1").Header["Set-Cookie"], 3)
	require.Empty(t, b.secrets())
}

// Many goroutines of one handler get a secret once, and none that is of another.
func TestTakingSecretsInParallelWithinARequest(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	var took atomic.Int64
	s.mux.HandleFunc("GET /parallel", func(w http.ResponseWriter, r *http.Request) {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				_ = s.guard.PutSecret(w, r, fmt.Sprint(i), []byte(fmt.Sprint(i)), time.Minute)
				if value, err := s.guard.TakeSecret(w, r, "n"); err == nil {
					took.Add(1)
					if string(value) != "v" {
						t.Errorf("took %q", value)
					}
				}
				if value, err := s.guard.TakeSecret(w, r, fmt.Sprint(i)); err == nil && string(value) != fmt.Sprint(i) {
					t.Errorf("took %q as %d", value, i)
				}
			})
		}
		wg.Wait()
	})
	b := s.browse()
	b.put("n", "v")
	copied := s.copyOf(b)
	b.Get("/parallel")
	copied.Get("/parallel")
	require.EqualValues(t, 1, took.Load())
}

// Two guards around one handler keep their secrets apart, also if one replaces the response.
func TestSecretsOfTwoGuardsAroundOneHandler(t *testing.T) {
	onBothBackends(t, func(t *testing.T, backend store.Backend) {
		outer := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.CookieName = backend, "__Host-outer" })
		inner := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend }).secretRoutes()
		inner.mux.HandleFunc("POST /both", func(w http.ResponseWriter, r *http.Request) {
			require.NoError(t, outer.guard.PutSecret(w, r, "n", []byte("outer's"), time.Minute))
			require.NoError(t, inner.guard.PutSecret(w, r, "n", []byte("inner's"), time.Minute))
			if r.FormValue("fails") != "" {
				values, _ := inner.guard.Get(r, "app")
				values.Values["f"] = func() {}
			}
		})
		inner.mux.HandleFunc("GET /takeboth", func(w http.ResponseWriter, r *http.Request) {
			one, _ := outer.guard.TakeSecret(w, r, "n")
			two, _ := inner.guard.TakeSecret(w, r, "n")
			fmt.Fprintf(w, "%s %s", one, two)
		})
		handler := outer.guard.Handler(inner.guard.Handler(inner.mux))
		b := browse(t, serve(t, handler))
		require.Equal(t, http.StatusInternalServerError, b.Post("/both?fails=1").StatusCode)
		require.NotContains(t, strings.Join(keysOf(b.secrets()), " "), sessionCookie, "the inner guard has replaced the response")
		require.Equal(t, http.StatusOK, b.Post("/both").StatusCode)
		require.Len(t, b.secrets(), 2)
		copied := browse(t, serve(t, handler))
		copied.SetCookies(b.Cookies())
		require.Equal(t, "outer's inner's", b.Get("/takeboth").Body)
		require.Empty(t, b.secrets())
		require.Equal(t, " ", copied.Get("/takeboth").Body)
	})
}

func keysOf(m map[string]string) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// Every method takes, once: none is a way around the mark.
func TestEveryMethodTakesASecretOnce(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	s.mux.HandleFunc("/any", func(w http.ResponseWriter, r *http.Request) {
		value, _ := s.guard.TakeSecret(w, r, "n")
		w.Header().Set("Took", string(value))
	})
	methods := []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "QUERY"}
	for _, first := range methods {
		b := s.browse()
		b.put("n", "v")
		copied := b.Cookies()
		require.Equal(t, "v", b.Do(b.Request(first, "/any")).Header.Get("Took"), first)
		for _, next := range methods {
			b.SetCookies(copied)
			require.Empty(t, b.Do(b.Request(next, "/any")).Header.Get("Took"), next)
		}
	}
}

// Another site can neither put nor take by an unsafe request. The cookies stay.
func TestAnotherSiteCannotPutOrTakeSecretsByPost(t *testing.T) {
	s := newSite(t, nil).secretRoutes()
	s.mux.HandleFunc("POST /take", func(w http.ResponseWriter, r *http.Request) {
		_, _ = s.guard.TakeSecret(w, r, "n")
	})
	b := s.browse()
	b.put("n", "v")
	for range 5 {
		for _, path := range []string{"/put?name=n&value=evil", "/put?name=m", "/take"} {
			resp := b.Do(b.Request("POST", path, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"))
			require.Equal(t, http.StatusForbidden, resp.StatusCode)
			require.False(t, hasSecret(resp))
		}
	}
	require.Equal(t, "took v", b.take("n"))
}

// A response that has been given up, while its handler still waits for the backend, returns
// to no handler what could be taken twice.
func TestASecretWhoseResponseTimedOutIsTakenOnce(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.secretRoutes()
		b := s.browse()
		b.put("n", "v")
		backend.beforeCall("Create", func() { advance(time.Minute) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		copied := s.copyOf(b)
		_, err := b.Send(b.Request("GET", "/take?name=n").WithContext(ctx))
		require.Error(t, err)
		advance(time.Minute)
		backend.beforeCall("Create", nil)
		require.Equal(t, noSecret, copied.take("n"))
	})
}
