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

// R1: a logout changes state, and browsers prefetch links.
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

// R3, C1, C2: the response fits the client and is never cached. It deletes the session
// cookie with all its attributes, and sets the visitor cookie to a fresh value: also within
// the same second, and without a flash.
func TestLogoutResponseFitsTheClient(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, nil)
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

// The flash of the logout is on the next page exactly once, in the session and of the type
// that the application has configured.
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
			for range 2 { // also for a second user of the browser
				b := s.browse()
				b.login("ada")
				b.Post("/value?k=color&v=green")
				require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode)
				b.Get("/static") // does not use the session, so the flash stays
				require.Equal(t, test.want, b.Get(page).Body)
				require.Equal(t, "[]", b.Get(page).Body)
				require.Equal(t, "<nil> <nil>", b.Get("/value?k=color").Body)
			}
		})
	}
}

// The flash also survives a login before the next page.
func TestLogoutFlashSurvivesALoginBeforeItIsShown(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	b.Post("/logout")
	b.login("grace")
	require.Equal(t, "welcome grace [You have been logged out.]", b.Get("/").Body)
	require.Equal(t, "welcome grace []", b.Get("/").Body)
}

// Django's CVE-2015-5963 and CVE-2015-5964: a logout of a client that is not logged in
// creates no record, however often it is sent. Its response is the usual one.
func TestLogoutOfAVisitorStoresNothing(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		backend := newFailingBackend()
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
		visitor, forger, expired := s.browse(), s.browse(), s.browse()
		forger.SetCookies(map[string]string{sessionCookie: strings.Repeat("A", 64), visitorCookie: "forged"})
		expired.login("ada")
		old := expired.Cookies()
		advance(absolute)
		before := backend.callCounts()
		for _, b := range []*browser{visitor, forger, expired} {
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
		require.LessOrEqual(t, after["Delete"]-before["Delete"], 1, "an unsigned cookie causes no call")
	})
}

// K2: one of two session cookies was planted, and the guard cannot tell which. Both
// sessions end.
func TestLogoutEndsTheSessionOfEveryCookie(t *testing.T) {
	s := newSite(t, nil)
	var values []string
	for _, id := range []string{"ada", "grace"} {
		b := s.browse()
		b.login(id)
		values = append(values, b.Cookies()[sessionCookie])
	}
	both := s.browse()
	pair := sessionCookie + "=" + values[0] + "; " + sessionCookie + "=" + values[1]
	require.False(t, strings.HasPrefix(both.Get("/poll", "Cookie", pair).Body, "secret"), "two count as none")
	require.Equal(t, http.StatusSeeOther, both.Post("/logout", "Cookie", pair).StatusCode)
	for _, value := range values {
		b := s.browse()
		b.SetCookies(map[string]string{sessionCookie: value})
		require.False(t, b.loggedIn())
	}
}

// L5: a logout depends only on the backend.
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

// L5: a logout also works if FindUser has failed before, in middleware. After the logout
// it is certain that nobody is logged in, and the 503 ("nothing is lost") would be untrue.
func TestLogoutWorksAfterFindUserFailedInMiddleware(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	s.mux.HandleFunc("POST /logged/logout", func(w http.ResponseWriter, r *http.Request) {
		s.guard.User(r) // for a log, for example
		s.guard.Logout("/").ServeHTTP(w, r)
	})
	b := s.browse()
	b.login("ada")
	old := b.Cookies()
	s.users.mu.Lock()
	s.users.err = errors.New("sql: connection refused")
	s.users.mu.Unlock()
	resp := b.Post("/logged/logout")
	s.users.mu.Lock()
	s.users.err = nil
	s.users.mu.Unlock()
	require.NotContains(t, b.Cookies(), sessionCookie)
	b.SetCookies(old)
	require.False(t, b.loggedIn())
	require.Equal(t, http.StatusSeeOther, resp.StatusCode, resp.Body)
}

// L5: a logout that could not end the session on the server deletes the cookie, reports
// the failure and never claims success, neither with Logout nor with End.
func TestIncompleteLogoutClearsTheBrowserAndIsReported(t *testing.T) {
	backend := newFailingBackend()
	s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })
	s.mux.HandleFunc("POST /end", func(w http.ResponseWriter, r *http.Request) {
		if err := s.guard.End(w, r); !errors.Is(err, sessionguard.ErrUnavailable) {
			t.Errorf("End: %v", err)
		}
		io.WriteString(w, "You have been logged out.")
	})
	for _, path := range []string{"/logout", "/end"} {
		for mode, text := range map[string]string{"navigate": "the server could not be told", "cors": `"error":"logout_incomplete"`} {
			b := s.browse()
			b.login("ada")
			old := b.Cookies()
			backend.failOn("Delete")
			resp := b.Post(path, "Sec-Fetch-Mode", mode)
			backend.failOn()
			require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, path)
			require.Equal(t, "5", resp.Header.Get("Retry-After"))
			requireNoStore(t, resp.Header)
			require.NotContains(t, b.Cookies(), sessionCookie, "the cookie is deleted nevertheless")
			require.Equal(t, "welcome nobody []", b.Get("/").Body, "there is no flash that claims success")
			require.NotContains(t, resp.Body, "You have been logged out.")
			require.Contains(t, resp.Body, text, path)

			b.SetCookies(old)
			require.True(t, b.loggedIn(), "the session is alive, as the response warns")
			require.Equal(t, http.StatusSeeOther, b.Post("/logout").StatusCode, "the next attempt succeeds")
			b.SetCookies(old)
			require.False(t, b.loggedIn())
		}
	}
}

// After the response has begun, a logout still ends the session. The cookie stays, but
// gives no access.
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
		require.NotContains(t, resp.Body, "the server could not be told", "the session did end")
	}
}

// slowDeleteBackend is a backend whose Delete takes three seconds, unless its context is
// done earlier.
type slowDeleteBackend struct{ *failingBackend }

func (b slowDeleteBackend) Delete(ctx context.Context, key store.Key, reason store.Reason) (store.Record, error) {
	select {
	case <-ctx.Done():
		return store.Record{}, ctx.Err()
	case <-time.After(3 * time.Second):
		return b.failingBackend.Delete(ctx, key, reason)
	}
}

// L6: a client that disconnects does not interrupt its logout.
func TestLogoutFinishesAfterTheClientDisconnects(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = slowDeleteBackend{newFailingBackend()} })
		b := s.browse()
		b.login("ada")
		old := b.Cookies()
		ctx, disconnect := context.WithTimeout(t.Context(), time.Second)
		defer disconnect()
		_, err := b.Client.Do(b.Request("POST", "/logout").WithContext(ctx))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		advance(3 * time.Second)
		b.SetCookies(old)
		require.False(t, b.loggedIn())
	})
}
