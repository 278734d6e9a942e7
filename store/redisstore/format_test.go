package redisstore

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

func TestWhatIsTruncatedIsCorrupt(t *testing.T) {
	r := newSession(newOwner())
	r.Values = nil
	for _, value := range []string{encode(r), encodeMove(r), encodeEnd(store.ReasonEnded)} {
		for n := range len(value) {
			_, err := decode(r.Key, []byte(value[:n]))
			require.ErrorIs(t, err, record.ErrCorrupt, "%c, %d of %d bytes", value[0], n, len(value))
		}
	}
	for _, value := range []string{encodeMove(r), encodeEnd(store.ReasonEnded)} {
		_, err := decode(r.Key, []byte(value+"x"))
		require.ErrorIs(t, err, record.ErrCorrupt, "%c and more", value[0])
	}
}

// What the scripts go by is what the guard goes by.
func TestAHeadThatIsNotItsRecordsIsCorrupt(t *testing.T) {
	r := newSession(newOwner())
	value := encode(r)
	with := func(h head) []byte {
		b, err := binary.Append([]byte{kindSession}, binary.BigEndian, h)
		require.NoError(t, err)
		return append(b, value[headSize:]...)
	}
	length := len(value) - headSize - len(r.Values)
	require.Equal(t, value, string(with(headOf(r, length))))
	for name, change := range map[string]func(*head){
		"idle timeout": func(h *head) { h.Idle++ },
		"absolute end": func(h *head) { h.Expires++ },
		"remember":     func(h *head) { h.Remember++ },
		"length":       func(h *head) { h.Record++ },
	} {
		h := headOf(r, length)
		change(&h)
		_, err := decode(r.Key, with(h))
		require.ErrorIs(t, err, record.ErrCorrupt, name)
	}
}

func TestASessionUnderAnotherKeyIsCorrupt(t *testing.T) {
	r, other := newSession(newOwner()), newSession(newOwner())
	_, err := decode(other.Key, []byte(encode(r)))
	require.ErrorIs(t, err, record.ErrCorrupt)
}
