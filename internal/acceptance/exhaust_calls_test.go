package acceptance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// sendCookies sends a request with a Cookie header as it is.
func (s *site) sendCookies(method, path, cookies string) *http.Response {
	r := httptest.NewRequest(method, "https://app.example"+path, nil)
	r.Header.Set("Cookie", cookies)
	w := httptest.NewRecorder()
	s.guard.Handler(s.mux).ServeHTTP(w, r)
	return w.Result()
}

func sum(calls map[string]int) (n int) {
	for _, c := range calls {
		n += c
	}
	return n
}

// K2: whoever sends eight tokens that logins have superseded makes a logout follow each of
// them, to a session that is alive or has ended, in a bounded number of calls.
func TestLogoutWithSupersededTokensTakesFewCalls(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		var cookies string
		for i := range 20 {
			if i < 8 {
				cookies += sessionCookie + "=" + b.Cookies()[sessionCookie] + "; "
			}
			b.login("ada")
		}
		for range 2 {
			before := backend.callCounts()
			require.Equal(t, http.StatusNoContent, s.sendCookies("POST", "/logout", cookies).StatusCode)
			since := callsSince(backend, before)
			t.Log(since)
			require.LessOrEqual(t, sum(since), 16)
			require.False(t, b.loggedIn())
		}
	})
}

// L2: a logout ends a session that moves all the while, without chasing it.
func TestLogoutDoesNotChaseASessionThatMoves(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		old := s.copyOf(b)
		b.login("ada")
		calls := 0
		backend.beforeCall("DeleteByID", func() {
			if calls++; calls < 100 {
				b.Post("/login?user=ada")
			}
		})
		before := backend.callCounts()
		require.Equal(t, http.StatusSeeOther, old.Post("/logout").StatusCode)
		since := callsSince(backend, before)
		t.Log(since)
		require.Equal(t, 1, since["DeleteByID"])
		require.False(t, b.loggedIn())
		require.Empty(t, sessionsOf(t, backend, "ada"))
	})
}

// I1: logins that renew one session at the same time, on one node or on two, do not cause
// each other's calls to be repeated, and each succeeds.
func TestParallelReauthenticationsTakeFewCalls(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		withFakeClock(t, func(t *testing.T) {
			const requests = 200
			s, backend := remoteSite(t)
			sites := []*site{s, newSite(t, func(c *sessionguard.Config[*user]) { c.Backend = backend })}
			b := s.browse()
			b.login("ada")
			for _, method := range []string{"Load", "Replace", "LoadByID"} {
				backend.beforeCall(method, func() { time.Sleep(time.Millisecond) })
			}
			before, begun := backend.callCounts(), time.Now()
			var sending sync.WaitGroup
			var failed atomic.Int32
			for i := range requests {
				other := sites[i%nodes].copyOf(b)
				sending.Go(func() {
					resp, err := other.Client.Do(other.Request("POST", "/login?user=ada"))
					if err != nil || resp.StatusCode != http.StatusSeeOther {
						failed.Add(1)
					}
				})
			}
			sending.Wait()
			since := callsSince(backend, before)
			t.Logf("%d nodes, %v: %v", nodes, time.Since(begun), since)
			require.Zero(t, failed.Load())
			require.LessOrEqual(t, sum(since), 3*requests)
			require.Len(t, sessionsOf(t, backend, "ada"), 1)
		})
	}
}

// I1: whoever keeps saving values of a session, perhaps with a copied cookie, cannot keep its
// user from logging in again and so ending the copy.
func TestALoginIsNotHeldUpByAClientThatKeepsSaving(t *testing.T) {
	withFakeClock(t, func(t *testing.T) {
		s, backend := remoteSite(t)
		b := s.browse()
		b.login("ada")
		thief, saves := s.copyOf(b), 0
		thief.Post("/value?k=k&v=kept")
		save := func() {
			if saves++; saves < 1000 {
				thief.Post(fmt.Sprintf("/value?k=n&v=%d", saves))
			}
		}
		backend.beforeCall("Replace", save)
		before := backend.callCounts()
		begun := time.Now()
		b.login("ada")
		t.Log(callsSince(backend, before), time.Since(begun))
		require.Less(t, saves, 20)
		require.False(t, thief.loggedIn())
		require.True(t, b.loggedIn())
		require.Equal(t, "kept <nil>", b.Get("/value?k=k").Body)
		require.Len(t, sessionsOf(t, backend, "ada"), 1)
	})
}
