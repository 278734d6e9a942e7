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

// checkNoAccess sends these cookies and returns an error if they still give access.
func checkNoAccess(b *browser, cookies string) error {
	for path, hasAccess := range map[string]func(response) bool{
		"/home":          func(resp response) bool { return resp.StatusCode == http.StatusOK },
		"/poll":          func(resp response) bool { return resp.StatusCode == http.StatusOK },
		"/fresh":         func(resp response) bool { return resp.StatusCode == http.StatusOK },
		"/status":        func(resp response) bool { return !strings.Contains(resp.Body, `"authenticated":false`) },
		"/":              func(resp response) bool { return !strings.Contains(resp.Body, "welcome nobody") },
		"/value?k=color": func(resp response) bool { return resp.Body != "<nil> <nil>" },
	} {
		if resp := b.Get(path, "Cookie", cookies); hasAccess(resp) {
			return fmt.Errorf("%s returned %d %q", path, resp.StatusCode, resp.Body)
		}
	}
	return nil
}

// OWASP WSTG-SESS-06, ASVS 7.4.1: after the logout none of the session's former cookies
// gives access, alone or together with any other. They come from logins, re-authentication
// and changed values.
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
		b.login("grace") // another user in the same browser
		b.Post("/value?k=color&v=red")
		b.login("ada")
		b.Post("/value?k=color&v=black")
		advance(time.Minute)
		b.login("ada")
		require.Equal(t, "black <nil>", b.Get("/value?k=color").Body)
		b.Post("/logout")
		b.Get("/") // takes the flash
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
		require.Len(t, sessions, 5, "every login set a new cookie")
		require.Greater(t, len(all), len(sessions))
		// Also each cookie's value under the other cookie's name.
		for _, c := range b.Received() {
			other := map[string]string{sessionCookie: visitorCookie, visitorCookie: sessionCookie}[c.Name]
			if c.Value != "" {
				all = append(all, other+"="+c.Value)
			}
		}
		replayer := s.browse()
		for i, first := range all {
			require.NoError(t, checkNoAccess(replayer, first), first)
			for _, second := range all[i+1:] {
				require.NoError(t, checkNoAccess(replayer, first+"; "+second), "%s; %s", first, second)
			}
		}
		require.Error(t, checkNoAccess(replayer, s.loginCookie()), "checkNoAccess notices a live session")
	})
}

// loginCookie returns the cookie of a new session.
func (s *site) loginCookie() string {
	b := s.browse()
	b.login("ada")
	return sessionCookie + "=" + b.Cookies()[sessionCookie]
}

// A logout ends only the session of the browser.
func TestLogoutEndsNoSessionOnAnotherDevice(t *testing.T) {
	s := newSite(t, nil)
	desk, phone := s.browse(), s.browse()
	desk.login("ada")
	phone.login("ada")
	desk.Post("/logout")
	require.True(t, phone.loggedIn())
}

// A logout also replaces a visitor cookie from before the login that is sent beside the
// session cookie, so its values do not come back.
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

// sendCookie sends a request with this cookie only and returns the response's status.
func sendCookie(client *http.Client, cookie, method, url string) (int, error) {
	req, err := http.NewRequest(method, url, nil)
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

// L3: once the logout has its response no request is accepted, whatever the browser sends
// at the same time, and no request in flight resurrects the session.
func TestNoRequestIsAcceptedAfterTheLogoutResponse(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
		for round := range 6 {
			b := s.browse()
			b.login("ada")
			cookie := sessionCookie + "=" + b.Cookies()[sessionCookie]
			advance(time.Duration(round) * time.Minute) // also with a touch due

			logout := make(chan struct{}) // closed once its response has arrived
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
						_, err := sendCookie(client, cookie, "POST", b.URL+"/value?k=color&v=green")
						status, homeErr := sendCookie(client, cookie, "GET", b.URL+"/home")
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
			status, err := sendCookie(client, cookie, "POST", b.URL+"/logout")
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

// L3: a request in flight during the logout can neither touch nor save nor recreate the
// session, and its page is not sent.
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
		responses := make(chan *http.Response, 1)
		go func() {
			req, _ := http.NewRequest("GET", held.URL+"/held", nil)
			req.Header.Set("Cookie", cookie)
			resp, err := held.Client.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			responses <- resp
		}()
		<-enter
		require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
		release()
		resp := <-responses
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Empty(t, resp.Cookies(), "a late response keeps the cookie of a newer login")
		require.NoError(t, checkNoAccess(s.browse(), cookie))
		require.Zero(t, backend.callCounts()["Save"])
		require.Empty(t, sessionsOf(t, backend, "ada"))
	})
}
