package cookie

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

const boundID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

func TestABoundCookieIsItsSessionsAndItsProofs(t *testing.T) {
	c := newTestCodec(t)
	want, bound := c.Session, c.Bound(boundID, 1)
	want.Name = bound.Name
	require.Equal(t, want, bound)
	require.Regexp(t, `^__Host-Http_session-bound-ABCDEFGH[A-Z2-7]{3}$`, bound.Name)
	require.Equal(t, bound, c.Bound(boundID, 1))
	require.NotEqual(t, bound, c.Bound("B"+boundID, 1))
	names := map[string]bool{}
	for i := range store.Time(500) {
		names[c.Bound(boundID, i).Name] = true
		names[c.Bound(boundID, i*60_000).Name] = true
	}
	require.Greater(t, len(names), 500, "two proofs seldom have one name")
	require.True(t, IsBoundTo(bound.Name, boundID))
	require.False(t, IsBoundTo(bound.Name, "B"+boundID))
	require.False(t, IsBoundTo(bound.Name, ""))
}

// On a host with a name, Chromium 156 makes no key for a cookie with the prefix __Host-Http-.
func TestNoBoundCookieHasThePrefixThatChromiumCannotBind(t *testing.T) {
	for session, want := range map[string]string{
		"__Host-Http-session": "__Host-Http_session-bound-", "__HOST-http-x": "__HOST-http_x-bound-",
		"__Host-session": "__Host-session-bound-", "__Secure-session": "__Secure-session-bound-", "__Http-session": "__Http-session-bound-", "session": "session-bound-",
	} {
		c, err := New([][]byte{bytes.Repeat([]byte("k"), 32)}, time.Hour, http.Cookie{Name: session, Secure: true})
		require.NoError(t, err)
		bound := c.Bound(boundID, 1)
		require.True(t, strings.HasPrefix(bound.Name, want), bound.Name)
		require.NoError(t, bound.Valid())
		values, count := c.BoundValues(Header(http.Header{"Cookie": {bound.Name + "=1"}}), boundID)
		require.Equal(t, "1", values[0])
		require.Equal(t, 1, count)
		require.Equal(t, []string{bound.Name}, c.BoundNames(Header(http.Header{"Cookie": {bound.Name + "=1"}})))
	}
}

func TestOnlyBoundCookiesHaveTheirNames(t *testing.T) {
	c := newTestCodec(t)
	name := c.Bound(boundID, 1).Name
	require.True(t, isBoundOf(c.boundName, name))
	require.True(t, isBoundOf(c.boundName, c.Bound("234567ZZ", 1).Name))
	for _, other := range []string{
		"", c.Session.Name, c.Visitor.Name, c.secretName("n"), c.boundName + boundInfix, name[1:], "x" + name, name + "A", name[:len(name)-1],
		strings.ToLower(name), name[:len(name)-1] + "1", name[:len(name)-1] + "8", name[:len(name)-1] + "a", name[:len(name)-1] + " ", strings.Replace(name, "-bound-", "-Bound-", 1),
	} {
		require.False(t, isBoundOf(c.boundName, other), other)
	}
}

func TestTheValuesOfBoundCookiesAreFoundByTheSessionsID(t *testing.T) {
	c := newTestCodec(t)
	name, later, other := c.Bound(boundID, 1).Name, c.Bound(boundID, 2).Name, c.Bound("BCDEFGHI", 1).Name
	for _, test := range []struct {
		headers []string
		values  []string
	}{
		{nil, nil},
		{[]string{"a=b; " + c.Session.Name + "=1"}, nil},
		{[]string{other + "=1"}, nil},
		{[]string{name + "=1"}, []string{"1"}},
		{[]string{name + `="1"`}, []string{"1"}},
		{[]string{"a=b; " + other + "=2; " + name + "=1; c=d"}, []string{"1"}},
		{[]string{name + "=1", later + "=2"}, []string{"1", "2"}},
		{[]string{name + "=1", name + "=1"}, []string{"1"}},
		{[]string{name + "=1", name + "=2", name + "=3", later + "=4", name + "=5; " + other + "=6"}, []string{"2", "3", "4", "5"}},
		{[]string{strings.ToLower(name) + "=1; " + name + "x=2"}, nil},
		{[]string{c.boundName + boundInfix + "=1; " + c.boundName + boundInfix + "A=2"}, nil},
	} {
		cookies := Header(http.Header{"Cookie": test.headers})
		values, count := c.BoundValues(cookies, boundID)
		require.Equal(t, test.values, append([]string(nil), values[:count]...), "%q", test.headers)
		_, none := c.BoundValues(cookies, "")
		require.Zero(t, none, "%q", test.headers)
		require.Zero(t, testing.AllocsPerRun(10, func() { c.BoundValues(cookies, boundID) }), "%q", test.headers)
	}
}

// Somebody may plant any number, in front of ours.
func TestTheLastBoundCookiesAreNamed(t *testing.T) {
	c := newTestCodec(t)
	require.Empty(t, c.BoundNames(nil))
	var lines, names []string
	for i := range MaxPresented + 3 {
		name := c.Bound(strings.Repeat(string(rune('A'+i)), 26), 1).Name
		names = append(names, name)
		lines = append(lines, "a=b; "+name+"=1; "+c.Session.Name+"=2", name+"=3")
		require.Equal(t, names[max(0, i+1-MaxPresented):], c.BoundNames(Header(http.Header{"Cookie": lines})))
	}
	lines = append(lines, names[5]+"=4")
	want := append(slices.Concat(names[3:5], names[6:]), names[5])
	require.Equal(t, want, c.BoundNames(Header(http.Header{"Cookie": lines})))
}

// A server behind Hide learns no proof, and sets none.
func TestHideHidesBoundCookies(t *testing.T) {
	c := newTestCodec(t)
	bound := c.Bound(boundID, 1)
	for _, name := range []string{bound.Name, c.secretName("n"), c.Session.Name, c.Visitor.Name} {
		h := c.Hide(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: name, Value: "evil"})
			w.Header().Add("Set-Cookie", "="+name+"=evil")
			http.SetCookie(w, &http.Cookie{Name: name + "x", Value: "application's"})
			fmt.Fprint(w, r.Header["Cookie"])
		}))
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Cookie"] = []string{"theme=dark; " + name + "=1", name + "=2", " " + name + " =3; " + name + "x=4"}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, "[theme=dark "+name+"x=4]", w.Body.String())
		require.Equal(t, []string{name + "x=application's"}, w.Header()["Set-Cookie"])
	}
}

func TestABoundCookieThatChangesIsNoticed(t *testing.T) {
	c := newTestCodec(t)
	ours, name := c.Session.Name+"=1", c.Bound(boundID, 1).Name
	before := Header(http.Header{"Cookie": {ours + "; " + name + "=1"}})
	require.True(t, c.Same(before, http.Header{"Cookie": {"a=b; " + name + "=1; " + ours}}))
	require.False(t, c.Same(before, http.Header{"Cookie": {ours}}))
	require.False(t, c.Same(before, http.Header{"Cookie": {ours + "; " + name + "=2"}}))
	require.False(t, c.Same(before, http.Header{"Cookie": {ours + "; " + c.Bound("BCDEFGHI", 1).Name + "=1"}}))
}

func TestEverySecretHasAKeyForEachUse(t *testing.T) {
	secrets := [][]byte{testKey, slices.Repeat([]byte("b"), 64)}
	keys := DeriveKeys(secrets, "device MAC")
	require.Equal(t, [][]byte{deriveKey(secrets[0], "device MAC"), deriveKey(secrets[1], "device MAC")}, keys)
	require.NotEqual(t, keys[0], keys[1])
	require.NotEqual(t, keys, DeriveKeys(secrets, "device seal"))
	require.Len(t, keys[1], 32)
}

func TestANameThatBoundCookiesHaveIsAnError(t *testing.T) {
	for _, name := range []string{"x-bound-", "x-bound-ABCDEFGH", "x-bound-y", "-bound-x"} {
		_, err := New([][]byte{testKey}, time.Minute, http.Cookie{Name: name, Secure: true})
		require.ErrorContains(t, err, `sessionguard: Config.CookieName "`+name+`"`)
		require.ErrorContains(t, err, `"-bound-" is reserved`)
	}
	for _, name := range []string{"bound-x", "x-bound", "x-Bound-y"} {
		_, err := New([][]byte{testKey}, time.Minute, http.Cookie{Name: name, Secure: true})
		require.NoError(t, err)
	}
}
