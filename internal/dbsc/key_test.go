package dbsc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// registrationError is that of a registration with a key, whose signature nobody checks.
func registrationError(t *testing.T, algorithm string, jwk any) error {
	_, err := ParseProof(sign(t, testKey(t), headerWith(t, algorithm, jwk), plainClaims))
	return err
}

func TestWhichECKeysAreAccepted(t *testing.T) {
	good := jwkOf(t, testKey(t).Public())
	require.NoError(t, registrationError(t, "ES256", good))
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	x, err := decode(good["x"])
	require.NoError(t, err)
	y, err := decode(good["y"])
	require.NoError(t, err)
	field := elliptic.P256().Params().P.Bytes()
	for name, change := range map[string]map[string]string{
		"another type":           {"kty": "ec"},
		"no type":                {"kty": ""},
		"RSA":                    {"kty": "RSA"},
		"another curve":          {"crv": "P-384"},
		"a curve of other case":  {"crv": "p-256"},
		"no curve":               {"crv": ""},
		"no x":                   {"x": ""},
		"no y":                   {"y": ""},
		"a short x":              {"x": encode(x[1:])},
		"a short y":              {"y": encode(x[1:])},
		"a long x":               {"x": encode(append([]byte{0}, x...))},
		"a long y":               {"y": encode(append([]byte{0}, x...))},
		"bytes that move":        {"x": encode(x[:31]), "y": encode(append([]byte{x[31]}, y...))},
		"not on the curve":       {"y": good["x"]},
		"the point at infinity":  {"x": encode(make([]byte, 32)), "y": encode(make([]byte, 32))},
		"x outside of the field": {"x": encode(field)},
		"padded":                 {"x": good["x"] + "="},
		"a line break":           {"x": good["x"][:9] + "\n" + good["x"][9:]},
		"last bits":              {"x": good["x"][:42] + "B"},
		"P-384":                  jwkOf(t, p384.Public()),
		"P-384 as P-256":         {"x": jwkOf(t, p384.Public())["x"], "y": jwkOf(t, p384.Public())["y"]},
	} {
		jwk := maps.Clone(good)
		maps.Copy(jwk, change)
		if name == "last bits" {
			require.NotEqual(t, good["x"], jwk["x"])
		}
		require.Error(t, registrationError(t, "ES256", jwk), name)
	}
	require.Error(t, registrationError(t, "ES256", map[string]any{"kty": "EC", "crv": "P-256", "x": 1, "y": nil}))
	require.Error(t, registrationError(t, "ES256", map[string]any{"KTY": "EC", "crv": "P-256", "x": good["x"], "y": good["y"]}))
	twice := strings.Replace(headerWith(t, "ES256", good), `"crv"`, `"x":"AA","crv"`, 1)
	_, err = ParseProof(sign(t, testKey(t), twice, plainClaims))
	require.Error(t, err, "a member twice")
}

// numberOf returns an RSA modulus of that many bits, odd unless even.
func numberOf(bits int, even bool) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	if !even {
		n.SetBit(n, 0, 1)
	}
	return n
}

func TestWhichRSAKeysAreAccepted(t *testing.T) {
	with := func(n, e string) map[string]string { return map[string]string{"kty": "RSA", "n": n, "e": e} }
	modulus := func(bits int, even bool) string { return encode(numberOf(bits, even).Bytes()) }
	const e = "AQAB"
	for name, test := range map[string]struct {
		jwk      map[string]string
		accepted bool
	}{
		"2048 bits":                 {with(modulus(2048, false), e), true},
		"2049 bits":                 {with(modulus(2049, false), e), true},
		"4096 bits":                 {with(modulus(4096, false), e), true},
		"2047 bits":                 {with(modulus(2047, false), e), false},
		"2040 bits":                 {with(modulus(2040, false), e), false},
		"1024 bits":                 {with(modulus(1024, false), e), false},
		"4097 bits":                 {with(modulus(4097, false), e), false},
		"4104 bits":                 {with(modulus(4104, false), e), false},
		"even":                      {with(modulus(2048, true), e), false},
		"no modulus":                {with("", e), false},
		"zeros":                     {with(encode(make([]byte, 256)), e), false},
		"a zero before the modulus": {with(encode(append([]byte{0}, numberOf(2048, false).Bytes()...)), e), false},
		"no exponent":               {with(modulus(2048, false), ""), false},
		"1":                         {with(modulus(2048, false), "AQ"), false},
		"3":                         {with(modulus(2048, false), "Aw"), false},
		"65539":                     {with(modulus(2048, false), "AQAD"), false},
		"a zero before 65537":       {with(modulus(2048, false), "AAEAAQ"), false},
		"2^64+65537":                {with(modulus(2048, false), encode([]byte{1, 0, 0, 0, 0, 0, 1, 0, 1})), false},
		"a padded exponent":         {with(modulus(2048, false), "AQAB="), false},
		"a break in the exponent":   {with(modulus(2048, false), "AQ\nAB"), false},
		"a padded modulus":          {with(modulus(2048, false)+"==", e), false},
		"garbage behind a modulus":  {with(modulus(2112, false)+"==", e), false},
		"another type":              {map[string]string{"kty": "EC", "n": modulus(2048, false), "e": e}, false},
	} {
		err := registrationError(t, "RS256", test.jwk)
		require.Equal(t, test.accepted, err == nil, "%s: %v", name, err)
	}
}

// What is stored decides, whatever a proof says.
func TestAProofIsVerifiedWithTheStoredKeyAndItsAlgorithm(t *testing.T) {
	ec, rsaKey := testKey(t), newRSAKey()
	ecDER, rsaDER := derOf(t, ec.Public()), derOf(t, rsaKey.Public())
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	small := rsaOf(t, 1024)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	const rsaHeader = `{"alg":"RS256","typ":"dbsc+jwt"}`
	good := sign(t, ec, plainHeader, plainClaims)
	parts := strings.Split(good, ".")
	signature, err := decode(parts[2])
	require.NoError(t, err)
	with := func(signature []byte) string { return parts[0] + "." + parts[1] + "." + encode(signature) }
	asn1, err := ec.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	require.NoError(t, err)
	order := elliptic.P256().Params().N.Bytes()

	for name, test := range map[string]struct {
		text string
		key  []byte
		want bool
	}{
		"ES256":                  {good, ecDER, true},
		"RS256":                  {sign(t, rsaKey, rsaHeader, plainClaims), rsaDER, true},
		"another key":            {sign(t, other, plainHeader, plainClaims), ecDER, false},
		"another key, brought":   {sign(t, other, headerWith(t, "ES256", jwkOf(t, other.Public())), plainClaims), ecDER, false},
		"ES256 called RS256":     {sign(t, ec, rsaHeader, plainClaims), ecDER, false},
		"RS256 called ES256":     {sign(t, rsaKey, plainHeader, plainClaims), rsaDER, false},
		"other claims":           {parts[0] + "." + encode([]byte(`{"jti":"x"}`)) + "." + parts[2], ecDER, false},
		"another header":         {encode([]byte(`{"alg":"ES256","typ":"dbsc+jwt","a":1}`)) + "." + parts[1] + "." + parts[2], ecDER, false},
		"no signature":           {with(nil), ecDER, false},
		"a short one":            {with(signature[:63]), ecDER, false},
		"a long one":             {with(append(slices.Clone(signature), 0)), ecDER, false},
		"a long s":               {with(slices.Concat(signature[:32], []byte{0}, signature[32:])), ecDER, false},
		"a short s":              {withShortS(t, ec), ecDER, false},
		"longer numbers":         {with(slices.Concat([]byte{0}, signature[:32], []byte{0}, signature[32:])), ecDER, false},
		"zeros":                  {with(make([]byte, 64)), ecDER, false},
		"r 0":                    {with(append(make([]byte, 32), signature[32:]...)), ecDER, false},
		"s 0":                    {with(append(slices.Clone(signature[:32]), make([]byte, 32)...)), ecDER, false},
		"the order":              {with(append(slices.Clone(order), order...)), ecDER, false},
		"ASN.1":                  {with(asn1), ecDER, false},
		"RS256, no signature":    {encode([]byte(rsaHeader)) + "." + parts[1] + ".", rsaDER, false},
		"RS256, zeros":           {encode([]byte(rsaHeader)) + "." + parts[1] + "." + encode(make([]byte, 256)), rsaDER, false},
		"no stored key":          {good, nil, false},
		"a stored key cut short": {good, ecDER[:len(ecDER)-1], false},
		"garbage behind it":      {good, append(slices.Clone(ecDER), 0), false},
		"garbage":                {good, []byte("garbage"), false},
		"a point off the curve":  {good, append(slices.Clone(ecDER[:len(ecDER)-1]), ecDER[len(ecDER)-1]^1), false},
		"a stored P-384":         {sign(t, p384, plainHeader, plainClaims), derOf(t, p384.Public()), false},
		"a stored P-224":         {sign(t, p224, plainHeader, plainClaims), derOf(t, p224.Public()), false},
		"a stored small RSA key": {sign(t, small, rsaHeader, plainClaims), derOf(t, small.Public()), false},
		"a stored Ed25519 key":   {good, derOf(t, edwards.Public()), false},
	} {
		p, err := ParseProof(test.text)
		require.NoError(t, err, name)
		require.Equal(t, test.want, p.Verify(test.key), name)
	}

	// Keys that x509 parses, or not.
	for _, cut := range [][]byte{ecDER, rsaDER} {
		p, err := ParseProof(good)
		require.NoError(t, err)
		for n := range cut {
			require.False(t, p.Verify(cut[:n]))
			changed := slices.Clone(cut)
			changed[n] ^= 0x80
			require.False(t, p.Verify(changed), n)
		}
	}
}

// rsaOf returns a key with an RSA modulus smaller than is accepted.
func rsaOf(t *testing.T, bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return key
}

// withShortS returns a proof whose s begins with a zero, without that.
func withShortS(t *testing.T, key *ecdsa.PrivateKey) string {
	for {
		text := sign(t, key, plainHeader, plainClaims)
		dot := strings.LastIndexByte(text, '.')
		signature, err := decode(text[dot+1:])
		require.NoError(t, err)
		if signature[32] == 0 {
			return text[:dot+1] + encode(slices.Delete(signature, 32, 33))
		}
	}
}
