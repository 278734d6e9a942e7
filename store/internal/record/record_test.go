package record_test

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/internal/record"
)

var (
	key  = store.Key{1, 2, 3, 31: 255}
	full = store.Session{
		Key: key, ID: "id", Owner: "session=\x00ada\xff", Stamp: "stamp",
		Authenticated: 1, Expires: math.MaxInt64, IdleTimeout: 100*365*24*time.Hour + 1,
		Created: -1, Client: "user agent", Address: "address",
		Details: &store.Details{
			RememberUntil: 1 << 53, Rotated: math.MinInt64,
			SuccessorToken: []byte{0, 1},
			Label:          "label", Factors: []store.Factor{{Name: "pwd", At: math.MaxInt64}, {}}, Actor: &store.Actor{Owner: "o", ID: "i", Key: store.Key{4, 31: 5}},
			Device: &store.Device{PublicKey: []byte{0, 48}, Registered: math.MaxInt64, Proven: 1},
		},
	}
	moves = []store.MovedError{
		{To: key, Owner: "session=ada", ID: "id", Revived: true},
		{Owner: "session=ada"},
	}
)

// A new field of a session is encoded too: full sets all of them, except those that a
// backend keeps beside the record, and TestEncodingRoundTrips compares all.
func TestFullSetsEveryField(t *testing.T) {
	beside := []string{"Version", "Values"}
	for _, part := range []any{full, *full.Details} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			require.Equal(t, slices.Contains(beside, name), v.Field(i).IsZero(), name)
		}
	}
}

func sessions() []store.Session {
	plain, zero := full, full
	plain.Details, zero.Details = nil, &store.Details{}
	return []store.Session{full, plain, zero, {Key: key, Owner: "session="}}
}

func TestEncodingRoundTrips(t *testing.T) {
	for _, s := range sessions() {
		got, err := record.Parse(key, record.Append(nil, &s))
		require.NoError(t, err)
		require.Equal(t, s, *got)
	}
	for _, m := range moves {
		got, err := record.ParseMove(record.AppendMove(nil, &m))
		require.NoError(t, err)
		require.Equal(t, m, *got)
	}
}

func TestMissingOrExtraBytesAreCorrupt(t *testing.T) {
	for _, s := range sessions() {
		b := record.Append(nil, &s)
		for n := range len(b) {
			_, err := record.Parse(key, b[:n])
			require.ErrorIs(t, err, record.ErrCorrupt, n)
		}
		_, err := record.Parse(key, append(b, 0))
		require.ErrorIs(t, err, record.ErrCorrupt)
	}
	for _, m := range moves {
		b := record.AppendMove(nil, &m)
		for n := range len(b) {
			_, err := record.ParseMove(b[:n])
			require.ErrorIs(t, err, record.ErrCorrupt, n)
		}
		_, err := record.ParseMove(append(b, 0))
		require.ErrorIs(t, err, record.ErrCorrupt)
	}
}

func TestRecordUnderAnotherKeyIsCorrupt(t *testing.T) {
	b := record.Append(nil, &full)
	for bit := range 8 * len(key) {
		other := key
		other[bit/8] ^= 1 << (bit % 8)
		_, err := record.Parse(other, b)
		require.ErrorIs(t, err, record.ErrCorrupt)
	}
}

func TestUnknownFormatOrMissingOwnerIsCorrupt(t *testing.T) {
	b := record.Append(nil, &full)
	b[0]++
	_, err := record.Parse(key, b)
	require.ErrorIs(t, err, record.ErrCorrupt)

	_, err = record.Parse(key, record.Append(nil, &store.Session{Key: key}))
	require.ErrorIs(t, err, record.ErrCorrupt)
	_, err = record.ParseMove(record.AppendMove(nil, &store.MovedError{To: key}))
	require.ErrorIs(t, err, record.ErrCorrupt)
}

func FuzzParse(f *testing.F) {
	for _, s := range sessions() {
		f.Add(record.Append(nil, &s))
	}
	for _, m := range moves {
		f.Add(record.AppendMove(nil, &m))
	}
	f.Add(append([]byte{1}, bytes.Repeat([]byte{0xff}, 64)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var key store.Key
		copy(key[:], b[min(1, len(b)):])
		if s, err := record.Parse(key, b); err == nil {
			again, err := record.Parse(key, record.Append(nil, s))
			require.NoError(t, err)
			require.Equal(t, s, again)
		} else {
			require.Nil(t, s)
		}
		if m, err := record.ParseMove(b); err == nil {
			again, err := record.ParseMove(record.AppendMove(nil, m))
			require.NoError(t, err)
			require.Equal(t, m, again)
		} else {
			require.Nil(t, m)
		}
	})
}
