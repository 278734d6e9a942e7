package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// R3: what RequireBound does with those whom it does not let in.
func TestRequireBoundRefusesWithoutALoginPage(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		visitor := s.browse()
		require.Equal(t, "/login?next=%2Fbound", visitor.Get("/bound").Header.Get("Location"))
		b := s.browse()
		b.login("ada")
		s.events.take()
		for _, path := range []string{"/bound", "/proven"} {
			resp := b.Get(path, "Accept", "application/json")
			require.Equal(t, http.StatusForbidden, resp.StatusCode)
			require.Contains(t, resp.Body, `"error":"device_required"`)
			requireNoStore(t, resp.Header)
		}
		refused := s.events.take(sessionguard.EventRefused)
		require.Len(t, refused, 2)
		require.Equal(t, "device_required", refused[0].Code)
		require.Equal(t, "ada", refused[0].UserID)

		for _, path := range []string{"/bound", "/proven"} {
			require.Equal(t, "1", b.Get(path).Header.Get("Refresh"), "the browser may be making its key")
			require.Empty(t, b.Post(path).Header.Get("Refresh"))
		}
		var after []string // the reloads of a browser that makes no key
		for next := "1"; next != ""; next = b.Get("/bound").Header.Get("Refresh") {
			seconds, err := time.ParseDuration(next + "s")
			require.NoError(t, err)
			after = append(after, next)
			advance(seconds)
		}
		require.Equal(t, []string{"1", "1", "2", "4", "8"}, after)
		b.login("ada")
		advance(15*time.Second - time.Millisecond)
		require.Equal(t, "14", b.Get("/bound").Header.Get("Refresh"))
		advance(time.Millisecond)
		require.Empty(t, b.Get("/bound").Header.Get("Refresh"))
		require.Empty(t, b.Get("/admin").Header.Get("Refresh"))
		require.True(t, b.loggedIn())
	})
}

// Refusals.Unbound replaces the page.
func TestRefusalsUnboundReplacesTheDefault(t *testing.T) {
	s := deviceSite(t, func(c *sessionguard.Config[*user]) {
		c.Refusals.Unbound = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			io.WriteString(w, "another browser, please")
		})
	})
	b := s.browse()
	b.login("ada")
	resp := b.Get("/bound")
	require.Equal(t, http.StatusTeapot, resp.StatusCode)
	require.Equal(t, "another browser, please", resp.Body)
	requireNoStore(t, resp.Header)
}

// The grace after the first proof is for what asks for no more than a login.
func TestRequireBoundNeedsAProofInTheRequest(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		thief := s.thiefOf(b)
		require.True(t, thief.loggedIn())
		for _, path := range []string{"/bound", "/proven"} {
			require.Equal(t, http.StatusForbidden, thief.Get(path).StatusCode)
		}
	})
}

// With a maxAge, an old proof leads to a redirect that makes the browser prove its device. It
// keeps method and body. Who has only the cookies cannot go on.
func TestRequireBoundForcesAFreshProof(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		paid := 0
		s.mux.Handle("/pay", s.guard.RequireBound(2*time.Minute)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			paid++
			fmt.Fprint(w, r.Method, " ", r.FormValue("amount"))
		})))
		b := s.bound("ada")
		require.Equal(t, "POST 1", b.PostForm("/pay", "amount", "1").Body)
		advance(2*time.Minute - time.Millisecond)
		require.Equal(t, "POST 2", b.PostForm("/pay", "amount", "2").Body)
		advance(time.Millisecond)
		thief := s.copyOf(b)
		proven := len(b.Device.History())
		for _, client := range []*browser{b, thief} {
			resp := client.PostForm("/pay?x=1", "amount", "3")
			resp.Expect(http.StatusTemporaryRedirect, "/pay?x=1")
			requireNoStore(t, resp.Header)
			require.Len(t, resp.Cookies(), 1)
			require.Negative(t, resp.Cookies()[0].MaxAge)
			require.Empty(t, client.boundCookies())
		}
		require.Equal(t, 2, paid)
		require.Equal(t, "POST 3", b.PostForm("/pay?x=1", "amount", "3").Body)
		require.Equal(t, []string{"proven"}, b.Device.History())
		require.NotZero(t, proven)
		thief.requireUnproven()
		require.NotEqual(t, http.StatusOK, thief.PostForm("/pay", "amount", "4").StatusCode)
		require.Equal(t, 3, paid)

		advance(5 * time.Minute)
		keeps := s.copyOf(b) // who ignores the deletion gets no further
		cookies := keeps.Cookies()
		for range 3 {
			require.Equal(t, http.StatusTemporaryRedirect, keeps.Get("/proven").StatusCode)
			keeps.SetCookies(cookies)
		}
		require.Equal(t, "bound", keeps.Get("/bound").Body, "which the proof is good for")
		require.Equal(t, "secret of ada", b.Get("/home").Body)
	})
}

// A WebSocket follows no redirect: its request is refused, and keeps its cookie.
func TestRequireBoundRedirectsNoUpgrade(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		b := s.bound("ada")
		b.Device = nil
		advance(5 * time.Minute)
		resp := b.Get("/proven", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Origin", "https://app.example")
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
		require.Empty(t, resp.Cookies())
		require.Equal(t, "bound", b.Get("/bound").Body)
		require.Equal(t, http.StatusTemporaryRedirect, b.Get("/proven").StatusCode)
	})
}

// No cookie of another name is deleted, and no page of another address is led to.
func TestRequireBoundRedirectsToTheSamePage(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s := deviceSite(t)
		s.mux.Handle("/a/{path...}", s.guard.RequireBound(2*time.Minute)(http.NotFoundHandler()))
		b := s.bound("ada")
		b.Device = nil
		advance(5 * time.Minute)
		cookies := b.Cookies()
		for _, path := range []string{"/a/b?c=d&e=%2F", "/a/" + strings.Repeat("b", 1000)} {
			resp := b.Get(path)
			require.Equal(t, http.StatusTemporaryRedirect, resp.StatusCode, path)
			require.Equal(t, path, resp.Header.Get("Location"))
			b.SetCookies(cookies)
		}
		for _, path := range []string{"/a/%2Fevil.example/", "/a/b%0d%0ac", "/a/" + strings.Repeat("b", 3000)} {
			resp := b.Get(path)
			require.Equal(t, http.StatusForbidden, resp.StatusCode, "no address that a page is led to")
			require.Empty(t, resp.Cookies())
		}
	})
}
