package cookie

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/stretchr/testify/require"
)

var testHolder = strings.Repeat("H", 26) // as long as a session's public ID

func newSecret(made store.Time, size int) Secret {
	return Secret{Made: made, Expires: made.Add(time.Minute), Holder: testHolder, Value: bytes.Repeat([]byte("v"), size)}
}

// sentBy returns the Cookie header of a browser that has got changes and sent before.
func sentBy(before *string, changes SecretChanges) *string {
	var pairs []string
	if before != nil {
		for _, pair := range strings.Split(*before, separator) {
			if name, _, _ := strings.Cut(pair, "="); changes.find(name) == nil {
				pairs = append(pairs, pair)
			}
		}
	}
	for _, change := range changes {
		if change.Kind == Set {
			pairs = append(pairs, change.Name+"="+change.Value)
		}
	}
	return Header(http.Header{"Cookie": pairs})
}

// lineBytes is what the changes take in the header of a response.
func lineBytes(c Codec, changes SecretChanges, before *string) (n int) {
	w := httptest.NewRecorder()
	changes.Write(w, before, c.Session)
	for _, line := range w.Header()["Set-Cookie"] {
		n += len("Set-Cookie: ") + len(line) + len("\r\n")
	}
	return n
}

// The format: a cookie of a name from which nothing can be learnt, and a value that comes back.
func TestASecretComesBackWhateverTheNamesAndKeys(t *testing.T) {
	for _, session := range []string{"s", "__Host-Http-session", strings.Repeat("n", maxCookieName)} {
		for _, length := range []int{32, 33, 200} {
			c := codecWith(t, session, length)
			for _, name := range []string{"", "n", "\x00", "a; Domain=b", strings.Repeat("n", 1<<16)} {
				for _, holder := range []string{"", testHolder, strings.Repeat("h", 255)} {
					requireComesBack(t, c, name, holder, 0)
					requireComesBack(t, c, name, holder, MaxSecretBytes)
				}
			}
		}
	}
}

func requireComesBack(t *testing.T, c Codec, name, holder string, size int) {
	t.Helper()
	put := newSecret(5, size)
	put.Holder = holder
	changes := c.PutSecret(nil, nil, name, put)
	require.Len(t, changes, 1)
	cookie := changes[0]
	require.Regexp(t, `^`+c.Session.Name+`-secret-[a-z2-7]{26}$`, cookie.Name)
	require.Equal(t, time.Minute, cookie.MaxAge)
	require.LessOrEqual(t, len(cookie.Name)+len(cookie.Value), maxCookie)
	require.NoError(t, (&http.Cookie{Name: cookie.Name, Value: cookie.Value}).Valid())
	here, ok := c.FindSecret(nil, changes, name)
	require.True(t, ok, "in the same response")
	later, ok := c.FindSecret(sentBy(nil, changes), nil, name)
	require.True(t, ok, "in the next request")
	require.Equal(t, here, later)
	require.NotZero(t, here.Nonce)
	put.Nonce = here.Nonce
	require.Equal(t, string(put.Value), string(here.Value))
	put.Value, here.Value = nil, nil
	require.Equal(t, put, here)
}

func TestNoTwoSecretsAreAlike(t *testing.T) {
	c, seen := newTestCodec(t), map[string]bool{}
	for i := range 1000 {
		changes := c.PutSecret(nil, nil, "n", newSecret(5, 9))
		s, ok := c.FindSecret(nil, changes, "n")
		require.True(t, ok)
		seen[changes[0].Value], seen[string(s.Nonce[:])], seen[c.secretName(fmt.Sprint(i))] = true, true, true
	}
	require.Len(t, seen, 3000)
}

// The longest value fits into what nginx reads by default, with the longest names.
func TestTheLineOfASecretIsShort(t *testing.T) {
	domain := strings.Repeat("d.", 125) + "com"
	require.Len(t, domain, 253)
	for _, attributes := range []http.Cookie{
		{Secure: true},
		{Name: strings.Repeat("n", maxCookieName), Secure: true, SameSite: http.SameSiteStrictMode},
		{Name: strings.Repeat("n", maxCookieName), Domain: domain, Secure: true, SameSite: http.SameSiteStrictMode},
	} {
		c, err := New([][]byte{testKey}, time.Minute, attributes)
		require.NoError(t, err)
		s := newSecret(5, MaxSecretBytes)
		s.Expires = s.Made.Add(time.Hour)
		before := sentBy(nil, c.PutSecret(nil, nil, "n", newSecret(5, 1)))
		n := lineBytes(c, c.PutSecret(before, nil, "n", s), before)
		t.Logf("%d bytes", n)
		require.LessOrEqual(t, n, maxVisitorLine)
	}
}

// Whatever a browser had, its Cookie header stays below the 8 KiB of nginx and Apache.
func TestTheCookiesOfABrowserFitIntoALine(t *testing.T) {
	longest := strings.Repeat("n", maxCookieName)
	c, other := codecWith(t, longest, 32), codecWith(t, longest, 33)
	visitor, err := c.EncodeVisitor(make([]byte, c.MaxVisitorBytes))
	require.NoError(t, err)
	rest := c.Session.Name + "=" + newTestToken(t, c) + separator + c.Visitor.Name + "=" + visitor
	for _, size := range []int{0, 100, 500, 900, MaxSecretBytes} {
		before := &rest
		for i := range 20 {
			now := store.Time(i * 20_000)   // the first are over before the last are put
			from := []Codec{other, c}[i/10] // the other's key is then gone
			changes := from.PutSecret(before, nil, fmt.Sprint(i), newSecret(now, size))
			require.LessOrEqual(t, lineBytes(c, changes, before), 4096, "nginx's proxy_buffer_size")
			before = sentBy(before, changes)
			secrets := len(*before) - len(rest) - len(separator)
			require.LessOrEqual(t, secrets, maxSecretsSize+3*len(separator)+4, "size %d, after %d", size, i)
			require.Less(t, len("Cookie: ")+len(*before)+2, 8192)
			require.LessOrEqual(t, strings.Count(*before, secretInfix), maxSecrets)
		}
	}
}

// A response that puts any number deletes none that the browser does not have.
func TestPuttingManyAtOnceMakesAShortHeader(t *testing.T) {
	c := newTestCodec(t)
	before := sentBy(nil, c.PutSecret(nil, nil, "before", newSecret(1, 9)))
	var changes SecretChanges
	for i := range 100 {
		changes = c.PutSecret(before, changes, fmt.Sprint(i), newSecret(5, 9))
		require.LessOrEqual(t, len(changes), maxSecrets+1)
		if i%2 == 0 {
			changes = c.DeleteSecret(before, changes, fmt.Sprint(i))
		}
	}
	require.Equal(t, SecretChange{Change: Change{Kind: Delete}, Name: c.secretName("before")}, *changes.find(c.secretName("before")))
	_, ok := c.FindSecret(before, changes, "before")
	require.False(t, ok)
	_, ok = c.FindSecret(before, changes, "98")
	require.False(t, ok)
	_, ok = c.FindSecret(before, changes, "99")
	require.True(t, ok)
}

func TestOnlySecretCookiesHaveTheirNames(t *testing.T) {
	c := newTestCodec(t)
	name := c.secretName("n")
	require.True(t, c.isSecret(name))
	for _, other := range []string{
		"", c.Session.Name, c.Visitor.Name, c.Session.Name + secretInfix, name[1:], "x" + name, name + "a", name[:len(name)-1],
		strings.ToUpper(name), name[:len(name)-1] + "1", name[:len(name)-1] + "A", name[:len(name)-1] + " ", strings.Replace(name, "-secret-", "-Secret-", 1),
	} {
		require.False(t, c.isSecret(other), other)
	}
}

// made is a secret of testKey, whose name is "made" and whose format must not change.
const made = "pjW52lh5y4DeOuZVpQlIE9Gzk5p5V6e_D8nT6CV_Ito22wRraBCDGiBsH11VDdTjEW309PYuMqk530qxLW6LoXbtml3TSaWTcPHF_TUzQ-uknd1ki8ISLY_h5Ww-OOYkyvWGTt5eboaI73Y"

// Nothing opens but what was made, under its own name, and nothing panics.
func FuzzSecret(f *testing.F) {
	c, err := New([][]byte{testKey, bytes.Repeat([]byte("b"), 32)}, time.Minute, http.Cookie{Secure: true})
	require.NoError(f, err)
	other, err := New([][]byte{testKey}, time.Minute, http.Cookie{Name: "__Host-other", Secure: true})
	require.NoError(f, err)
	for _, value := range []string{
		"", "A", made, made[:len(made)-1], made + "A", made[4:], made[:30], made[:20] + "\n" + made[20:], strings.Repeat("A", 40), strings.Repeat("A", 79),
		strings.Repeat("_", 4000), other.PutSecret(nil, nil, "made", newSecret(5, 20))[0].Value,
		c.PutSecret(nil, nil, "another", newSecret(5, 20))[0].Value,
	} {
		f.Add(value)
	}
	name := c.secretName("made")
	f.Fuzz(func(t *testing.T, value string) {
		s, ok := c.openSecret(name, value)
		// The decoder skips line breaks and ignores the last bits: no other bytes are meant.
		same := strings.NewReplacer("\r", "", "\n", "").Replace(value)
		if want := len(same) == len(made) && same[:len(same)-1] == made[:len(made)-1]; ok && !want {
			t.Fatalf("%q opens", value)
		}
		if ok && (string(s.Value) != strings.Repeat("v", 20) || s.Holder != testHolder) {
			t.Fatalf("%q is another", value)
		}
		if _, ok := c.openSecret(c.secretName("x"), value); ok {
			t.Fatalf("%q opens under another name", value)
		}
		h := http.Header{"Cookie": {name + "=" + value}}
		_, _ = c.FindSecret(Header(h), nil, "made")
		changes := c.PutSecret(Header(h), nil, "new", newSecret(5, 1))
		if _, ok := c.FindSecret(nil, changes, "new"); !ok {
			t.Fatalf("%q takes another's place", value)
		}
	})
}
