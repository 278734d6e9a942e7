package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// heeding is a backend that gives up with its context, as drivers do, and that
// can get stuck.
type heeding struct {
	store.Backend
	stuck string
}

func (h *heeding) heed(ctx context.Context, method string) error {
	if h.stuck == method {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (h *heeding) Create(ctx context.Context, r store.Record, l store.Limit) ([]store.Record, error) {
	if err := h.heed(ctx, "Create"); err != nil {
		return nil, err
	}
	return h.Backend.Create(ctx, r, l)
}

func (h *heeding) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	if err := h.heed(ctx, "Replace"); err != nil {
		return err
	}
	return h.Backend.Replace(ctx, old, version, r)
}

func (h *heeding) Load(ctx context.Context, key store.Key) (store.Record, error) {
	if err := h.heed(ctx, "Load"); err != nil {
		return store.Record{}, err
	}
	return h.Backend.Load(ctx, key)
}

func (h *heeding) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	if err := h.heed(ctx, "Touch"); err != nil {
		return err
	}
	return h.Backend.Touch(ctx, key, seen)
}

func (h *heeding) Save(ctx context.Context, key store.Key, version uint64, values []byte) error {
	if err := h.heed(ctx, "Save"); err != nil {
		return err
	}
	return h.Backend.Save(ctx, key, version, values)
}

func (h *heeding) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	if err := h.heed(ctx, "Delete"); err != nil {
		return store.Record{}, err
	}
	return h.Backend.Delete(ctx, key, reason)
}

// L6: what has begun is finished for a client that has gone
func TestClientDisconnectInterruptsNothing(t *testing.T) {
	for name, test := range map[string]struct {
		hook string // the call at which the client hangs up; "": in the handler
		do   func(*site, http.ResponseWriter, *http.Request) error
		ada  int // sessions afterwards
		eve  int
	}{
		"logout":                {"", func(s *site, w http.ResponseWriter, r *http.Request) error { return s.guard.End(w, r) }, 0, 0},
		"logout, in the middle": {"Delete", func(s *site, w http.ResponseWriter, r *http.Request) error { return s.guard.End(w, r) }, 0, 0},
		"login as another": {"", func(s *site, w http.ResponseWriter, r *http.Request) error {
			return s.guard.Login(w, r, &user{ID: "eve"})
		}, 0, 1},
		"login, between the halves": {"Delete", func(s *site, w http.ResponseWriter, r *http.Request) error {
			return s.guard.Login(w, r, &user{ID: "eve"})
		}, 0, 1},
		"re-authentication": {"Replace", func(s *site, w http.ResponseWriter, r *http.Request) error {
			return s.guard.Login(w, r, &user{ID: "ada"})
		}, 1, 0},
		"end of a user": {"ByOwner", func(s *site, w http.ResponseWriter, r *http.Request) error {
			return s.guard.EndUser(r.Context(), "ada")
		}, 0, 0},
		"values, which are all kept": {"Save", func(s *site, w http.ResponseWriter, r *http.Request) error {
			_, err := s.guard.Get(r, "app")
			return err
		}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				backend.Backend = &heeding{Backend: backend.Backend}
				done := make(chan error, 1)
				// What net/http does to the context when the client hangs up, at
				// a moment of our choosing.
				var hangUp context.CancelFunc
				guarded := s.guard.Handler(s.mux)
				b := browse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					ctx, cancel := context.WithCancel(r.Context())
					defer cancel()
					hangUp = cancel
					guarded.ServeHTTP(w, r.WithContext(ctx))
				})))
				b.login("ada")
				s.mux.HandleFunc("POST /hang", func(w http.ResponseWriter, r *http.Request) {
					s.guard.User(r)
					gone := func() { hangUp(); <-r.Context().Done() }
					if test.hook == "" {
						gone()
					} else {
						backend.beforeCall(test.hook, gone)
					}
					session, _ := s.guard.Get(r, "app")
					session.Values["k"] = "v"
					err := test.do(s, w, r)
					w.WriteHeader(http.StatusNoContent)
					backend.beforeCall(test.hook, nil)
					done <- err
				})
				b.Post("/hang")
				require.NoError(t, <-done)
				require.Len(t, sessionsOf(t, backend, "ada"), test.ada)
				require.Len(t, sessionsOf(t, backend, "eve"), test.eve)
				if test.ada == 1 {
					require.NotEmpty(t, sessionsOf(t, backend, "ada")[0].Values)
				}
			})
		})
	}
}

// L6: but not for ever
func TestHungBackendCallTimesOut(t *testing.T) {
	for method, path := range map[string]string{"Delete": "/logout", "Save": "/value?k=k&v=v", "Replace": "/login?user=ada", "Touch": "/value?k=k"} {
		withFakeClock(t, func(t *testing.T) {
			s, backend := remoteSite(t)
			stuck := &heeding{Backend: backend.Backend}
			backend.Backend = stuck
			b := s.browse()
			b.login("ada")
			advance(2 * time.Minute)
			stuck.stuck = method
			start := time.Now()
			verb := "POST"
			if method == "Touch" {
				verb = "GET"
			}
			resp := b.Do(b.Request(verb, path))
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, method)
			require.Equal(t, 5*time.Second, time.Since(start), method)
		})
	}
}

// L6: a panic saves nothing
func TestPanicSavesNothing(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		s.mux.HandleFunc("POST /panic", func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["k"] = "half"
			if err := session.Save(r, w); err != nil {
				fmt.Fprint(w, err)
			}
			panic(http.ErrAbortHandler)
		})
		b, visitor := s.browse(), s.browse()
		b.login("ada")
		for _, b := range []*browser{b, visitor} {
			_, err := b.Client.Do(b.Request("POST", "/panic"))
			require.Error(s.T, err)
			require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=k").Body)
		}
		require.Empty(s.T, visitor.Cookies())
		if backend != nil {
			require.Zero(s.T, backend.callCounts()["Save"])
		}
	})
}

// L6: a page whose commit fails is not sent, nor is anything that describes it
func TestFailedCommitReplacesThePage(t *testing.T) {
	describing := http.Header{
		"Content-Type": {"application/pdf"}, "Content-Disposition": {`attachment; filename="salary of ada.pdf"`},
		"Content-Encoding": {"br"}, "Content-Length": {"13"}, "Content-Language": {"la"}, "Content-Range": {"bytes 0-12/13"},
		"Etag": {`"secret"`}, "Last-Modified": {"Mon, 02 Jan 2006 15:04:05 GMT"}, "Accept-Ranges": {"bytes"},
		"Location": {"/secret"}, "Refresh": {"0; url=/secret"}, "Link": {"</secret>; rel=preload"},
	}
	for _, method := range []string{"Touch", "Save", "Load"} {
		withFakeClock(t, func(t *testing.T) {
			s, backend := remoteSite(t)
			stopped := make(chan error, 1)
			s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
				session, _ := s.guard.Get(r, "app")
				session.Values["k"] = "lost"
				for name, values := range describing {
					w.Header()[name] = values
				}
				w.Header().Set("X-Frame-Options", "DENY")
				w.WriteHeader(http.StatusCreated)
				_, err := w.Write([]byte("secret of ada"))
				stopped <- err
			})
			b := s.browse()
			b.login("ada")
			advance(2 * time.Minute)
			backend.failOn(method)
			resp := b.Get("/page")
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, method)
			require.NotContains(t, resp.Body, "secret")
			require.Error(t, <-stopped, "the handler is told to stop")
			for name, values := range describing {
				require.NotEqual(t, values, resp.Header[name], name)
			}
			require.Equal(t, "DENY", resp.Header.Get("X-Frame-Options"))
			require.Equal(t, "5", resp.Header.Get("Retry-After"))
			require.Empty(t, resp.Cookies())
			requireNoStore(t, resp.Header)
			backend.failOn()
			require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body)
		})
	}
}
