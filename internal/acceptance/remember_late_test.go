package acceptance

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// addSlowRoute adds GET /slow, a page for logged-in users that takes d.
func (s *site) addSlowRoute(d time.Duration) {
	s.mux.Handle("GET /slow", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		advance(d)
		io.WriteString(w, "secret")
	})))
}

// K2, L3: a late response with a new token does not overwrite a newer cookie
func TestLateResponseWithNewTokenOverwritesNoLoginOrLogout(t *testing.T) {
	for name, overtake := range map[string]func(s *site, b *browser){
		"login of the same user":  func(_ *site, b *browser) { b.login("ada") },
		"login of another user":   func(_ *site, b *browser) { b.login("grace") },
		"logout":                  func(_ *site, b *browser) { b.Post("/logout") },
		"end by an administrator": func(s *site, _ *browser) { require.NoError(s.T, s.guard.EndUser(s.T.Context(), "ada")) },
	} {
		t.Run(name, func(t *testing.T) {
			onBothRemembered(t, func(s *site, _ *failingBackend) {
				s.addSlowRoute(5 * time.Second)
				b := s.browse()
				b.login("ada")
				advance(idle)
				done := make(chan response)
				go func() { done <- b.Get("/slow") }()
				advance(time.Second)
				overtake(s, b)
				want := b.Cookies()
				late := <-done
				require.Nil(s.T, late.Cookie(sessionCookie))
				require.NotEqual(s.T, "secret", late.Body)
				require.Equal(s.T, want, b.Cookies())
				require.Equal(s.T, strings.HasPrefix(name, "login"), b.loggedIn())
				advance(31 * time.Second)
				b.loggedIn()
				require.Empty(s.T, s.events.take(sessionguard.EventTheftSuspected))
			})
		})
	}
}

// K2: a late page without a gate is sent, but does not overwrite the cookie of a newer
// login
func TestLatePublicPageOverwritesNoCookie(t *testing.T) {
	onBothRemembered(t, func(s *site, _ *failingBackend) {
		s.mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
			s.guard.User(r)
			advance(5 * time.Second)
			io.WriteString(w, "public")
		})
		b := s.browse()
		b.login("ada")
		advance(idle)
		done := make(chan response)
		go func() { done <- b.Get("/slow") }()
		advance(time.Second)
		b.login("grace")
		late := <-done
		require.Equal(s.T, "public", late.Body)
		require.Nil(s.T, late.Cookie(sessionCookie))
		require.True(s.T, b.loggedIn())
	})
}

// K2: a late 503 does not overwrite the cookie of a newer login
func TestLate503OverwritesNoLogin(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		slow := make(chan struct{}, 1)
		var s *site
		s = rememberingSite(t, newFailingBackend(), func(c *sessionguard.Config[*user]) {
			c.FindUser = func(ctx context.Context, id string) (*user, error) {
				select {
				case <-slow:
					advance(5 * time.Second)
					return nil, errBackendDown
				default:
					return s.users.Find(ctx, id)
				}
			}
		})
		b := s.browse()
		b.login("ada")
		advance(idle)
		slow <- struct{}{}
		done := make(chan response)
		go func() { done <- b.Get("/home") }()
		advance(time.Second)
		b.login("ada")
		want := b.Cookies()
		require.Equal(t, http.StatusServiceUnavailable, (<-done).StatusCode)
		require.Equal(t, want, b.Cookies())
		require.True(t, b.loggedIn())
	})
}

// K2: a response that outer middleware has buffered does not overwrite the cookie of a
// newer login
func TestBufferedResponseOverwritesNoLogin(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s := rememberingSite(t, nil)
		s.mux.Handle("GET /report", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: sessionCookie + "-theme", Value: "dark", Path: "/", Secure: true})
			io.WriteString(w, "begin")
			advance(5 * time.Second)
			io.WriteString(w, "end")
		})))
		b := browseOver(t, proto, http.TimeoutHandler(s.guard.Handler(s.mux), time.Minute, ""))
		b.login("ada")
		advance(idle)
		done := make(chan response)
		go func() { done <- b.Get("/report") }()
		advance(time.Second)
		b.login("ada")
		want := b.Cookies()
		late := <-done
		require.Nil(t, late.Cookie(sessionCookie))
		require.NotNil(t, late.Cookie(sessionCookie+"-theme"), "the application's cookies stay")
		want[sessionCookie+"-theme"] = "dark"
		require.Equal(t, want, b.Cookies())
		require.True(t, b.loggedIn())
	})
}
