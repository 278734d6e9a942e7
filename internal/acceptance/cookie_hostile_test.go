package acceptance

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/securecookie"
	"github.com/sessionguard-go/sessionguard"
	"github.com/stretchr/testify/require"
)

// hostileSite has someone logged in, a visitor with values, and the cookies of
// both and of another guard with the same keys and backend.
type hostileSite struct {
	*site
	backend                             *failingBackend
	handler                             http.Handler
	session, anonymous, staff, staffAno string
}

func newHostileSite(t *testing.T, keys [][]byte) *hostileSite {
	h := &hostileSite{backend: newFailingBackend()}
	h.site = newSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.Keys = h.backend, keys })
	staff := newSite(t, func(c *sessionguard.Config[*user]) { c.Backend, c.Keys, c.CookieName = h.backend, keys, "__Host-staff" })
	for s, take := range map[*site]func(map[string]string){
		h.site: func(c map[string]string) { h.session, h.anonymous = c[sessionCookie], c[visitorCookie] },
		staff:  func(c map[string]string) { h.staff, h.staffAno = c["__Host-staff"], c["__Host-staff-anonymous"] },
	} {
		b, visitor := s.browse(), s.browse()
		b.login("ada")
		// As long as a session cookie's value.
		visitor.Post("/value?k=a&v=" + "visitors-own")
		all := b.Cookies()
		for name, value := range visitor.Cookies() {
			all[name] = value
		}
		take(all)
	}
	for _, value := range []string{h.session, h.anonymous, h.staff, h.staffAno} {
		require.NotEmpty(t, value)
		require.LessOrEqual(t, len(value), 200, "its length alone does not give it away")
	}
	h.handler = h.guard.Handler(h.mux)
	return h
}

// ask sends Cookie headers without a network, which would refuse some of them.
func (h *hostileSite) ask(path string, cookies ...string) *http.Response {
	r := httptest.NewRequest("GET", "https://app.example"+path, nil)
	r.Header["Cookie"] = cookies
	r.Header.Set("Accept", "text/html")
	rec := httptest.NewRecorder()
	h.handler.ServeHTTP(rec, r)
	return rec.Result()
}

// requireStranger expects what anybody gets who sends no cookie, at no cost.
func (h *hostileSite) requireStranger(t *testing.T, cookies ...string) {
	t.Helper()
	before := h.backend.callCounts()
	asked := h.users.lookups
	for path, want := range map[string]int{"/home": 303, "/poll": 303, "/": 200, "/value?k=a": 200, "/static": 200} {
		resp := h.ask(path, cookies...)
		var body bytes.Buffer
		_, _ = body.ReadFrom(resp.Body)
		require.Equal(t, want, resp.StatusCode, "%s with %q", path, cookies)
		require.Empty(t, resp.Header["Set-Cookie"], "%s with %q: no deletion", path, cookies)
		require.NotContains(t, body.String(), "ada", "%q", cookies)
		require.NotContains(t, body.String(), "visitors-own", "%q", cookies)
	}
	require.Equal(t, before, h.backend.callCounts(), "%q", cookies)
	require.Equal(t, asked, h.users.lookups)
	require.Empty(t, h.log.String(), "%q", cookies)
}

// flip changes one character of an encoded value at i.
func flip(value string, i int, bit byte) string {
	b := []byte(value)
	b[i] ^= bit
	return string(b)
}

// K2, ASVS 7.2.1
func TestACookieThatIsNotExactlyOursIsAStranger(t *testing.T) {
	h := newHostileSite(t, testKeys)
	s, a := h.session, h.anonymous
	name, ano := sessionCookie+"=", visitorCookie+"="
	forge := func(keys ...[]byte) string {
		v, err := securecookie.EncodeMulti(sessionCookie, bytes.Repeat([]byte("t"), 32), securecookie.CodecsFromPairs(keys...)...)
		require.NoError(t, err)
		return v
	}
	half := len(s) / 2
	for what, cookies := range map[string][]string{
		"none": nil, "empty header": {""}, "separators": {";;; ; ,=;=;"}, "empty": {name, ano}, "no value": {sessionCookie, visitorCookie},
		"truncated": {name + s[:len(s)-1], ano + a[:len(a)-1]}, "halved": {name + s[:half], ano + a[:len(a)/2]},
		"beheaded": {name + s[1:], ano + a[1:]}, "longer": {name + s + "A", ano + a + "A"}, "padded": {name + s + "=", ano + a + "="},
		"doubled": {name + s + s, ano + a + a},
		"zeros":   {name + strings.Repeat("A", len(s)), ano + strings.Repeat("A", len(a))},
		"8 kB":    {name + strings.Repeat("A", 8192), ano + strings.Repeat("A", 8192)}, "8 kB of ours": {name + strings.Repeat(s, 57), ano + strings.Repeat(a, 57)},
		"1 MB of pairs": {strings.Repeat("a=b; ", 200_000)}, "1 MB of empty pairs": {strings.Repeat(";", 1<<20)},
		"forged with other keys": {name + forge(bytes.Repeat([]byte("z"), 64), bytes.Repeat([]byte("y"), 32))},
		"forged without signing": {name + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte("t"), 100))},
		"other alphabet":         {name + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 100))},
		"not base64":             {name + strings.Repeat("é", 72), ano + strings.Repeat("%", 144)},
		"swapped":                {name + a + "; " + ano + s}, "session as anonymous": {ano + s}, "anonymous as session": {name + a},
		"another guard's value": {name + h.staff, ano + h.staffAno}, "another guard's cookies": {"__Host-staff=" + h.staff + "; __Host-staff-anonymous=" + h.staffAno},
		"our values as another's": {"__Host-staff=" + s + "; __Host-staff-anonymous=" + a},
		"twice":                   {name + s + "; " + name + s, ano + a + "; " + ano + a}, "twice, two headers": {name + s, name + s, ano + a, ano + a},
		"real, then forged": {name + s + "; " + name + "x; " + ano + a + "; " + ano + "x"}, "forged, then real": {name + "x; " + name + s + "; " + ano + "x; " + ano + a},
		"real, then forged, two headers": {name + s, name + "x", ano + a, ano + "x"}, "forged, then real, two headers": {name + "x", name + s, ano + "x", ano + a},
		"real, then empty": {name + s + "; " + name, ano + a + "; " + ano}, "empty, then real": {name + "; " + name + s, ano + "; " + ano + a},
		"with another's planted": {name + s + "; " + name + h.staff, ano + a + "; " + ano + h.staffAno},
		"quoted":                 {name + `"` + s + `"`, ano + `"` + a + `"`}, "half quoted": {name + `"` + s, ano + a + `"`},
		"lower case": {"__host-session=" + s, "__host-session-anonymous=" + a}, "upper case": {strings.ToUpper(sessionCookie) + "=" + s},
		"no-break space": {"\u00a0" + name + s, "\u00a0" + ano + a}, "ideographic space": {"\u3000" + name + s, "\u3000" + ano + a},
		"em space before =": {sessionCookie + "\u2003=" + s, visitorCookie + "\u2003=" + a}, "next line": {"\u0085" + name + s, "\u0085" + ano + a},
		"zero width space": {"\u200b" + name + s}, "byte order mark": {"\ufeff" + name + s, "\ufeff" + ano + a},
		"latin-1 space": {"\xa0" + name + s, "\x85" + ano + a},
		"vertical tab":  {"\v" + name + s, "\f" + ano + a}, "line end": {"\r\n" + name + s, "\n" + ano + a}, "NUL": {"\x00" + name + s, ano + a + "\x00"},
		"space in the name": {"__Host- session=" + s}, "two =": {name + "=" + s, ano + "=" + a}, "value with unicode space": {name + s + "\u00a0", ano + "\u2003" + a},
		"comma": {"a=b, " + name + s, "a=b, " + ano + a}, "inside quotes": {`x="` + ";" + `y", ` + name + s}, "prefix of a name": {"x" + name + s, "x" + ano + a},
		"encoded name": {"%5F%5FHost-session=" + s}, "encoded value": {name + strings.ReplaceAll(s, s[:1], "%"+strings.ToUpper(string("0123456789abcdef"[s[0]>>4]))+string("0123456789abcdef"[s[0]&15]))},
		"line end in the value": {name + s[:half] + "\n" + s[half:] + ";", ano + a[:1] + "\x00" + a[1:]},
	} {
		t.Run(what, func(t *testing.T) {
			if what == "line end in the value" {
				// net/http refuses it, and base64 skips it: never the session.
				require.Equal(t, http.StatusSeeOther, h.ask("/home", cookies...).StatusCode)
				return
			}
			h.requireStranger(t, cookies...)
		})
	}
	for _, cookies := range [][]string{
		{name + s}, {" \t" + name + s + " \t"}, {"a=b;" + name + s + ";c=d"}, {"a", sessionCookie + " = " + s},
		{name + s + "; __host-session=x; " + ano + "x; " + ano + "y"}, {name + s + "; " + sessionCookie},
	} {
		require.Equal(t, http.StatusOK, h.ask("/home", cookies...).StatusCode, "the real one, once: %q", cookies)
	}
	resp := h.ask("/value?k=a", ano+a)
	var body bytes.Buffer
	_, _ = body.ReadFrom(resp.Body)
	require.Contains(t, body.String(), "visitors-own", "the visitor's own")
}

// K2: all eight bits of every character of both cookies.
func TestEveryFlippedBitMakesAStranger(t *testing.T) {
	h := newHostileSite(t, testKeys)
	for name, value := range map[string]string{sessionCookie: h.session, visitorCookie: h.anonymous} {
		for i := range len(value) {
			for bit := byte(1); bit != 0; bit <<= 1 {
				h.requireStranger(t, name+"="+flip(value, i, bit))
			}
		}
	}
}

// K2: base64 has several spellings of the same bytes. Those of a real cookie
// verify, so a backend may be asked, but the session is not found under them.
func TestAnotherSpellingOfTheCookieIsNotTheCookie(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for name, keys := range map[string][][]byte{"signed": testKeys[:1], "encrypted": testKeys} {
		t.Run(name, func(t *testing.T) {
			h := newHostileSite(t, keys)
			real := strings.TrimRight(h.session, "=")
			pad := h.session[len(real):]
			spellings := []string{real, real + "\n" + pad, "\r\n" + h.session, h.session + "\n", real + "\r" + pad + "\n\n\n\n"}
			for _, c := range []byte(alphabet) {
				if c != real[len(real)-1] {
					spellings = append(spellings, real[:len(real)-1]+string(c)+pad)
				}
			}
			decoded, err := base64.URLEncoding.DecodeString(h.session)
			require.NoError(t, err)
			same := 0
			for _, other := range spellings {
				if other == h.session {
					continue
				}
				if again, err := base64.URLEncoding.DecodeString(other); err == nil && bytes.Equal(again, decoded) {
					same++
				}
				before := h.backend.callCounts()["Load"]
				resp := h.ask("/home", sessionCookie+"="+other)
				require.Equal(t, http.StatusSeeOther, resp.StatusCode, "%q", other)
				require.Empty(t, resp.Header["Set-Cookie"])
				require.LessOrEqual(t, h.backend.callCounts()["Load"]-before, 1)
			}
			require.NotZero(t, same, "there are other spellings")
			require.Equal(t, http.StatusOK, h.ask("/home", sessionCookie+"="+h.session).StatusCode)
		})
	}
}

// K2, over the network: what a browser and a server make of the headers.
func TestTwoSessionCookiesAreNone(t *testing.T) {
	overBoth(t, func(t *testing.T, proto string) {
		s, backend, b := writerSite(t, proto, nil)
		b.login("ada")
		real := sessionCookie + "=" + b.Cookies()[sessionCookie]
		b.Client.Jar = nil
		send := func(lines ...string) int {
			req := b.Request("GET", "/home")
			req.Header["Cookie"] = lines
			a := b.Do(req)
			require.Empty(t, a.Header["Set-Cookie"])
			return a.StatusCode
		}
		before := backend.callCounts()
		for _, lines := range [][]string{
			{real + "; " + real}, {real, real}, {real, sessionCookie + "=x"}, {sessionCookie + "=x", real}, {real + "; " + sessionCookie + "=x"},
			{sessionCookie + "=x; " + real}, {sessionCookie + "=; " + real}, {"a=b", real, "c=d; " + real},
		} {
			require.Equal(t, http.StatusSeeOther, send(lines...), "%q", lines)
		}
		require.Equal(t, before, backend.callCounts())
		require.Equal(t, http.StatusOK, send("a=b", real, "c=d"))
		require.Empty(t, s.log.String())
	})
}
