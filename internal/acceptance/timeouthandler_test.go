package acceptance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// abandonedHandler returns a handler that writes to the values of a session after
// http.TimeoutHandler has given up on it. If save is set, it calls Save before that.
// finished receives the error of Save.
func abandonedHandler(s *site, save bool) (handler http.HandlerFunc, finished chan error) {
	finished = make(chan error, 1)
	return func(w http.ResponseWriter, r *http.Request) {
		session, _ := s.guard.Get(r, "app")
		session.Values["k"] = "before"
		var err error
		if save {
			err = session.Save(r, w)
		}
		<-r.Context().Done()
		for i := range 2000 { // while the response is committed
			session.Values["k"] = fmt.Sprint("after ", i)
			session.Values[i] = i
		}
		fmt.Fprint(w, "secret")
		finished <- err
	}, finished
}

// W2: a commit does not read values that an abandoned handler may be writing to.
// Otherwise the process crashes with a concurrent map iteration and map write.
func TestTimeoutHandlerInsideGuardDoesNotRaceWithItsHandler(t *testing.T) {
	for name, save := range map[string]bool{"with Save": true, "without Save": false} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				handler, finished := abandonedHandler(s, save)
				limited := http.TimeoutHandler(handler, time.Second, "too slow")
				s.mux.Handle("GET /ungated", limited)
				s.mux.Handle("GET /gated", s.guard.RequireLogin(limited))
				ada, visitor := s.browse(), s.browse()
				ada.login("ada")
				for _, path := range []string{"/ungated", "/gated"} {
					resp := ada.Get(path)
					require.Equal(s.T, http.StatusServiceUnavailable, resp.StatusCode)
					require.Equal(s.T, "too slow", resp.Body)
					requireNoStore(s.T, resp.Header)
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

// W2: the same if outer middleware has opened the session first
func TestTimeoutHandlerBehindMiddlewareThatOpenedTheSession(t *testing.T) {
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
			resp := b.Get("/layout")
			require.Equal(s.T, "too slow", resp.Body)
			require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=k").Body, "the map was not read: its handler may still write to it")
		}
	})
}

// W2: a handler that returns in time behaves as without http.TimeoutHandler
func TestTimeoutHandlerInsideGuardSavesValuesInTime(t *testing.T) {
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

// W2: outside the guard, http.TimeoutHandler has its own copy of the response
func TestTimeoutHandlerOutsideGuard(t *testing.T) {
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
			resp := b.Get(path)
			require.NotEqual(s.T, path == "/slow", resp.Body == "secret of ada")
			require.NotEqual(s.T, "secret", resp.Body)
		}
		<-finished
		require.Equal(s.T, "v <nil>", b.Get("/value?k=k").Body)
	})
}

// W2: a context that middleware derived is still alive when the response begins
func TestValuesOpenedWithDerivedContextAreSaved(t *testing.T) {
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

// W2: the values of an abandoned stream are not saved
func TestValuesOfAbandonedStreamAreNotSaved(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		writing := s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			for i := range 1000 {
				session.Values["k"] = fmt.Sprint(i)
				time.Sleep(10 * time.Millisecond)
			}
		}))
		// Like http.TimeoutHandler, but its response is not a 503.
		s.mux.Handle("POST /slow", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			go writing.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
			<-ctx.Done()
			io.WriteString(w, "too slow")
		})))
		b := s.browse()
		b.login("ada")
		require.Equal(t, "too slow", b.Post("/slow").Body)
		advance(time.Minute)
		require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body)
	})
}

// W2: a timeout middleware that gives its handler no context of its own is known by its
// status.
func TestTimeoutMiddlewareDoesNotRaceWithItsHandler(t *testing.T) {
	for _, status := range []int{http.StatusRequestTimeout, http.StatusServiceUnavailable, http.StatusGatewayTimeout} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			s := newSite(t, nil)
			running, responded, finished := make(chan struct{}), make(chan struct{}), make(chan struct{})
			s.mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
				go func() {
					defer close(finished)
					session, _ := s.guard.Get(r, "app")
					close(running)
					for i := 0; ; i++ {
						session.Values[i%100] = i
						select {
						case <-responded:
							return
						default:
						}
					}
				}()
				<-running
				http.Error(w, "too slow", status)
			})
			b := s.browse()
			b.login("ada")
			resp := b.Get("/slow")
			close(responded)
			<-finished
			require.Equal(t, status, resp.StatusCode)
			require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body)
		})
	}
}

// W2: a logout beside an abandoned handler leaves its map alone, which it may be writing to,
// and its values are not seen afterwards.
func TestEndBesideAnAbandonedHandlerLeavesItsValuesAlone(t *testing.T) {
	for name, giveUp := range map[string]func(h http.Handler, w http.ResponseWriter, r *http.Request){
		"its context has ended": func(h http.Handler, _ http.ResponseWriter, r *http.Request) {
			http.TimeoutHandler(h, time.Second, "").ServeHTTP(httptest.NewRecorder(), r)
		},
		"status 408": func(h http.Handler, w http.ResponseWriter, r *http.Request) {
			go h.ServeHTTP(httptest.NewRecorder(), r)
			time.Sleep(time.Second)
			w.WriteHeader(http.StatusRequestTimeout)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, _ *failingBackend) {
				ended, abandoned := make(chan struct{}), make(chan any, 1)
				var after any
				s.mux.HandleFunc("POST /out", func(w http.ResponseWriter, r *http.Request) {
					giveUp(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						session, _ := s.guard.Get(r, "app")
						session.Values["k"] = "v"
						<-ended
						abandoned <- session.Values["k"]
					}), w, r)
					_ = s.guard.End(w, r)
					session, _ := s.guard.Get(r, "app")
					after = session.Values["k"]
					close(ended)
				})
				b := s.browse()
				b.login("ada")
				b.Post("/out")
				require.Equal(s.T, "v", <-abandoned)
				require.Nil(s.T, after)
				require.False(s.T, b.loggedIn())
			})
		})
	}
}
