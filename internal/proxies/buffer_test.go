package proxies

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard"
	"github.com/sessionguard-go/sessionguard/internal/servers"
	"github.com/stretchr/testify/require"
)

// The values of a visitor pass nginx with its default proxy_buffer_size as long as Save takes
// them, beside a few hundred bytes of the application's own headers.
func TestTheLargestVisitorValuesPassNginx(t *testing.T) {
	guard, err := sessionguard.New(sessionguard.Config[user]{
		FindUser:   func(_ context.Context, id string) (user, error) { return user(id), nil },
		CookieName: strings.Repeat("n", 54), CookieDomain: "a.rather.long.name.of.an.example.test", InsecureHTTP: true,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	app := httptest.NewServer(guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", strings.Repeat("x", 250))
		w.Header().Set("More", strings.Repeat("x", len(r.Header.Get("More"))))
		session, _ := guard.Get(r, "app")
		for n := 1; ; n++ {
			session.Values["k"] = strings.Repeat("x", n)
			if session.Save(r, w) != nil {
				session.Values["k"] = strings.Repeat("x", n-1)
				return
			}
		}
	})))
	t.Cleanup(app.Close)
	b := browse(t, servers.Nginx(t, strings.TrimPrefix(app.URL, "http://"), ""))
	for range 2 { // the second time with a cookie, and with a deletion of the host's own
		resp := b.Get("/")
		require.Equal(t, http.StatusOK, resp.StatusCode)
		lines := strings.Join(resp.Header["Set-Cookie"], "")
		require.Greater(t, len(lines), 3200)
		b.SetCookies(map[string]string{resp.Cookies()[0].Name: "old"})
	}
	require.Equal(t, http.StatusBadGateway, b.Get("/", "More", strings.Repeat("x", 600)).StatusCode, "the control")
}
