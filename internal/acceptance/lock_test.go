package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// patience is how long these tests wait for what never comes.
const patience = 10 * time.Second

// within fails the test if do does not return.
func within(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		require.FailNow(t, "a deadlock")
	}
}

// nosyWriter is an outer middleware's ResponseWriter that uses the guard.
type nosyWriter struct {
	http.ResponseWriter
	use *func()
}

func (w nosyWriter) Header() http.Header {
	(*w.use)()
	return w.ResponseWriter.Header()
}

// Outer middleware is application code too. At the end of the request the guard calls it
// under the request's lock.
func TestAnOuterWriterMayUseTheGuard(t *testing.T) {
	for name, end := range map[string]func(){
		"the handler returns": func() {},
		"the handler panics":  func() { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil)
			used := 0
			s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
				s.guard.User(r)
				*w.(interface{ Unwrap() http.ResponseWriter }).Unwrap().(nosyWriter).use = func() {
					used++
					s.guard.EndReason(r)
				}
				end()
			})
			guarded := s.guard.Handler(s.mux)
			b := browse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				use := func() {}
				guarded.ServeHTTP(nosyWriter{w, &use}, r)
			})))
			b.login("ada")
			within(t, func() {
				resp, err := b.Client.Do(b.Request("GET", "/page"))
				if err == nil {
					resp.Body.Close()
				}
			})
			require.NotZero(t, used)
		})
	}
}

// nosyContext is a middleware's context that uses the guard.
type nosyContext struct {
	context.Context
	use *func()
}

func (c nosyContext) Done() <-chan struct{} {
	(*c.use)()
	return c.Context.Done()
}

func TestAMiddlewaresContextMayUseTheGuard(t *testing.T) {
	s := newSite(t, nil)
	used := 0
	page := s.guard.CancelOnEnd(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.guard.Get(r, "app")
		fmt.Fprint(w, "page")
	}))
	s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		use := func() {}
		inner := r.WithContext(nosyContext{r.Context(), &use})
		use = func() {
			used++
			s.guard.EndReason(r)
		}
		page.ServeHTTP(w, inner)
	})
	b := s.browse()
	b.login("ada")
	within(t, func() { require.Equal(t, "page", b.Get("/page").Body) })
	require.NotZero(t, used)
}

// An audit trail that is slow to report a refusal does not hold up the response of
// http.TimeoutHandler, which needs the request's lock.
func TestASlowEventOfARefusalDoesNotDelayATimeout(t *testing.T) {
	goOn := make(chan struct{})
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.OnEvent = func(_ context.Context, e sessionguard.Event) {
			if e.Name == sessionguard.EventRefused {
				select {
				case <-goOn:
				case <-time.After(patience):
					t.Error("the response waited for the event")
				}
			}
		}
	})
	admin := s.guard.RequireRole("Admin")(http.NotFoundHandler())
	s.mux.Handle("GET /timed", http.TimeoutHandler(admin, 10*time.Millisecond, "too slow"))
	b := s.browse()
	b.login("ada")
	require.Equal(t, "too slow", b.Get("/timed").Body)
	close(goOn)
}
