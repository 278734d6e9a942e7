package acceptance

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A statusResponse is the body of a response of Guard.Status.
type statusResponse struct {
	Authenticated bool
	Session       string
	Idle          int `json:"idle_seconds"`
	Absolute      int `json:"absolute_seconds"`
}

// statusOf returns what Guard.Status reports to b.
func statusOf(b *browser) (got statusResponse) {
	b.t.Helper()
	resp := b.Get("/status")
	require.Equal(b.t, http.StatusOK, resp.StatusCode)
	require.NoError(b.t, json.Unmarshal([]byte(resp.Body), &got))
	return got
}

// L1: Status is passive, and its response is never cached
func TestStatusReportsRemainingTime(t *testing.T) {
	onBoth(t, func(s *site, _ *failingBackend) {
		b := s.browse()
		resp := b.Get("/status")
		require.JSONEq(s.T, `{"authenticated":false,"idle_seconds":0,"absolute_seconds":0}`, resp.Body)
		requireNoStore(s.T, resp.Header)

		b.login("ada")
		advance(90*time.Second + time.Millisecond)
		resp = b.Get("/status")
		require.Equal(s.T, "application/json", resp.Header.Get("Content-Type"))
		require.Empty(s.T, resp.Cookies())
		requireNoStore(s.T, resp.Header)
		id := statusOf(b).Session
		require.NotEmpty(s.T, id)
		require.JSONEq(s.T, `{"authenticated":true,"session":"`+id+`","idle_seconds":1709,"absolute_seconds":43109}`, resp.Body,
			"rounded down: a page never counts past the server's deadline")

		head := b.Do(b.Request("HEAD", "/status"))
		require.Equal(s.T, http.StatusOK, head.StatusCode)
		require.Empty(s.T, head.Body)
		requireNoStore(s.T, head.Header)
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			resp := b.Do(b.Request(method, "/status"))
			require.Equal(s.T, http.StatusMethodNotAllowed, resp.StatusCode)
			require.Equal(s.T, "GET, HEAD", resp.Header.Get("Allow"))
		}

		advance(idle)
		require.False(s.T, statusOf(b).Authenticated)
	})
}
