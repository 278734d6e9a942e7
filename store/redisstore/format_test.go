package redisstore

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

func TestTruncatedOrExtendedValuesAreCorrupt(t *testing.T) {
	r := newSession(newOwner())
	r.Values = nil
	for _, value := range []string{encodeSession(r), encodeMove(r), encodeTombstone(store.ReasonEnded)} {
		for n := range len(value) {
			_, err := decode(r.Key, []byte(value[:n]))
			require.ErrorIs(t, err, record.ErrCorrupt, "%c, %d of %d bytes", value[0], n, len(value))
		}
	}
	for _, value := range []string{encodeMove(r), encodeTombstone(store.ReasonEnded)} {
		_, err := decode(r.Key, []byte(value+"x"))
		require.ErrorIs(t, err, record.ErrCorrupt, "%c with one more byte", value[0])
	}
}

// The scripts read the header, and the guard reads the record: they must agree.
func TestHeaderThatContradictsItsRecordIsCorrupt(t *testing.T) {
	r := newSession(newOwner())
	value := encodeSession(r)
	with := func(h header) []byte {
		b, err := binary.Append([]byte{kindSession}, binary.BigEndian, h)
		require.NoError(t, err)
		return append(b, value[headerSize:]...)
	}
	length := len(value) - headerSize - len(r.Values)
	require.Equal(t, value, string(with(headerOf(r, length))))
	for name, change := range map[string]func(*header){
		"idle timeout":      func(h *header) { h.IdleTimeout++ },
		"absolute deadline": func(h *header) { h.Expires++ },
		"remember until":    func(h *header) { h.RememberUntil++ },
		"length":            func(h *header) { h.RecordLength++ },
	} {
		h := headerOf(r, length)
		change(&h)
		_, err := decode(r.Key, with(h))
		require.ErrorIs(t, err, record.ErrCorrupt, name)
	}
}

func TestSessionUnderAnotherKeyIsCorrupt(t *testing.T) {
	r, other := newSession(newOwner()), newSession(newOwner())
	_, err := decode(other.Key, []byte(encodeSession(r)))
	require.ErrorIs(t, err, record.ErrCorrupt)
}
