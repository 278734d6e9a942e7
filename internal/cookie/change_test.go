package cookie

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
		change Change
		maxAge time.Duration
		want   []string
	}{
		{Change{}, time.Hour, nil},
		{Change{Keep, "v"}, time.Hour, nil},
		{Change{Set, "v"}, 0, []string{"__Secure-s=v; Path=/; Domain=example.com" + attributes}},
		{Change{Set, "v"}, 90*time.Second + 999*time.Millisecond, []string{"__Secure-s=v; Path=/; Domain=example.com; Max-Age=90" + attributes}},
		{Change{Rotate, "v"}, time.Minute, []string{"__Secure-s=v; Path=/; Domain=example.com; Max-Age=60" + attributes}},
		{Change{Delete, "v"}, time.Hour, []string{"__Secure-s=; Path=/; Domain=example.com; Max-Age=0" + attributes}},
	} {
		w := httptest.NewRecorder()
		test.change.Write(w, like, test.maxAge)
		require.Equal(t, test.want, w.Header()["Set-Cookie"], "%+v", test)
	}
	require.Empty(t, like.Value)
}
