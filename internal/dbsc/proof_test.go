package dbsc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAProofIsWhatABrowserSigned(t *testing.T) {
	key, other := testKey(t), newRSAKey()
	for name, test := range map[string]struct {
		text  string
		bound bool // it brings its key
	}{
		"a refresh":               {sign(t, key, plainHeader, plainClaims), false},
		"a registration":          {sign(t, key, headerWith(t, "ES256", jwkOf(t, key.Public())), plainClaims), true},
		"claims of other drafts":  {sign(t, key, plainHeader, `{"aud":"https://a.example/","iat":1e999999,"sub":null,"jti":"challenge","key":{"a":[1]}}`), false},
		"other members":           {sign(t, key, `{"alg":"ES256","ALG":"none","kid":{},"typ":"dbsc+jwt","Crit":["x"]}`, `{"JTI":"x","jti":"challenge"}`), false},
		"nested":                  {sign(t, key, plainHeader, `{"jti":"challenge","x":`+nested(50)+`}`), false},
		"space and escapes":       {sign(t, key, " {\n\"\\u0061lg\" : \"ES256\",\t\"typ\": \"dbsc+jwt\" } ", `{"jti":"\u0063hallenge"}`), false},
		"names of a name, nested": {sign(t, key, plainHeader, `{"x":{"jti":"x"},"jti":"challenge"}`), false},
	} {
		for _, text := range []string{test.text, `"` + test.text + `"`} {
			p, err := ParseProof(text)
			require.NoError(t, err, name)
			require.Equal(t, "challenge", p.Challenge, name)
			require.True(t, p.Verify(derOf(t, key.Public())), name)
			require.False(t, p.Verify(derOf(t, other.Public())), name)
			if test.bound {
				require.Equal(t, derOf(t, key.Public()), p.PublicKey, name)
			} else {
				require.Nil(t, p.PublicKey, name)
			}
		}
	}
	p, err := ParseProof(sign(t, other, headerWith(t, "RS256", jwkOf(t, other.Public())), plainClaims))
	require.NoError(t, err)
	require.Equal(t, derOf(t, other.Public()), p.PublicKey)
	require.True(t, p.Verify(p.PublicKey))
	require.False(t, p.Verify(derOf(t, key.Public())))
}

func TestWhatIsNoProofIsRefused(t *testing.T) {
	key := testKey(t)
	with := func(header, claims string) string { return sign(t, key, header, claims) }
	good := with(plainHeader, plainClaims)
	parts := strings.Split(good, ".")
	_, err := ParseProof(good)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"nothing":             "",
		"quotes":              `""`,
		"one quote":           `"`,
		"an open quote":       `"` + good,
		"quoted twice":        `""` + good + `""`,
		"parameters":          `"` + good + `";a`,
		"one part":            parts[0],
		"two parts":           parts[0] + "." + parts[1],
		"four parts":          good + ".",
		"five parts":          good + "..",
		"an empty header":     "." + parts[1] + "." + parts[2],
		"no claims":           parts[0] + ".." + parts[2],
		"padded":              parts[0] + "=." + parts[1] + "." + parts[2],
		"a padded signature":  good + "==",
		"the other alphabet":  parts[0] + "." + parts[1] + ".++//",
		"last bits":           parts[0] + "." + parts[1] + ".AB",
		"a break in a header": parts[0][:4] + "\n" + parts[0][4:] + "." + parts[1] + "." + parts[2],
		"a break in claims":   parts[0] + "." + parts[1] + "\r." + parts[2],
		"a break at the end":  good + "\n",
		"a space":             good + " ",

		"another type":          with(`{"alg":"ES256","typ":"JWT"}`, plainClaims),
		"a type of other case":  with(`{"alg":"ES256","typ":"DBSC+JWT"}`, plainClaims),
		"no type":               with(`{"alg":"ES256"}`, plainClaims),
		"TYP":                   with(`{"alg":"ES256","TYP":"dbsc+jwt"}`, plainClaims),
		"a type twice":          with(`{"alg":"ES256","typ":"JWT","typ":"dbsc+jwt"}`, plainClaims),
		"no algorithm":          with(`{"typ":"dbsc+jwt"}`, plainClaims),
		"none":                  with(`{"alg":"none","typ":"dbsc+jwt"}`, plainClaims),
		"an empty algorithm":    with(`{"alg":"","typ":"dbsc+jwt"}`, plainClaims),
		"HS256":                 with(`{"alg":"HS256","typ":"dbsc+jwt"}`, plainClaims),
		"ES384":                 with(`{"alg":"ES384","typ":"dbsc+jwt"}`, plainClaims),
		"PS256":                 with(`{"alg":"PS256","typ":"dbsc+jwt"}`, plainClaims),
		"es256":                 with(`{"alg":"es256","typ":"dbsc+jwt"}`, plainClaims),
		"ALG":                   with(`{"ALG":"ES256","typ":"dbsc+jwt"}`, plainClaims),
		"two algorithms":        with(`{"alg":"none","alg":"ES256","typ":"dbsc+jwt"}`, plainClaims),
		"the same one twice":    with(`{"alg":"ES256","\u0061lg":"ES256","typ":"dbsc+jwt"}`, plainClaims),
		"null and an algorithm": with(`{"alg":null,"alg":"ES256","typ":"dbsc+jwt"}`, plainClaims),
		"a list of algorithms":  with(`{"alg":["ES256"],"typ":"dbsc+jwt"}`, plainClaims),
		"an extension":          with(`{"alg":"ES256","typ":"dbsc+jwt","crit":["b64"],"b64":false}`, plainClaims),
		"an empty crit":         with(`{"alg":"ES256","typ":"dbsc+jwt","crit":null}`, plainClaims),

		"no challenge":             with(plainHeader, `{}`),
		"an empty challenge":       with(plainHeader, `{"jti":""}`),
		"a number as challenge":    with(plainHeader, `{"jti":1e999999}`),
		"null as challenge":        with(plainHeader, `{"jti":null}`),
		"an object as challenge":   with(plainHeader, `{"jti":{}}`),
		"JTI":                      with(plainHeader, `{"JTI":"challenge"}`),
		"two challenges":           with(plainHeader, `{"jti":"a","jti":"challenge"}`),
		"a member twice":           with(plainHeader, `{"x":1,"jti":"challenge","x":1}`),
		"a list":                   with(plainHeader, `["jti"]`),
		"a list like an object":    with(plainHeader, `["jti","challenge"]`),
		"null":                     with(plainHeader, `null`),
		"a string":                 with(plainHeader, `"jti"`),
		"not JSON":                 with(plainHeader, `{"jti":"challenge"`),
		"a comma too many":         with(plainHeader, `{"jti":"challenge",}`),
		"a comma too few":          with(plainHeader, `{"jti":"challenge" "x":1}`),
		"a comment":                with(plainHeader, `{"jti":"challenge"}//`),
		"something behind":         with(plainHeader, plainClaims+`{}`),
		"a NUL behind":             with(plainHeader, plainClaims+"\x00"),
		"something before":         with(plainHeader, `1`+plainClaims),
		"something behind, before": with(plainHeader+plainHeader, plainClaims),
		"a byte order mark":        with(plainHeader, "\ufeff"+plainClaims),
		"not UTF-8":                with(plainHeader, "{\"jti\":\"challenge\xff\"}"),
		"a name that is not UTF-8": with("{\"al\xff\":1,\"alg\":\"ES256\",\"typ\":\"dbsc+jwt\"}", plainClaims),

		"a key that is null":      with(`{"alg":"ES256","typ":"dbsc+jwt","jwk":null}`, plainClaims),
		"a key that is a string":  with(`{"alg":"ES256","typ":"dbsc+jwt","jwk":"x"}`, plainClaims),
		"a key that is not known": with(`{"alg":"ES256","typ":"dbsc+jwt","jwk":{"kty":"oct","k":"AA"}}`, plainClaims),
	} {
		p, err := ParseProof(text)
		require.Error(t, err, name)
		require.Nil(t, p, name)
	}
}

// The longest proof is parsed; one byte more is none.
func TestAProofHasAtMost8KiB(t *testing.T) {
	proofOf := func(n int) string {
		return encode([]byte(plainHeader)) + "." + encode([]byte(plainClaims+" ")) + "." + strings.Repeat("A", n)
	}
	rest := maxProof - len(proofOf(0))
	require.NotEqual(t, 1, rest%4, "no base64 has such a length")
	_, err := ParseProof(proofOf(rest))
	require.NoError(t, err)
	_, err = ParseProof(`"` + proofOf(rest) + `"`)
	require.NoError(t, err)
	for _, more := range []int{1, 2, 3, 4, 1 << 20} {
		_, err = ParseProof(proofOf(rest + more))
		require.Error(t, err)
	}
	_, err = ParseProof(strings.Repeat(".", 1<<20))
	require.Error(t, err)
}

// Anybody may send a registration, so what takes long to parse is none.
func TestAProofHasFewMembers(t *testing.T) {
	members := func(n int) string { return strings.Repeat(`,"":1`, n) }
	for part, parts := range map[string]func(string) string{
		"header": func(more string) string {
			return encode([]byte(`{"alg":"ES256","typ":"dbsc+jwt","x":{"y":1`+more+`}}`)) + "." + encode([]byte(plainClaims)) + ".AA"
		},
		"claims": func(more string) string {
			return encode([]byte(plainHeader)) + "." + encode([]byte(`{"jti":"challenge","x":{"y":1`+more+`}}`)) + ".AA"
		},
	} {
		_, err := ParseProof(parts(members(maxItems - 6)))
		require.NoError(t, err, part)
		for _, more := range []string{members(maxItems), members(500), `,"z":` + nested(maxItems), `,"z":` + nested(2500)} {
			_, err := ParseProof(parts(more))
			require.Error(t, err, part)
		}
	}
}

// FuzzParseProof looks for a proof that testKey verifies though it has not signed it, and for
// one that brings a key that is not accepted.
func FuzzParseProof(f *testing.F) {
	key := testKey(f)
	der := derOf(f, key.Public())
	registration := headerWith(f, "ES256", jwkOf(f, key.Public()))
	signed := map[string]bool{}
	for _, header := range []string{plainHeader, registration, `{"alg":"RS256","typ":"dbsc+jwt"}`, `{"alg":"none","typ":"dbsc+jwt"}`, headerWith(f, "RS256", jwkOf(f, newRSAKey().Public()))} {
		for _, claims := range []string{plainClaims, `{"jti":"x","jti":"challenge"}`, `{"JTI":"challenge"}`, `{"jti":"challenge"}{}`, `{"jti":1e999}`, nested(100)} {
			text := sign(f, key, header, claims)
			signed[text[:strings.LastIndexByte(text, '.')]] = true
			f.Add(text)
			f.Add(`"` + text + `"`)
			f.Add(text[:len(text)-1])
		}
	}
	f.Add("")
	f.Add("..")
	f.Add(`"`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseProof(text)
		if err != nil {
			return
		}
		if p.Challenge == "" || len(text) > maxProof+2 || strings.Count(text, ".") != 2 {
			t.Fatalf("%q is parsed", text)
		}
		if p.PublicKey != nil {
			p.Verify(p.PublicKey)
		}
		if p.Verify(der) && (p.algorithm != "ES256" || !signed[p.signed]) {
			t.Fatalf("%q is verified", text)
		}
		if again, err := ParseProof(unquote(text)); err != nil || again.Challenge != p.Challenge {
			t.Fatalf("%q is another without quotes", text)
		}
	})
}
