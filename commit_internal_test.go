package sessionguard

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// K1: browsers ignore a deletion whose attributes do not match.
func TestAChangedCookieIsOneSetCookieWithEveryAttribute(t *testing.T) {
	like := http.Cookie{Name: "__Secure-s", Domain: "example.com", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	const attributes = "; HttpOnly; Secure; SameSite=Lax"
	for _, test := range []struct {
		change cookieChange
		maxAge time.Duration
		want   []string
	}{
		{cookieChange{}, time.Hour, nil},
		{cookieChange{keepCookie, "v"}, time.Hour, nil},
		{cookieChange{setCookie, "v"}, 0, []string{"__Secure-s=v; Path=/; Domain=example.com" + attributes}},
		{cookieChange{setCookie, "v"}, 90*time.Second + 999*time.Millisecond, []string{"__Secure-s=v; Path=/; Domain=example.com; Max-Age=90" + attributes}},
		{cookieChange{rotateCookie, "v"}, time.Minute, []string{"__Secure-s=v; Path=/; Domain=example.com; Max-Age=60" + attributes}},
		{cookieChange{deleteCookie, "v"}, time.Hour, []string{"__Secure-s=; Path=/; Domain=example.com; Max-Age=0" + attributes}},
	} {
		w := httptest.NewRecorder()
		test.change.write(w, like, test.maxAge)
		require.Equal(t, test.want, w.Header()["Set-Cookie"], "%+v", test)
	}
	require.Empty(t, like.Value)
}
