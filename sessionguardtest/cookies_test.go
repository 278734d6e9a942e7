package sessionguardtest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sessionguard-go/sessionguard/sessionguardtest"
	"github.com/stretchr/testify/require"
)

// An application that works with a client works with a browser, which refuses some cookies.
func TestAClientKeepsTheCookiesThatABrowserKeeps(t *testing.T) {
	const https, http_ = "https://example.com", "http://example.com"
	for _, c := range []struct {
		origin, cookie string
		kept           bool
	}{
		{https, "a=1", true},
		{https, "a=1; Secure; SameSite=None; Partitioned", true},
		{https, "a=1; SameSite=None", false},
		{https, "a=1; Partitioned", false},
		{https, "a=1; Domain=other.example", false},
		{https, "a=" + strings.Repeat("x", 4095), true},
		{https, "a=" + strings.Repeat("x", 4096), false},
		{https, "__Secure-a=1; Secure; Domain=example.com", true},
		{https, "__secure-a=1", false},
		{https, "__Host-a=1; Secure; Path=/", true},
		{https, "__Host-a=1; Path=/", false},
		{https, "__Host-a=1; Secure", false},
		{https, "__Host-a=1; Secure; Path=/app", false},
		{https, "__HOST-a=1; Secure; Path=/; Domain=example.com", false},
		{https, "__Http-a=1; Secure; HttpOnly", true},
		{https, "__Http-a=1; Secure", false},
		{https, "__Http-a=1; HttpOnly", false},
		{https, "__Host-Http-a=1; Secure; Path=/; HttpOnly", true},
		{https, "__Host-Http-a=1; Secure; Path=/", false},
		{https, "__Host-Http-a=1; Secure; HttpOnly", false},
		{http_, "a=1; Path=/", true},
		{http_, "a=1; Secure", false},
		{"http://localhost:8080", "__Host-a=1; Secure; Path=/", true},
	} {
		client := sessionguardtest.NewClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/app/set" {
				w.Header().Set("Set-Cookie", c.cookie)
			} else if len(r.Cookies()) > 0 {
				w.WriteHeader(http.StatusAccepted)
			}
		}))
		client.Origin = c.origin
		require.Len(t, client.Get("/app/set").Cookies(), 1) // which a test may look at
		client.Origin = strings.Replace(c.origin, http_, https, 1)
		require.Equal(t, c.kept, client.Get("/app/x").StatusCode == http.StatusAccepted, "%s %.60s", c.origin, c.cookie)
	}
}

// A browser deletes no cookie either by one that it refuses.
func TestAClientKeepsACookieThatIsDeletedWrongly(t *testing.T) {
	client := sessionguardtest.NewClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &http.Cookie{Name: "__Host-a", Value: "1", Path: "/", Secure: true}
		if r.URL.Path == "/logout" {
			c.MaxAge, c.Secure = -1, false
		}
		http.SetCookie(w, c)
		w.WriteHeader(200 + len(r.Cookies()))
	}))
	client.Get("/").HasStatus(200)
	client.Get("/logout").HasStatus(201)
	client.Get("/").HasStatus(201)
}

// What another site has sent stays cross-site when it is redirected.
func TestARedirectComesFromWhereItsRequestCame(t *testing.T) {
	client := sessionguardtest.NewClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/to", http.StatusSeeOther)
			return
		}
		w.Write([]byte(r.Header.Get("Sec-Fetch-Site")))
	}))
	r, err := http.NewRequestWithContext(t.Context(), "GET", "/", nil)
	require.NoError(t, err)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	require.Equal(t, "cross-site", client.Do(r).Follow().Body)
	require.Equal(t, "same-origin", client.Get("/").Follow().Body)
}
