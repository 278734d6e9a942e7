package acceptance

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

// R1: a logout is a change of state, and links are prefetched.
func TestLogoutAllowsOnlyPost(t *testing.T) {
	s := newSite(t, nil)
	s.mux.Handle("/out", s.guard.Logout("/"))
	b := s.browse()
	b.login("ada")
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post"} {
		resp := b.Do(b.Request(method, "/out"))
		require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode, method)
		require.Equal(t, "POST", resp.Header.Get("Allow"), method)
		require.Empty(t, resp.Cookies(), method)
		require.True(t, b.loggedIn(), method)
	}
	require.Equal(t, http.StatusSeeOther, b.Post("/out").StatusCode)
	require.False(t, b.loggedIn())
}

// R3, C1, C2: the answer fits the client, is never cached, deletes the cookie
// with every attribute it was set with, and sets another to a fresh value: also
// where the keys do not encrypt, within a second, and without a flash.
func TestLogoutResponseFitsTheClient(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Keys = testKeys[:1] })
		s.mux.HandleFunc("POST /end", func(w http.ResponseWriter, r *http.Request) {
			if err := s.guard.End(w, r); err != nil {
				t.Error(err)
			}
		})
		fresh := map[string]bool{}
		for _, test := range []struct {
			path     string
			header   []string
			status   int
			location string
		}{
			{"/logout", []string{"Sec-Fetch-Mode", "navigate"}, http.StatusSeeOther, "/"},
			{"/logout", []string{"Accept", "text/html"}, http.StatusSeeOther, "/"},
			{"/logout", []string{"Sec-Fetch-Mode", "cors"}, http.StatusNoContent, ""},
			{"/logout", []string{"Accept", "application/json"}, http.StatusNoContent, ""},
			{"/end", nil, http.StatusOK, ""},
			{"/end", nil, http.StatusOK, ""},
		} {
			b := s.browse()
			b.login("ada")
			resp := b.Post(test.path, test.header...)
			require.Equal(t, test.status, resp.StatusCode)
			require.Equal(t, test.location, resp.Header.Get("Location"))
			requireNoStore(t, resp.Header)
			require.Empty(t, resp.Header.Get("Clear-Site-Data"))

			lines := map[string]string{}
			for _, line := range resp.Header["Set-Cookie"] {
				name, rest, _ := strings.Cut(line, "=")
				value, attributes, _ := strings.Cut(rest, "; ")
				require.NotContains(t, lines, name, "one Set-Cookie per cookie")
				require.NotContains(t, fresh, value)
				lines[name] = attributes
				if name == visitorCookie {
					fresh[value] = true
				}
			}
			require.Equal(t, map[string]string{
				sessionCookie: "Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
				visitorCookie: "Path=/; HttpOnly; Secure; SameSite=Lax",
			}, lines)
		}
		require.Len(t, fresh, 6, "no two logouts set the same value")
	})
}

type logoutNotice struct{ Text, Kind string }

func init() { gob.Register(logoutNotice{}) }

// Promise 2: the farewell is on the next page, exactly once, under the session
// and of the type that the application has chosen.
func TestLogoutFlashIsOnTheNextPageExactlyOnce(t *testing.T) {
	for name, test := range map[string]struct {
		flash   any
		session string
		want    string
	}{
		"default":          {nil, "", "[You have been logged out.]"},
		"own text":         {"Bye.", "", "[Bye.]"},
		"own session":      {nil, "messages", "[You have been logged out.]"},
		"own type":         {logoutNotice{"Bye.", "info"}, "messages", "[{Bye. info}]"},
		"too long to keep": {strings.Repeat("x", 5000), "", "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(c *sessionguard.Config[*user]) { c.LogoutFlash, c.FlashSession = test.flash, test.session })
			s.mux.HandleFunc("GET /flashes", func(w http.ResponseWriter, r *http.Request) {
				session, _ := s.guard.Get(r, r.FormValue("name"))
				fmt.Fprint(w, session.Flashes())
			})
			page := "/flashes?name=flash"
			if test.session != "" {
				page = "/flashes?name=" + test.session
			}
			for range 2 { // for a second person in the same browser as well
				b := s.browse()
				b.login("ada")
				b.Post("/value?k=color&v=green")
				require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
				b.Get("/static") // a page that does not look does not eat it
				require.Equal(t, test.want, b.Get(page).Body)
				require.Equal(t, "[]", b.Get(page).Body)
				require.Equal(t, "<nil> <nil>", b.Get("/value?k=color").Body)
			}
		})
	}
}

// Promise 2: the flash also survives a login that comes before the next page.
func TestLogoutFlashSurvivesALoginBeforeItIsShown(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	b.Post("/logout")
	b.login("grace")
	require.Equal(t, "welcome grace [You have been logged out.]", b.Get("/").Body)
	require.Equal(t, "welcome grace []", b.Get("/").Body)
}

// A Django CVE (2015-5963, -5964): who is not logged in makes no record by
// logging out, however often, and gets the same answer as anybody.
func TestLogoutOfAVisitorStoresNothing(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		stranger, forger, expired := s.browse(), s.browse(), s.browse()
		forger.SetCookies(map[string]string{sessionCookie: strings.Repeat("A", 144), visitorCookie: "forged"})
		expired.login("ada")
		old := expired.Cookies()
		advance(absolute)
		before := backend.callCounts()
		for _, b := range []*browser{stranger, forger, expired} {
			if b == expired {
				b.SetCookies(old)
			}
			require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
			require.Equal(t, "welcome nobody [You have been logged out.]", b.Get("/").Body)
		}
		after := backend.callCounts()
		for _, method := range []string{"Create", "Replace", "Save", "Touch"} {
			require.Equal(t, before[method], after[method], method)
		}
		require.LessOrEqual(t, after["Delete"]-before["Delete"], 1, "what we have not signed is not worth a call")
	})
}

// K2: of two cookies with our name one was planted, and nobody can tell which.
// Both sessions end.
func TestLogoutEndsTheSessionOfEveryCookie(t *testing.T) {
	s := newSite(t, nil)
	var values []string
	for _, who := range []string{"ada", "grace"} {
		b := s.browse()
		b.login(who)
		values = append(values, b.Cookies()[sessionCookie])
	}
	both := s.browse()
	pair := sessionCookie + "=" + values[0] + "; " + sessionCookie + "=" + values[1]
	require.False(t, strings.HasPrefix(both.Get("/poll", "Cookie", pair).Body, "secret"), "two are as none")
	require.Equal(t, http.StatusSeeOther, both.Post("/logout", "Cookie", pair).StatusCode)
	for _, value := range values {
		b := s.browse()
		b.SetCookies(map[string]string{sessionCookie: value})
		require.False(t, b.loggedIn())
	}
}

// L5: a logout needs nobody but the backend.
func TestLogoutWorksWhileFindUserFails(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	old := b.Cookies()
	s.users.mu.Lock()
	s.users.err = errors.New("sql: connection refused")
	s.users.mu.Unlock()
	require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
	require.NotContains(t, b.Cookies(), sessionCookie)
	s.users.mu.Lock()
	s.users.err = nil
	s.users.mu.Unlock()
	require.Equal(t, "welcome nobody [You have been logged out.]", b.Get("/").Body)
	b.SetCookies(old)
	require.False(t, b.loggedIn())
}

// L5: nor does it matter that middleware before it has looked and could not
// tell: after the logout it is known who is asking, and what the answer says
// ("nothing is lost") would be untrue.
func TestLogoutWorksAfterFindUserFailedInMiddleware(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	s.mux.HandleFunc("POST /seen/logout", func(w http.ResponseWriter, r *http.Request) {
		s.guard.User(r) // to write it into a log, say
		s.guard.Logout("/").ServeHTTP(w, r)
	})
	b := s.browse()
	b.login("ada")
	old := b.Cookies()
	s.users.mu.Lock()
	s.users.err = errors.New("sql: connection refused")
	s.users.mu.Unlock()
	resp := b.Post("/seen/logout")
	s.users.mu.Lock()
	s.users.err = nil
	s.users.mu.Unlock()
	require.NotContains(t, b.Cookies(), sessionCookie)
	b.SetCookies(old)
	require.False(t, b.loggedIn())
	require.Equal(t, http.StatusSeeOther, resp.StatusCode, resp.Body)
}

// L5: a logout that could not purge clears the browser, says so, and never
// claims success, neither by Logout nor by End.
func TestIncompleteLogoutIsReported(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	s.mux.HandleFunc("POST /end", func(w http.ResponseWriter, r *http.Request) {
		if err := s.guard.End(w, r); !errors.Is(err, sessionguard.ErrUnavailable) {
			t.Errorf("End: %v", err)
		}
		io.WriteString(w, "You have been logged out.")
	})
	for _, path := range []string{"/logout", "/end"} {
		for mode, says := range map[string]string{"navigate": "the server could not be told", "cors": `"error":"logout_incomplete"`} {
			b := s.browse()
			b.login("ada")
			old := b.Cookies()
			backend.failOn("Delete")
			resp := b.Post(path, "Sec-Fetch-Mode", mode)
			backend.failOn()
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, path)
			require.Equal(t, "5", resp.Header.Get("Retry-After"))
			requireNoStore(t, resp.Header)
			require.NotContains(t, b.Cookies(), sessionCookie, "the browser is logged out all the same")
			require.Equal(t, "welcome nobody []", b.Get("/").Body, "and nobody is told that all is well")
			require.NotContains(t, resp.Body, "You have been logged out.")
			require.Contains(t, resp.Body, says, path)

			b.SetCookies(old)
			require.True(t, b.loggedIn(), "this is what the answer warns of")
			require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode, "trying again helps")
			b.SetCookies(old)
			require.False(t, b.loggedIn())
		}
	}
}

// Promise 2: behind an answer that has begun, the session is ended all the
// same. The cookie stays, and opens nothing.
func TestLogoutAfterTheFirstByteStillEndsTheSession(t *testing.T) {
	s := newSite(t, nil)
	s.mux.HandleFunc("POST /late", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begun ")
		s.guard.Logout("/").ServeHTTP(w, r)
	})
	for _, mode := range []string{"navigate", "cors"} {
		b := s.browse()
		b.login("ada")
		resp := b.Post("/late", "Sec-Fetch-Mode", mode)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Contains(t, b.Cookies(), sessionCookie)
		require.False(t, b.loggedIn())
		require.NotContains(t, resp.Body, "the server could not be told", "it could")
	}
}

// logoutSlowBackend takes its time, and gives up when it is told to.
type slowDeleteBackend struct{ *failingBackend }

func (b slowDeleteBackend) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	select {
	case <-ctx.Done():
		return store.Record{}, ctx.Err()
	case <-time.After(3 * time.Second):
		return b.failingBackend.Delete(ctx, key, reason)
	}
}

// L6: a client that hangs up does not stop its logout half-way.
func TestLogoutFinishesAfterTheClientDisconnects(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = slowDeleteBackend{newFailingBackend()} })
		b := s.browse()
		b.login("ada")
		old := b.Cookies()
		ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
		defer hangUp()
		_, err := b.Client.Do(b.Request("POST", "/logout").WithContext(ctx))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		advance(3 * time.Second)
		b.SetCookies(old)
		require.False(t, b.loggedIn())
	})
}
