package dbsc

import (
	"encoding/binary"

	"github.com/sessionguard-go/sessionguard/store"
)

// maxSealed is how many characters a sealed text has at most. It is sent in headers.
const maxSealed = 4000

// The additional data, so that none passes for the other.
var (
	sealedOffer      = []byte("offer")
	sealedIdentifier = []byte("identifier")
)

// An Offer says to which login a guard has offered to bind it to a device, and when. The
// browser brings it back as the challenge of the first [Proof], maybe without any cookie.
type Offer struct {
	Owner, ID           string
	Authenticated, Made store.Time
}

// SealOffer returns o encrypted, for [Registration]. It is empty if o would be longer than
// 4000 characters, or has no ID that a session has.
func (c *Codec) SealOffer(o Offer) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(o.Authenticated))
	plain = binary.BigEndian.AppendUint64(plain, uint64(o.Made))
	return c.seal(sealedOffer, plain, o.Owner, o.ID)
}

// OpenOffer returns what SealOffer has sealed with one of our keys. Guards with different
// cookie names may share keys: the caller checks that it has such an owner.
func (c *Codec) OpenOffer(text string) (Offer, bool) {
	head, owner, id, ok := c.open(sealedOffer, text, 16)
	if !ok {
		return Offer{}, false
	}
	return Offer{
		Owner: owner, ID: id,
		Authenticated: store.Time(binary.BigEndian.Uint64(head)),
		Made:          store.Time(binary.BigEndian.Uint64(head[8:])),
	}, true
}

// SealIdentifier returns the name of a session, encrypted, by which a browser asks for
// a challenge. Like [Codec.SealOffer], it may return an empty one.
func (c *Codec) SealIdentifier(owner, id string) string {
	return c.seal(sealedIdentifier, nil, owner, id)
}

// OpenIdentifier returns what SealIdentifier has sealed with one of our keys. As with
// [Codec.OpenOffer], the caller checks that it has such an owner.
func (c *Codec) OpenIdentifier(text string) (owner, id string, ok bool) {
	_, owner, id, ok = c.open(sealedIdentifier, text, 0)
	return owner, id, ok
}

// seal encrypts head, the length of id, id and owner with the newest key and a random nonce.
// A key of AES-GCM is good for 2^32 of them (NIST SP 800-38D section 8.3), and nobody gets
// one without a login.
func (c *Codec) seal(use, head []byte, owner, id string) string {
	if id == "" || len(id) > maxID {
		return ""
	}
	plain := append(head, byte(len(id)))
	plain = append(append(plain, id...), owner...)
	if base64url.EncodedLen(len(plain)+c.seals[0].Overhead()) > maxSealed {
		return ""
	}
	return base64url.EncodeToString(c.seals[0].Seal(nil, nil, plain, use))
}

// open returns what seal was given, with a head of that length.
func (c *Codec) open(use []byte, text string, headLength int) (head []byte, owner, id string, ok bool) {
	if len(text) > maxSealed {
		return nil, "", "", false
	}
	sealed, err := decode(text)
	if err != nil {
		return nil, "", "", false
	}
	for _, key := range c.seals {
		// What opens is what seal made, so its lengths are right.
		if plain, err := key.Open(nil, nil, sealed, use); err == nil {
			head, plain = plain[:headLength], plain[headLength:]
			end := 1 + int(plain[0])
			return head, string(plain[end:]), string(plain[1:end]), true
		}
	}
	return nil, "", "", false
}
