package cookie

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/stretchr/testify/require"
)

// visitorHeader returns the cookies of a request with these visitor cookies.
func visitorHeader(values ...string) *string {
	h := http.Header{}
	for _, value := range values {
		h.Add("Cookie", "__Host-session-anonymous="+value)
	}
	return Header(h)
}

func encodeTestVisitor(t *testing.T, c Codec, values string) string {
	t.Helper()
	value, err := c.EncodeVisitor([]byte(values))
	require.NoError(t, err)
	return value
}

// K1: the limits hold for every key and name that New accepts.
func TestVisitorValuesComeBackWhateverTheKeys(t *testing.T) {
	for _, name := range []string{"s", "__Host-session", strings.Repeat("n", maxCookieName)} {
		for _, length := range []int{32, 33, 64, 200} {
			t.Run(fmt.Sprintf("name %d, key of %d bytes", len(name), length), func(t *testing.T) {
				c := codecWith(t, name, length)
				h := http.Header{"Cookie": {c.Visitor.Name + "=" + newTestToken(t, c)}}
				require.Nil(t, c.DecodeVisitor(Header(h)), "one is not the other")
				for _, values := range [][]byte{nil, []byte("v"), bytes.Repeat([]byte("v"), 1500), make([]byte, c.MaxVisitorBytes)} {
					value, err := c.EncodeVisitor(values)
					require.NoError(t, err)
					require.LessOrEqual(t, len(c.Visitor.Name)+len(value), maxCookie)
					require.NoError(t, (&http.Cookie{Name: c.Visitor.Name, Value: value}).Valid())
					require.False(t, c.Verify(value))
					h.Set("Cookie", c.Visitor.Name+"="+value)
					require.Equal(t, string(values), string(c.DecodeVisitor(Header(h))))
					again, err := c.EncodeVisitor(values)
					require.NoError(t, err)
					require.NotEqual(t, value, again, "the nonce")
				}
				require.Greater(t, c.MaxVisitorBytes, 2000)
				for _, n := range []int{c.MaxVisitorBytes + 1, maxCookie} {
					_, err := c.EncodeVisitor(make([]byte, n))
					require.Error(t, err, "browsers would drop it")
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
			require.Equal(t, c.want, string(codec.DecodeVisitor(visitorHeader(value))), "%v after %v", c.idle, c.after)
		})
	}
}

// K2
func TestAVisitorCookieThatIsNotExactlyOursHasNoValues(t *testing.T) {
	c := newTestCodec(t)
	value := encodeTestVisitor(t, c, "values")
	other := encodeTestVisitor(t, c, "other values")
	require.Equal(t, "values", string(c.DecodeVisitor(visitorHeader(value))))

	staff, err := New([][]byte{testKey}, time.Minute, http.Cookie{Name: "__Host-staff", Secure: true})
	require.NoError(t, err)
	otherKeys, err := New([][]byte{bytes.Repeat([]byte("b"), 32)}, time.Minute, http.Cookie{Secure: true})
	require.NoError(t, err)
	short, err := securecookie.EncodeMulti(c.Visitor.Name, make([]byte, nonceSize-1), c.visitorCodecs...)
	require.NoError(t, err)
	for what, values := range map[string][]string{
		"none": nil, "empty": {""}, "twice": {value, value}, "two": {value, other}, "and an empty one": {value, ""},
		"truncated": {value[:len(value)-1]}, "longer": {value + "A"}, "half quoted": {`"` + value},
		"not base64": {strings.Repeat("%", 120)}, "not signed": {base64.URLEncoding.EncodeToString([]byte("1700000000|dmFsdWVz|" + strings.Repeat("m", 32)))},
		"the session cookie": {newTestToken(t, c)}, "another guard's": {encodeTestVisitor(t, staff, "values")},
		"other keys": {encodeTestVisitor(t, otherKeys, "values")}, "ours, but too short for a nonce": {short},
	} {
		require.Nil(t, c.DecodeVisitor(visitorHeader(values...)), what)
	}
	for i := range len(value) - 3 { // base64 ignores the last bits before "=="
		require.Nil(t, c.DecodeVisitor(visitorHeader(withOtherCharacter(value, i))), "character %d of %d", i, len(value))
	}
	require.Nil(t, c.DecodeVisitor(Header(http.Header{"Cookie": {"__Host-session=" + value}})), "under the other name")
}

func TestVisitorValuesAreEncrypted(t *testing.T) {
	envelope, err := base64.URLEncoding.DecodeString(encodeTestVisitor(t, newTestCodec(t), strings.Repeat("values", 10)))
	require.NoError(t, err)
	content, err := base64.URLEncoding.DecodeString(string(bytes.Split(envelope, []byte("|"))[1]))
	require.NoError(t, err)
	require.NotContains(t, string(content), "values")
}
