package acceptance

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// stuckSite is a site in which the callback of the given name hangs, and ignores its
// context, until release is called. hangs starts that, and hung is closed when it has happened.
func stuckSite(t *testing.T, callback string) (s *site, backend *failingBackend, hung <-chan struct{}, hangs, release func()) {
	var hanging atomic.Bool
	var once sync.Once
	goOn, inside := make(chan struct{}), make(chan struct{})
	hang := func(name string) {
		if hanging.Load() && name == callback {
			once.Do(func() { close(inside) })
			select {
			case <-goOn:
			case <-time.After(patience):
				t.Error("the response waited for " + name)
			}
		}
	}
	backend = newFailingBackend()
	s = newSite(t, func(c *sessionguard.Config[*user]) {
		find, onEvent := c.FindUser, c.OnEvent
		c.Backend = backend
		c.FindUser = func(ctx context.Context, id string) (*user, error) { hang("FindUser"); return find(ctx, id) }
		c.MaxSessions = func(*user) store.Limit { hang("MaxSessions"); return store.Limit{} }
		c.ClientAddr = func(*http.Request) string { hang("ClientAddr"); return "" }
		c.OnEvent = func(ctx context.Context, e sessionguard.Event) { hang(string(e.Name)); onEvent(ctx, e) }
	})
	for _, method := range []string{"Load", "Create", "Delete"} {
		backend.beforeCall(method, func() { hang(method) })
	}
	return s, backend, inside, func() { hanging.Store(true) }, func() { hanging.Store(false); close(goOn) }
}

// A timeout is a context whose deadline has passed as soon as over is closed.
type timeout struct {
	context.Context
	over <-chan struct{}
}

func (c timeout) Done() <-chan struct{} { return c.over }

func (c timeout) Err() error {
	select {
	case <-c.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// timeoutHandler is http.TimeoutHandler, which responds when over is closed.
func timeoutHandler(next http.Handler, over <-chan struct{}) http.Handler {
	limited := http.TimeoutHandler(next, time.Hour, "too slow")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limited.ServeHTTP(w, r.WithContext(timeout{r.Context(), over}))
	})
}

// impatient is a timeout middleware that gives its handler no context of its own and does
// not buffer what it writes.
func impatient(next http.Handler, over <-chan struct{}, status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			next.ServeHTTP(discarding{http.Header{}}, r)
		}()
		select {
		case <-done:
		case <-over:
			http.Error(w, "too slow", status)
		}
	})
}

type discarding struct{ header http.Header }

func (d discarding) Header() http.Header       { return d.header }
func (discarding) WriteHeader(int)             {}
func (discarding) Write(b []byte) (int, error) { return len(b), nil }

// W2: the response of a timeout middleware does not wait for a callback that hangs, whoever
// calls it. It is not cached, sets no cookie, and nothing of its handler is saved.
func TestATimeoutDoesNotWaitForAHangingCallback(t *testing.T) {
	look := func(s *site, w http.ResponseWriter, r *http.Request) {
		s.guard.User(r)
		session, _ := s.guard.Get(r, "app")
		session.Values["k"] = "v"
	}
	login := func(s *site, w http.ResponseWriter, r *http.Request) { _ = s.guard.Login(w, r, &user{ID: "grace"}) }
	end := func(s *site, w http.ResponseWriter, r *http.Request) { _ = s.guard.End(w, r) }
	for callback, use := range map[string]func(*site, http.ResponseWriter, *http.Request){
		"FindUser": look, "Load": look, "MaxSessions": login, "ClientAddr": login, "Create": login,
		string(sessionguard.EventLogin): login, "Delete": end, string(sessionguard.EventLogout): end,
	} {
		for name, limit := range map[string]func(http.Handler, <-chan struct{}) http.Handler{
			"http.TimeoutHandler": timeoutHandler,
			"status 408": func(h http.Handler, over <-chan struct{}) http.Handler {
				return impatient(h, over, http.StatusRequestTimeout)
			},
			"status 504": func(h http.Handler, over <-chan struct{}) http.Handler {
				return impatient(h, over, http.StatusGatewayTimeout)
			},
			"outer middleware": func(h http.Handler, over <-chan struct{}) http.Handler {
				limited := timeoutHandler(h, over)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					limited.ServeHTTP(w, r)
					w.Header().Set("Cache-Control", "public")
				})
			},
		} {
			t.Run(callback+", "+name, func(t *testing.T) {
				s, backend, hung, hangs, release := stuckSite(t, callback)
				returned := make(chan struct{})
				limited := limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(returned)
					use(s, w, r)
				}), hung)
				var after error
				s.mux.HandleFunc("POST /slow", func(w http.ResponseWriter, r *http.Request) {
					limited.ServeHTTP(w, r)
					_, after = s.guard.Get(r, "app") // as a middleware that logs the user
				})
				b := s.browse()
				b.login("ada")
				hangs()
				resp := b.Post("/slow")
				require.Contains(t, resp.Body, "too slow")
				requireNoStore(t, resp.Header)
				require.Empty(t, resp.Cookies())
				require.ErrorIs(t, after, sessionguard.ErrUnavailable)
				release()
				<-returned
				require.Empty(t, sessionsOf(t, backend, "grace"), "nobody has its cookie")
				require.Len(t, sessionsOf(t, backend, "ada"), map[bool]int{true: 1}[callback == "FindUser" || callback == "Load"], callback)
				require.Equal(t, "<nil> <nil>", b.Get("/value?k=k").Body)
			})
		}
	}
}

// W2: the same for a gate inside http.TimeoutHandler, which is in the way of every page. An
// outer middleware that buffers reads the header only at the end.
func TestATimeoutDoesNotWaitForAGateThatHangs(t *testing.T) {
	for name, outer := range map[string]func(http.Handler) http.Handler{
		"unbuffered": func(h http.Handler) http.Handler { return h },
		"buffered":   func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Hour, "") },
	} {
		t.Run(name, func(t *testing.T) {
			s, _, hung, hangs, release := stuckSite(t, "FindUser")
			limited := timeoutHandler(s.guard.RequireLogin(http.NotFoundHandler()), hung)
			s.mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
				limited.ServeHTTP(w, r)
				w.Header().Set("Cache-Control", "public")
			})
			b := browse(t, serve(t, outer(s.guard.Handler(s.mux))))
			b.login("ada")
			hangs()
			resp := b.Get("/slow")
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			require.Equal(t, "too slow", resp.Body)
			requireNoStore(t, resp.Header)
			release()
			require.True(t, b.loggedIn())
		})
	}
}

// Every other response waits for a goroutine of its handler that is inside the guard.
func TestAnOrdinaryResponseWaitsForTheGuard(t *testing.T) {
	inside := make(chan struct{})
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.MaxSessions = func(*user) store.Limit {
			close(inside)
			for range 10_000 {
				runtime.Gosched()
			}
			return store.Limit{}
		}
	})
	s.mux.HandleFunc("POST /in", func(w http.ResponseWriter, r *http.Request) {
		go s.guard.Login(w, r, &user{ID: "ada"})
		<-inside
		w.WriteHeader(http.StatusNoContent)
	})
	b := s.browse()
	b.Post("/in")
	require.True(t, b.loggedIn())
}

// W2: the same for a handler of Config.Refusals that has such a timeout itself.
func TestATimeoutInARefusalDoesNotWaitForAHangingCallback(t *testing.T) {
	var hanging atomic.Bool
	goOn, returned := make(chan struct{}), make(chan struct{})
	var s *site
	s = newSite(t, func(c *sessionguard.Config[*user]) {
		find := c.FindUser
		c.FindUser = func(ctx context.Context, id string) (*user, error) {
			if hanging.Load() {
				select {
				case <-goOn:
				case <-time.After(patience):
					t.Error("the response waited for FindUser")
				}
			}
			return find(ctx, id)
		}
		c.Refusals.CrossOrigin = http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			defer close(returned)
			s.guard.User(r)
		}), 10*time.Millisecond, "too slow")
	})
	b := s.browse()
	b.login("ada")
	hanging.Store(true)
	resp := b.Post("/value", "Sec-Fetch-Site", "cross-site")
	require.Equal(t, "too slow", resp.Body)
	requireNoStore(t, resp.Header)
	close(goOn)
	<-returned
}
