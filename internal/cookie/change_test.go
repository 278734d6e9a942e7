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
		test.change.Write(w, nil, like, test.maxAge)
		require.Equal(t, test.want, w.Header()["Set-Cookie"], "%+v", test)
	}
	require.Empty(t, like.Value)
}

func TestTheLineOfASessionCookieIsThatOfEveryOtherCookie(t *testing.T) {
	sent := "__Secure-s=old"
	for _, attributes := range []http.Cookie{
		{Secure: true},
		{},
		{Name: "s", SameSite: http.SameSiteStrictMode},
		{Name: "__Secure-s", Domain: "example.com", Secure: true},
		{Secure: true, SameSite: http.SameSiteNoneMode, Partitioned: true},
	} {
		c, err := New([][]byte{testKey}, time.Minute, attributes)
		require.NoError(t, err)
		for _, kind := range []ChangeKind{Keep, Set, Rotate, Delete} {
			for _, maxAge := range []time.Duration{0, time.Hour} {
				change := Change{kind, newTestToken(t, c)}
				want, got := httptest.NewRecorder(), httptest.NewRecorder()
				want.Header().Add("Set-Cookie", "other=1")
				got.Header().Add("Set-Cookie", "other=1")
				change.Write(want, &sent, c.Session, maxAge)
				c.WriteSession(got, &sent, change, maxAge)
				require.Equal(t, want.Header(), got.Header())
			}
		}
	}
}

// In another site's frame, browsers obey only lines with Partitioned, and a deletion without
// it is that of another cookie.
func TestEveryLineOfAPartitionedCookieSaysSo(t *testing.T) {
	like := http.Cookie{Name: "__Secure-s", Domain: "example.com", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode, Partitioned: true}
	const attributes = "; HttpOnly; Secure; SameSite=None; Partitioned"
	sent := "__Secure-s=old"
	hostOnly := "__Secure-s=; Path=/; Max-Age=0" + attributes
	for _, test := range []struct {
		change Change
		want   []string
	}{
		{Change{Set, "v"}, []string{hostOnly, "__Secure-s=v; Path=/; Domain=example.com; Max-Age=60" + attributes}},
		{Change{Rotate, "v"}, []string{"__Secure-s=v; Path=/; Domain=example.com; Max-Age=60" + attributes}},
		{Change{Delete, ""}, []string{hostOnly, "__Secure-s=; Path=/; Domain=example.com; Max-Age=0" + attributes}},
	} {
		w := httptest.NewRecorder()
		test.change.Write(w, &sent, like, time.Minute)
		require.Equal(t, test.want, w.Header()["Set-Cookie"], "%+v", test)
	}
}

// A cookie of the host alone, from before it got a Domain, is another one to browsers.
func TestACookieWithADomainDeletesTheHostsOwn(t *testing.T) {
	const attributes = "; HttpOnly; Secure; SameSite=Lax"
	like := http.Cookie{Name: "__Secure-s", Domain: "example.com", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	host := like
	host.Domain = ""
	with, without := "__Secure-s=; Path=/; Domain=example.com; Max-Age=0"+attributes, "__Secure-s=; Path=/; Max-Age=0"+attributes
	set := "__Secure-s=v; Path=/; Domain=example.com" + attributes
	for _, test := range []struct {
		change Change
		sent   string
		like   http.Cookie
		want   []string
	}{
		{Change{Set, "v"}, "__Secure-s=old", like, []string{without, set}},
		{Change{Set, "v"}, "__Secure-s=old; __Secure-s=older", like, []string{without, set}},
		{Change{Delete, ""}, "__Secure-s=old", like, []string{without, with}},
		{Change{Rotate, "v"}, "__Secure-s=old", like, []string{set}},
		{Change{}, "__Secure-s=old", like, nil},
		{Change{Set, "v"}, "s=old", like, []string{set}},
		{Change{Delete, ""}, "__Secure-s=old", host, []string{without}},
	} {
		w := httptest.NewRecorder()
		test.change.Write(w, &test.sent, test.like, 0)
		require.Equal(t, test.want, w.Header()["Set-Cookie"], "%+v", test)
	}
}
