package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
)

// A key is an authenticator with one passkey, and the browser around it. It answers
// whatever it is asked, as a thief's would.
type key struct {
	*testing.T
	private *ecdsa.PrivateKey
	id      []byte
	handle  []byte // of the user it was registered for
	counter uint32
	synced  bool
	origin  string
}

func newKey(t *testing.T) *key {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &key{T: t, private: private, id: random(32), origin: testOrigin}
}

// options is what the tests need of the options for a registration or a login.
type options struct {
	PublicKey struct {
		Challenge string
		User      struct{ ID string }
	}
}

func parseOptions(t *testing.T, body string) (o options) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &o); err != nil || o.PublicKey.Challenge == "" {
		t.Fatalf("%v in %s", err, body)
	}
	return o
}

// register returns the credential that a registration form sends.
func (k *key) register(o options) string {
	k.Helper()
	var err error
	if k.handle, err = base64.RawURLEncoding.DecodeString(o.PublicKey.User.ID); err != nil {
		k.Fatal(err)
	}
	public, err := webauthncbor.Marshal(webauthncose.EC2PublicKeyData{
		PublicKeyData: webauthncose.PublicKeyData{KeyType: int64(webauthncose.EllipticKey), Algorithm: int64(webauthncose.AlgES256)},
		Curve:         int64(webauthncose.P256),
		XCoord:        k.private.X.FillBytes(make([]byte, 32)),
		YCoord:        k.private.Y.FillBytes(make([]byte, 32)),
	})
	if err != nil {
		k.Fatal(err)
	}
	const attested = 0x40
	data := k.data(attested)
	data.Write(make([]byte, 16)) // of an unknown model
	_ = binary.Write(data, binary.BigEndian, uint16(len(k.id)))
	data.Write(k.id)
	data.Write(public)
	object, err := webauthncbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": data.Bytes()})
	if err != nil {
		k.Fatal(err)
	}
	return k.credential(map[string]any{
		"clientDataJSON":    encode(k.client("webauthn.create", o)),
		"attestationObject": encode(object),
	})
}

// logIn returns the credential that a login form sends.
func (k *key) logIn(o options) string {
	k.Helper()
	k.counter++
	data, client := k.data(0).Bytes(), k.client("webauthn.get", o)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(bytes.Clone(data), hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, k.private, digest[:])
	if err != nil {
		k.Fatal(err)
	}
	return k.credential(map[string]any{
		"clientDataJSON":    encode(client),
		"authenticatorData": encode(data),
		"signature":         encode(signature),
		"userHandle":        encode(k.handle),
	})
}

// data returns the beginning of the authenticator data (WebAuthn, section 6.1).
func (k *key) data(flags byte) *bytes.Buffer {
	const present, verified, backupEligible, backedUp = 0x01, 0x04, 0x08, 0x10
	flags |= present | verified
	if k.synced {
		flags |= backupEligible | backedUp
	}
	host := sha256.Sum256([]byte("localhost"))
	data := bytes.NewBuffer(host[:])
	data.WriteByte(flags)
	_ = binary.Write(data, binary.BigEndian, k.counter)
	return data
}

func (k *key) client(kind string, o options) []byte {
	data, err := json.Marshal(map[string]any{"type": kind, "challenge": o.PublicKey.Challenge, "origin": k.origin, "crossOrigin": false})
	if err != nil {
		k.Fatal(err)
	}
	return data
}

func (k *key) credential(response map[string]any) string {
	data, err := json.Marshal(map[string]any{
		"id": encode(k.id), "rawId": encode(k.id), "type": "public-key", "response": response,
		"clientExtensionResults": map[string]any{}, "authenticatorAttachment": "platform",
	})
	if err != nil {
		k.Fatal(err)
	}
	return string(data)
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
