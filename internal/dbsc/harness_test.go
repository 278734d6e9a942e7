package dbsc

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const testID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

func keyOf(b string) []byte { return bytes.Repeat([]byte(b), 32) }

func newTestCodec() *Codec {
	return New([][]byte{keyOf("a"), keyOf("b")}, [][]byte{keyOf("c"), keyOf("d")})
}

// testKey is always the same, so that what one process signs, another knows.
func testKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), keyOf("k"))
	require.NoError(t, err)
	return key
}

var newRSAKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func derOf(t testing.TB, key crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	require.NoError(t, err)
	return der
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign returns a proof, as a browser makes it.
func sign(t testing.TB, key crypto.Signer, header, claims string) string {
	signed := encode([]byte(header)) + "." + encode([]byte(claims))
	digest := sha256.Sum256([]byte(signed))
	var signature []byte
	var err error
	if ec, ok := key.(*ecdsa.PrivateKey); ok {
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, ec, digest[:])
		require.NoError(t, err)
		size := max(32, ec.Params().BitSize/8)
		signature = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	} else {
		signature, err = key.Sign(rand.Reader, digest[:], crypto.SHA256)
	}
	require.NoError(t, err)
	return signed + "." + encode(signature)
}

// jwkOf returns the members of a key as JSON Web Key.
func jwkOf(t testing.TB, key crypto.PublicKey) map[string]string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		require.NoError(t, err)
		half := len(point) / 2
		return map[string]string{"kty": "EC", "crv": key.Params().Name, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:])}
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes())}
	}
	panic("unknown key")
}

func headerWith(t testing.TB, algorithm string, jwk any) string {
	b, err := json.Marshal(jwk)
	require.NoError(t, err)
	return fmt.Sprintf(`{"alg":%q,"jwk":%s,"typ":"dbsc+jwt"}`, algorithm, b)
}

const (
	plainHeader = `{"alg":"ES256","typ":"dbsc+jwt"}`
	plainClaims = `{"jti":"challenge"}`
)

// nested returns arrays within arrays.
func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}
