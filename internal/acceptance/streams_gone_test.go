package acceptance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// All contexts that end before anybody asks for their Done channel share one channel.
func TestStreamOfAClientThatHasHungUpUsesValues(t *testing.T) {
	s := newSite(t, nil)
	b := s.browse()
	b.login("ada")
	returned := false
	page := s.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.guard.CancelOnEnd(http.NotFoundHandler()).ServeHTTP(w, r)
		s.guard.Get(r, "app")
		returned = true
	}))
	ctx, hangUp := context.WithCancel(context.Background())
	hangUp()
	r := httptest.NewRequestWithContext(ctx, "GET", "https://app.example/", nil)
	r.Header.Set("Cookie", sessionCookie+"="+b.Cookies()[sessionCookie])
	within(t, func() { page.ServeHTTP(httptest.NewRecorder(), r) })
	require.True(t, returned)
}
