package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runaway writes to a session's values after http.TimeoutHandler gave up on it.
func runaway(s *site, save bool) (handler http.HandlerFunc, finished chan error) {
	finished = make(chan error, 1)
	return func(w http.ResponseWriter, r *http.Request) {
		session, _ := s.guard.Get(r, "app")
		session.Values["k"] = "before"
		var err error
		if save {
			err = session.Save(r, w)
		}
		<-r.Context().Done()
		for i := range 2000 { // while the answer is committed
			session.Values["k"] = fmt.Sprint("after ", i)
			session.Values[i] = i
		}
		fmt.Fprint(w, "secret")
		finished <- err
	}, finished
}

// W2: a commit leaves alone what a handler that was given up may be writing to.
// Otherwise the process dies of a concurrent map iteration and map write.
func TestTimeoutHandlerInsideTheGuardDoesNotRaceWithItsHandler(t *testing.T) {
	for name, save := range map[string]bool{"saved before": true, "never saved": false} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				handler, finished := runaway(s, save)
				limited := http.TimeoutHandler(handler, time.Second, "too slow")
				s.mux.Handle("GET /ungated", limited)
				s.mux.Handle("GET /gated", s.guard.RequireLogin(limited))
				ada, visitor := s.browse(), s.browse()
				ada.login("ada")
				for _, path := range []string{"/ungated", "/gated"} {
					a := ada.Get(path)
					require.Equal(s.T, http.StatusServiceUnavailable, a.StatusCode)
					require.Equal(s.T, "too slow", a.Body)
					requireNoStore(s.T, a.Header)
					require.NoError(s.T, <-finished)
				}
				want := map[bool]string{true: "before <nil>", false: "<nil> <nil>"}[save]
				require.Equal(s.T, want, ada.Get("/value?k=k").Body, "only what Save was called for")

				require.Equal(s.T, "too slow", visitor.Get("/ungated").Body)
				require.NoError(s.T, <-finished)
				require.Equal(s.T, want, visitor.Get("/value?k=k").Body)
			})
		})
	}
}

// W2: also where something further out had opened the session first
func TestTimeoutHandlerBehindAMiddlewareThatOpenedTheSession(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		release := make(chan struct{})
		defer close(release)
		limited := http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = "half"
			<-release
		}), time.Second, "too slow")
		s.mux.HandleFunc("GET /layout", func(w http.ResponseWriter, r *http.Request) {
			s.guard.Get(r, "app")
			limited.ServeHTTP(w, r)
		})
		ada, visitor := s.browse(), s.browse()
		ada.login("ada")
		for _, b := range []*browser{ada, visitor} {
			a := b.Get("/layout")
			require.Equal(s.T, "too slow", a.Body)
			require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=k").Body, "the map was read while its handler may write to it")
		}
	})
}

// W2: in time, everything is as without it
func TestTimeoutHandlerInsideTheGuardSavesWhatIsInTime(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.mux.Handle("POST /quick", http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = "v"
		}), time.Second, ""))
		s.mux.Handle("POST /in", http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := s.guard.Login(w, r, &user{ID: "ada"}); err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
			}
		}), time.Second, ""))
		b := s.browse()
		b.Post("/quick")
		require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body)
		b.Post("/in")
		require.Equal(s.T, "secret of ada", b.Get("/home").Body)
		require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body)
	})
}

// W2: outside the guard it has its own copy of the answer
func TestTimeoutHandlerOutsideTheGuard(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		finished := make(chan struct{}, 1)
		s.mux.Handle("GET /slow", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() { finished <- struct{}{} }()
			session, _ := s.guard.Get(r, "app")
			<-r.Context().Done()
			session.Values["k"] = "v"
			_ = session.Save(r, w)
			fmt.Fprint(w, "secret")
		})))
		limited := serve(s.T, http.TimeoutHandler(s.guard.Handler(s.mux), time.Second, "too slow"))
		b := browse(s.T, limited)
		b.login("ada")
		for _, path := range []string{"/slow", "/home"} {
			advance(2 * time.Minute)
			a := b.Get(path)
			require.NotEqual(s.T, path == "/slow", a.Body == "secret of ada")
			require.NotEqual(s.T, "secret", a.Body)
		}
		<-finished
		require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body)
	})
}

// W2: a middleware's own context, still alive when the answer begins
func TestAContextDerivedByMiddlewareIsAutosaved(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.mux.HandleFunc("POST /derived", func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			defer cancel()
			session, _ := s.guard.Get(r.WithContext(ctx), "app")
			session.Values["k"] = "v"
			w.WriteHeader(http.StatusNoContent)
		})
		b := s.browse()
		b.login("ada")
		b.Post("/derived")
		require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body)
	})
}
