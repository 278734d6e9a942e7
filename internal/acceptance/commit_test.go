package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// contextBackend is a backend whose calls fail when their context is done, as those of
// database drivers do. Calls of the method hangOn block until then.
type contextBackend struct {
	store.Backend
	hangOn atomic.Value // a string
}

func (h *contextBackend) wait(ctx context.Context, method string) error {
	if h.hangOn.Load() == method {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (h *contextBackend) Create(ctx context.Context, r store.Record, l store.Limit) ([]store.Record, error) {
	if err := h.wait(ctx, "Create"); err != nil {
		return nil, err
	}
	return h.Backend.Create(ctx, r, l)
}

func (h *contextBackend) Replace(ctx context.Context, old store.Key, version uint64, r store.Record) error {
	if err := h.wait(ctx, "Replace"); err != nil {
		return err
	}
	return h.Backend.Replace(ctx, old, version, r)
}

func (h *contextBackend) Load(ctx context.Context, key store.Key) (store.Record, error) {
	if err := h.wait(ctx, "Load"); err != nil {
		return store.Record{}, err
	}
	return h.Backend.Load(ctx, key)
}

func (h *contextBackend) Touch(ctx context.Context, key store.Key, seen store.Time) error {
	if err := h.wait(ctx, "Touch"); err != nil {
		return err
	}
	return h.Backend.Touch(ctx, key, seen)
}

func (h *contextBackend) Save(ctx context.Context, r store.Record) error {
	if err := h.wait(ctx, "Save"); err != nil {
		return err
	}
	return h.Backend.Save(ctx, r)
}

func (h *contextBackend) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	if err := h.wait(ctx, "Delete"); err != nil {
		return store.Record{}, err
	}
	return h.Backend.Delete(ctx, key, reason)
}

// browseAndDisconnect returns a browser and a function that cancels the context of its
// current request, as net/http does when the client disconnects.
func (s *site) browseAndDisconnect() (b *browser, disconnect func()) {
	s.Helper()
	var cancelCurrent context.CancelFunc
	guarded := s.guard.Handler(s.mux)
	server := serve(s.T, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		cancelCurrent = cancel
		guarded.ServeHTTP(w, r.WithContext(ctx))
	}))
	return browse(s.T, server), func() { cancelCurrent() }
}

// L6: a logout or a save is completed even if the client disconnects. A login ends the
// former session as well, and is then undone: nobody has its cookie.
func TestClientDisconnectInterruptsNothing(t *testing.T) {
	logout := func(s *site, w http.ResponseWriter, r *http.Request) error { return s.guard.End(w, r) }
	loginAs := func(id string) func(*site, http.ResponseWriter, *http.Request) error {
		return func(s *site, w http.ResponseWriter, r *http.Request) error { return s.guard.Login(w, r, &user{ID: id}) }
	}
	endUser := func(s *site, _ http.ResponseWriter, r *http.Request) error {
		return s.guard.EndUser(r.Context(), "ada")
	}
	change := func(s *site, _ http.ResponseWriter, r *http.Request) error {
		_, err := s.guard.Get(r, "app")
		return err
	}
	for name, test := range map[string]struct {
		hook string // the backend call during which the client disconnects; "": in the handler
		do   func(*site, http.ResponseWriter, *http.Request) error
		ada  int // sessions afterwards
		eve  int
	}{
		"before a logout":                       {"", logout, 0, 0},
		"during a logout":                       {"Delete", logout, 0, 0},
		"before a login as another user":        {"", loginAs("eve"), 0, 0},
		"while a login ends the former session": {"Delete", loginAs("eve"), 0, 0},
		"during re-authentication":              {"Replace", loginAs("ada"), 0, 0},
		"during EndUser":                        {"ByOwner", endUser, 0, 0},
		"while values are saved":                {"Save", change, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				backend.Backend = &contextBackend{Backend: backend.Backend}
				done := make(chan error, 1)
				b, disconnect := s.browseAndDisconnect()
				b.login("ada")
				s.mux.HandleFunc("POST /do", func(w http.ResponseWriter, r *http.Request) {
					s.guard.User(r)
					disconnected := func() { disconnect(); <-r.Context().Done() }
					if test.hook == "" {
						disconnected()
					} else {
						backend.beforeCall(test.hook, disconnected)
					}
					session, _ := s.guard.Get(r, "app")
					session.Values["k"] = "v"
					err := test.do(s, w, r)
					w.WriteHeader(http.StatusNoContent)
					backend.beforeCall(test.hook, nil)
					done <- err
				})
				b.Post("/do")
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

// L6: work that outlives its client still has a time limit.
func TestHungBackendCallTimesOut(t *testing.T) {
	for method, path := range map[string]string{"Delete": "/logout", "Save": "/value?k=k&v=v", "Replace": "/login?user=ada", "Touch": "/value?k=k"} {
		withFakeClock(t, func(t *testing.T) {
			s, backend := remoteSite(t)
			hanging := &contextBackend{Backend: backend.Backend}
			backend.Backend = hanging
			b := s.browse()
			b.login("ada")
			advance(2 * time.Minute)
			hanging.hangOn.Store(method)
			start := time.Now()
			httpMethod := "POST"
			if method == "Touch" {
				httpMethod = "GET"
			}
			resp := b.Do(b.Request(httpMethod, path))
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, method)
			require.Equal(t, 5*time.Second, time.Since(start), method)
		})
	}
}

// L6
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

// L6: if the commit fails, neither the page nor the headers that describe it are sent.
func TestFailedCommitReplacesThePage(t *testing.T) {
	pageHeaders := http.Header{
		"Content-Type": {"application/pdf"}, "Content-Disposition": {`attachment; filename="salary of ada.pdf"`},
		"Content-Encoding": {"br"}, "Content-Length": {"13"}, "Content-Language": {"la"}, "Content-Range": {"bytes 0-12/13"},
		"Etag": {`"secret"`}, "Last-Modified": {"Mon, 02 Jan 2006 15:04:05 GMT"}, "Accept-Ranges": {"bytes"},
		"Location": {"/secret"}, "Refresh": {"0; url=/secret"}, "Link": {"</secret>; rel=preload"},
	}
	for _, method := range []string{"Touch", "Save", "Load"} {
		withFakeClock(t, func(t *testing.T) {
			s, backend := remoteSite(t)
			writeErr := make(chan error, 1)
			s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
				session, _ := s.guard.Get(r, "app")
				session.Values["k"] = "lost"
				for name, values := range pageHeaders {
					w.Header()[name] = values
				}
				w.Header().Set("X-Frame-Options", "DENY")
				w.WriteHeader(http.StatusCreated)
				_, err := w.Write([]byte("secret of ada"))
				writeErr <- err
			})
			b := s.browse()
			b.login("ada")
			advance(2 * time.Minute)
			backend.failOn(method)
			resp := b.Get("/page")
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, method)
			require.NotContains(t, resp.Body, "secret")
			require.Error(t, <-writeErr, "the handler's write fails")
			for name, values := range pageHeaders {
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
