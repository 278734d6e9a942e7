package cookie

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/stretchr/testify/require"
)

// visitorHeader returns the cookies of a request with these visitor cookies.
func visitorHeader(values ...string) *string {
	return visitorHeaderNamed("__Host-Http-session-anonymous", values...)
}

func visitorHeaderNamed(name string, values ...string) *string {
	h := http.Header{}
	for _, value := range values {
		h.Add("Cookie", name+"="+value)
	}
	return Header(h)
}

// visitorValues returns only the values.
func visitorValues(c Codec, cookies *string) []byte {
	values, _ := c.DecodeVisitor(cookies)
	return values
}

func encodeTestVisitor(t *testing.T, c Codec, values string) string {
	t.Helper()
	value, err := c.EncodeVisitor([]byte(values))
	require.NoError(t, err)
	return value
}

// K1: the limits hold for every key and name that New accepts.
func TestVisitorValuesComeBackWhateverTheKeys(t *testing.T) {
	for _, name := range []string{"s", "__Host-Http-session", strings.Repeat("n", maxCookieName)} {
		for _, length := range []int{32, 33, 64, 200} {
			t.Run(fmt.Sprintf("name %d, key of %d bytes", len(name), length), func(t *testing.T) {
				c := codecWith(t, name, length)
				h := http.Header{"Cookie": {c.Visitor.Name + "=" + newTestToken(t, c)}}
				require.Nil(t, visitorValues(c, Header(h)), "one is not the other")
				for _, values := range [][]byte{nil, []byte("v"), bytes.Repeat([]byte("v"), 1500), make([]byte, c.MaxVisitorBytes)} {
					value, err := c.EncodeVisitor(values)
					require.NoError(t, err)
					require.LessOrEqual(t, len(c.Visitor.Name)+len(value), maxCookie)
					require.NoError(t, (&http.Cookie{Name: c.Visitor.Name, Value: value}).Valid())
					require.False(t, c.Verify(value))
					h.Set("Cookie", c.Visitor.Name+"="+value)
					require.Equal(t, string(values), string(visitorValues(c, Header(h))))
					again, err := c.EncodeVisitor(values)
					require.NoError(t, err)
					require.NotEqual(t, value, again, "the nonce")
				}
				require.Greater(t, c.MaxVisitorBytes, 1700)
				for _, n := range []int{c.MaxVisitorBytes + 1, maxCookie} {
					_, err := c.EncodeVisitor(make([]byte, n))
					require.Error(t, err, "proxies and browsers would drop it")
				}
			})
		}
	}
}

// C2: where no time passes and nothing is encrypted, the nonce alone must do.
func TestEveryVisitorCookieIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCodec(t)
		seen := map[string]bool{}
		for range 100 {
			value := encodeTestVisitor(t, c, "same")
			require.False(t, seen[value])
			seen[value] = true
		}
	})
}

// L1 for visitors, with a timeout that securecookie can only count in seconds: it
// never expires early.
func TestVisitorValuesExpireWithTheIdleTimeout(t *testing.T) {
	for _, c := range []struct {
		idle, after time.Duration
		want        string
	}{
		{time.Minute, 0, "values"},
		{time.Minute, time.Minute, "values"},
		{time.Minute, time.Minute + time.Second, ""},
		{time.Minute, 12 * time.Hour, ""},
		{1500 * time.Millisecond, 2 * time.Second, "values"},
		{1500 * time.Millisecond, 3 * time.Second, ""},
		{1 << 62, 50 * 365 * 24 * time.Hour, "values"}, // more seconds than an int32 holds
	} {
		synctest.Test(t, func(t *testing.T) {
			codec, err := New([][]byte{testKey}, c.idle, http.Cookie{Secure: true})
			require.NoError(t, err)
			value := encodeTestVisitor(t, codec, "values")
			time.Sleep(c.after)
			require.Equal(t, c.want, string(visitorValues(codec, visitorHeader(value))), "%v after %v", c.idle, c.after)
		})
	}
}

// K2
func TestAVisitorCookieThatIsNotExactlyOursHasNoValues(t *testing.T) {
	c := newTestCodec(t)
	value := encodeTestVisitor(t, c, "values")
	other := encodeTestVisitor(t, c, "other values")
	require.Equal(t, "values", string(visitorValues(c, visitorHeader(value))))

	staff, err := New([][]byte{testKey}, time.Minute, http.Cookie{Name: "__Host-staff", Secure: true})
	require.NoError(t, err)
	otherKeys, err := New([][]byte{bytes.Repeat([]byte("b"), 32)}, time.Minute, http.Cookie{Secure: true})
	require.NoError(t, err)
	short, err := securecookie.EncodeMulti(c.Visitor.Name, make([]byte, nonceSize-1), c.visitorCodecs...)
	require.NoError(t, err)
	for what, values := range map[string][]string{
		"none": nil, "empty": {""}, "two": {value, other}, "two, and one of them twice": {value, other, value},
		"truncated": {value[:len(value)-1]}, "longer": {value + "A"}, "half quoted": {`"` + value},
		"not base64": {strings.Repeat("%", 120)}, "not signed": {base64.URLEncoding.EncodeToString([]byte("1700000000|dmFsdWVz|" + strings.Repeat("m", 32)))},
		"the session cookie": {newTestToken(t, c)}, "another guard's": {encodeTestVisitor(t, staff, "values")},
		"other keys": {encodeTestVisitor(t, otherKeys, "values")}, "ours, but too short for a nonce": {short},
	} {
		require.Nil(t, visitorValues(c, visitorHeader(values...)), what)
	}
	for i := range len(value) - 3 { // base64 ignores the last bits before "=="
		require.Nil(t, visitorValues(c, visitorHeader(withOtherCharacter(value, i))), "character %d of %d", i, len(value))
	}
	require.Nil(t, visitorValues(c, Header(http.Header{"Cookie": {"__Host-Http-session=" + value}})), "under the other name")
}

// K2: of several cookies the one that verifies counts, if no more than eight differ.
func TestOfSeveralVisitorCookiesTheOneThatVerifiesCounts(t *testing.T) {
	c := newTestCodec(t)
	value := encodeTestVisitor(t, c, "values")
	others := []string{"1", "2", "3", "4", "5", "6", "7"}
	for what, values := range map[string][]string{
		"twice": {value, value}, "and an empty one": {value, ""}, "an empty one before": {"", value}, "others": {"x", value, "y"},
		"and a session cookie": {value, newTestToken(t, c)}, "and one that is too long": {strings.Repeat("A", 5000), value},
		"the last of eight": append(others, value), "the same again and again": slices.Repeat([]string{value, "x"}, 100),
	} {
		require.Equal(t, "values", string(visitorValues(c, visitorHeader(values...))), what)
	}
	require.Nil(t, visitorValues(c, visitorHeader(append(others, "8", value)...)), "nine")
}

// The time that has passed since a cookie was made decides when it is made again.
func TestTheAgeOfAVisitorCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCodec(t)
		value := encodeTestVisitor(t, c, "values")
		for _, passed := range []time.Duration{0, 10 * time.Second, 49 * time.Second} {
			time.Sleep(passed)
			_, age := c.DecodeVisitor(visitorHeader(value, "x"))
			require.Equal(t, passed, age.Truncate(time.Second))
			value = encodeTestVisitor(t, c, "values")
		}
	})
}

// nginx responds with 502 if the headers take more than 4096 bytes.
func TestASetCookieLineOfVisitorValuesHasAtMost3500Bytes(t *testing.T) {
	for _, attributes := range []http.Cookie{
		{Secure: true}, {}, {Name: strings.Repeat("n", maxCookieName)}, {Secure: true, Domain: strings.Repeat("example.", 20) + "com"},
		{Name: "__Http-" + strings.Repeat("n", maxCookieName-7), Secure: true, Domain: strings.Repeat("example.", 20) + "com", SameSite: http.SameSiteNoneMode, Partitioned: true},
	} {
		c, err := New([][]byte{testKey}, time.Minute, attributes)
		require.NoError(t, err)
		value, err := c.EncodeVisitor(make([]byte, c.MaxVisitorBytes))
		require.NoError(t, err)
		w := httptest.NewRecorder()
		Change{Set, value}.Write(w, visitorHeaderNamed(c.Visitor.Name, "old"), c.Visitor, 0)
		length := 0
		for _, line := range w.Header()["Set-Cookie"] {
			length += len("Set-Cookie: " + line)
		}
		require.LessOrEqual(t, length, 3500)
		require.Greater(t, length, 3490)
		require.Len(t, visitorValues(c, visitorHeaderNamed(c.Visitor.Name, value)), c.MaxVisitorBytes)
	}
}

func TestVisitorValuesAreEncrypted(t *testing.T) {
	envelope, err := base64.URLEncoding.DecodeString(encodeTestVisitor(t, newTestCodec(t), strings.Repeat("values", 10)))
	require.NoError(t, err)
	content, err := base64.URLEncoding.DecodeString(string(bytes.Split(envelope, []byte("|"))[1]))
	require.NoError(t, err)
	require.NotContains(t, string(content), "values")
}
