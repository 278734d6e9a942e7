package redisstore

import (
	"encoding/binary"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// What is at a session's key begins with its kind:
//
//	S  a session: what the scripts read and change, in big-endian and at a fixed place,
//	   then the record, then the values
//	M  where a session has moved
//	E  why it has ended: a format, and the reason after its length
//
// The scripts know all of it. See prelude in scripts.go.
const (
	kindSession = 'S'
	kindMove    = 'M'
	kindEnd     = 'E'

	endFormat = 1
)

// A head is the fixed part of a session. Its times are in milliseconds.
type head struct {
	LastSeen int64
	Version  uint64
	Idle     int64
	Expires  int64
	Remember int64
	Record   uint32 // the record's length
}

// headSize is that of the kind and the head.
const headSize = 1 + 5*8 + 4

func headOf(r store.Record, record int) head {
	return head{
		LastSeen: int64(r.LastSeen),
		Version:  r.Version,
		Idle:     r.IdleTimeout.Milliseconds(),
		Expires:  int64(r.Expires),
		Remember: int64(r.Detail().RememberUntil),
		Record:   uint32(record),
	}
}

func encode(r store.Record) string {
	body := record.Append(nil, r.Session)
	b := make([]byte, 1, headSize+len(body)+len(r.Values))
	b[0] = kindSession
	b, _ = binary.Append(b, binary.BigEndian, headOf(r, len(body)))
	b = append(b, body...)
	return string(append(b, r.Values...))
}

func encodeMove(r store.Record) string {
	return string(record.AppendMove([]byte{kindMove}, &store.MovedError{
		To: r.Key, Owner: r.Owner, ID: r.ID, Revived: r.Revived(),
	}))
}

func encodeEnd(reason store.Reason) string {
	b := binary.AppendUvarint([]byte{kindEnd, endFormat}, uint64(len(reason)))
	return string(append(b, reason...))
}

// encodeVersion is a version as it is in a head.
func encodeVersion(version uint64) string {
	return string(binary.BigEndian.AppendUint64(nil, version))
}

// decode reads what is at the key of a session: a session, or an error that says what
// is left of it.
func decode(key store.Key, value []byte) (store.Record, error) {
	if len(value) == 0 {
		return store.Record{}, record.ErrCorrupt
	}
	switch value[0] {
	case kindSession:
		return decodeSession(key, value)
	case kindMove:
		moved, err := record.ParseMove(value[1:])
		if err != nil {
			return store.Record{}, err
		}
		return store.Record{}, moved
	case kindEnd:
		if reason, rest, ok := decodeEnd(value); ok && len(rest) == 0 {
			return store.Record{}, &store.EndedError{Reason: reason}
		}
	}
	return store.Record{}, record.ErrCorrupt
}

func decodeSession(key store.Key, value []byte) (store.Record, error) {
	var h head
	if _, err := binary.Decode(value[1:], binary.BigEndian, &h); err != nil {
		return store.Record{}, record.ErrCorrupt
	}
	rest := value[headSize:]
	if uint64(h.Record) > uint64(len(rest)) {
		return store.Record{}, record.ErrCorrupt
	}
	session, err := record.Parse(key, rest[:h.Record])
	if err != nil {
		return store.Record{}, err
	}
	session.Version = h.Version
	session.Values = rest[h.Record:]
	r := store.Record{Session: session, LastSeen: store.Time(h.LastSeen)}
	if h != headOf(r, int(h.Record)) { // the scripts would go by other times than the guard
		return store.Record{}, record.ErrCorrupt
	}
	return r, nil
}

// decodeEnd also returns what follows: in a message, the session's ID.
func decodeEnd(value []byte) (reason store.Reason, rest []byte, ok bool) {
	if len(value) < 2 || value[0] != kindEnd || value[1] != endFormat {
		return "", nil, false
	}
	length, n := binary.Uvarint(value[2:])
	if n <= 0 || length > uint64(len(value)-2-n) {
		return "", nil, false
	}
	rest = value[2+n:]
	return store.Reason(rest[:length]), rest[length:], true
}
