package acceptance

import (
	"context"
	"fmt"
	"log/slog"
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

// Two guards whose callbacks use each other, on two goroutines of one request at once, do
// not deadlock: a callback never waits for another request's lock.
func TestCallbacksOfTwoGuardsDoNotWaitForEachOther(t *testing.T) {
	var guards [2]*sessionguard.Guard[*callbackUser]
	var found [2]chan struct{}
	var got [2]error
	together := false
	for i := range guards {
		found[i] = make(chan struct{})
		var err error
		guards[i], err = sessionguard.New(sessionguard.Config[*callbackUser]{
			Keys: testKeys, CookieName: fmt.Sprint("__Host-", i), Logger: slog.New(slog.DiscardHandler),
			FindUser: func(ctx context.Context, id string) (*callbackUser, error) {
				if together {
					close(found[i])
					<-found[1-i]
					_, got[i] = guards[1-i].Sessions(ctx, id)
				}
				return &callbackUser{id}, nil
			},
		})
		require.NoError(t, err)
	}
	b := browse(t, serve(t, guards[0].Handler(guards[1].Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			for _, g := range guards {
				require.NoError(t, g.Login(w, r, &callbackUser{"ada"}))
			}
			return
		}
		together = true
		done := make(chan struct{})
		go func() {
			defer close(done)
			guards[1].User(r)
		}()
		_, ok := guards[0].User(r)
		<-done
		fmt.Fprint(w, ok)
	})))))
	b.Post("/")
	within(t, func() { require.Equal(t, "true", b.Get("/").Body) })
	require.True(t, got[0] != nil || got[1] != nil)
	for _, err := range got {
		if err != nil {
			require.ErrorIs(t, err, sessionguard.ErrInCallback)
		}
	}
}
