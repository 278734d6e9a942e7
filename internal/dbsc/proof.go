package dbsc

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"unicode/utf8"
)

// maxProof is how long a proof may be. One with an RSA key of 4096 bits and an offer of
// maxSealed fits, but no more.
const maxProof = 8 << 10

// maxItems is how many members and elements a part of a proof may have: browsers send fewer than
// 10. Anybody may send a registration, and 600 took half a millisecond to parse.
const maxItems = 64

var (
	errProof = errors.New("not a proof")
	errKey   = errors.New("not a key that is accepted")
)

// A Proof is what a browser signed: a JSON Web Signature (RFC 7515, compact) that has not
// been verified.
type Proof struct {
	// Challenge is what the guard has sent: an offer or a token.
	Challenge string
	// PublicKey is the key that a registration brings, as DER (SubjectPublicKeyInfo,
	// RFC 5280), or nil.
	PublicKey []byte

	algorithm string // ES256 or RS256
	signed    string // what the signature is over
	signature []byte
}

// ParseProof parses the value of HeaderResponse, a structured string (RFC 9651), which
// Chromium 156 does not quote. It checks all that can be checked without a key.
//
// Claims other than the challenge are ignored, since the browsers' have changed: what they
// would say, the challenge says.
func ParseProof(text string) (*Proof, error) {
	text = unquote(text)
	if len(text) > maxProof {
		return nil, errProof
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, errProof
	}
	header, err := decodeObject(parts[0])
	if err != nil {
		return nil, err
	}
	claims, err := decodeObject(parts[1])
	if err != nil {
		return nil, err
	}
	p := &Proof{
		Challenge: claims.text("jti"),
		algorithm: header.text("alg"),
		signed:    text[:len(parts[0])+1+len(parts[1])],
	}
	p.signature, err = decode(parts[2])
	// Of extensions that must be understood (RFC 7515 section 4.1.11) none is.
	if _, critical := header["crit"]; err != nil || critical || p.Challenge == "" ||
		header.text("typ") != "dbsc+jwt" || p.algorithm != "ES256" && p.algorithm != "RS256" {
		return nil, errProof
	}
	if key, ok := header["jwk"]; ok {
		if p.PublicKey, err = parseJWK(key); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Verify reports whether the owner of a key, given as DER, has signed p. The key decides on
// the algorithm, which p must name. It may be p's own in a registration only.
func (p *Proof) Verify(publicKey []byte) bool {
	key, err := x509.ParsePKIXPublicKey(publicKey)
	if err != nil || p.algorithm != algorithmOf(key) {
		return false
	}
	digest := sha256.Sum256([]byte(p.signed))
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if len(p.signature) != 64 { // r and s (RFC 7518 section 3.4)
			return false
		}
		r, s := new(big.Int).SetBytes(p.signature[:32]), new(big.Int).SetBytes(p.signature[32:])
		return ecdsa.Verify(key, digest[:], r, s)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], p.signature) == nil
	}
	return false
}

// An object is a JSON object whose members' names are compared byte for byte: encoding/json
// would take "ALG" for "alg", which other readers do not.
type object map[string]json.RawMessage

// decodeObject decodes a part of a proof.
func decodeObject(part string) (object, error) {
	raw, err := decode(part)
	if err != nil {
		return nil, err
	}
	return parseObject(raw)
}

// parseObject refuses a name that comes twice: readers differ in which one counts.
func parseObject(raw []byte) (object, error) {
	items := 0
	for _, b := range raw {
		if b == ',' || b == '{' || b == '[' {
			items++
		}
	}
	if items > maxItems {
		return nil, errProof
	}
	if !utf8.Valid(raw) || !json.Valid(raw) || !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) {
		return nil, errProof
	}
	// raw is valid, so there is nothing behind the object, and no call fails.
	members, decoder := object{}, json.NewDecoder(bytes.NewReader(raw))
	_, _ = decoder.Token()
	for decoder.More() {
		token, _ := decoder.Token()
		name, _ := token.(string)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil || members[name] != nil {
			return nil, errProof
		}
		members[name] = value
	}
	return members, nil
}

// text returns the member of that name if it is a string, or else "".
func (o object) text(name string) (s string) {
	if json.Unmarshal(o[name], &s) != nil {
		return ""
	}
	return s
}
