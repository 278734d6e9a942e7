package acceptance

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type statusAnswer struct {
	Authenticated bool
	Session       string
	Idle          int `json:"idle_seconds"`
	Absolute      int `json:"absolute_seconds"`
}

func statusOf(b *browser) (got statusAnswer) {
	b.t.Helper()
	a := b.Get("/status")
	require.Equal(b.t, http.StatusOK, a.StatusCode)
	require.NoError(b.t, json.Unmarshal([]byte(a.Body), &got))
	return got
}

// L1: Status, passive and never cached
func TestStatusTellsHowLongTheSessionHas(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		a := b.Get("/status")
		require.JSONEq(s.T, `{"authenticated":false,"idle_seconds":0,"absolute_seconds":0}`, a.Body)
		requireNoStore(s.T, a.Header)

		b.login("ada")
		advance(90*time.Second + time.Millisecond)
		a = b.Get("/status")
		require.Equal(s.T, "application/json", a.Header.Get("Content-Type"))
		require.Empty(s.T, a.Cookies())
		requireNoStore(s.T, a.Header)
		id := statusOf(b).Session
		require.NotEmpty(s.T, id)
		require.JSONEq(s.T, `{"authenticated":true,"session":"`+id+`","idle_seconds":1709,"absolute_seconds":43109}`, a.Body,
			"rounded down: the server is never behind the page")

		head := b.Do(b.Request("HEAD", "/status"))
		require.Equal(s.T, http.StatusOK, head.StatusCode)
		require.Empty(s.T, head.Body)
		requireNoStore(s.T, head.Header)
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			a := b.Do(b.Request(method, "/status"))
			require.Equal(s.T, http.StatusMethodNotAllowed, a.StatusCode)
			require.Equal(s.T, "GET, HEAD", a.Header.Get("Allow"))
		}

		advance(idle)
		require.False(s.T, statusOf(b).Authenticated)
	})
}

// I3, ASVS 7.5.1, 7.5.3
func TestFreshnessRunsFromTheLoginAndNothingElse(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		b.login("ada")
		advance(5*time.Minute - time.Second)
		require.Equal(s.T, "secret of ada", b.Get("/fresh").Body)
		b.Post("/value?k=a&v=b")
		advance(time.Second)
		a := b.Get("/fresh")
		require.Equal(s.T, http.StatusSeeOther, a.StatusCode)
		require.Equal(s.T, "/login?next=%2Ffresh", a.Header.Get("Location"))
		require.True(s.T, b.loggedIn(), "stale is not logged out")

		b.login("ada")
		require.Equal(s.T, "secret of ada", b.Get("/fresh").Body)
		advance(5 * time.Minute)
		require.NotEqual(s.T, "secret of ada", b.Get("/fresh").Body)
	})
}
