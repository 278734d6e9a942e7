package acceptance

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// The tests in this file repeat attacks that the library once did not withstand.

// W2: the handler gets the values through a context, so only the 503 shows that it was
// abandoned. If the guard read the values, the race detector or the runtime would fail
// this test.
func TestTimeoutLeavesValuesInAContextAlone(t *testing.T) {
	type valuesKey struct{}
	s := newSite(t, nil)
	stop, stopped := make(chan struct{}), make(chan struct{})
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(stopped)
		values := r.Context().Value(valuesKey{}).(map[any]any)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				values[i%100] = i
			}
		}
	})
	timed := http.TimeoutHandler(inner, time.Millisecond, "too slow")
	s.mux.HandleFunc("GET /timed", func(w http.ResponseWriter, r *http.Request) {
		session, _ := s.guard.Get(r, "app")
		timed.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), valuesKey{}, session.Values)))
	})
	b := s.browse()
	require.Equal(t, "too slow", b.Get("/timed").Body)
	close(stop)
	<-stopped
}

// L5: resolving the session fails at the deadline of the caller's context.
func TestResolveStopsAtTheCallersDeadline(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		var hang atomic.Bool // the response does not wait for FindUser
		s := newSite(t, func(c *sessionguard.Config[*user]) {
			find := c.FindUser
			c.FindUser = func(ctx context.Context, id string) (*user, error) {
				if hang.Load() {
					select {
					case <-ctx.Done():
					case <-time.After(time.Minute): // so that this test fails in time
					}
					return nil, errors.New("hung")
				}
				return find(ctx, id)
			}
		})
		page := s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "secret") }))
		s.mux.Handle("GET /timed", http.TimeoutHandler(page, time.Second, "too slow"))
		b := s.browse()
		b.login("ada")
		hang.Store(true)
		start := time.Now()
		require.Equal(t, http.StatusServiceUnavailable, b.Get("/timed").StatusCode)
		require.Equal(t, time.Second, time.Since(start))
		hang.Store(false)
		require.True(t, b.loggedIn(), "the session has not ended")
	})
}

// L1, L5, L6: a gate around a part of a page refuses the part, but not the page.
func TestRefusedPartDoesNotRefuseThePage(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		part := s.guard.RequireRole("Admin")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "box") }))
		dash := func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			part.ServeHTTP(rec, r)
			if r.Method == http.MethodPost {
				session, _ := s.guard.Get(r, "app")
				session.Values["k"] = "v"
			}
			fmt.Fprint(w, "dash ", rec.Code)
		}
		s.mux.HandleFunc("GET /dash", dash)
		s.mux.HandleFunc("POST /dash", dash)
		b := s.browse()
		b.login("ada")
		for range 4 {
			advance(idle - 2*time.Minute)
			require.Equal(t, "dash 303", b.Get("/dash").Body)
		}
		require.True(t, b.loggedIn(), "a request for the page is activity")
		for _, down := range []string{"Load", "Save"} {
			backend.failOn(down)
			resp := b.Post("/dash")
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, down)
			require.NotContains(t, resp.Body, "dash")
		}
	})
}

// L3, L6: a replaced page's headers are not sent either.
func TestReplacedPageLeavesNoHeaders(t *testing.T) {
	for name, outer := range map[string]func(http.Handler) http.Handler{
		"plain":          func(h http.Handler) http.Handler { return h },
		"TimeoutHandler": func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "") },
	} {
		t.Run(name, func(t *testing.T) {
			s, backend := remoteSite(t)
			s.mux.Handle("GET /secret", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.SetCookie(w, &http.Cookie{Name: "api", Value: "secret"})
				w.Header().Set("X-Account", "secret")
				w.Header().Set("Hx-Trigger", "secret")
				session, _ := s.guard.Get(r, "app")
				session.Values["k"] = "v"
				backend.failOn("Save")
				io.WriteString(w, "secret")
				w.Header().Set("Etag", "secret")
				w.Header().Set("Content-Encoding", "secret")
				w.Header().Set(http.TrailerPrefix+"X-Total", "secret")
			})))
			security := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Security-Policy", "default-src 'self'")
					w.Header().Set("Access-Control-Allow-Origin", "https://app.example")
					next.ServeHTTP(w, r)
				})
			}
			b := browse(t, serve(t, outer(security(s.guard.Handler(s.mux)))))
			b.login("ada")
			resp := b.Get("/secret")
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			require.NotContains(t, fmt.Sprint(resp.Body, resp.Header, resp.Trailer), "secret")
			require.Equal(t, "default-src 'self'", resp.Header.Get("Content-Security-Policy"))
			require.Equal(t, "https://app.example", resp.Header.Get("Access-Control-Allow-Origin"))
			requireNoStore(t, resp.Header)
		})
	}
}

// L5: code that recovers from a panic of FindUser must not see the request as a visitor's.
func TestPanicInACallbackIsUnavailableNotLoggedOut(t *testing.T) {
	for _, callback := range []string{"FindUser", "IsActive", "Load"} {
		withFakeClock(t, func(t *testing.T) {
			panics := false
			s, backend := remoteSite(t)
			guard, err := sessionguard.New(sessionguard.Config[*user]{
				Keys: testKeys, Backend: backend, Logger: s.config.Logger,
				FindUser: func(ctx context.Context, id string) (*user, error) {
					if panics && callback == "FindUser" {
						panic(callback)
					}
					u, err := s.users.Find(ctx, id)
					if panics && callback == "IsActive" {
						u.Broken = true
					}
					return u, err
				},
			})
			require.NoError(t, err)
			errs := make(chan error, 1)
			b := browse(t, serve(t, guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/login" {
					errs <- guard.Login(w, r, &user{ID: "ada"})
					return
				}
				func() {
					defer func() { _ = recover() }()
					guard.Get(r, "app")
				}()
				session, err := guard.Get(r, "app")
				session.Values["k"] = "v"
				errs <- err
				_, ok := guard.User(r)
				fmt.Fprint(w, ok)
			}))))
			b.Post("/login")
			require.NoError(t, <-errs)
			panics = true
			if callback == "Load" {
				backend.beforeCall("Load", func() { panic(callback) })
			}
			resp := b.Get("/")
			require.ErrorIs(t, <-errs, sessionguard.ErrUnavailable)
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
			require.Zero(t, backend.callCounts()["Save"])
		})
	}
}

// The response with the new cookie has not arrived yet when the user logs out in another
// tab.
func TestLogoutEndsASessionBeingReauthenticated(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		replaced, release := make(chan error), make(chan struct{})
		s.mux.HandleFunc("POST /reauth", func(w http.ResponseWriter, r *http.Request) {
			u, _ := s.guard.User(r)
			err := errors.Join(s.guard.Login(w, r, u), s.guard.Login(w, r, u)) // moved twice
			replaced <- err
			<-release
		})
		b, tab := s.browse(), s.browse()
		b.login("ada")
		tab.SetCookies(b.Cookies())
		done := make(chan struct{})
		go func() {
			defer close(done)
			resp, err := b.Client.Do(b.Request("POST", "/reauth"))
			if err == nil {
				resp.Body.Close()
			}
		}()
		require.NoError(s.T, <-replaced)
		require.Equal(s.T, http.StatusSeeOther, tab.Post("/logout").StatusCode)
		close(release)
		<-done
		require.False(s.T, b.loggedIn())
	})
}

// I1: two logins at once, as by a double click, leave one session with its values, and one
// cookie.
func TestConcurrentReauthenticationsLeaveOneSession(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		first, second := s.browse(), s.browse()
		first.login("ada")
		first.Post("/value?k=cart&v=book")
		second.SetCookies(first.Cookies())
		id := statusOf(first).Session
		s.mux.HandleFunc("POST /slow", func(w http.ResponseWriter, r *http.Request) {
			name := r.FormValue("user")
			s.guard.User(r) // resolved before the other login
			first.login("ada")
			if err := s.guard.Login(w, r, &user{ID: name, Roles: []string{"Engineer"}}); err != nil {
				t.Error(err)
			}
		})
		second.Post("/slow?user=ada")
		require.False(s.T, first.loggedIn())
		require.Equal(s.T, id, statusOf(second).Session)
		require.Equal(s.T, "book <nil>", second.Get("/value?k=cart").Body)

		first.SetCookies(second.Cookies())
		second.Post("/slow?user=grace") // the browser had ada's session
		require.False(s.T, first.loggedIn())
		require.Equal(s.T, "<nil> <nil>", second.Get("/value?k=cart").Body)
	})
}

// L4: an early Save does not overwrite what the handler changed afterwards.
func TestEarlySaveDoesNotOverwriteLaterChanges(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.mux.Handle("POST /code", http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["code"], session.Values["k"] = "once", "one"
			if err := session.Save(r, w); err != nil {
				t.Error(err)
			}
			delete(session.Values, "code")
			session.Values["k"] = "two"
		}), time.Minute, ""))
		b := s.browse()
		b.login("ada")
		b.Post("/code")
		require.Equal(s.T, "two <nil>", b.Get("/value?k=k").Body)
		require.Equal(s.T, "<nil> <nil>", b.Get("/value?k=code").Body)
	})
}

// L6, R3: a reverse proxy aborts when it cannot write. The refusal arrives nevertheless.
func TestRefusalReplacesAProxiedPage(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "secret") }))
	defer upstream.Close()
	target, err := url.Parse(upstream.URL)
	require.NoError(t, err)
	s, backend := remoteSite(t)
	s.mux.Handle("POST /app", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := s.guard.Get(r, "app")
		session.Values["k"] = "v"
		backend.failOn("Save")
		httputil.NewSingleHostReverseProxy(target).ServeHTTP(w, r)
	})))
	b := s.browse()
	b.login("ada")
	resp := b.Post("/app")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NotContains(t, resp.Body, "secret")
}

// L6: outer middleware compresses the refusal too, so Content-Encoding stays.
func TestReplacedPageKeepsTheEncodingOfOuterMiddleware(t *testing.T) {
	s, backend := remoteSite(t)
	s.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		session, _ := s.guard.Get(r, "app")
		session.Values["k"] = "v"
		backend.failOn("Save")
		io.WriteString(w, "secret")
	})
	guarded := s.guard.Handler(s.mux)
	b := browse(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		body := gzip.NewWriter(w)
		defer body.Close()
		guarded.ServeHTTP(compressing{w, body}, r)
	})))
	b.login("ada")
	resp := b.Get("/page")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, resp.Body, "cannot be checked right now")
}

type compressing struct {
	http.ResponseWriter
	body io.Writer
}

func (c compressing) Write(p []byte) (int, error) { return c.body.Write(p) }

// R3: each refused part of a page runs the handler from Config.Refusals.
func TestEveryRefusedPartGetsTheCustomRefusal(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.Refusals.Forbidden = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "own", http.StatusForbidden) })
	})
	part := s.guard.RequireRole("Admin")(http.NotFoundHandler())
	s.mux.HandleFunc("GET /dash", func(w http.ResponseWriter, r *http.Request) {
		for range 2 {
			rec := httptest.NewRecorder()
			part.ServeHTTP(rec, r)
			fmt.Fprint(w, rec.Body)
		}
	})
	b := s.browse()
	b.login("ada")
	require.Equal(t, "own\nown\n", b.Get("/dash").Body)
}

// L3: a page whose session has ended is replaced, even if a part of it was refused before.
func TestRefusedPartDoesNotPreventTheRefusalOfThePage(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		part := s.guard.RequireRole("Admin")(http.NotFoundHandler())
		s.mux.Handle("GET /report", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			part.ServeHTTP(httptest.NewRecorder(), r)
			if err := s.guard.EndUser(r.Context(), "ada"); err != nil {
				t.Error(err)
			}
			http.Error(w, "secret report, half of it", http.StatusInternalServerError)
		})))
		b := s.browse()
		b.login("ada")
		advance(time.Second)
		resp := b.Get("/report")
		require.NotContains(t, resp.Body, "secret")
	})
}

func TestLongestTimeoutsWork(t *testing.T) {
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.IdleTimeout, c.AbsoluteTimeout = math.MaxInt64, math.MaxInt64 })
	b := s.browse()
	b.Post("/value?k=a&v=1")
	require.Equal(t, "1 <nil>", b.Get("/value?k=a").Body)
	b.login("ada")
	require.True(t, b.loggedIn())
	require.Greater(t, statusOf(b).Absolute, 1<<32)
}
