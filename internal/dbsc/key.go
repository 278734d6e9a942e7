package dbsc

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
)

// The sizes of RSA keys, in bits: below, they are too weak; above, they cost too much time.
const (
	minRSA      = 2048
	maxRSA      = 4096
	rsaExponent = 65537
)

// algorithmOf returns the algorithm of a key that is accepted, or "".
func algorithmOf(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey: // which has been parsed, so it is a point on its curve
		if key.Curve == elliptic.P256() {
			return "ES256"
		}
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n >= minRSA && n <= maxRSA && key.N.Bit(0) == 1 && key.E == rsaExponent {
			return "RS256"
		}
	}
	return ""
}

// parseJWK returns a JSON Web Key (RFC 7517, RFC 7518 section 6) as DER.
func parseJWK(raw []byte) ([]byte, error) {
	jwk, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	var key crypto.PublicKey
	switch jwk.text("kty") {
	case "EC":
		key, err = jwk.ecKey()
	case "RSA":
		key, err = jwk.rsaKey()
	}
	if err != nil || algorithmOf(key) == "" {
		return nil, errKey
	}
	return x509.MarshalPKIXPublicKey(key)
}

func (jwk object) ecKey() (crypto.PublicKey, error) {
	x, errX := decode(jwk.text("x"))
	y, errY := decode(jwk.text("y"))
	if errX != nil || errY != nil || len(x) != 32 || len(y) != 32 || jwk.text("crv") != "P-256" {
		return nil, errKey
	}
	point := append(append([]byte{4}, x...), y...) // uncompressed (SEC 1 section 2.3.3)
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

func (jwk object) rsaKey() (crypto.PublicKey, error) {
	n, errN := decode(jwk.text("n"))
	e, errE := decode(jwk.text("e"))
	// Numbers have no leading zeros (RFC 7518 section 2, Base64urlUInt).
	if errN != nil || errE != nil || len(n) == 0 || n[0] == 0 || !bytes.Equal(e, []byte{1, 0, 1}) {
		return nil, errKey
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: rsaExponent}, nil
}
