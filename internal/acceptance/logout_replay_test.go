package acceptance

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// replayWitness sends cookies as they are and says what they still open.
func checkNoAccess(b *browser, cookies string) error {
	for path, opened := range map[string]func(response) bool{
		"/home":          func(resp response) bool { return resp.StatusCode == http.StatusOK },
		"/poll":          func(resp response) bool { return resp.StatusCode == http.StatusOK },
		"/fresh":         func(resp response) bool { return resp.StatusCode == http.StatusOK },
		"/status":        func(resp response) bool { return !strings.Contains(resp.Body, `"authenticated":false`) },
		"/":              func(resp response) bool { return !strings.Contains(resp.Body, "welcome nobody") },
		"/value?k=color": func(resp response) bool { return resp.Body != "<nil> <nil>" },
	} {
		if resp := b.Get(path, "Cookie", cookies); opened(resp) {
			return fmt.Errorf("%s answers %d %q", path, resp.StatusCode, resp.Body)
		}
	}
	return nil
}

// Promise 2, OWASP WSTG-SESS-06, ASVS 7.4.1: of every cookie that the session
// ever had, through logins, re-authentication and changes of its values, none
// opens anything after the logout, alone or together with any other.
func TestLogoutEndsEveryCopyOfTheCookie(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		b := s.browse()
		b.Get("/home")
		b.login("ada")
		b.Post("/value?k=color&v=green")
		advance(10 * time.Minute)
		b.login("ada") // re-authentication
		b.Post("/value?k=color&v=blue")
		b.login("grace") // somebody else, in the same browser
		b.Post("/value?k=color&v=red")
		b.login("ada")
		b.Post("/value?k=color&v=black")
		advance(time.Minute)
		b.login("ada")
		require.Equal(t, "black <nil>", b.Get("/value?k=color").Body)
		b.Post("/logout")
		b.Get("/") // eats the flash
		b.Post("/logout")
		b.Get("/")

		var sessions, all []string
		for _, c := range b.Received() {
			if c.Value != "" {
				all = append(all, c.Name+"="+c.Value)
			}
			if c.Name == sessionCookie && c.Value != "" {
				sessions = append(sessions, c.Value)
			}
		}
		require.Len(t, sessions, 5, "every login had its own")
		require.Greater(t, len(all), len(sessions))
		// A session's value under the other name, and the other way round.
		for _, c := range b.Received() {
			other := map[string]string{sessionCookie: visitorCookie, visitorCookie: sessionCookie}[c.Name]
			if c.Value != "" {
				all = append(all, other+"="+c.Value)
			}
		}
		replayer := s.browse()
		for i, one := range all {
			require.NoError(t, checkNoAccess(replayer, one), one)
			for _, two := range all[i+1:] {
				require.NoError(t, checkNoAccess(replayer, one+"; "+two), "%s; %s", one, two)
			}
		}
		require.Error(t, checkNoAccess(replayer, s.loginCookie()), "the witness sees a living session")
	})
}

func (s *site) loginCookie() string {
	b := s.browse()
	b.login("ada")
	return sessionCookie + "=" + b.Cookies()[sessionCookie]
}

// Promise 2: one person's logout ends one session, not those on other devices.
func TestLogoutEndsNoSessionOnAnotherDevice(t *testing.T) {
	s := newSite(t, nil)
	desk, phone := s.browse(), s.browse()
	desk.login("ada")
	phone.login("ada")
	desk.Post("/logout")
	require.True(t, phone.loggedIn())
}

// Promise 2: a visitor's cookie from before the login, sent along with the
// session's, does not come back to life by the logout.
func TestLogoutDoesNotRestoreValuesFromBeforeTheLogin(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.Post("/value?k=color&v=green")
	visitor := b.Cookies()[visitorCookie]
	require.NotEmpty(t, visitor)
	b.login("ada")
	b.SetCookies(map[string]string{sessionCookie: b.Cookies()[sessionCookie], visitorCookie: visitor})
	require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
	require.NotEqual(t, visitor, b.Cookies()[visitorCookie])
	require.Equal(t, "<nil> <nil>", b.Get("/value?k=color").Body)
	require.Equal(t, "welcome nobody [You have been logged out.]", b.Get("/").Body)
}

// L3: whatever a browser sends at the same time, once the logout is answered no
// request is accepted, and nothing that was under way brings the session back.
func TestNoRequestIsAcceptedAfterTheLogoutResponse(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		for round := range 6 {
			b := s.browse()
			b.login("ada")
			cookie := sessionCookie + "=" + b.Cookies()[sessionCookie]
			advance(time.Duration(round) * time.Minute) // also with a touch due

			send := func(client *http.Client, method, path string) (int, error) {
				req, err := http.NewRequest(method, b.URL+path, nil)
				if err != nil {
					return 0, err
				}
				req.Header.Set("Cookie", cookie)
				resp, err := client.Do(req)
				if err != nil {
					return 0, err
				}
				defer resp.Body.Close()
				_, err = io.Copy(io.Discard, resp.Body)
				return resp.StatusCode, err
			}
			logout := make(chan struct{}) // closed once its answer has arrived
			var early, late atomic.Int64
			failed := make(chan error, 8)
			var group sync.WaitGroup
			for range cap(failed) {
				client := s.browse().Client
				group.Go(func() {
					for n, after := 0, 0; n < 1000 && after < 3; n++ {
						accepted := &early
						select {
						case <-logout:
							accepted = &late
							after++
						default:
						}
						_, err := send(client, "POST", "/value?k=color&v=green")
						status, homeErr := send(client, "GET", "/home")
						if err = errors.Join(err, homeErr); err != nil {
							failed <- err
							return
						}
						if status == http.StatusOK {
							accepted.Add(1)
						}
					}
				})
			}
			client := s.browse().Client
			for n := 0; n < 10_000_000 && early.Load() < 20; n++ {
				runtime.Gosched()
			}
			status, err := send(client, "POST", "/logout")
			close(logout)
			group.Wait()
			require.NoError(t, err)
			require.Equal(t, http.StatusNoContent, status)
			require.Empty(t, failed)
			require.GreaterOrEqual(t, early.Load(), int64(20))
			require.Zero(t, late.Load())
			require.NoError(t, checkNoAccess(s.browse(), cookie))
		}
	})
}

// L3: a request held in flight over the logout can neither touch nor save nor
// re-create the session, and its page is not for whoever waits for it.
func TestRequestHeldDuringLogoutDoesNotResurrectTheSession(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		enter, leave := make(chan struct{}), make(chan struct{})
		release := sync.OnceFunc(func() { close(leave) })
		defer release()
		s.mux.Handle("/held", s.guard.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session, _ := s.guard.Get(r, "app")
			session.Values["color"] = "green"
			enter <- struct{}{}
			<-leave
			fmt.Fprint(w, "secret")
		})))
		b := s.browse()
		b.login("ada")
		advance(2 * time.Minute)
		cookie := sessionCookie + "=" + b.Cookies()[sessionCookie]

		held := s.browse()
		answers := make(chan *http.Response, 1)
		go func() {
			req, _ := http.NewRequest("GET", held.URL+"/held", nil)
			req.Header.Set("Cookie", cookie)
			resp, err := held.Client.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			answers <- resp
		}()
		<-enter
		require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
		release()
		resp := <-answers
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Empty(t, resp.Cookies(), "a late answer does not touch the cookie of a newer login")
		require.NoError(t, checkNoAccess(s.browse(), cookie))
		require.Zero(t, backend.callCounts()["Save"])
		records, err := backend.ByOwner(t.Context(), sessionCookie+"=ada")
		require.NoError(t, err)
		require.Empty(t, records)
	})
}
