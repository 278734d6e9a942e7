package dbsc

import (
	"crypto/subtle"
	"encoding/binary"

	"github.com/sessionguard-go/sessionguard/internal/mac"
	"github.com/sessionguard-go/sessionguard/store"
)

// A Purpose is what a token is for. One of another purpose is none.
type Purpose byte

const (
	Cookie    Purpose = 'c' // the value of a bound cookie
	Challenge Purpose = 'p' // what a browser is to sign
)

const (
	tokenTime   = 8
	tokenSize   = tokenTime + 24 // 192 bits of MAC
	tokenLength = 43             // in base64url
)

// Token returns a time and a MAC over it, the purpose, the session and the device that was
// registered then: 43 characters of base64url. It is empty if id is empty or longer than 64
// bytes, as no session's is.
func (c *Codec) Token(p Purpose, at store.Time, id string, registered store.Time) string {
	if id == "" || len(id) > maxID {
		return ""
	}
	m := c.macs[0].Get()
	defer c.macs[0].Put(m)
	token := binary.BigEndian.AppendUint64(make([]byte, 0, tokenSize), uint64(at))
	token = append(token, sum(m, p, at, id, registered)...)
	return base64url.EncodeToString(token)
}

// TokenTime reports whether token is one of ours, for this purpose, session and device, and
// when it was made. It tries all keys, and allocates nothing: a guard calls it on every
// request of a bound session.
func (c *Codec) TokenTime(p Purpose, token, id string, registered store.Time) (at store.Time, ok bool) {
	if len(token) != tokenLength || id == "" || len(id) > maxID {
		return 0, false
	}
	var text [tokenLength]byte
	copy(text[:], token)
	var got [tokenSize]byte
	// The decoder skips line breaks, and then finds fewer bytes.
	if n, err := base64url.Decode(got[:], text[:]); err != nil || n != tokenSize {
		return 0, false
	}
	at = store.Time(binary.BigEndian.Uint64(got[:]))
	genuine := 0
	for _, key := range c.macs {
		m := key.Get()
		genuine |= subtle.ConstantTimeCompare(sum(m, p, at, id, registered), got[tokenTime:])
		key.Put(m)
	}
	if genuine != 1 {
		return 0, false
	}
	return at, true
}

// sum returns the MAC of a token, which is valid until the next. The ID comes last, and all
// before it has a fixed length, so different tokens never hash the same bytes.
func sum(m *mac.MAC, p Purpose, at store.Time, id string, registered store.Time) []byte {
	in := append(m.Message(), byte(p))
	in = binary.BigEndian.AppendUint64(in, uint64(at))
	in = binary.BigEndian.AppendUint64(in, uint64(registered))
	return m.Sum(append(in, id...))[:tokenSize-tokenTime]
}
