package redisstore

import (
	"encoding/binary"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

// The value at a session's key begins with its kind:
//
//	S  a session: a big-endian header, with the fields that scripts read and change at
//	   fixed offsets, then the record, then the values
//	M  a move marker: where the session has moved
//	E  a tombstone: a format byte, then the reason for the end after its length as a
//	   uvarint
//
// The scripts parse this format as well: see prelude in scripts.go.
const (
	kindSession   = 'S'
	kindMove      = 'M'
	kindTombstone = 'E'

	tombstoneFormat = 1
)

// A header is the fixed-size part of a session. Its times are in milliseconds.
type header struct {
	LastSeen      int64
	Version       uint64
	IdleTimeout   int64
	Expires       int64
	RememberUntil int64
	RecordLength  uint32
}

// headerSize is the size of the kind and the header.
const headerSize = 1 + 5*8 + 4

func headerOf(r store.Record, recordLength int) header {
	return header{
		LastSeen:      int64(r.LastSeen),
		Version:       r.Version,
		IdleTimeout:   r.IdleTimeout.Milliseconds(),
		Expires:       int64(r.Expires),
		RememberUntil: int64(r.Detail().RememberUntil),
		RecordLength:  uint32(recordLength),
	}
}

func encodeSession(r store.Record) string {
	body := record.Append(nil, r.Session)
	b := make([]byte, 1, headerSize+len(body)+len(r.Values))
	b[0] = kindSession
	b, _ = binary.Append(b, binary.BigEndian, headerOf(r, len(body)))
	b = append(b, body...)
	return string(append(b, r.Values...))
}

func encodeMove(r store.Record) string {
	return string(record.AppendMove([]byte{kindMove}, &store.MovedError{
		To: r.Key, Owner: r.Owner, ID: r.ID, Revived: r.Revived(),
	}))
}

func encodeTombstone(reason store.Reason) string {
	b := binary.AppendUvarint([]byte{kindTombstone, tombstoneFormat}, uint64(len(reason)))
	return string(append(b, reason...))
}

// encodeVersion encodes a version as in a header.
func encodeVersion(version uint64) string {
	return string(binary.BigEndian.AppendUint64(nil, version))
}

// decode decodes the value at a session's key. For a move marker it returns a
// [store.MovedError], and for a tombstone a [store.EndedError].
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
	case kindTombstone:
		if reason, rest, ok := decodeTombstone(value); ok && len(rest) == 0 {
			return store.Record{}, &store.EndedError{Reason: reason}
		}
	}
	return store.Record{}, record.ErrCorrupt
}

func decodeSession(key store.Key, value []byte) (store.Record, error) {
	var h header
	if _, err := binary.Decode(value[1:], binary.BigEndian, &h); err != nil {
		return store.Record{}, record.ErrCorrupt
	}
	rest := value[headerSize:]
	if uint64(h.RecordLength) > uint64(len(rest)) {
		return store.Record{}, record.ErrCorrupt
	}
	session, err := record.Parse(key, rest[:h.RecordLength])
	if err != nil {
		return store.Record{}, err
	}
	session.Version = h.Version
	session.Values = rest[h.RecordLength:]
	r := store.Record{Session: session, LastSeen: store.Time(h.LastSeen)}
	if h != headerOf(r, int(h.RecordLength)) { // else the scripts and the guard would use different times
		return store.Record{}, record.ErrCorrupt
	}
	return r, nil
}

// decodeTombstone also returns what follows the tombstone: in a published message, the
// session's ID.
func decodeTombstone(value []byte) (reason store.Reason, rest []byte, ok bool) {
	if len(value) < 2 || value[0] != kindTombstone || value[1] != tombstoneFormat {
		return "", nil, false
	}
	length, n := binary.Uvarint(value[2:])
	if n <= 0 || length > uint64(len(value)-2-n) {
		return "", nil, false
	}
	rest = value[2+n:]
	return store.Reason(rest[:length]), rest[length:], true
}
