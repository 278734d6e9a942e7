package acceptance

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// lostLogin is a site whose users have one session at most, and a browser whose request is
// given up by an outer middleware when the handler calls giveUp.
func lostLogin(t *testing.T, outer func(http.Handler) http.Handler) (*site, *failingBackend, *browser) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) {
		c.Backend = backend
		c.MaxSessions = func(*user) store.Limit { return store.Limit{Max: 1, Refuse: true} }
	})
	return s, backend, browse(t, serve(t, outer(s.guard.Handler(s.mux))))
}

// cancelling gives each request a context that its handler can end, as net/http ends it
// when the client disconnects.
func cancelling(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, giveUpKey{}, cancel)))
	})
}

// limiting gives up after a second, and the handler with it.
func limiting(next http.Handler) http.Handler {
	limited := http.TimeoutHandler(next, time.Second, "too slow")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait := context.CancelFunc(func() { time.Sleep(time.Minute) })
		limited.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), giveUpKey{}, wait)))
	})
}

type giveUpKey struct{}

func giveUp(r *http.Request) { r.Context().Value(giveUpKey{}).(context.CancelFunc)() }

// L6: a login whose response nobody gets is undone, so that a limit does not lock the user
// out. It does not matter how far the response has come.
func TestALoginWhoseResponseNobodyGetsIsUndone(t *testing.T) {
	for outerName, outer := range map[string]func(http.Handler) http.Handler{
		"the client disconnects": cancelling, "an outer http.TimeoutHandler gives up": limiting,
	} {
		for when, handler := range map[string]func(s *site, w http.ResponseWriter, r *http.Request) error{
			"before the login": func(s *site, w http.ResponseWriter, r *http.Request) error {
				giveUp(r)
				return s.guard.Login(w, r, &user{ID: "ada"})
			},
			"before the response": func(s *site, w http.ResponseWriter, r *http.Request) error {
				err := s.guard.Login(w, r, &user{ID: "ada"})
				giveUp(r)
				w.WriteHeader(http.StatusNoContent)
				return err
			},
			"before the handler returns": func(s *site, w http.ResponseWriter, r *http.Request) error {
				err := s.guard.Login(w, r, &user{ID: "ada"})
				io.WriteString(w, "hello ")
				giveUp(r)
				io.WriteString(w, "ada")
				return err
			},
			"while late values are saved": func(s *site, w http.ResponseWriter, r *http.Request) error {
				err := s.guard.Login(w, r, &user{ID: "ada"})
				session, _ := s.guard.Get(r, "app")
				io.WriteString(w, "hello ada")
				session.Values["k"] = "late"
				backend := s.config.Backend.(*failingBackend)
				backend.beforeCall("Save", func() { backend.beforeCall("Save", nil); giveUp(r) })
				return err
			},
		} {
			t.Run(outerName+" "+when, func(t *testing.T) {
				withFakeClock(t, func(t *testing.T) {
					s, backend, b := lostLogin(t, outer)
					returned := make(chan error, 1)
					s.mux.HandleFunc("POST /in", func(w http.ResponseWriter, r *http.Request) { returned <- handler(s, w, r) })
					resp := b.Post("/in")
					require.NoError(t, <-returned)
					if !strings.HasPrefix(when, "before the handler") && !strings.HasPrefix(when, "while") {
						require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, "no response claims success")
						require.Empty(t, resp.Cookies())
					}
					advance(2 * time.Minute)
					require.Empty(t, sessionsOf(t, backend, "ada"))
					b.SetCookies(nil)
					b.login("ada")
					require.True(t, b.loggedIn())
				})
			})
		}
	}
}

// A login in a request that has not ended stays, whatever becomes of a context that
// middleware inside the guard has derived from the request's.
func TestALoginStaysIfOnlyAnInnerContextEnds(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, _ := remoteSite(t)
		s.mux.HandleFunc("POST /in", func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			_ = s.guard.Login(w, r.WithContext(ctx), &user{ID: "ada"})
			cancel()
		})
		b := s.browse()
		b.Post("/in")
		require.True(t, b.loggedIn())
	})
}
