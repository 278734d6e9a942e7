package acceptance

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// recovering returns a middleware outside of the guard that responds to a panic, after
// meanwhile has run.
func recovering(next http.Handler, meanwhile func(p any)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				meanwhile(p)
				w.WriteHeader(http.StatusInternalServerError)
				fmt.Fprint(w, "sorry")
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// L6: a goroutine that the handler has left behind adds nothing to the page of a
// recoverer, and logs nobody in.
func TestAfterAPanicTheOldPageWritesNothing(t *testing.T) {
	for name, before := range map[string]func(http.ResponseWriter){
		"before the first byte": func(http.ResponseWriter) {},
		"after a 103":           func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) },
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site, backend *failingBackend) {
				var late func()
				s.mux.Handle("GET /panic", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					before(w)
					late = func() {
						require.ErrorIs(s.T, s.guard.Login(w, r, &user{ID: "grace"}), sessionguard.ErrHeadersSent)
						w.Header().Set("X-Secret", "of ada")
						w.WriteHeader(http.StatusOK)
						_, err := fmt.Fprint(w, "secret of ada")
						require.Error(s.T, err)
						require.Error(s.T, http.NewResponseController(w).Flush())
					}
					panic("bug")
				})))
				b := browse(s.T, serve(s.T, recovering(s.guard.Handler(s.mux), func(p any) {
					require.Equal(s.T, "bug", p)
					late()
				})))
				b.login("ada")
				resp := b.Get("/panic")
				require.Equal(s.T, http.StatusInternalServerError, resp.StatusCode)
				require.Equal(s.T, "sorry", resp.Body)
				require.Empty(s.T, resp.Header.Get("X-Secret"))
				require.Empty(s.T, resp.Cookies())
				requireNoStore(s.T, resp.Header)
				if backend != nil {
					require.Empty(s.T, sessionsOf(s.T, backend, "grace"))
				}
				require.True(s.T, b.loggedIn())
			})
		})
	}
}

// L6: what the request logged in and out again is over, and the panic is the handler's.
func TestPanicAfterLoginAndLogoutLeavesNoSession(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		s.mux.HandleFunc("POST /panic", func(w http.ResponseWriter, r *http.Request) {
			require.NoError(s.T, s.guard.Login(w, r, &user{ID: "ada"}))
			require.NoError(s.T, s.guard.End(w, r))
			panic("bug")
		})
		var panicked any
		b := browse(s.T, serve(s.T, recovering(s.guard.Handler(s.mux), func(p any) { panicked = p })))
		b.login("grace")
		s.events.take()
		require.Equal(s.T, "sorry", b.Post("/panic").Body)
		require.Equal(s.T, "bug", panicked)
		require.False(s.T, b.loggedIn())
		var names []sessionguard.EventName
		for _, e := range s.events.take() {
			names = append(names, e.Name)
		}
		require.Equal(s.T, []sessionguard.EventName{sessionguard.EventEnded, sessionguard.EventLogin, sessionguard.EventLogout}, names[:3])
		if backend != nil {
			require.Empty(s.T, sessionsOf(s.T, backend, "ada"))
			require.Empty(s.T, sessionsOf(s.T, backend, "grace"))
		}
	})
}

// L6: echo.WrapMiddleware leaves the guard's ResponseWriter in place, so that a recoverer
// outside of the guard has no other.
func TestARecovererWithTheGuardsWriterSendsItsError(t *testing.T) {
	for _, wrapper := range []string{"Handler", "NoCache", "RequireLogin"} {
		for _, status := range []int{http.StatusInternalServerError, http.StatusBadRequest, http.StatusSeeOther} {
			t.Run(fmt.Sprint(wrapper, status), func(t *testing.T) {
				onBoth(t, func(s *site, backend *failingBackend) {
					wrap := map[string]func(http.Handler) http.Handler{
						"Handler": s.guard.Handler, "NoCache": sessionguard.NoCache, "RequireLogin": s.guard.RequireLogin,
					}[wrapper]
					var inner http.ResponseWriter
					page := wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						inner = w
						w.Header().Set("Cache-Control", "public")
						s.guard.User(r)
						panic("bug")
					}))
					mux := http.NewServeMux()
					mux.Handle("/", s.guard.Handler(s.mux))
					mux.HandleFunc("/panic", func(_ http.ResponseWriter, r *http.Request) {
						_ = recovered(func() { page.ServeHTTP(inner, r) })
						w := inner
						w.Header().Set("Content-Type", "text/x-error")
						w.Header().Set("Location", "/error")
						w.WriteHeader(status)
						fmt.Fprint(w, "sorry")
					})
					b := browse(s.T, serve(s.T, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						inner = w
						mux.ServeHTTP(w, r)
					})))
					b.login("ada")
					resp := b.Get("/panic")
					require.Equal(s.T, status, resp.StatusCode)
					require.Equal(s.T, "sorry", resp.Body)
					require.Equal(s.T, "text/x-error", resp.Header.Get("Content-Type"))
					requireNoStore(s.T, resp.Header)
					require.True(s.T, b.loggedIn())
				})
			})
		}
	}
}

// L5: whatever a client library does, each request gets a response, and nobody is logged out.
// A panic is no result, even if its value is one.
func TestPanicOfTheBackendIs503(t *testing.T) {
	home := func(b *browser) response { return b.Get("/home") }
	for method, send := range map[string]func(*browser) response{
		"Load": home, "Touch": home,
		"Replace":    func(b *browser) response { return b.Post("/again?user=ada") },
		"Create":     func(b *browser) response { return b.Post("/again?user=grace") },
		"Save":       func(b *browser) response { return b.Post("/value?k=k&v=v") },
		"Delete":     func(b *browser) response { return b.Post("/logout") },
		"ByOwner":    func(b *browser) response { return b.Post("/others") },
		"DeleteByID": func(b *browser) response { return b.Post("/others") },
	} {
		t.Run(method, func(t *testing.T) {
			withFakeClock(t, func(t *testing.T) {
				s, backend := remoteSite(t)
				s.mux.HandleFunc("POST /again", func(w http.ResponseWriter, r *http.Request) {
					require.ErrorIs(t, s.guard.Login(w, r, &user{ID: r.FormValue("user")}), sessionguard.ErrUnavailable)
				})
				s.mux.HandleFunc("POST /others", func(w http.ResponseWriter, r *http.Request) {
					require.ErrorIs(t, s.guard.EndOthers(r), sessionguard.ErrUnavailable)
					w.WriteHeader(http.StatusServiceUnavailable)
				})
				b, phone := s.browse(), s.browse()
				b.login("ada")
				phone.login("ada")
				advance(2 * time.Minute)
				backend.beforeCall(method, func() { panic(store.ErrNotFound) })
				resp := send(b)
				require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, resp.Body)
				require.NotContains(t, resp.Body, "secret")
				require.Contains(t, s.log.String(), "method="+method)
				require.Contains(t, s.log.String(), "failingBackend", "the stack")
				backend.beforeCall(method, nil)
				require.True(t, phone.loggedIn())
				if method != "Delete" && method != "Create" { // a login as somebody else ends the session first
					require.True(t, b.loggedIn())
				}
			})
		})
	}
}

// Its session may still come from the server.
func TestPanicOfTheLocalCacheIsAMiss(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = panickingCacher{backend} })
		b := s.browse()
		b.login("ada")
		require.True(t, b.loggedIn())
		require.Contains(t, s.log.String(), "panickingCacher", "the stack")
		backend.beforeCall("Load", func() { panic("a nil client") })
		requireUnavailable(t, b.Get("/home"))
	})
}

type panickingCacher struct{ *failingBackend }

func (panickingCacher) Cached(store.Key) (store.Record, bool) { panic("a nil client") }

// A stream looks its session up on a timer, where nothing else recovers.
func TestPanicOfTheBackendIsLoggedByAStream(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		s.addStream(s.passiveCancelOnEnd)
		b := s.browse()
		b.login("ada")
		stream := b.openStream("/events")
		backend.beforeCall("Load", func() { panic("a nil client") })
		advance(idle)
		require.Contains(t, <-stream.lines, sessionguard.ErrUnavailable.Error())
		require.Contains(t, s.log.String(), "failingBackend", "the stack")
	})
}

// L6: a copy from a source that fails commits the response, and sends nothing of it.
func TestAPanicTakesBackTheCookieOfALoginThatWasNotSent(t *testing.T) {
	onBoth(t, func(s *site, backend *failingBackend) {
		var inner http.ResponseWriter
		s.mux.HandleFunc("POST /panic", func(w http.ResponseWriter, r *http.Request) {
			inner = w
			require.NoError(s.T, s.guard.Login(w, r, &user{ID: "ada"}))
			_, err := io.Copy(w, iotest.ErrReader(errors.New("broken")))
			require.Error(s.T, err)
			panic("bug")
		})
		for name, writer := range map[string]func(outer http.ResponseWriter) http.ResponseWriter{
			"the server's": func(outer http.ResponseWriter) http.ResponseWriter { return outer },
			"the guard's":  func(http.ResponseWriter) http.ResponseWriter { return inner },
		} {
			b := browse(s.T, serve(s.T, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if recovered(func() { s.guard.Handler(s.mux).ServeHTTP(w, r) }) != nil {
					writer(w).WriteHeader(http.StatusInternalServerError)
				}
			})))
			b.Post("/value") // a visitor's cookie, which the login takes in
			had := b.Cookies()
			resp := b.Post("/panic")
			require.Equal(s.T, http.StatusInternalServerError, resp.StatusCode, name)
			require.Empty(s.T, resp.Cookies(), name)
			require.Equal(s.T, had, b.Cookies(), name)
			requireNoStore(s.T, resp.Header)
		}
	})
}
