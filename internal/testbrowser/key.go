package testbrowser

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"sync"
)

// A Key is the key of a device session, in software. Tests may share it between browsers,
// as no real browser would.
type Key struct{ private crypto.Signer }

// NewKey returns a new key for ES256.
func NewKey() *Key {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return &Key{private}
}

// RSAKey returns a key for RS256. It is always the same, since it takes long to make.
var RSAKey = sync.OnceValue(func() *Key {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return &Key{private}
})

// Algorithm returns the name of the key's algorithm in a JWS (RFC 7518, section 3.1).
func (k *Key) Algorithm() string {
	if _, ok := k.private.(*rsa.PrivateKey); ok {
		return "RS256"
	}
	return "ES256"
}

// JWK returns the public key (RFC 7517).
func (k *Key) JWK() map[string]any {
	if private, ok := k.private.(*rsa.PrivateKey); ok {
		return map[string]any{"kty": "RSA", "n": encode(private.N.Bytes()), "e": "AQAB"}
	}
	point, err := k.private.(*ecdsa.PrivateKey).PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return map[string]any{"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}
}

// Registration returns the JWS by which a browser registers the key. Each edit may change
// its header before the key signs it.
func (k *Key) Registration(challenge string, edits ...func(header map[string]any)) string {
	withKey := func(header map[string]any) { header["jwk"] = k.JWK() }
	return k.Proof(challenge, append([]func(map[string]any){withKey}, edits...)...)
}

// Proof returns the JWS by which a browser proves that it has the key. Each edit may change
// its header before the key signs it.
func (k *Key) Proof(challenge string, edits ...func(header map[string]any)) string {
	header := map[string]any{"alg": k.Algorithm(), "typ": "dbsc+jwt"}
	for _, edit := range edits {
		edit(header)
	}
	signed := encodeJSON(header) + "." + encodeJSON(map[string]any{"jti": challenge})
	digest := sha256.Sum256([]byte(signed))
	signature, err := k.private.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	if k.Algorithm() == "ES256" {
		signature = fixedLength(signature)
	}
	return signed + "." + encode(signature)
}

// fixedLength turns an ECDSA signature in ASN.1 into that of a JWS (RFC 7518, section 3.4).
func fixedLength(signature []byte) []byte {
	var numbers struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(signature, &numbers); err != nil {
		panic(err)
	}
	fixed := make([]byte, 64)
	numbers.R.FillBytes(fixed[:32])
	numbers.S.FillBytes(fixed[32:])
	return fixed
}

func encodeJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return encode(text)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
