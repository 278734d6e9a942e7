package sqltest

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sessionguard-go/sessionguard/store"
	"github.com/sessionguard-go/sessionguard/store/sqlstore"
)

// The values of the column kind.
const (
	kindSession    = 0
	kindMoveMarker = 1
	kindTombstone  = 2
	kindUnknown    = 7
)

// A corruptor changes rows behind a Store's back.
type corruptor struct {
	database
	*sqlstore.Store
	db *sql.DB
}

func (c corruptor) setColumn(t *testing.T, key store.Key, column string, value any) {
	t.Helper()
	_, err := c.db.Exec(c.placeholders("UPDATE sessionguard_sessions SET "+column+" = ? WHERE session_key = ?"), value, key[:])
	require.NoError(t, err)
}

func (c corruptor) setKind(t *testing.T, r store.Record, kind int) {
	t.Helper()
	c.setColumn(t, r.Key, "kind", kind)
}

func (c corruptor) setRecord(t *testing.T, r store.Record, record []byte) {
	t.Helper()
	c.setColumn(t, r.Key, "record", record)
}

func (c corruptor) record(t *testing.T, r store.Record) (record []byte) {
	t.Helper()
	c.readColumns(t, c.db, r.Key, "record", &record)
	return record
}

// truncate removes the last byte of a record.
func (c corruptor) truncate(t *testing.T, r store.Record) {
	t.Helper()
	record := c.record(t, r)
	c.setRecord(t, r, record[:len(record)-1])
}

func (c corruptor) move(t *testing.T, r store.Record) {
	t.Helper()
	next := newRecordOf(r.Owner)
	next.ID = r.ID
	require.NoError(t, c.Replace(t.Context(), r.Key, 1, next))
}

func (c corruptor) end(t *testing.T, r store.Record) {
	t.Helper()
	_, err := c.Delete(t.Context(), r.Key, store.ReasonTheftSuspected)
	require.NoError(t, err)
}

var corruptions = []struct {
	name    string
	corrupt func(t *testing.T, c corruptor, r store.Record)
}{
	{"session with an empty record", func(t *testing.T, c corruptor, r store.Record) { c.setRecord(t, r, []byte{}) }},
	{"session with a random record", func(t *testing.T, c corruptor, r store.Record) { c.setRecord(t, r, []byte("noise")) }},
	{"session with a trailing byte", func(t *testing.T, c corruptor, r store.Record) { c.setRecord(t, r, append(c.record(t, r), 0)) }},
	{"truncated session", func(t *testing.T, c corruptor, r store.Record) { c.truncate(t, r) }},
	{"session of another format", func(t *testing.T, c corruptor, r store.Record) {
		c.setRecord(t, r, append([]byte{9}, c.record(t, r)[1:]...))
	}},
	{"session of another key", func(t *testing.T, c corruptor, r store.Record) {
		other := newRecord()
		create(t, c, other)
		c.setRecord(t, r, c.record(t, other))
	}},
	{"unknown kind", func(t *testing.T, c corruptor, r store.Record) { c.setKind(t, r, kindUnknown) }},
	{"session with the kind of a move marker", func(t *testing.T, c corruptor, r store.Record) { c.setKind(t, r, kindMoveMarker) }},
	{"session with the kind of a tombstone", func(t *testing.T, c corruptor, r store.Record) { c.setKind(t, r, kindTombstone) }},
	{"move marker with a random record", func(t *testing.T, c corruptor, r store.Record) {
		c.move(t, r)
		c.setRecord(t, r, append(r.Key[:], "noise"...))
	}},
	{"truncated move marker", func(t *testing.T, c corruptor, r store.Record) { c.move(t, r); c.truncate(t, r) }},
	{"move marker with the kind of a session", func(t *testing.T, c corruptor, r store.Record) { c.move(t, r); c.setKind(t, r, kindSession) }},
	{"move marker of another key", func(t *testing.T, c corruptor, r store.Record) {
		other := newRecord()
		create(t, c, other)
		c.move(t, r)
		c.move(t, other)
		c.setRecord(t, r, c.record(t, other))
	}},
	{"tombstone with a random record", func(t *testing.T, c corruptor, r store.Record) { c.end(t, r); c.setRecord(t, r, []byte("noise")) }},
	{"tombstone with the kind of a session", func(t *testing.T, c corruptor, r store.Record) { c.end(t, r); c.setKind(t, r, kindSession) }},
	{"tombstone of another key", func(t *testing.T, c corruptor, r store.Record) {
		other := newRecord()
		create(t, c, other)
		c.end(t, r)
		c.end(t, other)
		c.setRecord(t, r, c.record(t, other))
	}},
}

func TestCorruptRowIsAnErrorThatNamesItsKey(t *testing.T) {
	forEachCorruptor(t, func(t *testing.T, c corruptor) {
		for _, corruption := range corruptions {
			t.Run(corruption.name, func(t *testing.T) {
				r := newRecord()
				create(t, c, r)
				corruption.corrupt(t, c, r)
				requireCorrupt := func(err error) {
					t.Helper()
					requireNamesKey(t, err, r)
					require.NotErrorIs(t, err, store.ErrNotFound)
				}
				rec, err := c.Load(t.Context(), r.Key)
				requireCorrupt(err)
				require.Nil(t, rec.Session)
				rec, err = c.Delete(t.Context(), r.Key, store.ReasonLoggedOut)
				requireCorrupt(err)
				require.Nil(t, rec.Session)
				requireCorrupt(c.Replace(t.Context(), r.Key, 1, newRecordOf(r.Owner)))
			})
		}
	})
}

func TestSessionOfAnotherOwnerInAListIsAnError(t *testing.T) {
	forEachCorruptor(t, func(t *testing.T, c corruptor) {
		r, other := newRecord(), newRecord()
		create(t, c, r, other)
		var hash []byte
		c.readColumns(t, c.db, other.Key, "owner_hash", &hash)
		c.setColumn(t, r.Key, "owner_hash", hash)
		records, err := c.ByOwner(t.Context(), other.Owner, "", store.MaxPage)
		requireNamesKey(t, err, r)
		require.Empty(t, records)
		_, err = c.Create(t.Context(), newRecordOf(other.Owner), store.Limit{Max: 1})
		requireNamesKey(t, err, r)
		_, err = c.Load(t.Context(), other.Key)
		require.NoError(t, err, "the limit ended a session although Create failed")
	})
}

func TestCorruptSessionInAListIsAnErrorAndHoldsNoLock(t *testing.T) {
	forEachCorruptor(t, func(t *testing.T, c corruptor) {
		r := newRecord()
		create(t, c, r)
		c.setRecord(t, r, []byte("noise"))
		_, err := c.ByOwner(t.Context(), r.Owner, "", store.MaxPage)
		requireNamesKey(t, err, r)
		_, err = c.Create(t.Context(), newRecordOf(r.Owner), store.Limit{Max: 1})
		requireNamesKey(t, err, r)
		c.setColumn(t, r.Key, "owner_hash", nil)
		_, err = c.Create(t.Context(), newRecordOf(r.Owner), store.Limit{Max: 1})
		require.NoError(t, err, "the failed transaction is still open")
	})
}

func TestColumnsThatContradictTheRecordAreAnError(t *testing.T) {
	forEachCorruptor(t, func(t *testing.T, c corruptor) {
		r := newRecord()
		create(t, c, r)
		c.setColumn(t, r.Key, "expires", int64(r.LastSeen)) // past its deadline for Touch, but not for Load
		requireNamesKey(t, c.Touch(t.Context(), r.Key, r.LastSeen+1), r)
	})
}

// In SQLite a column can hold a value of any type.
func TestColumnOfTheWrongTypeIsAnError(t *testing.T) {
	d := databases["SQLite"](t)
	c := corruptor{d, d.node(t, sqlstore.Config{}), d.open(t)}
	r := newRecord()
	create(t, c, r)
	c.setColumn(t, r.Key, "version", "noise")
	_, err := c.Load(t.Context(), r.Key)
	requireNamesKey(t, err, r)
	_, err = c.ByOwner(t.Context(), r.Owner, "", store.MaxPage)
	requireNamesKey(t, err, r)
}

func forEachCorruptor(t *testing.T, test func(t *testing.T, c corruptor)) {
	for name, start := range databases {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			test(t, corruptor{d, d.node(t, sqlstore.Config{}), d.open(t)})
		})
	}
}

func requireNamesKey(t *testing.T, err error, r store.Record) {
	t.Helper()
	require.ErrorContains(t, err, fmt.Sprintf("%x", r.Key))
}
