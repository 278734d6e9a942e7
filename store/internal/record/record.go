// Package record encodes sessions for backends outside this process. The encoding keeps every
// field exactly, and decoding rejects anything that this package has not encoded.
package record

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/sessionguard-go/sessionguard/store"
)

// ErrCorrupt is returned for bytes that Append or AppendMove has not written.
var ErrCorrupt = errors.New("the record is corrupt or foreign")

// format is the first byte of every encoding. An incompatible format needs another byte.
const format = 1

// Append appends the encoding of a session to b, without Version and Values. They change
// while the session keeps its key, as LastSeen does, so a backend stores them separately.
func Append(b []byte, s *store.Session) []byte {
	b = append(b, format)
	b = append(b, s.Key[:]...)
	for _, text := range []string{s.ID, s.Owner, s.Stamp} {
		b = appendText(b, text)
	}
	b = binary.AppendVarint(b, int64(s.Authenticated))
	b = binary.AppendVarint(b, int64(s.Expires))
	b = binary.AppendVarint(b, int64(s.IdleTimeout))
	b = binary.AppendVarint(b, int64(s.Created))
	b = appendText(b, s.Client)
	b = appendText(b, s.Address)
	if s.Details == nil {
		return append(b, 0)
	}
	b = append(b, 1)
	d := s.Details
	b = binary.AppendVarint(b, int64(d.RememberUntil))
	b = binary.AppendVarint(b, int64(d.Rotated))
	for _, text := range []string{string(d.SuccessorToken), d.Label} {
		b = appendText(b, text)
	}
	b = binary.AppendUvarint(b, uint64(len(d.Factors)))
	for _, f := range d.Factors {
		b = appendText(b, f.Name)
		b = binary.AppendVarint(b, int64(f.At))
	}
	if d.Actor == nil {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		b = appendText(b, d.Actor.Owner)
		b = appendText(b, d.Actor.ID)
		b = append(b, d.Actor.Key[:]...)
	}
	if d.Device == nil {
		return append(b, 0)
	}
	b = append(b, 1)
	b = appendText(b, string(d.Device.PublicKey))
	b = binary.AppendVarint(b, int64(d.Device.Registered))
	return binary.AppendVarint(b, int64(d.Device.Proven))
}

// Parse decodes what Append has written for key. It returns ErrCorrupt if bytes are missing
// or left over, or if the session has another key.
func Parse(key store.Key, b []byte) (*store.Session, error) {
	p := parser{rest: b}
	if p.byte() != format || p.key() != key {
		return nil, ErrCorrupt
	}
	s := &store.Session{
		Key:           key,
		ID:            p.text(),
		Owner:         p.text(),
		Stamp:         p.text(),
		Authenticated: store.Time(p.int()),
		Expires:       store.Time(p.int()),
		IdleTimeout:   time.Duration(p.int()),
		Created:       store.Time(p.int()),
		Client:        p.text(),
		Address:       p.text(),
	}
	if p.bool() {
		s.Details = p.details()
	}
	if p.failed || len(p.rest) > 0 || s.Owner == "" {
		return nil, ErrCorrupt
	}
	return s, nil
}

func (p *parser) details() *store.Details {
	d := &store.Details{
		RememberUntil: store.Time(p.int()),
		Rotated:       store.Time(p.int()),
	}
	if token := p.text(); token != "" {
		d.SuccessorToken = []byte(token)
	}
	d.Label = p.text()
	for n := p.uint(); n > 0 && !p.failed; n-- {
		d.Factors = append(d.Factors, store.Factor{Name: p.text(), At: store.Time(p.int())})
	}
	if p.bool() {
		d.Actor = &store.Actor{Owner: p.text(), ID: p.text(), Key: p.key()}
	}
	if p.bool() {
		d.Device = &store.Device{PublicKey: []byte(p.text()), Registered: store.Time(p.int()), Proven: store.Time(p.int())}
	}
	return d
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// AppendMove appends the encoding of m to b. Replace leaves it at a session's old key.
func AppendMove(b []byte, m *store.MovedError) []byte {
	b = append(b, format)
	b = append(b, m.To[:]...)
	b = appendText(b, m.Owner)
	b = appendText(b, m.ID)
	if m.Revived {
		return append(b, 1)
	}
	return append(b, 0)
}

// ParseMove decodes what AppendMove has written. It returns ErrCorrupt if bytes are missing or
// left over.
func ParseMove(b []byte) (*store.MovedError, error) {
	p := parser{rest: b}
	if p.byte() != format {
		return nil, ErrCorrupt
	}
	m := &store.MovedError{To: p.key(), Owner: p.text(), ID: p.text(), Revived: p.bool()}
	if p.failed || len(p.rest) > 0 || m.Owner == "" {
		return nil, ErrCorrupt
	}
	return m, nil
}

// A parser consumes rest from the front. After a failure its methods return zero values.
type parser struct {
	rest   []byte
	failed bool
}

func (p *parser) setFailed() { p.failed, p.rest = true, nil }

func (p *parser) take(n uint64) []byte {
	if n > uint64(len(p.rest)) {
		p.setFailed()
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) byte() byte {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) key() (key store.Key) {
	copy(key[:], p.take(uint64(len(key))))
	return key
}

func (p *parser) int() int64 {
	i, n := binary.Varint(p.rest)
	if n <= 0 {
		p.setFailed()
		return 0
	}
	p.rest = p.rest[n:]
	return i
}

func (p *parser) uint() uint64 {
	i, n := binary.Uvarint(p.rest)
	if n <= 0 {
		p.setFailed()
		return 0
	}
	p.rest = p.rest[n:]
	return i
}

func (p *parser) text() string { return string(p.take(p.uint())) }

// bool consumes 0 or 1.
func (p *parser) bool() bool {
	b := p.byte()
	if b > 1 {
		p.setFailed()
	}
	return b == 1
}
