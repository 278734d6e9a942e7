package acceptance

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// Visitors cause no backend calls.
func TestVisitorCausesNoBackendCalls(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		for range 3 {
			for _, path := range []string{"/", "/home", "/admin", "/fresh", "/poll", "/status", "/value?k=k", "/static"} {
				b.Get(path)
			}
			b.Post("/value?k=k&v=v")
			b.Post("/login?user=nobody")
			b.Post("/logout")
		}
		require.Empty(t, backend.callCounts())
		require.Equal(t, 3, s.users.lookups, "only for the attempted logins")
	})
}

// A visitor gets a cookie only for values.
func TestVisitorWithoutValuesGetsNoCookie(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		for _, path := range []string{"/", "/home", "/status", "/value?k=k", "/static"} {
			require.Empty(s.T, b.Get(path).Cookies(), path)
		}
		b.Post("/value?k=k&v=v")
		require.Empty(s.T, b.Get("/value?k=k").Cookies(), "reading sets no second cookie")
	})
}

// RFC 6265bis 5.6, ASVS 3.3.5: a cookie has at most 4096 bytes. The guard's have fewer.
func TestVisitorCookieThatIsFullDropsTheOldestFlashes(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /flash", func(w http.ResponseWriter, r *http.Request) error {
			session, err := s.guard.Get(r, "flash")
			n, _ := strconv.Atoi(r.FormValue("n"))
			session.AddFlash(fmt.Sprintf("%d:%s", n, strings.Repeat("x", 200)))
			return err
		})
		s.on("GET /flashes", func(w http.ResponseWriter, r *http.Request) error {
			session, err := s.guard.Get(r, "flash")
			for _, f := range session.Flashes() {
				fmt.Fprint(w, strings.SplitN(f.(string), ":", 2)[0], " ")
			}
			return err
		})
		b := s.browse()
		b.Post("/value?k=cart&v=book")
		for n := range 40 {
			resp := b.Post("/flash?n=" + strconv.Itoa(n))
			require.Equal(s.T, http.StatusOK, resp.StatusCode)
			require.Len(s.T, resp.Cookies(), 1)
			require.LessOrEqual(s.T, len("Set-Cookie: "+resp.Header.Get("Set-Cookie")), 3500)
		}
		require.Equal(s.T, "book <nil>", b.Get("/value?k=cart").Body, "values are kept")
		shown := strings.Fields(b.Get("/flashes").Body)
		require.Greater(s.T, len(shown), 5)
		for i, n := range shown {
			require.Equal(s.T, strconv.Itoa(40-len(shown)+i), n, "the newest flashes are kept, in order")
		}
		require.Empty(s.T, s.log.String())
	})
}

// L6: if the values do not fit into the cookie, none of them is saved.
func TestVisitorValuesTooLargeForACookieAreAnErrorPage(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		s.on("POST /big", func(w http.ResponseWriter, r *http.Request) error {
			small, _ := s.guard.Get(r, "app")
			small.Values["k"] = "half"
			big, _ := s.guard.Get(r, "big")
			big.AddFlash("goes first")
			big.Values["k"] = strings.Repeat("x", 5000)
			fmt.Fprint(w, "saved!")
			return nil
		})
		visitor, ada := s.browse(), s.browse()
		visitor.Post("/value?k=k&v=v")
		before := visitor.Cookies()
		resp := visitor.Post("/big")
		require.Equal(s.T, http.StatusInternalServerError, resp.StatusCode)
		require.NotContains(s.T, resp.Body, "saved!")
		require.Empty(s.T, resp.Cookies())
		requireNoStore(s.T, resp.Header)
		require.Equal(s.T, before, visitor.Cookies())
		require.Equal(s.T, "v <nil>", visitor.Get("/value?k=k").Body)
		require.Contains(s.T, s.log.String(), "do not fit into a cookie")

		ada.login("ada")
		require.Equal(s.T, "saved!", ada.Post("/big").Body, "a session on the server may have more")
	})
}

// W1: values are changed after the first byte.
func TestLateChangesAreSavedForASessionAndFailForAVisitor(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		saved := make(chan error, 1)
		late := func(save bool) func(http.ResponseWriter, *http.Request) {
			return func(w http.ResponseWriter, r *http.Request) {
				session, _ := s.guard.Get(r, "app")
				session.Values["early"] = "e"
				fmt.Fprint(w, "begun")
				session.Values["late"] = "l"
				other, err := s.guard.Get(r, "other") // opened after the first byte
				other.Values["late"] = "l"
				if save {
					err = errors.Join(err, session.Save(r, w))
				}
				saved <- err
			}
		}
		s.mux.HandleFunc("POST /late", late(false))
		s.mux.HandleFunc("POST /late-save", late(true))
		for _, path := range []string{"/late", "/late-save"} {
			b, visitor := s.browse(), s.browse()
			b.login("ada")
			require.Equal(s.T, "begun", b.Post(path).Body)
			require.NoError(s.T, <-saved)
			require.Equal(s.T, "l <nil>", b.Get("/value?k=late").Body)
			require.Empty(s.T, s.log.String())

			require.Equal(s.T, "begun", visitor.Post(path).Body)
			if path == "/late-save" {
				require.ErrorIs(s.T, <-saved, sessionguard.ErrHeadersSent)
			} else {
				require.NoError(s.T, <-saved)
			}
			require.Equal(s.T, "<nil> <nil>", visitor.Get("/value?k=late").Body)
			require.Equal(s.T, "e <nil>", visitor.Get("/value?k=early").Body)
			require.Contains(s.T, s.log.String(), sessionguard.ErrHeadersSent.Error())
			s.log.mu.Lock()
			s.log.b.Reset()
			s.log.mu.Unlock()
			advance(time.Second)
		}
	})
}

// K2, WSTG-SESS-03
func TestInvalidVisitorCookieIsIgnored(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.Post("/value?k=k&v=v")
		ours := b.Cookies()[visitorCookie]
		b.login("ada")
		session := b.Cookies()[sessionCookie]
		for name, value := range map[string]string{
			"truncated": ours[:len(ours)-8], "changed": "A" + ours[1:], "a session cookie's value": session, "empty": "", "too long": strings.Repeat("A", 5000),
		} {
			visitor := s.browse()
			resp := visitor.Get("/value?k=k", "Cookie", visitorCookie+"="+value)
			require.Equal(s.T, "<nil> <nil>", resp.Body, name)
			require.Empty(s.T, resp.Cookies(), name)
			resp = visitor.Get("/home", "Cookie", sessionCookie+"="+ours)
			require.Equal(s.T, http.StatusSeeOther, resp.StatusCode, "a visitor cookie's value is no session")
		}
		b = s.browse()
		b.Post("/value?k=k&v=other")
		other := b.Cookies()[visitorCookie]
		for _, two := range []string{visitorCookie + "=" + ours + "; " + visitorCookie + "=x", visitorCookie + "=; " + visitorCookie + "=" + ours} {
			require.Equal(s.T, "v <nil>", s.browse().Get("/value?k=k", "Cookie", two).Body, "the one that we signed counts")
		}
		resp := s.browse().Get("/value?k=k", "Cookie", visitorCookie+"="+ours+"; "+visitorCookie+"="+other)
		require.Equal(s.T, "<nil> <nil>", resp.Body, "two count as none")
	})
}
